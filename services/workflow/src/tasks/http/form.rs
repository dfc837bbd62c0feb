//! Parameters as texts, and objects as the pairs of a form.

use selvedge_asl::Failure;
use serde_json::{Map, Value};

use crate::tasks::unfit;

pub(super) fn object<'v>(
    parameters: &'v Value,
    member: &str,
) -> Result<Option<&'v Map<String, Value>>, Failure> {
    match parameters.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(unfit(format!("{member}: an object is expected"))),
    }
}

/// A text, a number or a flag, or a list of such.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Number(_) | Value::Bool(_) => Some(vec![value.to_string()]),
        Value::Array(items) => items.iter().map(|item| texts(item)?.into_iter().next()).collect(),
        _ => None,
    }
}

/// An object as the pairs of a form.
pub(super) fn form(members: &Map<String, Value>, format: &str) -> Result<Vec<(String, String)>, Failure> {
    if !["INDICES", "REPEAT", "COMMAS", "BRACKETS", "NONE"].contains(&format) {
        return Err(unfit(
            "Transform.RequestEncodingOptions.ArrayFormat: it has to be INDICES, REPEAT, COMMAS, BRACKETS or NONE",
        ));
    }
    let mut pairs = Vec::new();
    for (name, value) in members {
        flatten(name.clone(), value, format, &mut pairs);
    }
    Ok(pairs)
}

fn flatten(name: String, value: &Value, format: &str, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Null => pairs.push((name, String::new())),
        Value::String(text) => pairs.push((name, text.clone())),
        Value::Number(_) | Value::Bool(_) => pairs.push((name, value.to_string())),
        Value::Object(members) => {
            for (member, value) in members {
                flatten(format!("{name}[{member}]"), value, format, pairs);
            }
        }
        Value::Array(items) if format == "COMMAS" => {
            let items: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            pairs.push((name, items.join(",")));
        }
        Value::Array(_) if format == "NONE" => pairs.push((name, value.to_string())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = match format {
                    "REPEAT" => name.clone(),
                    "BRACKETS" => format!("{name}[]"),
                    _ => format!("{name}[{index}]"),
                };
                flatten(name, item, format, pairs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tasks::http::encoded_form;

    #[test]
    fn forms_are_written_in_each_format() {
        let body = json!({ "a": ["x", "y"], "b": { "c": 1 }, "d": true });
        for (format, expected) in [
            ("INDICES", "a%5B0%5D=x&a%5B1%5D=y&b%5Bc%5D=1&d=true"),
            ("REPEAT", "a=x&a=y&b%5Bc%5D=1&d=true"),
            ("COMMAS", "a=x%2Cy&b%5Bc%5D=1&d=true"),
            ("BRACKETS", "a%5B%5D=x&a%5B%5D=y&b%5Bc%5D=1&d=true"),
            ("NONE", "a=%5B%22x%22%2C%22y%22%5D&b%5Bc%5D=1&d=true"),
        ] {
            let pairs = form(body.as_object().unwrap(), format).unwrap();
            let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(encoded_form(pairs), expected, "{format}");
        }
        assert!(form(body.as_object().unwrap(), "OTHER").is_err());
    }
}
