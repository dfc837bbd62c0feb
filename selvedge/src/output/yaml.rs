//! YAML beside the JSON value model, both ways.
//!
//! Numbers keep the digits they were written with inside [`Value`], which other serialisers cannot see; so the two models are
//! converted member by member rather than through serde.

use serde_json::{Map, Number, Value};
use serde_norway::Value as Yaml;

/// A YAML document that has no counterpart in JSON.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("invalid YAML")]
    Syntax(#[from] serde_norway::Error),
    #[error("a member's name must be a string, a number or a boolean")]
    Key,
    #[error("{0} is not a number that JSON can hold")]
    Number(f64),
}

/// The document in block style.
pub(crate) fn write(document: &Value) -> String {
    serde_norway::to_string(&to_yaml(document))
        .expect("a tree of strings, numbers, lists and maps is always writable")
}

/// Reads one YAML document.
///
/// # Errors
/// When the text is not YAML, or holds what JSON cannot.
pub(crate) fn read(text: &str) -> Result<Value, Error> {
    from_yaml(serde_norway::from_str(text)?)
}

fn to_yaml(value: &Value) -> Yaml {
    match value {
        Value::Null => Yaml::Null,
        Value::Bool(value) => Yaml::Bool(*value),
        Value::String(text) => Yaml::String(text.clone()),
        Value::Number(number) => number
            .as_i64()
            .map(Into::into)
            .or_else(|| number.as_u64().map(Into::into))
            .or_else(|| number.as_f64().map(Into::into))
            .map_or(Yaml::Null, Yaml::Number),
        Value::Array(elements) => Yaml::Sequence(elements.iter().map(to_yaml).collect()),
        Value::Object(object) => Yaml::Mapping(
            object.iter().map(|(key, value)| (Yaml::String(key.clone()), to_yaml(value))).collect(),
        ),
    }
}

fn from_yaml(value: Yaml) -> Result<Value, Error> {
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::String(text) => Value::String(text),
        Yaml::Number(number) => Value::Number(match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => number.into(),
            (_, Some(number), _) => number.into(),
            (_, _, number) => {
                let number = number.unwrap_or(f64::NAN);
                Number::from_f64(number).ok_or(Error::Number(number))?
            }
        }),
        Yaml::Sequence(elements) => {
            Value::Array(elements.into_iter().map(from_yaml).collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(mapping) => {
            let mut object = Map::new();
            for (key, value) in mapping {
                let key = match key {
                    Yaml::String(text) => text,
                    Yaml::Bool(value) => value.to_string(),
                    Yaml::Number(number) => number.to_string(),
                    _ => return Err(Error::Key),
                };
                object.insert(key, from_yaml(value)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tagged) => from_yaml(tagged.value)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let document = json!({"a": [1, 1.5, "x", null, true], "b": {"c": "no", "d": "1"}, "e": {}, "f": []});
        assert_eq!(read(&write(&document)).expect("our own YAML"), document);
        let as_sent: Value = serde_json::from_str(r#"{"createdAt":1563809909.282}"#).expect("JSON");
        assert_eq!(write(&as_sent), "createdAt: 1563809909.282\n");
    }

    #[test]
    fn a_map_as_a_key_is_refused() {
        assert!(matches!(read("? {a: b}\n: c\n"), Err(Error::Key)));
        assert!(matches!(read("a: .nan"), Err(Error::Number(_))));
    }
}
