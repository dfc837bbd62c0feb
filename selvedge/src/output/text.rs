//! `--output text`: one line a record, values sorted by their member's name and separated by tabs, nested members below,
//! headed by their name in capitals.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{is_scalar, scalar};

/// The document as tab-separated lines.
pub(super) fn write(document: &Value) -> String {
    let mut out = String::new();
    item(document, None, None, &mut out);
    out
}

fn item(value: &Value, name: Option<&str>, columns: Option<&BTreeSet<&str>>, out: &mut String) {
    match value {
        Value::Object(object) => record(object, name, columns, out),
        Value::Array(elements) => list(elements, name, out),
        other => line(&[scalar(other)], out),
    }
}

fn list(elements: &[Value], name: Option<&str>, out: &mut String) {
    if elements.is_empty() {
        return;
    }
    if elements.iter().any(Value::is_object) {
        // Every record shows every column that any of them has, so that columns keep their places.
        let columns = elements.iter().filter_map(Value::as_object).flat_map(scalar_names).collect();
        for element in elements {
            item(element, name, Some(&columns), out);
        }
    } else if elements.iter().any(Value::is_array) {
        let (scalars, nested): (Vec<_>, Vec<_>) = elements.iter().partition(|value| is_scalar(value));
        if !scalars.is_empty() {
            scalar_list(&scalars, name, out);
        }
        for value in nested {
            item(value, name, None, out);
        }
    } else {
        scalar_list(&elements.iter().collect::<Vec<_>>(), name, out);
    }
}

fn scalar_list(elements: &[&Value], name: Option<&str>, out: &mut String) {
    match name {
        Some(name) => {
            for value in elements {
                line(&[name.to_uppercase(), scalar(value)], out);
            }
        }
        None => line(&elements.iter().map(|value| scalar(value)).collect::<Vec<_>>(), out),
    }
}

fn record(
    object: &Map<String, Value>,
    name: Option<&str>,
    columns: Option<&BTreeSet<&str>>,
    out: &mut String,
) {
    let own: BTreeSet<&str> = scalar_names(object).collect();
    let columns = columns.unwrap_or(&own);
    if !columns.is_empty() {
        let values = columns.iter().map(|column| object.get(*column).map(scalar).unwrap_or_default());
        line(&name.map(str::to_uppercase).into_iter().chain(values).collect::<Vec<_>>(), out);
    }
    let rest: BTreeSet<&str> =
        object.keys().map(String::as_str).filter(|key| !columns.contains(key)).collect();
    for key in rest {
        item(&object[key], Some(key), None, out);
    }
}

fn scalar_names(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    object.iter().filter(|(_, value)| is_scalar(value)).map(|(key, _)| key.as_str())
}

fn line(cells: &[String], out: &mut String) {
    out.push_str(&cells.join("\t"));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_a_line_and_what_is_nested_follows_it() {
        for (document, expected) in [
            (json!("x"), "x\n"),
            (json!(null), "None\n"),
            (json!(true), "True\n"),
            (json!(["a", "b"]), "a\tb\n"),
            (json!([]), ""),
            (json!({}), ""),
            (json!([["a", "b"], ["c", "d"]]), "a\tb\nc\td\n"),
            (json!(["a", ["b", "c"]]), "a\nb\tc\n"),
            (
                json!({"mesh": {"meshName": "m", "spec": {}, "status": {"status": "ACTIVE"}}}),
                "MESH\tm\nSTATUS\tACTIVE\n",
            ),
            (
                json!({"meshes": [{"b": 2, "a": 1}, {"a": 3, "c": ["x", "y"]}], "nextToken": null}),
                "None\nMESHES\t1\t2\nMESHES\t3\t\nC\tx\nC\ty\n",
            ),
        ] {
            assert_eq!(write(&document), expected, "{document}");
        }
    }
}
