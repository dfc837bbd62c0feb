//! What somebody fills in, against what is asked for: a small part of JSON Schema.

use serde_json::Value;

/// How deep a form may be nested.
const DEPTH_MAX: usize = 8;
const KNOWN: &[&str] = &[
    "$schema",
    "title",
    "description",
    "default",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
];

/// The path and the problem.
pub(super) type Misfit = (String, String);

/// Whether a form asks for what can be checked.
pub(super) fn understand(schema: &Value, at: &str, depth: usize) -> Result<(), Misfit> {
    let wrong = |problem: &str| Err((at.to_owned(), problem.to_owned()));
    if schema.is_null() {
        return Ok(());
    }
    if depth == DEPTH_MAX {
        return wrong("it is nested too deeply");
    }
    let Some(members) = schema.as_object() else { return wrong("an object is expected") };
    if let Some(unknown) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err((
            format!("{at}.{unknown}"),
            format!("it is not understood here; there is {}", KNOWN.join(", ")),
        ));
    }
    match schema["type"].as_str() {
        None if members.contains_key("type") => return wrong("type: a text is expected"),
        Some("object" | "array" | "string" | "number" | "integer" | "boolean") | None => {}
        Some(_) => return wrong("type: it has to be object, array, string, number, integer or boolean"),
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        understand(property, &format!("{at}.properties.{name}"), depth + 1)?;
    }
    understand(&schema["items"], &format!("{at}.items"), depth + 1)
}

/// Whether `value` is what `schema` asks for.
pub(super) fn check(schema: &Value, value: &Value, at: &str) -> Result<(), Misfit> {
    let wrong = |problem: String| Err((at.to_owned(), problem));
    let Some(members) = schema.as_object() else { return Ok(()) };
    if members.is_empty() {
        return Ok(());
    }
    if let Some(kind) = schema["type"].as_str() {
        let is_kind = match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => value.is_boolean(),
        };
        if !is_kind {
            let article = if matches!(kind, "object" | "array" | "integer") { "an" } else { "a" };
            return wrong(format!("{article} {kind} is expected"));
        }
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
        return wrong(format!("it has to be one of {}", choices.join(", ")));
    }
    let bound = |name: &str| schema[name].as_f64();
    let outside = |found: f64, low: &str, high: &str| {
        bound(low).is_some_and(|low| found < low) || bound(high).is_some_and(|high| found > high)
    };
    match value {
        Value::String(text) if outside(text.chars().count() as f64, "minLength", "maxLength") => {
            return wrong("its length is outside of what is asked for".into());
        }
        Value::Number(number)
            if number.as_f64().is_some_and(|found| outside(found, "minimum", "maximum")) =>
        {
            return wrong("it is outside of what is asked for".into());
        }
        Value::Array(items) => {
            if outside(items.len() as f64, "minItems", "maxItems") {
                return wrong("there are more or fewer items than asked for".into());
            }
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{at}[{index}]"))?;
            }
        }
        Value::Object(given) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !given.contains_key(name) {
                    return Err((format!("{at}.{name}"), "it is required".into()));
                }
            }
            for (name, member) in given {
                match schema["properties"].get(name) {
                    Some(property) => check(property, member, &format!("{at}.{name}"))?,
                    None if schema["additionalProperties"] == false => {
                        return Err((format!("{at}.{name}"), "nobody asked for it".into()));
                    }
                    None => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_filled_in_has_to_fit() {
        let schema = json!({ "type": "object", "required": ["reason"], "additionalProperties": false, "properties": {
            "reason": { "type": "string", "minLength": 3, "maxLength": 10 },
            "amount": { "type": "integer", "minimum": 1, "maximum": 100 },
            "risk": { "enum": ["low", "high"] },
            "tags": { "type": "array", "maxItems": 1, "items": { "type": "string" } },
        } });
        assert_eq!(understand(&schema, "Form", 0), Ok(()));
        for (value, path) in [
            (json!({ "reason": "because" }), None),
            (json!({ "reason": "because", "amount": 5, "risk": "low", "tags": ["a"] }), None),
            (json!({}), Some("form.reason")),
            (json!([]), Some("form")),
            (json!({ "reason": "no" }), Some("form.reason")),
            (json!({ "reason": "because of this" }), Some("form.reason")),
            (json!({ "reason": "because", "amount": 0 }), Some("form.amount")),
            (json!({ "reason": "because", "amount": 1.5 }), Some("form.amount")),
            (json!({ "reason": "because", "risk": "some" }), Some("form.risk")),
            (json!({ "reason": "because", "tags": [1] }), Some("form.tags[0]")),
            (json!({ "reason": "because", "more": 1 }), Some("form.more")),
        ] {
            assert_eq!(
                check(&schema, &value, "form").err().map(|(path, _)| path).as_deref(),
                path,
                "{value}"
            );
        }
    }

    #[test]
    fn a_form_that_cannot_be_checked_is_refused() {
        let mut deep = json!({});
        for _ in 0..DEPTH_MAX {
            deep = json!({ "items": deep });
        }
        for schema in [
            json!("x"),
            json!({ "pattern": "a+" }),
            json!({ "type": "date" }),
            json!({ "properties": { "a": { "$ref": "#" } } }),
            deep,
        ] {
            assert!(understand(&schema, "Form", 0).is_err(), "{schema}");
        }
    }
}
