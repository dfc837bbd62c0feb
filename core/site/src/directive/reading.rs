//! Reading values of the common kinds, with lighttpd's rules of what is taken for what.

use std::sync::Arc;

use super::{Named, SharedRate, Text, Texts};
use crate::Compat;
use crate::condition::ConditionId;
use crate::pattern::Pattern;
use crate::value::{List, Value};

/// What a value is read with.
pub(crate) struct Reading<'a> {
    /// The directive.
    pub(crate) key: &'a str,
    /// The block that it stands in.
    pub(crate) condition: Option<ConditionId>,
    /// Whose meaning counts.
    pub(crate) compat: Compat,
    /// Numbers that are given out.
    pub(crate) ids: &'a mut Ids,
    /// What is odd, though the server starts.
    pub(crate) warnings: &'a mut Vec<String>,
}

/// The next free numbers.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) backends: u32,
    pub(crate) rates: u32,
    pub(crate) client_rates: u32,
}

impl Reading<'_> {
    pub(crate) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }
}

type Read<T> = Result<T, String>;

pub(super) fn empty() -> Texts {
    Arc::from([])
}

pub(super) fn named_empty<T>() -> Named<T> {
    Arc::from([])
}

pub(crate) fn text(value: &Value, reading: &mut Reading<'_>) -> Read<Text> {
    let text = value.as_text().cloned();
    text.ok_or_else(|| format!("{} should have been a string like ... = \"...\"", reading.key))
}

/// Text, where blank text is none.
pub(crate) fn optional_text(value: &Value, reading: &mut Reading<'_>) -> Read<Option<Text>> {
    Ok(Some(text(value, reading)?).filter(|text| !text.is_empty()))
}

/// Text, where blank text is some.
pub(crate) fn some_text(value: &Value, reading: &mut Reading<'_>) -> Read<Option<Text>> {
    text(value, reading).map(Some)
}

/// The boolean that a value stands for, if it stands for one.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Integer(number) => Some(*number != 0),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "enable" | "enabled" | "true" | "1" => Some(true),
            "disable" | "disabled" | "false" | "0" => Some(false),
            _ => None,
        },
        Value::List(_) => None,
    }
}

pub(crate) fn boolean(value: &Value, reading: &mut Reading<'_>) -> Read<bool> {
    truth(value).ok_or_else(|| {
        format!("ERROR: unexpected type for key: {} (string) \"(enable|disable)\"", reading.key)
    })
}

pub(crate) fn some_boolean(value: &Value, reading: &mut Reading<'_>) -> Read<Option<bool>> {
    boolean(value, reading).map(Some)
}

/// The number that text is written with, as C's `strtol` reads it.
pub(crate) fn number(text: &str) -> Option<i64> {
    text.trim_start().parse().ok()
}

/// 16 bits; a larger number loses its upper bits, as in lighttpd, unless it is text.
pub(crate) fn short(value: &Value, reading: &mut Reading<'_>) -> Read<u16> {
    match value {
        Value::Integer(number) => {
            let [.., high, low] = number.to_be_bytes();
            let short = u16::from_be_bytes([high, low]);
            if i64::from(short) != *number {
                reading.warn(format!(
                    "{} = {number} is out of range (0 to 65535): it counts as {short}",
                    reading.key
                ));
            }
            Ok(short)
        }
        Value::Text(text) => number(text)
            .and_then(|number| u16::try_from(number).ok())
            .ok_or_else(|| format!("got a string but expected a short: {} {text}", reading.key)),
        Value::List(_) => Err(format!(
            "unexpected type for key: {} expected a short integer, range 0 ... 65535",
            reading.key
        )),
    }
}

pub(super) fn port(value: &Value, reading: &mut Reading<'_>) -> Read<Option<u16>> {
    Ok(Some(short(value, reading)?).filter(|port| *port != 0))
}

/// 32 bits.
pub(crate) fn int(value: &Value, reading: &mut Reading<'_>) -> Read<u32> {
    match value {
        Value::Integer(number) => u32::try_from(*number)
            .map_err(|_| format!("{} = {number} is out of range (0 to 4294967295)", reading.key)),
        Value::Text(text) => number(text)
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| format!("got a string but expected an integer: {} {text}", reading.key)),
        Value::List(_) => Err(format!(
            "unexpected type for key: {} expected an integer, range 0 ... 4294967295",
            reading.key
        )),
    }
}

/// Bit 2 brings bit 1 with it.
pub(super) fn stream_flags(value: &Value, reading: &mut Reading<'_>) -> Read<u16> {
    let flags = short(value, reading)?;
    Ok(if flags & 2 != 0 { flags | 1 } else { flags })
}

pub(super) fn shared_rate(value: &Value, reading: &mut Reading<'_>) -> Read<Option<SharedRate>> {
    let rate = short(value, reading)?;
    reading.ids.rates += 1;
    Ok((rate != 0).then_some(SharedRate { id: reading.ids.rates, kbytes_per_second: rate }))
}

pub(crate) fn list<'v>(value: &'v Value, reading: &Reading<'_>) -> Read<&'v List> {
    let key = reading.key;
    value.as_list().ok_or_else(|| format!("{key} should have been a list like {key} = ( \"...\" )"))
}

/// `( "…", "…" )`.
pub(crate) fn texts(value: &Value, reading: &mut Reading<'_>) -> Read<Texts> {
    let list = list(value, reading)?;
    if !list.is_plain() {
        let key = reading.key;
        return Err(format!(
            "{key} should have been a list of string values like {key} = ( \"...\", \"...\" )"
        ));
    }
    Ok(list.iter().filter_map(|(_, value)| value.as_text().cloned()).collect())
}

/// `( "…" => "…" )`.
pub(crate) fn named_texts(value: &Value, reading: &mut Reading<'_>) -> Read<Named<Text>> {
    let list = list(value, reading)?;
    let mut named = Vec::with_capacity(list.len());
    for (key, value) in list.iter() {
        match (key, value) {
            (Some(key), Value::Text(text)) => named.push((key.clone(), text.clone())),
            _ => return Err(key_string(reading.key)),
        }
    }
    Ok(named.into())
}

pub(crate) fn key_string(key: &str) -> String {
    format!(
        "{key} should have been a list of key => string values like {key} = ( \"...\" => \"...\", \"...\" => \"...\" )"
    )
}

/// `( "…" => anything )`.
pub(crate) fn keyed<'v>(value: &'v Value, reading: &Reading<'_>) -> Read<&'v List> {
    let list = list(value, reading)?;
    let key = reading.key;
    if !list.is_keyed() {
        return Err(format!(
            "{key} should have been a list of key => values like {key} = ( \"...\" => \"...\", \"...\" => \"...\" )"
        ));
    }
    Ok(list)
}

/// `( "…" => ( … ) )`: the shape of `auth.require` and of every `*.server`.
pub(crate) fn key_lists<'v>(value: &'v Value, reading: &Reading<'_>) -> Read<Vec<(&'v Text, &'v List)>> {
    let list = list(value, reading)?;
    let key = reading.key;
    list.iter().map(|(name, value)| name.zip(value.as_list())).collect::<Option<Vec<_>>>().ok_or_else(|| {
        format!(
            "{key} should have been a list of key => list like {key} = ( \"...\" => ( \"...\" => \"...\" ) )"
        )
    })
}

pub(super) fn patterns(value: &Value, reading: &mut Reading<'_>) -> Read<Arc<[Pattern]>> {
    let expressions = texts(value, reading)?;
    expressions
        .iter()
        .map(|expression| {
            Pattern::new(expression).map_err(|error| format!("{}: {error}: {expression}", reading.key))
        })
        .collect()
}

pub(super) fn stat_cache_engine(value: &Value, reading: &mut Reading<'_>) -> Read<Option<Text>> {
    let engine = optional_text(value, reading)?;
    match engine.as_deref() {
        None | Some("simple" | "inotify" | "kqueue" | "fam" | "disable") => Ok(engine),
        Some(other) => Err(format!(
            "server.stat-cache-engine can be one of \"disable\", \"simple\", \"inotify\" but not: {other}"
        )),
    }
}
