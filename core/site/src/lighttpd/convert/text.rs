//! Values as TOML has them.

use std::sync::Arc;

use crate::value::Value;

/// A text or a number, as it is.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::List(_) => String::new(),
    }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn shown_list(value: &Value) -> String {
    let items: Vec<String> = value
        .as_list()
        .map(|list| list.iter().map(|(_, value)| quoted(&plain(value))).collect())
        .unwrap_or_default();
    format!("[{}]", items.join(", "))
}

/// A value in TOML's words.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::List(list) if list.iter().all(|(key, _)| key.is_some()) && !list.is_empty() => {
            let entry = |(key, value): (Option<&Arc<str>>, &Value)| {
                format!("{} = {}", quoted(key.map_or("", |key| key)), shown(value))
            };
            format!("{{ {} }}", list.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::List(list) => {
            format!("[{}]", list.iter().map(|(_, value)| shown(value)).collect::<Vec<_>>().join(", "))
        }
    }
}
