//! Header edits.

use selvedge_traffic::HeaderEdit;
use selvedge_xds_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use selvedge_xds_proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};

/// Envoy removes before it adds, whatever the order in which the edits stand here.
pub(super) fn encode(edits: &[HeaderEdit]) -> (Vec<HeaderValueOption>, Vec<String>) {
    let mut added = Vec::new();
    let mut removed = Vec::new();
    for edit in edits {
        let (name, value, action) = match edit {
            HeaderEdit::Append { name, value } => (name, value, HeaderAppendAction::AppendIfExistsOrAdd),
            HeaderEdit::AddIfAbsent { name, value } => (name, value, HeaderAppendAction::AddIfAbsent),
            HeaderEdit::Overwrite { name, value } => {
                (name, value, HeaderAppendAction::OverwriteIfExistsOrAdd)
            }
            HeaderEdit::OverwriteIfExists { name, value } => {
                (name, value, HeaderAppendAction::OverwriteIfExists)
            }
            HeaderEdit::Remove { name } => {
                removed.push(name.clone());
                continue;
            }
        };
        added.push(HeaderValueOption {
            header: Some(HeaderValue { key: name.clone(), value: value.clone() }),
            append: None,
            append_action: action.into(),
            keep_empty_value: false,
        });
    }
    (added, removed)
}
