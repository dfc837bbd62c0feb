//! CBOR (RFC 8949), as far as RPC v2 uses it, to and from the value model.
//!
//! Byte strings become base64 text, the tag of an epoch time is dropped in favour of its number, `undefined` is `null`. Depth is
//! bounded; lengths are believed only as far as there are bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use selvedge_model::{Form, Shape, Value, json::DEPTH_MAX};
use serde_json::{Map, Number};

/// Why bytes are not a document that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CborError {
    #[error("the document ends early")]
    Truncated,
    #[error("byte {at} begins nothing that is known here")]
    Unsupported { at: usize },
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("lists and maps are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("member '{0}' is given twice")]
    Duplicate(String),
    #[error("there are bytes after the document")]
    Trailing,
}

/// Reads one document.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, CborError> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let value = reader.value()?;
    if reader.at == bytes.len() { Ok(value) } else { Err(CborError::Trailing) }
}

/// Writes one document; the shape says which numbers are times.
pub(crate) fn encode(value: &Value, shape: Option<&Shape>) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, shape, &mut out);
    out
}

/// The eight major types are the upper three bits of an item's first byte.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
/// The tag of an epoch time. (RFC 8949 section 3.4.2.)
const TAG_EPOCH: u64 = 1;
const BREAK: u8 = 0xff;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, CborError> {
        let start = self.at;
        let first = self.byte()?;
        let (major, minor) = (first >> 5, first & 0x1f);
        let unsupported = CborError::Unsupported { at: start };
        match major {
            UNSIGNED => Ok(Value::from(self.argument(minor, start)?)),
            NEGATIVE => {
                let number = i64::try_from(self.argument(minor, start)?).map_err(|_| unsupported)?;
                Ok(Value::from(-1 - number))
            }
            BYTES => {
                self.string(minor, start, BYTES).map(|bytes| Value::String(BASE64_STANDARD.encode(bytes)))
            }
            TEXT => self.text(minor, start).map(Value::String),
            LIST | MAP | TAG => {
                if self.depth == DEPTH_MAX {
                    return Err(CborError::TooDeep);
                }
                self.depth += 1;
                let value = match major {
                    LIST => self.list(minor, start),
                    MAP => self.map(minor, start),
                    _ => self.argument(minor, start).and_then(|_| self.value()),
                };
                self.depth -= 1;
                value
            }
            _ => self.simple(minor).ok_or(unsupported),
        }
    }

    fn simple(&mut self, minor: u8) -> Option<Value> {
        let float = |number: f64| Number::from_f64(number).map(Value::Number);
        match minor {
            20 => Some(Value::Bool(false)),
            21 => Some(Value::Bool(true)),
            22 | 23 => Some(Value::Null),
            25 => float(half(u16::from_be_bytes(self.array().ok()?))),
            26 => float(f32::from_be_bytes(self.array().ok()?).into()),
            27 => float(f64::from_be_bytes(self.array().ok()?)),
            _ => None,
        }
    }

    fn list(&mut self, minor: u8, start: usize) -> Result<Value, CborError> {
        let mut left = self.count(minor, start)?;
        let mut elements = Vec::new();
        while self.has_next(&mut left)? {
            elements.push(self.value()?);
        }
        Ok(Value::Array(elements))
    }

    fn map(&mut self, minor: u8, start: usize) -> Result<Value, CborError> {
        let mut left = self.count(minor, start)?;
        let mut members = Map::new();
        while self.has_next(&mut left)? {
            let at = self.at;
            let first = self.byte()?;
            if first >> 5 != TEXT {
                return Err(CborError::Unsupported { at });
            }
            let name = self.text(first & 0x1f, at)?;
            let value = self.value()?;
            if members.contains_key(&name) {
                return Err(CborError::Duplicate(name.chars().take(64).collect()));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }

    /// Whether a list or map has another entry: counted, or until the break of an indefinite one.
    fn has_next(&mut self, left: &mut Option<u64>) -> Result<bool, CborError> {
        match left {
            Some(0) => Ok(false),
            Some(count) => {
                *count -= 1;
                Ok(true)
            }
            None if self.bytes.get(self.at) == Some(&BREAK) => {
                self.at += 1;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn text(&mut self, minor: u8, start: usize) -> Result<String, CborError> {
        String::from_utf8(self.string(minor, start, TEXT)?).map_err(|_| CborError::NotUtf8)
    }

    /// A string, or the chunks of an indefinite one.
    fn string(&mut self, minor: u8, start: usize, major: u8) -> Result<Vec<u8>, CborError> {
        let Some(length) = self.count(minor, start)? else {
            let mut whole = Vec::new();
            while self.bytes.get(self.at) != Some(&BREAK) {
                let at = self.at;
                let first = self.byte()?;
                if first >> 5 != major || first & 0x1f == 31 {
                    return Err(CborError::Unsupported { at });
                }
                whole.extend(self.string(first & 0x1f, at, major)?);
            }
            self.at += 1;
            return Ok(whole);
        };
        let length = usize::try_from(length).map_err(|_| CborError::Truncated)?;
        let end = self.at.checked_add(length).ok_or(CborError::Truncated)?;
        let bytes = self.bytes.get(self.at..end).ok_or(CborError::Truncated)?;
        self.at = end;
        Ok(bytes.to_vec())
    }

    /// How many entries follow; `None` for as many as come before the break.
    fn count(&mut self, minor: u8, start: usize) -> Result<Option<u64>, CborError> {
        if minor == 31 { Ok(None) } else { self.argument(minor, start).map(Some) }
    }

    fn argument(&mut self, minor: u8, start: usize) -> Result<u64, CborError> {
        match minor {
            0..=23 => Ok(minor.into()),
            24 => Ok(self.byte()?.into()),
            25 => self.array().map(|bytes| u16::from_be_bytes(bytes).into()),
            26 => self.array().map(|bytes| u32::from_be_bytes(bytes).into()),
            27 => self.array().map(u64::from_be_bytes),
            _ => Err(CborError::Unsupported { at: start }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        self.at += N;
        bytes.copied().ok_or(CborError::Truncated)
    }

    fn byte(&mut self) -> Result<u8, CborError> {
        self.array::<1>().map(|[byte]| byte)
    }
}

/// A half-precision number. (RFC 8949 appendix D.)
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

fn write(value: &Value, shape: Option<&Shape>, out: &mut Vec<u8>) {
    let form = shape.map(|shape| shape.form);
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(is) => out.push(if *is { 0xf5 } else { 0xf4 }),
        Value::Number(number) => {
            if let Some(Form::Timestamp) = form {
                write_head(TAG, TAG_EPOCH, out);
                return write_float(number, out);
            }
            match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => write_head(UNSIGNED, number, out),
                (_, Some(number)) => write_head(NEGATIVE, (-1 - number).unsigned_abs(), out),
                _ => write_float(number, out),
            }
        }
        Value::String(text) => {
            write_head(TEXT, text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(elements) => {
            let element = match form {
                Some(Form::List { element, .. }) => Some(element),
                _ => None,
            };
            write_head(LIST, elements.len() as u64, out);
            elements.iter().for_each(|value| write(value, element, out));
        }
        Value::Object(members) => {
            let each = match form {
                Some(Form::Map { value, .. }) => Some(value),
                _ => None,
            };
            write_head(MAP, members.len() as u64, out);
            for (name, value) in members {
                write(&Value::String(name.clone()), None, out);
                let member = shape.and_then(|shape| shape.member(name)).map(|member| member.shape);
                write(value, member.or(each), out);
            }
        }
    }
}

fn write_float(number: &Number, out: &mut Vec<u8>) {
    out.push(0xfb);
    out.extend_from_slice(&number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
}

/// The shortest head, as deterministic encoding wants it. (RFC 8949 section 4.2.1.)
fn write_head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let first = major << 5;
    let bytes = argument.to_be_bytes();
    match argument {
        0..=23 => out.push(first | bytes[7]),
        24..=0xff => out.extend_from_slice(&[first | 24, bytes[7]]),
        0x100..=0xffff => {
            out.push(first | 25);
            out.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(first | 26);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(first | 27);
            out.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_back() {
        for value in [
            json!(null),
            json!([true, false, 0, 23, 24, 255, 256, 65_535, 65_536, 4_294_967_296_u64, -1, -25, 1.5]),
            json!({"a": {"b": ["x", "é"]}, "": []}),
        ] {
            assert_eq!(decode(&encode(&value, None)).expect("our own document"), value);
        }
    }

    #[test]
    fn examples_of_the_rfc_are_read() {
        for (bytes, value) in [
            (&b"\x9f\x01\x82\x02\x03\xff"[..], json!([1, [2, 3]])),
            (b"\xbf\x63Fun\xf5\xff", json!({"Fun": true})),
            (b"\x7f\x65strea\x64ming\xff", json!("streaming")),
            (b"\x44\x01\x02\x03\x04", json!("AQIDBA==")),
            (b"\xc1\x1a\x51\x4b\x67\xb0", json!(1_363_896_240)),
            (b"\xf7", json!(null)),
            (b"\xf9\x3e\x00", json!(1.5)),
            (b"\xf9\xc4\x00", json!(-4.0)),
            (b"\xf9\x00\x01", json!(5.960464477539063e-8)),
        ] {
            assert_eq!(decode(bytes), Ok(value));
        }
    }

    #[test]
    fn garbage_is_refused_without_harm() {
        for (bytes, error) in [
            (&b""[..], CborError::Truncated),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", CborError::Truncated),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", CborError::Truncated),
            (b"\x61\xff", CborError::NotUtf8),
            (b"\x00\x00", CborError::Trailing),
            (b"\x1c", CborError::Unsupported { at: 0 }),
            (b"\xa1\x00\x00", CborError::Unsupported { at: 1 }),
            (b"\xa2\x61a\x00\x61a\x00", CborError::Duplicate("a".into())),
        ] {
            assert_eq!(decode(bytes), Err(error), "{bytes:02x?}");
        }
        assert_eq!(decode(&[0x81; 100_000]), Err(CborError::TooDeep));
        assert_eq!(decode(&[0xc1; 100_000]), Err(CborError::TooDeep));
    }
}
