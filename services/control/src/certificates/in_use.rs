//! Who names a certificate or an authority.

use selvedge_model::{Kind, Value};
use selvedge_store::{Error as StoreError, Read};

use crate::operations::document::prefix_of_kind;

/// The ARNs of the virtual nodes and gateways whose specifications name `arn`.
pub(super) fn users(view: &dyn Read, arn: &str) -> Result<Vec<String>, StoreError> {
    // As the text stands in a document: ARNs have nothing that JSON would write otherwise.
    let quoted = format!("\"{arn}\"");
    let mut users = Vec::new();
    for kind in [Kind::VirtualNode, Kind::VirtualGateway] {
        for document in view.scan_all(&prefix_of_kind(kind))? {
            let names_it = document.value.windows(quoted.len()).any(|window| window == quoted.as_bytes());
            if !names_it {
                continue;
            }
            let value: Value = super::read(&document.key, &document.value)?;
            let user = value.pointer("/metadata/arn").and_then(Value::as_str);
            users.push(user.unwrap_or(&document.key).to_owned());
        }
    }
    Ok(users)
}
