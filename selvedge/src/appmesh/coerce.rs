//! Shorthand's strings, read as what a shape says they are.

use selvedge_model::{Form, Shape};
use serde_json::Value;

/// A word where a number was wanted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected a number, received '{text}'")]
pub(super) struct Error {
    path: String,
    text: String,
}

/// Turns every string into the scalar that `shape` wants there, and a single value into a list of one where a list is wanted.
///
/// What the shape does not know stays as it is: the server says what is wrong with it, and where.
///
/// # Errors
/// When a number is wanted and the text is none.
pub(super) fn coerce(value: &mut Value, shape: &Shape, path: &str) -> Result<(), Error> {
    match shape.form {
        Form::Structure { .. } | Form::Union { .. } => {
            for (name, value) in value.as_object_mut().into_iter().flatten() {
                if let Some(member) = shape.member(name) {
                    coerce(value, member.shape, &format!("{path}.{name}"))?;
                }
            }
        }
        Form::List { element, .. } => {
            if !value.is_array() {
                *value = Value::Array(vec![value.take()]);
            }
            for (index, value) in value.as_array_mut().into_iter().flatten().enumerate() {
                coerce(value, element, &format!("{path}[{index}]"))?;
            }
        }
        Form::Integer { .. } | Form::Long { .. } => {
            if let Value::String(text) = value {
                let number: i64 =
                    text.trim().parse().map_err(|_| Error { path: path.to_owned(), text: text.clone() })?;
                *value = number.into();
            }
        }
        Form::Float { .. } => {
            if let Value::String(text) = value {
                let number: f64 =
                    text.trim().parse().map_err(|_| Error { path: path.to_owned(), text: text.clone() })?;
                *value = number.into();
            }
        }
        Form::Boolean => match value.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("true") => *value = true.into(),
            Some("false") => *value = false.into(),
            _ => {}
        },
        Form::Map { value: each, .. } => {
            for (name, value) in value.as_object_mut().into_iter().flatten() {
                coerce(value, each, &format!("{path}.{name}"))?;
            }
        }
        Form::String { .. } | Form::Blob { .. } | Form::Enum { .. } | Form::Timestamp => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use selvedge_model::{RouteSpec, Shaped, VirtualNodeSpec};
    use serde_json::json;

    use super::super::shorthand;
    use super::*;

    #[test]
    fn scalars_and_lists_become_what_the_shape_wants() {
        for (shape, text, expected) in [
            (
                RouteSpec::SHAPE,
                "priority=10,httpRoute={match={prefix=/},action={weightedTargets=[{virtualNode=a,weight=80},{virtualNode=b,weight=20}]}}",
                json!({"priority": 10, "httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": [
                    {"virtualNode": "a", "weight": 80}, {"virtualNode": "b", "weight": 20}]}}}),
            ),
            (
                VirtualNodeSpec::SHAPE,
                "listeners={portMapping={port=8080,protocol=http}}",
                json!({"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}),
            ),
            (RouteSpec::SHAPE, "unknown=1", json!({"unknown": "1"})),
        ] {
            let mut value = shorthand::parse(text).expect(text);
            coerce(&mut value, shape, "spec").expect(text);
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn a_word_where_a_number_belongs_names_its_place() {
        let mut value =
            shorthand::parse("listeners=[{portMapping={port=http,protocol=http}}]").expect("shorthand");
        let error = coerce(&mut value, VirtualNodeSpec::SHAPE, "spec").expect_err("not a number");
        assert_eq!(
            error.to_string(),
            "spec.listeners[0].portMapping.port: expected a number, received 'http'"
        );
    }
}
