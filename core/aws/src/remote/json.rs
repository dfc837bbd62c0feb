//! JSON in both directions: the members travel as they are.

use serde_json::{Map, Value};

use super::{Fault, Prepared, Received};
use crate::sigv4::iso_date;

pub(super) fn request(version: &str, target: &str, operation: &str, parameters: &Value) -> Prepared {
    let body = if parameters.is_null() { "{}".to_owned() } else { parameters.to_string() };
    Prepared {
        method: "POST",
        path: "/".into(),
        headers: vec![
            ("content-type".into(), format!("application/x-amz-json-{version}")),
            ("x-amz-target".into(), format!("{target}.{operation}")),
        ],
        body: body.into(),
        ..Prepared::default()
    }
}

pub(super) fn output(received: &Received<'_>) -> Result<Value, Fault> {
    if received.body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut output = serde_json::from_slice(received.body)
        .map_err(|error| received.unreadable(format!("the answer is no JSON: {error}")))?;
    show_times(&mut output);
    Ok(output)
}

/// Times travel as seconds since 1970 and are shown as texts.
pub fn show_times(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_f64() {
                    Some(seconds) if is_time(name) && seconds.abs() < 1e11 => {
                        *member = iso_date((seconds * 1000.0).round() as i64).into();
                    }
                    _ => show_times(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(show_times),
        _ => {}
    }
}

/// Whether a number under this name is a time: so the services of the table name them.
pub fn is_time(name: &str) -> bool {
    const ENDS: [&str; 6] = ["Date", "Time", "Timestamp", "CreatedAt", "UpdatedAt", "EndedAt"];
    // So SQS names a number.
    const NUMBER: &str = "StartedTimestamp";
    (ENDS.iter().any(|end| name.ends_with(end)) && name != NUMBER) || name == "ExpiresAfter"
}

pub(super) fn fault(received: &Received<'_>) -> Fault {
    let body: Value = serde_json::from_slice(received.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let code = received
        .header("x-amzn-errortype")
        .or_else(|| text("__type"))
        .or_else(|| text("code"))
        .unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let message = text("message").or_else(|| text("Message")).or_else(|| text("errorMessage"));
    Fault {
        code: code.to_owned(),
        message: message.map_or_else(|| shown(received.body), str::to_owned),
        status: received.status,
        request_id: None,
    }
}

/// As much as somebody reads of what is no error of the service's own.
pub(super) fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(400).collect()
}
