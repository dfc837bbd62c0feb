//! An answer in the order in which the AWS command line prints it: the members of every structure by name.

use selvedge_model::{Form, Shape};
use serde_json::{Map, Number, Value};

/// Sorts the members of structures that `shape` knows; those that it does not know follow as they were sent.
pub(super) fn arrange(value: Value, shape: &Shape) -> Value {
    match (shape.form, value) {
        (Form::Structure { .. } | Form::Union { .. }, Value::Object(object)) => {
            Value::Object(members(object, shape))
        }
        (Form::List { element, .. }, Value::Array(elements)) => {
            elements.into_iter().map(|value| arrange(value, element)).collect()
        }
        (Form::Timestamp, Value::Number(number)) => Value::Number(shortest(number)),
        (_, other) => other,
    }
}

fn members(mut object: Map<String, Value>, shape: &Shape) -> Map<String, Value> {
    let mut known: Vec<_> = shape.members().iter().collect();
    known.sort_by_key(|member| member.name);
    let mut sorted = Map::new();
    for member in known {
        if let Some(value) = object.shift_remove(member.name) {
            sorted.insert(member.name.to_owned(), arrange(value, member.shape));
        }
    }
    sorted.extend(object);
    sorted
}

/// A fraction with no more digits than it needs: `1563809909.280` is printed as `1563809909.28`.
fn shortest(number: Number) -> Number {
    let text = number.to_string();
    let shorter = text.contains('.').then(|| number.as_f64()).flatten().map(|value| format!("{value:?}"));
    shorter.and_then(|text| text.parse().ok()).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use selvedge_aws::operations;

    use super::*;

    #[test]
    fn structures_are_sorted_and_timestamps_shortened() {
        let answer = r#"{"mesh":{"status":{"status":"ACTIVE"},"spec":{},"news":1,"metadata":{"version":1,"createdAt":1563809909.280,"arn":"a"},"meshName":"m"}}"#;
        let expected = r#"{"mesh":{"meshName":"m","metadata":{"arn":"a","createdAt":1563809909.28,"version":1},"spec":{},"status":{"status":"ACTIVE"},"news":1}}"#;
        let operation = operations::find("describe-mesh").expect("known");
        let arranged = arrange(serde_json::from_str(answer).expect("JSON"), operation.output);
        assert_eq!(arranged.to_string(), expected);
    }

    #[test]
    fn whole_seconds_stay_as_they_were_sent() {
        for (sent, printed) in [
            ("1563809909", "1563809909"),
            ("1563809909.000", "1563809909.0"),
            ("1563809909.282", "1563809909.282"),
        ] {
            let number: Number = serde_json::from_str(sent).expect("a number");
            assert_eq!(shortest(number).to_string(), printed);
        }
    }
}
