//! Checks that many fields share.

use prost::{Message, Name};
use prost_types::Any;

use super::Reason;
use crate::any::holds;

/// A message inside an `Any` that is known to hold it.
pub(super) fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Reason> {
    M::decode(any.value.as_slice()).map_err(|error| Reason::Malformed(format!("{}: {error}", M::full_name())))
}

/// The only extension that may stand here.
pub(super) fn expect<M: Message + Name + Default>(name: &str, any: Option<&Any>) -> Result<M, Reason> {
    match any {
        Some(any) if holds::<M>(any) => unpack(any),
        other => Err(unknown(name, other)),
    }
}

pub(super) fn unknown(name: &str, any: Option<&Any>) -> Reason {
    Reason::UnknownExtension {
        name: name.to_owned(),
        type_url: any.map(|any| any.type_url.clone()).unwrap_or_default(),
    }
}

/// Text of at least one character.
pub(super) fn not_empty(field: &'static str, text: String) -> Result<String, Reason> {
    if text.is_empty() { Err(Reason::Missing(field)) } else { Ok(text) }
}

/// Text that can stand on one line of a message's head: what ends a line would begin another header.
pub(super) fn one_line(field: &'static str, text: String) -> Result<String, Reason> {
    if text.bytes().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n')) {
        let value = text.escape_debug().to_string();
        return Err(Reason::Invalid { field, value, expected: "does not fit on one line" });
    }
    Ok(text)
}

pub(super) fn port(field: &'static str, port: u32) -> Result<u16, Reason> {
    u16::try_from(port).map_err(|_| Reason::Invalid {
        field,
        value: port.to_string(),
        expected: "is no port",
    })
}

/// An HTTP status.
pub(super) fn status(field: &'static str, status: u32) -> Result<u16, Reason> {
    match u16::try_from(status) {
        Ok(status @ 100..=599) => Ok(status),
        _ => Err(Reason::Invalid { field, value: status.to_string(), expected: "is no HTTP status" }),
    }
}

/// The value of an enumeration.
pub(super) fn known<E: TryFrom<i32>>(field: &'static str, value: i32) -> Result<E, Reason> {
    E::try_from(value).map_err(|_| Reason::Unsupported { field, value: value.to_string() })
}
