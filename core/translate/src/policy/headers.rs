//! Header changes.

use selvedge_model::policy::{HeaderChanges, Headers};
use selvedge_traffic::{HeaderEdit, Route};

pub(super) fn apply(spec: &Headers, route: &mut Route) {
    route.request_headers.extend(spec.request.iter().flat_map(edits));
    route.response_headers.extend(spec.response.iter().flat_map(edits));
}

/// Removals first: that is the order in which proxies act, whatever the order here.
fn edits(changes: &HeaderChanges) -> Vec<HeaderEdit> {
    let remove = changes.remove.iter().map(|name| HeaderEdit::Remove { name: name.to_ascii_lowercase() });
    let set = changes
        .set
        .iter()
        .map(|one| HeaderEdit::Overwrite { name: one.name.to_ascii_lowercase(), value: one.value.clone() });
    let add = changes
        .add
        .iter()
        .map(|one| HeaderEdit::Append { name: one.name.to_ascii_lowercase(), value: one.value.clone() });
    let absent = changes
        .add_if_absent
        .iter()
        .map(|one| HeaderEdit::AddIfAbsent { name: one.name.to_ascii_lowercase(), value: one.value.clone() });
    let present = changes.set_if_present.iter().map(|one| HeaderEdit::OverwriteIfExists {
        name: one.name.to_ascii_lowercase(),
        value: one.value.clone(),
    });
    remove.chain(set).chain(present).chain(add).chain(absent).collect()
}
