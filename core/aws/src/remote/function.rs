//! Lambda: functions are invoked; nothing else of its API is offered.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value};

use super::{Fault, Prepared, Received, Unfit, plain};
use crate::sigv4::ENCODED;

pub(super) fn request(action: &str, parameters: &Value) -> Result<Prepared, Unfit> {
    if action != "invoke" {
        return Err(Unfit::Action { service: "lambda", action: action.to_owned(), offered: "invoke" });
    }
    let text = |name: &'static str| parameters.get(name).and_then(plain);
    let name = text("FunctionName").ok_or(Unfit::Missing("FunctionName"))?;
    let query = text("Qualifier")
        .map(|qualifier| format!("Qualifier={}", utf8_percent_encode(&qualifier, ENCODED)))
        .unwrap_or_default();
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    for (member, header) in [
        ("InvocationType", "x-amz-invocation-type"),
        ("ClientContext", "x-amz-client-context"),
        ("LogType", "x-amz-log-type"),
    ] {
        if let Some(value) = text(member) {
            headers.push((header.into(), value));
        }
    }
    let body = match parameters.get("Payload") {
        None | Some(Value::Null) => String::new(),
        Some(payload) => payload.to_string(),
    };
    Ok(Prepared {
        method: "POST",
        path: format!("/2015-03-31/functions/{}/invocations", utf8_percent_encode(&name, ENCODED)),
        query,
        headers,
        body: body.into(),
        bucket: None,
    })
}

pub(super) fn output(received: &Received<'_>) -> Result<Value, Fault> {
    let mut output = Map::new();
    if let Some(version) = received.header("x-amz-executed-version") {
        output.insert("ExecutedVersion".into(), version.into());
    }
    if let Some(error) = received.header("x-amz-function-error") {
        output.insert("FunctionError".into(), error.into());
    }
    if let Some(log) = received.header("x-amz-log-result") {
        output.insert("LogResult".into(), log.into());
    }
    let payload = match received.body {
        b"" => Value::String(String::new()),
        // A function may answer what is no JSON; the SDK would show its text.
        body => {
            serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into())
        }
    };
    output.insert("Payload".into(), payload);
    output.insert("StatusCode".into(), received.status.into());
    Ok(Value::Object(output))
}
