//! `GET /selvedge/v1/policy-kinds`: what policies can say, as data.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use selvedge_model::policy::PolicyKind;
use selvedge_model::{Form, Member, Presence, Shape, Value};
use serde_json::{Map, json};

use crate::api::{self, Extension};

/// The route.
pub struct PolicyKindsRoute;

impl Extension for PolicyKindsRoute {
    fn path(&self) -> &str {
        "policy-kinds"
    }

    fn handle(&self, _: &Request<Bytes>) -> Response<Bytes> {
        let kinds: Vec<Value> = PolicyKind::ALL.iter().map(|kind| describe(*kind)).collect();
        api::json(StatusCode::OK, &json!({ "kinds": kinds }))
    }
}

/// The words for all kinds, for messages.
pub(super) fn words() -> String {
    PolicyKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

fn describe(kind: PolicyKind) -> Value {
    let fits: Vec<&str> = kind.fits().iter().map(|fit| fit.segment()).collect();
    json!({ "kind": kind.as_str(), "doc": kind.doc().trim(), "attachesTo": fits, "spec": of_shape(kind.shape()) })
}

fn of_shape(shape: &Shape) -> Value {
    match shape.form {
        Form::Structure { members } => json!({ "type": "object", "members": of_members(members) }),
        Form::Union { members } => json!({ "type": "one of", "members": of_members(members) }),
        Form::List { element, length } => {
            json!({ "type": "list", "of": of_shape(element), "min": length.min, "max": length.max })
        }
        Form::Map { key, value, length } => json!({
            "type": "map", "keys": of_shape(key), "of": of_shape(value), "min": length.min, "max": length.max,
        }),
        Form::String { length, pattern } => {
            let pattern = pattern.map(|pattern| pattern.text);
            json!({ "type": "string", "min": length.min, "max": length.max, "pattern": pattern })
        }
        Form::Blob { length } => json!({ "type": "blob", "min": length.min, "max": length.max }),
        Form::Enum { values } => json!({ "type": "string", "values": values }),
        Form::Integer { range } | Form::Long { range } => {
            json!({ "type": "integer", "min": range.min, "max": range.max })
        }
        Form::Float { range } => json!({ "type": "number", "min": range.min, "max": range.max }),
        Form::Boolean => json!({ "type": "boolean" }),
        Form::Timestamp => json!({ "type": "timestamp" }),
    }
}

fn of_members(members: &[Member]) -> Map<String, Value> {
    let describe = |member: &Member| {
        let mut described = of_shape(member.shape);
        described["required"] = (member.presence == Presence::Required).into();
        described["doc"] = member.doc.trim().into();
        (member.name.to_owned(), described)
    };
    members.iter().map(describe).collect()
}
