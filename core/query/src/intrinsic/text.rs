//! Functions over text.

use std::collections::HashSet;

use serde_json::Value;

use crate::Entropy;

/// Fills the `{}` of a template; a backslash takes a brace's meaning away.
pub(super) fn format(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    let mut arguments = arguments.into_iter();
    let Some(Value::String(template)) = arguments.next() else {
        return Err("the first argument must be a text".into());
    };
    let mut text = String::with_capacity(template.len());
    let mut characters = template.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            // A template that is no literal comes here as it is.
            '\\' => match characters.next() {
                Some(escaped @ ('\'' | '\\' | '{' | '}')) => text.push(escaped),
                _ => return Err(r"a backslash in the template stands before none of ' \ { }".into()),
            },
            '{' if characters.peek() == Some(&'}') => {
                characters.next();
                let value = arguments.next().ok_or("there are more {} than arguments")?;
                match value {
                    Value::String(value) => text.push_str(&value),
                    other => text.push_str(&other.to_string()),
                }
            }
            c => text.push(c),
        }
    }
    match arguments.next() {
        Some(_) => Err("there are more arguments than {}".into()),
        None => Ok(Value::String(text)),
    }
}

pub(super) fn string_to_json(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    match &arguments[..] {
        [Value::String(text)] => {
            serde_json::from_str(text).map_err(|error| format!("the text is no JSON: {error}"))
        }
        _ => Err("the argument must be a text".into()),
    }
}

pub(super) fn json_to_string(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    Ok(Value::String(arguments[0].to_string()))
}

/// Splits at *each* of the delimiter's characters; empty pieces are dropped.
pub(super) fn split(arguments: Vec<Value>, _: &mut dyn Entropy) -> Result<Value, String> {
    match &arguments[..] {
        [Value::String(text), Value::String(delimiters)] => {
            // Either may be as long as a payload.
            let delimiters: HashSet<char> = delimiters.chars().collect();
            let pieces = text.split(|c| delimiters.contains(&c)).filter(|piece| !piece.is_empty());
            Ok(pieces.map(Value::from).collect())
        }
        _ => Err("both arguments must be texts".into()),
    }
}
