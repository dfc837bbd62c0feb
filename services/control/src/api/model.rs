//! `GET /selvedge/v1/model`: every operation and shape that this server knows, as data.
//!
//! The conformance test compares it with App Mesh's public service model, member by member.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use selvedge_aws::service::SERVICES;
use selvedge_aws::{Operation, Service};
use selvedge_model::{Bounds, Form, Member, Presence, Shape, Value};
use serde_json::{Map, json};

use super::extension::{self, Extension};

/// The route.
pub(super) struct Model;

impl Extension for Model {
    fn path(&self) -> &str {
        "model"
    }

    fn handle(&self, _: &Request<Bytes>) -> Response<Bytes> {
        let services: Map<_, _> =
            SERVICES.iter().map(|service| (service.name.to_owned(), describe_service(service))).collect();
        extension::json(StatusCode::OK, &Value::Object(services))
    }
}

fn describe_service(service: &Service) -> Value {
    let operations: Map<_, _> = service
        .operations
        .iter()
        .map(|operation| (operation.name.to_owned(), describe_operation(operation)))
        .collect();
    json!({ "version": service.version, "operations": operations })
}

fn describe_operation(operation: &Operation) -> Value {
    let errors: Map<_, _> =
        operation.errors.iter().map(|error| (error.code.to_owned(), error.status.into())).collect();
    json!({
        "command": operation.command,
        "method": operation.method,
        "path": operation.path,
        "query": operation.query,
        "input": describe_shape(operation.input),
        "output": describe_shape(operation.output),
        "payload": operation.payload,
        "idempotencyToken": operation.idempotency_token,
        "errors": errors,
    })
}

fn describe_shape(shape: &Shape) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), shape.name.into());
    let kind = match shape.form {
        Form::Structure { members } | Form::Union { members } => {
            let members = members.iter().map(|member| (member.name.to_owned(), describe_member(member)));
            out.insert("members".into(), Value::Object(members.collect()));
            if matches!(shape.form, Form::Union { .. }) { "union" } else { "structure" }
        }
        Form::List { element, length } => {
            bound(length, &mut out);
            out.insert("element".into(), describe_shape(element));
            "list"
        }
        Form::Map { key, value, length } => {
            bound(length, &mut out);
            out.insert("key".into(), describe_shape(key));
            out.insert("value".into(), describe_shape(value));
            "map"
        }
        Form::String { length, pattern } => {
            bound(length, &mut out);
            if let Some(pattern) = pattern {
                out.insert("pattern".into(), pattern.text.into());
            }
            "string"
        }
        Form::Blob { length } => {
            bound(length, &mut out);
            "blob"
        }
        Form::Enum { values } => {
            out.insert("enum".into(), values.into());
            "string"
        }
        Form::Integer { range } => {
            bound(range, &mut out);
            "integer"
        }
        Form::Long { range } => {
            bound(range, &mut out);
            "long"
        }
        Form::Float { range } => {
            bound(range, &mut out);
            "float"
        }
        Form::Boolean => "boolean",
        Form::Timestamp => "timestamp",
    };
    out.insert("type".into(), kind.into());
    Value::Object(out)
}

fn describe_member(member: &Member) -> Value {
    let mut described = describe_shape(member.shape);
    if let Value::Object(out) = &mut described {
        match member.presence {
            Presence::Required => out.insert("required".into(), true.into()),
            Presence::RequiredWhenStrict => out.insert("required".into(), "strict".into()),
            Presence::Optional => None,
        };
    }
    described
}

fn bound(bounds: Bounds, out: &mut Map<String, Value>) {
    for (name, bound) in [("min", bounds.min), ("max", bounds.max)] {
        if let Some(bound) = bound {
            out.insert(name.into(), bound.into());
        }
    }
}
