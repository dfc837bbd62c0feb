//! The way back: JSON, as people write it for an Envoy, becomes a message's bytes.
//!
//! Fields go by their own names or in camel case, as protobuf's JSON has both; one that a message does not have is an
//! error with its path, since whoever wrote it meant something.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_xds_proto::schema::{Enum, Field, Kind, Message};
use serde_json::Value;

use super::DEPTH_MAX;

/// What cannot be a message, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Unreadable {
    /// `resources[0].tls_certificate`, say.
    pub path: String,
    pub reason: String,
}

type Read<T> = Result<T, Unreadable>;

/// The type URL and the bytes of an object with `@type`.
///
/// # Errors
/// Where it is no message of that type, with the path below `path`.
pub fn any(value: &Value, path: &str) -> Read<(String, Vec<u8>)> {
    packed(value, path, DEPTH_MAX)
}

fn packed(value: &Value, path: &str, depth: usize) -> Read<(String, Vec<u8>)> {
    let url = value.get("@type").and_then(Value::as_str);
    let url = url.ok_or_else(|| wrong(path, "it has no @type"))?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let message =
        Message::named(name).ok_or_else(|| wrong(path, &format!("no message is called {name:?}")))?;
    Ok((url.to_owned(), read(message, value, path, depth)?))
}

fn read(message: Message, value: &Value, path: &str, depth: usize) -> Read<Vec<u8>> {
    let Some(depth) = depth.checked_sub(1) else { return Err(wrong(path, "it is too deep")) };
    if let Some(bytes) = well_known(message.name(), value, path, depth)? {
        return Ok(bytes);
    }
    let object = value.as_object().ok_or_else(|| wrong(path, "it is no object"))?;
    let mut bytes = Vec::new();
    for (name, value) in object.iter().filter(|(name, _)| *name != "@type") {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let field = message.fields().find(|field| field.name() == name || camel(field.name()) == *name);
        let field = field.ok_or_else(|| wrong(&at, &format!("{} has no such field", message.name())))?;
        match value {
            Value::Null => {}
            Value::Object(entries) if field.is_map() => {
                for (key, value) in entries {
                    let entry = entry(field, key, value, &format!("{at}.{key}"), depth)?;
                    delimited(field.number(), &entry, &mut bytes);
                }
            }
            Value::Array(values) if field.is_repeated() && !field.is_map() => {
                for (index, value) in values.iter().enumerate() {
                    single(field, value, &format!("{at}[{index}]"), depth, &mut bytes)?;
                }
            }
            _ if field.is_repeated() => return Err(wrong(&at, "it is no list")),
            value => single(field, value, &at, depth, &mut bytes)?,
        }
    }
    Ok(bytes)
}

fn entry(field: Field, key: &str, value: &Value, path: &str, depth: usize) -> Read<Vec<u8>> {
    let fields = field.message().map(|entry| (entry.field(1), entry.field(2)));
    let Some((Some(of_key), Some(of_value))) = fields else { return Err(wrong(path, "it is no map")) };
    let mut bytes = Vec::new();
    single(of_key, &key.into(), path, depth, &mut bytes)?;
    single(of_value, value, path, depth, &mut bytes)?;
    Ok(bytes)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as the encoding has it")]
fn single(field: Field, value: &Value, path: &str, depth: usize, into: &mut Vec<u8>) -> Read<()> {
    let number = field.number();
    let kind = field.kind().ok_or_else(|| wrong(path, "it cannot be written"))?;
    let whole = || integer(value).ok_or_else(|| wrong(path, "it is no whole number"));
    let within = |low: i128, high: i128| {
        whole().and_then(|it| {
            if (low..=high).contains(&it) { Ok(it) } else { Err(wrong(path, "it is too large")) }
        })
    };
    match kind {
        Kind::Message(message) => {
            let inner = read(message, value, path, depth)?;
            delimited(number, &inner, into);
        }
        Kind::String => delimited(number, text(value, path)?.as_bytes(), into),
        Kind::Bytes => delimited(number, &bytes(value, path)?, into),
        Kind::Bool => {
            let value = value.as_bool().ok_or_else(|| wrong(path, "it is neither true nor false"))?;
            tagged(number, u64::from(value), into);
        }
        Kind::Enum(values) => tagged(number, one_of(values, value, path)? as u64, into),
        Kind::Uint32 => tagged(number, within(0, u32::MAX.into())? as u64, into),
        Kind::Uint64 => tagged(number, within(0, u64::MAX.into())? as u64, into),
        Kind::Int32 => tagged(number, within(i32::MIN.into(), i32::MAX.into())? as u64, into),
        Kind::Int64 => tagged(number, within(i64::MIN.into(), i64::MAX.into())? as u64, into),
        Kind::Double => {
            let value = value.as_f64().ok_or_else(|| wrong(path, "it is no number"))?;
            varint(u64::from(number) << 3 | 1, into);
            into.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Float => {
            let value = value.as_f64().ok_or_else(|| wrong(path, "it is no number"))?;
            varint(u64::from(number) << 3 | 5, into);
            into.extend_from_slice(&(value as f32).to_le_bytes());
        }
        Kind::Fixed64 | Kind::Fixed32 | Kind::Sfixed32 | Kind::Sfixed64 | Kind::Sint32 | Kind::Sint64 => {
            return Err(wrong(path, "numbers of its kind are not read"));
        }
    }
    Ok(())
}

/// What JSON has a form of its own for; `None` is any other message.
fn well_known(name: &str, value: &Value, path: &str, depth: usize) -> Read<Option<Vec<u8>>> {
    let Some(name) = name.strip_prefix("google.protobuf.") else { return Ok(None) };
    let mut written = Vec::new();
    match name {
        "Any" => {
            let (url, inner) = packed(value, path, depth)?;
            delimited(1, url.as_bytes(), &mut written);
            delimited(2, &inner, &mut written);
        }
        "Duration" => {
            let (seconds, nanos) = duration(text(value, path)?)
                .ok_or_else(|| wrong(path, "it is no length of time, such as \"1.5s\""))?;
            tagged(1, seconds, &mut written);
            tagged(2, nanos, &mut written);
        }
        "BoolValue" | "UInt32Value" | "Int32Value" | "UInt64Value" | "Int64Value" | "StringValue"
        | "BytesValue" | "DoubleValue" | "FloatValue" => {
            let held = Message::named(&format!("google.protobuf.{name}")).and_then(|it| it.field(1));
            let held = held.ok_or_else(|| wrong(path, "it cannot be written"))?;
            single(held, value, path, depth, &mut written)?;
        }
        "Struct" | "Value" | "ListValue" => {
            return Err(wrong(path, "free-form values are not read"));
        }
        _ => return Ok(None),
    }
    Ok(Some(written))
}

/// Seconds and nanoseconds; never negative.
fn duration(text: &str) -> Option<(u64, u64)> {
    let (seconds, fraction) =
        text.strip_suffix('s')?.split_once('.').unwrap_or((text.strip_suffix('s')?, ""));
    let nanos = format!("{fraction:0<9}");
    if nanos.len() > 9 || !seconds.bytes().chain(nanos.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((seconds.parse().ok()?, nanos.parse().ok()?))
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn one_of(values: Enum, value: &Value, path: &str) -> Read<i64> {
    let named = |name: &str| values.numbers().find(|number| values.name_of(*number) == Some(name));
    let number = match value {
        Value::String(name) => named(name).map(i64::from),
        value => value.as_i64(),
    };
    number.ok_or_else(|| wrong(path, &format!("{value} is no value of it")))
}

fn text<'a>(value: &'a Value, path: &str) -> Read<&'a str> {
    value.as_str().ok_or_else(|| wrong(path, "it is no text"))
}

fn bytes(value: &Value, path: &str) -> Read<Vec<u8>> {
    STANDARD.decode(text(value, path)?).map_err(|_| wrong(path, "it is no base64"))
}

fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut parts = name.split('_');
    camel.extend(parts.next());
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

fn wrong(path: &str, reason: &str) -> Unreadable {
    Unreadable { path: path.to_owned(), reason: reason.to_owned() }
}

fn tagged(number: u32, value: u64, into: &mut Vec<u8>) {
    varint(u64::from(number) << 3, into);
    varint(value, into);
}

fn delimited(number: u32, content: &[u8], into: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, into);
    varint(content.len() as u64, into);
    into.extend_from_slice(content);
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::render;
    use super::*;

    const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

    #[test]
    fn what_is_shown_can_be_read_again() {
        let shown = json!({
            "@type": CLUSTER,
            "name": "c",
            "type": "EDS",
            "connect_timeout": "1.500s",
            "lb_policy": "MAGLEV",
            "circuit_breakers": { "thresholds": [{ "max_requests": 7 }, { "max_retries": 0 }] },
            "typed_extension_protocol_options": { "o": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            } },
        });
        let (url, bytes) = any(&shown, "").expect("a cluster");
        assert_eq!(render(&url, &bytes), shown);
    }

    #[test]
    fn both_spellings_of_a_field_are_read() {
        let spelled = |chain: &str, text: &str| {
            let mut certificate = serde_json::Map::new();
            certificate.insert(chain.to_owned(), json!({ text: "pem" }));
            any(&json!({ "@type": SECRET, "tls_certificate": certificate }), "")
        };
        let snake = spelled("certificate_chain", "inline_string").expect("a secret");
        assert_eq!(Ok(snake), spelled("certificateChain", "inlineString"));
    }

    #[test]
    fn what_is_no_message_is_told_with_its_path() {
        for (value, path, reason) in [
            (json!({}), "r", "it has no @type"),
            (json!({ "@type": "x/nobody.Knows" }), "r", "no message is called \"nobody.Knows\""),
            (json!({ "@type": SECRET, "nam": "a" }), "r.nam", "has no such field"),
            (json!({ "@type": SECRET, "name": 1 }), "r.name", "it is no text"),
            (json!({ "@type": CLUSTER, "type": "ODD" }), "r.type", "\"ODD\" is no value of it"),
            (
                json!({ "@type": CLUSTER, "connect_timeout": "1" }),
                "r.connect_timeout",
                "it is no length of time",
            ),
            (json!({ "@type": CLUSTER, "health_checks": {} }), "r.health_checks", "it is no list"),
            (
                json!({ "@type": CLUSTER, "dns_lookup_family": [] }),
                "r.dns_lookup_family",
                "is no value of it",
            ),
            (
                json!({ "@type": CLUSTER, "circuit_breakers": { "thresholds": [{ "max_requests": -1 }] } }),
                "r.circuit_breakers.thresholds[0].max_requests",
                "it is too large",
            ),
        ] {
            let told = any(&value, "r").expect_err("no message");
            assert!(told.path == path && told.reason.contains(reason), "{value}: {told}");
        }
    }

    #[test]
    fn what_nests_without_end_is_refused() {
        let mut value = json!({ "@type": CLUSTER });
        for _ in 0..200 {
            value = json!({ "@type": CLUSTER, "typed_extension_protocol_options": { "o": value } });
        }
        assert!(any(&value, "").expect_err("too deep").reason.contains("too deep"));
    }
}
