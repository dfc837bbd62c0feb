//! A message as JSON, as Envoy's admin endpoint shows it: every field that is set, under its own name, also those that
//! nobody here reads; the texts of keys and passwords are [`REDACTED`].
//!
//! The rules are those of protobuf's JSON: 64-bit integers are texts, bytes are base64, durations are `"1.500s"`, wrappers
//! are what they wrap, an `Any` has its type beside its fields.

pub mod read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_xds_proto::schema::{Enum, Field, Kind, Message};
use serde_json::{Map, Number, Value};

use crate::wire::{self, Content};

/// What stands in the place of a secret text.
pub const REDACTED: &str = "[redacted]";
/// Messages in messages, those in an `Any` included.
const DEPTH_MAX: usize = 100;

/// An encoded message under its type URL, with `@type` as its first member.
pub fn render(type_url: &str, bytes: &[u8]) -> Value {
    any(type_url, bytes, Mode { redacts: false, depth: DEPTH_MAX })
}

#[derive(Clone, Copy)]
struct Mode {
    /// All texts in here are secrets.
    redacts: bool,
    depth: usize,
}

fn any(type_url: &str, bytes: &[u8], mode: Mode) -> Value {
    let mut members = Map::from_iter([("@type".to_owned(), type_url.into())]);
    let name = type_url.rsplit('/').next().unwrap_or_default();
    let Some(deeper) = mode.depth.checked_sub(1) else { return members.into() };
    let mode = Mode { depth: deeper, ..mode };
    match Message::named(name) {
        // Only the bytes are known of it.
        None => {
            if !bytes.is_empty() {
                members.insert("value".to_owned(), STANDARD.encode(bytes).into());
            }
        }
        Some(message) => match well_known(message.name(), bytes, mode) {
            Some(value) => {
                members.insert("value".to_owned(), value);
            }
            None => members.extend(object(message, bytes, mode)),
        },
    }
    members.into()
}

fn message(message: Message, bytes: &[u8], mode: Mode) -> Value {
    let Some(depth) = mode.depth.checked_sub(1) else { return Value::Null };
    let mode = Mode { depth, ..mode };
    well_known(message.name(), bytes, mode).unwrap_or_else(|| object(message, bytes, mode).into())
}

/// Fields in the order of their numbers.
fn object(message: Message, bytes: &[u8], mode: Mode) -> Map<String, Value> {
    let mut parts: Vec<(Field, Content<'_>)> =
        wire::parts(bytes).filter_map(|(number, content)| Some((message.field(number)?, content))).collect();
    parts.sort_by_key(|(field, _)| field.number());
    let mut members = Map::new();
    for (field, content) in parts {
        let mode = Mode { redacts: mode.redacts || field.is_sensitive(), ..mode };
        if field.is_map() {
            let entries = members.entry(field.name()).or_insert_with(|| Value::Object(Map::new()));
            if let (Value::Object(entries), Some((key, value))) = (entries, entry(field, content, mode)) {
                entries.insert(key, value);
            }
        } else if field.is_repeated() {
            let values = members.entry(field.name()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.extend(repeated(field, content, mode));
            }
        } else if let Some(value) = single(field, content, mode) {
            members.insert(field.name().to_owned(), value);
        }
    }
    members
}

fn entry(field: Field, content: Content<'_>, mode: Mode) -> Option<(String, Value)> {
    let (message, bytes) = (field.message()?, content.bytes()?);
    let key = match message.field(1)?.kind()? {
        Kind::String => wire::text(bytes, 1).to_owned(),
        _ => match wire::last(bytes, 1) {
            Some(Content::Varint(number)) => number.to_string(),
            _ => "0".to_owned(),
        },
    };
    let value = message.field(2)?;
    let content = wire::last(bytes, 2).unwrap_or(match value.kind()? {
        Kind::String | Kind::Bytes | Kind::Message(_) => Content::Bytes(&[]),
        _ => Content::Varint(0),
    });
    Some((key, single(value, content, mode)?))
}

/// One value, or several numbers packed together.
fn repeated(field: Field, content: Content<'_>, mode: Mode) -> Vec<Value> {
    let packed = match (field.kind(), content) {
        (Some(Kind::String | Kind::Bytes | Kind::Message(_)), _) => None,
        (_, Content::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    let Some(mut rest) = packed else { return single(field, content, mode).into_iter().collect() };
    let mut values = Vec::new();
    while let Some(content) = unpack(field, &mut rest) {
        values.extend(single(field, content, mode));
    }
    values
}

fn unpack<'a>(field: Field, rest: &mut &'a [u8]) -> Option<Content<'a>> {
    match field.kind()? {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
            let (bytes, after) = rest.split_first_chunk()?;
            *rest = after;
            Some(Content::Fixed64(u64::from_le_bytes(*bytes)))
        }
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => {
            let (bytes, after) = rest.split_first_chunk()?;
            *rest = after;
            Some(Content::Fixed32(u32::from_le_bytes(*bytes)))
        }
        _ => wire::varint(rest).map(Content::Varint),
    }
}

/// `None` where type and content do not fit.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "as the encoding has it")]
fn single(field: Field, content: Content<'_>, mode: Mode) -> Option<Value> {
    Some(match (field.kind()?, content) {
        (Kind::Message(inner), Content::Bytes(bytes)) => message(inner, bytes, mode),
        (Kind::String, Content::Bytes(_)) if mode.redacts => REDACTED.into(),
        (Kind::Bytes, Content::Bytes(_)) if mode.redacts => STANDARD.encode(REDACTED).into(),
        (Kind::String, Content::Bytes(bytes)) => String::from_utf8_lossy(bytes).into(),
        (Kind::Bytes, Content::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Kind::Bool, Content::Varint(value)) => (value != 0).into(),
        (Kind::Enum(values), Content::Varint(value)) => name_of(values, value as i32),
        (Kind::Int32, Content::Varint(value)) => (value as i32).into(),
        (Kind::Uint32, Content::Varint(value)) => (value as u32).into(),
        (Kind::Int64, Content::Varint(value)) => (value as i64).to_string().into(),
        (Kind::Uint64, Content::Varint(value)) => value.to_string().into(),
        (Kind::Sint32 | Kind::Sint64, Content::Varint(value)) => {
            let value = (value >> 1) as i64 ^ -((value & 1) as i64);
            if field.kind()? == Kind::Sint32 { value.into() } else { value.to_string().into() }
        }
        (Kind::Fixed64, Content::Fixed64(value)) => value.to_string().into(),
        (Kind::Sfixed64, Content::Fixed64(value)) => (value as i64).to_string().into(),
        (Kind::Double, Content::Fixed64(bits)) => {
            number(f64::from_bits(bits), f64::from_bits(bits).to_string())
        }
        (Kind::Fixed32, Content::Fixed32(value)) => value.into(),
        (Kind::Sfixed32, Content::Fixed32(value)) => (value as i32).into(),
        (Kind::Float, Content::Fixed32(bits)) => {
            number(f64::from(f32::from_bits(bits)), f32::from_bits(bits).to_string())
        }
        _ => return None,
    })
}

fn name_of(values: Enum, number: i32) -> Value {
    values.name_of(number).map_or_else(|| number.into(), Into::into)
}

/// `50`, not `50.0`; what is no number is its name.
fn number(value: f64, text: String) -> Value {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    text.parse::<Number>().map_or_else(|_| text.clone().into(), Value::Number)
}

/// The types that JSON has a form of its own for.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "as the encoding has it")]
fn well_known(name: &str, bytes: &[u8], mode: Mode) -> Option<Value> {
    let varint = |number| match wire::last(bytes, number) {
        Some(Content::Varint(value)) => value,
        _ => 0,
    };
    Some(match name.strip_prefix("google.protobuf.")? {
        "Any" => {
            let url = wire::text(bytes, 1);
            let content = wire::last(bytes, 2).and_then(Content::bytes).unwrap_or_default();
            any(url, content, mode)
        }
        "Duration" => duration(varint(1) as i64, varint(2) as i32).into(),
        "Struct" => structure(bytes, mode),
        "Value" => value(bytes, mode),
        "ListValue" => list(bytes, mode),
        "BoolValue" => (varint(1) != 0).into(),
        "UInt32Value" => (varint(1) as u32).into(),
        "Int32Value" => (varint(1) as i32).into(),
        "UInt64Value" => varint(1).to_string().into(),
        "Int64Value" => (varint(1) as i64).to_string().into(),
        "StringValue" if mode.redacts => REDACTED.into(),
        "StringValue" => wire::text(bytes, 1).into(),
        "BytesValue" => {
            STANDARD.encode(wire::last(bytes, 1).and_then(Content::bytes).unwrap_or_default()).into()
        }
        "DoubleValue" => double(wire::last(bytes, 1)),
        "FloatValue" => match wire::last(bytes, 1) {
            Some(Content::Fixed32(bits)) => {
                number(f64::from(f32::from_bits(bits)), f32::from_bits(bits).to_string())
            }
            _ => 0.into(),
        },
        _ => return None,
    })
}

fn double(content: Option<Content<'_>>) -> Value {
    match content {
        Some(Content::Fixed64(bits)) => number(f64::from_bits(bits), f64::from_bits(bits).to_string()),
        _ => 0.into(),
    }
}

/// With as many digits as are needed: none, three, six or nine.
fn duration(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
    match nanos {
        0 => format!("{sign}{seconds}s"),
        _ if nanos % 1_000_000 == 0 => format!("{sign}{seconds}.{:03}s", nanos / 1_000_000),
        _ if nanos % 1_000 == 0 => format!("{sign}{seconds}.{:06}s", nanos / 1_000),
        _ => format!("{sign}{seconds}.{nanos:09}s"),
    }
}

fn structure(bytes: &[u8], mode: Mode) -> Value {
    let entries = wire::parts(bytes).filter(|(number, _)| *number == 1);
    let entries = entries.filter_map(|(_, content)| content.bytes()).map(|entry| {
        let inner = wire::last(entry, 2).and_then(Content::bytes).unwrap_or_default();
        (wire::text(entry, 1).to_owned(), value(inner, mode))
    });
    Value::Object(entries.collect())
}

fn list(bytes: &[u8], mode: Mode) -> Value {
    let values = wire::parts(bytes).filter(|(number, _)| *number == 1);
    Value::Array(values.filter_map(|(_, content)| content.bytes()).map(|inner| value(inner, mode)).collect())
}

fn value(bytes: &[u8], mode: Mode) -> Value {
    let Some(depth) = mode.depth.checked_sub(1) else { return Value::Null };
    let mode = Mode { depth, ..mode };
    match wire::parts(bytes).last() {
        Some((2, content)) => double(Some(content)),
        Some((3, Content::Bytes(_))) if mode.redacts => REDACTED.into(),
        Some((3, Content::Bytes(text))) => String::from_utf8_lossy(text).into(),
        Some((4, Content::Varint(value))) => (value != 0).into(),
        Some((5, Content::Bytes(inner))) => structure(inner, mode),
        Some((6, Content::Bytes(inner))) => list(inner, mode),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::{Message as _, Name};
    use prost_types::{Any, Duration};
    use selvedge_xds_proto::envoy::config::cluster::v3::{
        CircuitBreakers, Cluster, circuit_breakers, cluster,
    };
    use selvedge_xds_proto::envoy::config::core::v3::{DataSource, Metadata, data_source};
    use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::TlsCertificate;
    use selvedge_xds_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
    use serde_json::json;

    use super::*;

    fn shown<M: prost::Message + Name>(message: &M) -> Value {
        let mut value = render(&M::type_url(), &message.encode_to_vec());
        assert_eq!(value["@type"], M::type_url());
        value.as_object_mut().expect("an object").shift_remove("@type");
        value
    }

    #[test]
    fn a_cluster_is_shown_as_envoy_shows_it() {
        let options = HttpProtocolOptions::default();
        let any = Any { type_url: HttpProtocolOptions::type_url(), value: options.encode_to_vec() };
        let thresholds = circuit_breakers::Thresholds { max_requests: Some(7), ..Default::default() };
        let text = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("v".to_owned())) };
        let metadata = prost_types::Struct { fields: BTreeMap::from([("k".to_owned(), text)]) };
        let cluster = Cluster {
            name: "c".to_owned(),
            connect_timeout: Some(Duration { seconds: 1, nanos: 500_000_000 }),
            lb_policy: cluster::LbPolicy::Maglev.into(),
            cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(3)),
            circuit_breakers: Some(CircuitBreakers { thresholds: vec![thresholds] }),
            typed_extension_protocol_options: BTreeMap::from([("o".to_owned(), any)]),
            metadata: Some(Metadata { filter_metadata: BTreeMap::from([("m".to_owned(), metadata)]) }),
            ..Cluster::default()
        };
        assert_eq!(
            shown(&cluster),
            json!({
                "name": "c",
                "type": "EDS",
                "connect_timeout": "1.500s",
                "lb_policy": "MAGLEV",
                "circuit_breakers": { "thresholds": [{ "max_requests": 7 }] },
                "metadata": { "filter_metadata": { "m": { "k": "v" } } },
                "typed_extension_protocol_options": { "o": { "@type": HttpProtocolOptions::type_url() } },
            })
        );
    }

    #[test]
    fn nobody_sees_a_key() {
        let inline = |text: &str| {
            Some(DataSource { specifier: Some(data_source::Specifier::InlineString(text.to_owned())) })
        };
        let certificate = TlsCertificate {
            certificate_chain: inline("chain"),
            private_key: inline("key"),
            ..TlsCertificate::default()
        };
        assert_eq!(
            shown(&certificate),
            json!({
                "certificate_chain": { "inline_string": "chain" },
                "private_key": { "inline_string": "[redacted]" },
            })
        );
    }

    #[test]
    fn durations_have_the_digits_that_they_need() {
        let rows = [
            (0, 0, "0s"),
            (15, 0, "15s"),
            (0, 250_000_000, "0.250s"),
            (1, 1_000, "1.000001s"),
            (2, 1, "2.000000001s"),
            (-1, -500_000_000, "-1.500s"),
        ];
        for (seconds, nanos, expected) in rows {
            assert_eq!(duration(seconds, nanos), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_its_bytes_and_garbage_is_nothing() {
        let url = "type.googleapis.com/nobody.knows.This";
        assert_eq!(render(url, &[1, 2]), json!({ "@type": url, "value": "AQI=" }));
        let url = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
        assert_eq!(render(url, &[0xff, 0xff]), json!({ "@type": url }));
    }

    #[test]
    fn numbers_are_written_without_needless_digits() {
        assert_eq!(number(50.0, 50.0_f64.to_string()).to_string(), "50");
        assert_eq!(number(1.5, 1.5_f64.to_string()).to_string(), "1.5");
    }
}
