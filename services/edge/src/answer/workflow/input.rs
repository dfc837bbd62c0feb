//! A request as an execution's input, and an execution's end as an answer.

use base64::Engine as _;
use selvedge_http::target::percent_decode;
use selvedge_site::directive::{Text, WorkflowRoute};
use serde_json::{Map, Value, json};

use super::Problem;
use crate::request::body::Gathered;
use crate::request::{Exchange, Response};

/// The longest name of an execution.
const NAME_BYTES_MAX: usize = 80;

/// What a token says of itself: another one for the same person says something else.
const PASSING_CLAIMS: &[&str] =
    &["iat", "exp", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash", "auth_time", "sid"];

/// The input: what was asked, by whom. Nothing in it changes when the same request comes again.
pub(super) fn of(x: &Exchange<'_>, route: &WorkflowRoute) -> Value {
    let mut headers = Map::new();
    for name in route.headers.iter() {
        if let Some(value) = x.header(name) {
            headers.insert(name.to_string(), json!(value));
        }
    }
    json!({
        "method": x.head.method(),
        "host": x.head.authority().unwrap_or_default(),
        "path": x.path(),
        "pathVariables": variables(x),
        "query": query(x.target.query()),
        "headers": headers,
        "body": body(x),
        "identity": identity(x),
    })
}

/// Who was recognised, and what was vouched for; null if nobody was.
pub(super) fn identity(x: &Exchange<'_>) -> Value {
    let Some(user) = &x.user else { return Value::Null };
    let mut identity = json!({ "user": user.name, "method": user.method });
    if let Some(known) = &x.identity {
        identity["issuer"] = json!(known.issuer);
        let lasting = known.claims.iter().filter(|(name, _)| !PASSING_CLAIMS.contains(&name.as_str()));
        identity["claims"] =
            Value::Object(lasting.map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    identity
}

fn variables(x: &Exchange<'_>) -> Value {
    let edge = &x.conf.edge;
    let mut variables = Map::new();
    if let Some(pattern) = &edge.path_pattern
        && let Ok(Some(groups)) = pattern.groups(x.path())
    {
        for (index, name) in edge.path_variables.iter().enumerate() {
            variables.insert(name.to_string(), json!(groups.get(x.path(), index + 1)));
        }
    }
    Value::Object(variables)
}

/// Names and values of a query; a name that comes again has a list.
pub(super) fn query(text: &str) -> Map<String, Value> {
    let decode = |text: &str| String::from_utf8_lossy(&percent_decode(&text.replace('+', " "))).into_owned();
    let mut out = Map::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = json!(decode(value));
        match out.get_mut(&decode(name)) {
            None => {
                out.insert(decode(name), value);
            }
            Some(Value::Array(list)) => list.push(value),
            Some(known) => *known = json!([known.clone(), value]),
        }
    }
    out
}

/// The body: as JSON if it is, as text if it is, else in base64; null if there is none.
pub(super) fn body(x: &Exchange<'_>) -> Value {
    let bytes = match &x.gathered {
        Some(Gathered::Memory(bytes)) => bytes.clone(),
        Some(Gathered::File { file, length }) => {
            let mut bytes = vec![0; usize::try_from(*length).unwrap_or(0)];
            match std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0) {
                Ok(()) => bytes,
                Err(_) => Vec::new(),
            }
        }
        None => Vec::new(),
    };
    if bytes.is_empty() {
        return Value::Null;
    }
    if let Ok(value) = serde_json::from_slice(&bytes) {
        return value;
    }
    match String::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(error) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(error.as_bytes()) }),
    }
}

/// An execution's name out of an `Idempotency-Key`. Two users' keys never meet.
pub(super) fn name(key: &str, user: Option<&str>) -> Result<String, Problem> {
    use sha2::Digest as _;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let key = key.trim().trim_matches('"');
    let own = user.map(|user| {
        let digest = sha2::Sha256::digest(user);
        format!("-{}", digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    });
    let name = format!("{key}{}", own.unwrap_or_default());
    if key.is_empty() || name.len() > NAME_BYTES_MAX || !key.bytes().all(fits) {
        return Err(Problem::Client(
            400,
            "an Idempotency-Key has 1 to 67 letters, digits, hyphens and underscores",
        ));
    }
    Ok(name)
}

/// The answer that a finished execution makes. A machine may set `statusCode`, `headers` and `body`.
pub(super) fn answer(execution: &Value, errors: &[(Text, u16)]) -> Response {
    let fail = |status: u16, message: &str| {
        // The cause is for the operator: it may tell of what lies behind.
        let error = execution["error"].as_str().unwrap_or(message);
        let status = errors.iter().find(|(name, _)| **name == *error).map_or(status, |(_, status)| *status);
        Response::with(status, "application/json", json!({ "error": error }).to_string())
    };
    match execution["status"].as_str() {
        Some("SUCCEEDED") => {}
        Some("TIMED_OUT") => return fail(504, "States.Timeout"),
        _ => return fail(502, "States.TaskFailed"),
    }
    let output: Value =
        execution["output"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let status = output["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
    let Some(status) = status.filter(|status| (200..600).contains(status)) else {
        return Response::with(200, "application/json", output.to_string());
    };
    let mut response = match &output["body"] {
        Value::Null => Response::status(status),
        Value::String(text) => Response::with(status, "text/plain; charset=utf-8", text.clone()),
        value => Response::with(status, "application/json", value.to_string()),
    };
    for (name, value) in output["headers"].as_object().into_iter().flatten() {
        let name = name.to_ascii_lowercase();
        let framing =
            matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding" | "upgrade");
        let lawful = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && value.as_str().is_some_and(|value| !value.bytes().any(|byte| byte < b' ' || byte == 0x7f));
        if let (Some(value), true, false) = (value.as_str(), lawful, framing) {
            response.head.fields.set(&name, value.as_bytes());
        }
    }
    response.from_backend = true;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_names() {
        assert_eq!(
            Value::Object(query("a=1&b=x%20y+z&a=2&c")),
            json!({"a": ["1", "2"], "b": "x y z", "c": ""})
        );
        assert_eq!(name("abc-1", None).ok().as_deref(), Some("abc-1"));
        assert_ne!(name("abc", Some("jan")).ok(), name("abc", Some("anna")).ok());
        for wrong in ["", "a b", "a/b", "a:b", &"x".repeat(81)] {
            assert!(name(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_machine_sets_its_answer_but_not_its_framing() {
        let output = json!({"statusCode": 201, "headers": {"X-A": "1", "Content-Length": "9", "X-B": "a\r\nb"}, "body": {"ok": true}});
        let response = answer(&json!({"status": "SUCCEEDED", "output": output.to_string()}), &[]);
        assert_eq!(response.head.status, 201);
        assert_eq!(response.head.fields.named("x-a"), Some(&b"1"[..]));
        assert!(
            response.head.fields.named("content-length").is_none()
                && response.head.fields.named("x-b").is_none()
        );
        assert_eq!(
            answer(&json!({"status": "FAILED", "error": "Denied", "cause": "secret"}), &[]).head.status,
            502
        );
        let errors = [(Text::from("Denied"), 403), (Text::from("States.Timeout"), 408)];
        assert_eq!(answer(&json!({"status": "FAILED", "error": "Denied"}), &errors).head.status, 403);
        assert_eq!(answer(&json!({"status": "TIMED_OUT"}), &errors).head.status, 408);
        assert_eq!(answer(&json!({"status": "TIMED_OUT"}), &[]).head.status, 504);
        assert_eq!(answer(&json!({"status": "SUCCEEDED", "output": "[1]"}), &[]).head.status, 200);
    }
}
