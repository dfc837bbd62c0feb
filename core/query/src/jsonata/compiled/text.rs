//! Values as text: what `&` joins and `$string` writes.

use std::fmt::Write as _;
use std::rc::Rc;

use jsonata_core::functions::string::string;
use jsonata_core::value::JValue;

use super::GaveUp;
use super::value::{Text, Val};

/// A whole number below this is written by its digits.
const WHOLE_MAX: f64 = 1e15;

/// A value as text; nothing of what is undefined.
///
/// # Errors
/// [`GaveUp`] for what the library has to refuse.
pub(super) fn of<'a>(value: &Val<'a>) -> Result<Text<'a>, GaveUp> {
    Ok(match value {
        Val::Undefined => Text::Lent(""),
        Val::Text(text) => text.clone(),
        Val::Null => Text::Lent("null"),
        Val::Boolean(true) => Text::Lent("true"),
        Val::Boolean(false) => Text::Lent("false"),
        other => {
            let mut text = String::new();
            write(other, &mut text)?;
            Text::Made(text.into())
        }
    })
}

/// Appends a value as [`of`] has it.
pub(super) fn append(value: &Val<'_>, text: &mut String) -> Result<(), GaveUp> {
    match value {
        Val::Undefined => Ok(()),
        Val::Text(more) => {
            text.push_str(more.as_str());
            Ok(())
        }
        other => write(other, text),
    }
}

/// As JSON, with numbers as the language writes them.
fn write(value: &Val<'_>, text: &mut String) -> Result<(), GaveUp> {
    match value {
        Val::Undefined | Val::Null => text.push_str("null"),
        Val::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
        Val::Number(number) => write_number(*number, text)?,
        Val::Text(inner) => quote(inner.as_str(), text)?,
        Val::Items(_) | Val::List(_) => {
            text.push('[');
            for (index, item) in value.items_or_self().iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(&item, text)?;
            }
            text.push(']');
        }
        Val::Members(_) | Val::Object(_) => {
            text.push('{');
            let (mut is_first, mut outcome) = (true, Ok(()));
            value.for_each_member(&mut |name, member| {
                if !std::mem::take(&mut is_first) {
                    text.push(',');
                }
                let written = quote(name, text).and_then(|()| {
                    text.push(':');
                    write(&member, text)
                });
                outcome = outcome.and(written);
            });
            outcome?;
            text.push('}');
        }
    }
    Ok(())
}

fn write_number(number: f64, text: &mut String) -> Result<(), GaveUp> {
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        return write!(text, "{}", number as i64).map_err(|_| GaveUp);
    }
    match string(&JValue::Number(number), None) {
        Ok(JValue::String(written)) => {
            text.push_str(&written);
            Ok(())
        }
        _ => Err(GaveUp),
    }
}

fn quote(inner: &str, text: &mut String) -> Result<(), GaveUp> {
    text.push_str(&serde_json::to_string(inner).map_err(|_| GaveUp)?);
    Ok(())
}

/// A text that a function of the library made.
pub(super) fn made<'a, E>(found: Result<JValue, E>) -> Result<Val<'a>, GaveUp> {
    match found {
        Ok(JValue::String(text)) => Ok(Val::Text(Text::Made(Rc::clone(&text)))),
        Ok(JValue::Number(number)) => Ok(Val::Number(number)),
        Ok(JValue::Bool(value)) => Ok(Val::Boolean(value)),
        _ => Err(GaveUp),
    }
}
