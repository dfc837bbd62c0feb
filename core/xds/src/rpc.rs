//! The services that a proxy asks about a request: the messages as plain values, for callers that know no protobuf.

pub mod access_log;
pub mod authorization;
pub mod rate_limit;

use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

/// How deep a structure may nest; what is deeper is left out.
const NESTING_MAX: usize = 32;

fn to_struct(members: &Map<String, Value>) -> prost_types::Struct {
    prost_types::Struct {
        fields: members.iter().map(|(name, value)| (name.clone(), to_value(value))).collect(),
    }
}

fn to_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => {
            Kind::ListValue(prost_types::ListValue { values: list.iter().map(to_value).collect() })
        }
        Value::Object(members) => Kind::StructValue(to_struct(members)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn from_struct(message: prost_types::Struct, depth: usize) -> Map<String, Value> {
    let Some(deeper) = depth.checked_sub(1) else { return Map::new() };
    message.fields.into_iter().map(|(name, value)| (name, from_value(value, deeper))).collect()
}

fn from_value(message: prost_types::Value, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else { return Value::Null };
    match message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(|value| from_value(value, deeper)).collect())
        }
        Some(Kind::StructValue(message)) => Value::Object(from_struct(message, deeper)),
    }
}
