//! Who a proxy says it is.

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use selvedge_traffic::Locality;
use selvedge_xds_proto::envoy::config::core::v3 as proto;
use selvedge_xds_proto::envoy::config::core::v3::node::UserAgentVersionType;
use serde_json::{Map, Number};

/// A proxy's identity, from the first message of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// An ARN or `mesh/<mesh>/virtualNode/<name>`; what it means is the control plane's business.
    pub id: String,
    pub cluster: String,
    pub metadata: Map<String, serde_json::Value>,
    /// Where it stands; empty if it did not say.
    pub locality: Locality,
    /// `envoy`, `selvedge`, …
    pub user_agent: String,
    /// `1.40.0`; empty if it did not say.
    pub version: String,
}

impl Node {
    pub(crate) fn decode(node: proto::Node) -> Self {
        let version = match node.user_agent_version_type {
            None => String::new(),
            Some(UserAgentVersionType::UserAgentVersion(version)) => version,
            Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
                .version
                .map(|version| format!("{}.{}.{}", version.major_number, version.minor_number, version.patch))
                .unwrap_or_default(),
        };
        Self {
            id: node.id,
            cluster: node.cluster,
            metadata: node.metadata.map(object).unwrap_or_default(),
            locality: node.locality.map(crate::decode::endpoint::locality).unwrap_or_default(),
            user_agent: node.user_agent_name,
            version,
        }
    }

    pub(crate) fn encode(&self) -> proto::Node {
        proto::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: (!self.metadata.is_empty()).then(|| structure(&self.metadata)),
            locality: (self.locality != Locality::default())
                .then(|| crate::encode::endpoint::locality(&self.locality)),
            user_agent_name: self.user_agent.clone(),
            client_features: Vec::new(),
            user_agent_version_type: (!self.version.is_empty())
                .then(|| UserAgentVersionType::UserAgentVersion(self.version.clone())),
        }
    }
}

fn object(object: Struct) -> Map<String, serde_json::Value> {
    object.fields.into_iter().map(|(key, value)| (key, json(value))).collect()
}

/// A protobuf number is a double: whole ones become integers, so that a port reads as one.
fn json(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::StructValue(members)) => serde_json::Value::Object(object(members)),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::NumberValue(number)) => whole(number)
            .map(Number::from)
            .or_else(|| Number::from_f64(number))
            .map_or(serde_json::Value::Null, serde_json::Value::Number),
    }
}

/// An integer that a double holds exactly.
fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
}

fn structure(object: &Map<String, serde_json::Value>) -> Struct {
    Struct { fields: object.iter().map(|(key, value)| (key.clone(), protobuf(value))).collect() }
}

fn protobuf(value: &serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(*flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(protobuf).collect() })
        }
        serde_json::Value::Object(members) => Kind::StructValue(structure(members)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_keeps_its_shape_and_ports_stay_integers() {
        let metadata = json!({
            "selvedge": { "interception": "none", "ingress_port": 15000, "app_port": { "8080": 31234 } },
            "list": [null, true, 1.5, "text"],
        });
        let node = Node {
            id: "mesh/m/virtualNode/n".to_owned(),
            cluster: "c".to_owned(),
            metadata: metadata.as_object().cloned().unwrap_or_default(),
            locality: Locality { region: "r".to_owned(), zone: "a".to_owned(), sub_zone: String::new() },
            user_agent: "selvedge".to_owned(),
            version: "0.1.0".to_owned(),
        };
        let back = Node::decode(node.encode());
        assert_eq!(back.metadata["selvedge"]["ingress_port"].as_u64(), Some(15000));
        assert_eq!(back.metadata["selvedge"]["app_port"]["8080"].as_u64(), Some(31234));
        assert_eq!(serde_json::Value::Object(back.metadata.clone()), metadata);
        assert_eq!((back.id, back.version, back.locality), (node.id, node.version, node.locality));
    }
}
