//! Header edits.

use selvedge_traffic::HeaderEdit;
use selvedge_xds_proto::envoy::config::core::v3::HeaderValueOption;
use selvedge_xds_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;

use super::Reason;
use super::bounds::{known, not_empty, one_line};

/// Removals come first: that is the order in which Envoy acts.
pub(super) fn decode(added: Vec<HeaderValueOption>, removed: Vec<String>) -> Result<Vec<HeaderEdit>, Reason> {
    let mut edits = Vec::with_capacity(removed.len() + added.len());
    for name in removed {
        edits.push(HeaderEdit::Remove { name: own(name)? });
    }
    for option in added {
        let header = option.header.ok_or(Reason::Missing("headers_to_add.header"))?;
        let (name, value) = (own(header.key)?, one_line("headers_to_add.header.value", header.value)?);
        if option.keep_empty_value {
            let (field, value) = ("headers_to_add.keep_empty_value", "true".to_owned());
            return Err(Reason::Unsupported { field, value });
        }
        if let Some(append) = option.append {
            // How it was said before there were actions.
            edits.push(if append {
                HeaderEdit::Append { name, value }
            } else {
                HeaderEdit::Overwrite { name, value }
            });
            continue;
        }
        edits.push(match known("headers_to_add.append_action", option.append_action)? {
            HeaderAppendAction::AppendIfExistsOrAdd => HeaderEdit::Append { name, value },
            HeaderAppendAction::OverwriteIfExistsOrAdd => HeaderEdit::Overwrite { name, value },
            HeaderAppendAction::AddIfAbsent => HeaderEdit::AddIfAbsent { name, value },
            HeaderAppendAction::OverwriteIfExists => HeaderEdit::OverwriteIfExists { name, value },
        });
    }
    Ok(edits)
}

/// A header that edits may touch: as Envoy has it, no pseudo-header and not the host.
fn own(name: String) -> Result<String, Reason> {
    let name = not_empty("headers_to_add.header.key", name)?;
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(Reason::Invalid {
            field: "headers_to_add.header.key",
            value: name,
            expected: "may not be edited",
        });
    }
    one_line("headers_to_add.header.key", name)
}
