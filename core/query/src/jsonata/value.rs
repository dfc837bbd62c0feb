//! The library's values as JSON, and how large that JSON would be.

use jsonata_core::value::JValue;
use serde_json::{Map, Number, Value};

use super::{BYTES_MAX, DEPTH_MAX, ExpressionError};

/// JSON as the library has it.
pub(super) fn from_json(value: &Value) -> JValue {
    match value {
        Value::Null => JValue::Null,
        Value::Bool(value) => JValue::Bool(*value),
        Value::Number(number) => JValue::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => JValue::string(text.as_str()),
        Value::Array(items) => JValue::array(items.iter().map(from_json).collect()),
        Value::Object(members) => {
            JValue::object(members.iter().map(|(name, member)| (name.clone(), from_json(member))).collect())
        }
    }
}

/// The value as JSON; none for what is undefined.
///
/// # Errors
/// For a function, a number that JSON does not have, more than [`BYTES_MAX`], or what nests deeper than [`DEPTH_MAX`].
pub(super) fn json(value: &JValue) -> Result<Option<Value>, ExpressionError> {
    if value.is_undefined() {
        return Ok(None);
    }
    if size(value, BYTES_MAX).is_none() {
        let message = format!("the result has more than {BYTES_MAX} bytes, or more than {DEPTH_MAX} levels");
        return Err(ExpressionError::Failed(message));
    }
    convert(value).map(Some)
}

fn convert(value: &JValue) -> Result<Value, ExpressionError> {
    Ok(match value {
        JValue::Null | JValue::Undefined => Value::Null,
        JValue::Bool(value) => Value::Bool(*value),
        JValue::Number(number) => Value::Number(self::number(*number)?),
        JValue::String(text) => Value::String(text.to_string()),
        JValue::Array(items) => Value::Array(items.iter().map(convert).collect::<Result<_, _>>()?),
        JValue::Object(members) => {
            let members = members.iter().filter(|(_, member)| !member.is_undefined());
            let members = members.map(|(name, member)| Ok((name.clone(), convert(member)?)));
            Value::Object(members.collect::<Result<Map<_, _>, ExpressionError>>()?)
        }
        _ => return Err(ExpressionError::Failed("a function is no value".into())),
    })
}

/// Whole numbers are written without a fraction, as they came in.
pub(super) fn number(number: f64) -> Result<Number, ExpressionError> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or_else(|| ExpressionError::Failed(format!("{number} is no number of JSON")))
}

/// About how many bytes the JSON has, unless it is more than `most`, or nests deeper than can be walked by recursion.
pub(super) fn size(value: &JValue, most: usize) -> Option<usize> {
    let mut sum = 0usize;
    let mut pending = vec![(value, 0)];
    while let Some((value, depth)) = pending.pop() {
        if depth > DEPTH_MAX {
            return None;
        }
        sum += match value {
            JValue::String(text) => text.len() + 2,
            JValue::Array(items) => {
                pending.extend(items.iter().map(|item| (item, depth + 1)));
                items.len() + 2
            }
            JValue::Object(members) => {
                pending.extend(members.values().map(|member| (member, depth + 1)));
                members.keys().map(|name| name.len() + 4).sum::<usize>() + 2
            }
            _ => 4,
        };
        if sum > most {
            return None;
        }
    }
    Some(sum)
}
