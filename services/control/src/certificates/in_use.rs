//! Who names a certificate or an authority.

use selvedge_model::{Kind, Value};
use selvedge_store::{Error as StoreError, Read};

use crate::operations::document::{prefix_of_kind, tags_beside};

/// The tags by which an edge says of its gateway which certificates it shows; a number follows.
const EDGE_TAG: &str = "selvedge:certificate-";

/// The ARNs of the virtual nodes and gateways whose specifications name `arn`, and of the gateways whose edges show it.
pub(super) fn users(view: &dyn Read, arn: &str) -> Result<Vec<String>, StoreError> {
    // As the text stands in a document: ARNs have nothing that JSON would write otherwise.
    let quoted = format!("\"{arn}\"");
    let mut users = Vec::new();
    for kind in [Kind::VirtualNode, Kind::VirtualGateway] {
        for document in view.scan_all(&prefix_of_kind(kind))? {
            let names_it = document.value.windows(quoted.len()).any(|window| window == quoted.as_bytes());
            let is_edges = kind == Kind::VirtualGateway;
            if !names_it && (!is_edges || !is_shown(view, &document.key, arn)?) {
                continue;
            }
            let value: Value = super::read(&document.key, &document.value)?;
            let user = value.pointer("/metadata/arn").and_then(Value::as_str);
            users.push(user.unwrap_or(&document.key).to_owned());
        }
    }
    Ok(users)
}

/// Whether the edge of the gateway at `key` shows a certificate.
fn is_shown(view: &dyn Read, key: &str, arn: &str) -> Result<bool, StoreError> {
    let key = tags_beside(key);
    let Some(tags) = super::get::<Value>(view, &key)? else { return Ok(false) };
    let names_it = |tag: &Value| {
        let is_edges = tag["key"].as_str().is_some_and(|key| key.starts_with(EDGE_TAG));
        is_edges && tag["value"] == arn
    };
    Ok(tags.as_array().into_iter().flatten().any(names_it))
}
