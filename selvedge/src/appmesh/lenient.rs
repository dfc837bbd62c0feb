//! The short forms that tutorials use and App Mesh's own command line refuses.

use serde_json::{Map, Value, json};

/// Rewrites `egressFilter` from `{allowAll: true}` or `{dropAll: true}` to the `{type: …}` that the API knows.
///
/// `false` means the other one. Anything else is left alone, so that the server's message shows what was sent.
pub(super) fn rewrite(input: &mut Map<String, Value>) {
    let Some(filter) = input.get_mut("spec").and_then(|spec| spec.get_mut("egressFilter")) else {
        return;
    };
    if let Some(kind) = short_form(filter) {
        *filter = json!({ "type": kind });
    }
}

fn short_form(filter: &Value) -> Option<&'static str> {
    let members = filter.as_object().filter(|members| members.len() == 1)?;
    let (name, value) = members.iter().next()?;
    let value = value.as_bool().or_else(|| value.as_str()?.to_ascii_lowercase().parse().ok())?;
    match (name.as_str(), value) {
        ("allowAll", true) | ("dropAll", false) => Some("ALLOW_ALL"),
        ("dropAll", true) | ("allowAll", false) => Some("DROP_ALL"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_egress_filters_become_types_and_nothing_else_changes() {
        for (sent, expected) in [
            (json!({"allowAll": "true"}), json!({"type": "ALLOW_ALL"})),
            (json!({"allowAll": false}), json!({"type": "DROP_ALL"})),
            (json!({"dropAll": true}), json!({"type": "DROP_ALL"})),
            (json!({"dropAll": "False"}), json!({"type": "ALLOW_ALL"})),
            (json!({"type": "ALLOW_ALL"}), json!({"type": "ALLOW_ALL"})),
            (json!({"allowAll": "maybe"}), json!({"allowAll": "maybe"})),
            (json!({"allowAll": true, "type": "DROP_ALL"}), json!({"allowAll": true, "type": "DROP_ALL"})),
            (json!("allowAll"), json!("allowAll")),
        ] {
            let mut input = Map::from_iter([("spec".to_owned(), json!({ "egressFilter": sent }))]);
            rewrite(&mut input);
            assert_eq!(input["spec"]["egressFilter"], expected, "{sent}");
        }
    }
}
