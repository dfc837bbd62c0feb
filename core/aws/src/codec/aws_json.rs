//! awsJson1.0 and 1.1: `X-Amz-Target: Prefix.Operation`, and everything in one JSON body.
//!
//! ```text
//! POST /   X-Amz-Target: AppMesh_20190125.DescribeMesh   {"meshName":"m"}
//! 200 {"mesh":{"meshName":"m",…}}
//! 400 {"__type":"NotFoundException","message":"…"}
//! ```

use selvedge_model::{Value, json};

use crate::dispatch::{malformed, unknown_operation};
use crate::error::ApiError;
use crate::message::{Call, Protocol, Request, Response};
use crate::operations::find_in;
use crate::service::by_target;

/// Reads a request.
///
/// # Errors
/// The target names no operation, or the body cannot be read.
pub(crate) fn decode(request: &Request<'_>, protocol: Protocol) -> Result<Call, ApiError> {
    let target = request.target.unwrap_or_default();
    let operation = target.rsplit_once('.').and_then(|(prefix, name)| {
        let service = by_target(prefix)?;
        find_in(service, name).map(|operation| (service, operation))
    });
    let (service, operation) =
        operation.ok_or_else(|| unknown_operation(&format!("X-Amz-Target {target}")))?;
    let body = if request.body.is_empty() { b"{}" } else { request.body };
    let document = json::parse(body).map_err(|error| malformed(service, error))?;
    let Value::Object(input) = json::without_nulls(document) else {
        return Err(malformed(service, "the body is not an object"));
    };
    Ok(Call { service, operation, input, protocol })
}

/// Writes an answer.
pub(crate) fn encode(protocol: Protocol, output: &Value) -> Response {
    Response { status: 200, headers: content_type(protocol), body: output.to_string().into_bytes() }
}

/// Writes a failure. These protocols know only 400 and 500; the type says the rest.
pub(crate) fn encode_error(protocol: Protocol, error: &ApiError) -> Response {
    let status = if error.shape.is_sender_fault() { 400 } else { 500 };
    let body = error.document().to_string().into_bytes();
    Response { status, headers: content_type(protocol), body }
}

fn content_type(protocol: Protocol) -> Vec<(&'static str, String)> {
    let version = if protocol == Protocol::AwsJson1_0 { "1.0" } else { "1.1" };
    vec![("content-type", format!("application/x-amz-json-{version}"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch;

    fn request<'a>(target: &'a str, body: &'a str) -> Request<'a> {
        Request {
            method: "POST",
            path: "/",
            content_type: Some("application/x-amz-json-1.1"),
            target: Some(target),
            body: body.as_bytes(),
            ..Request::default()
        }
    }

    #[test]
    fn the_target_names_the_operation() {
        let call = dispatch::decode(&request(
            "AppMesh_20190125.DescribeMesh",
            r#"{"meshName":"m","meshOwner":null}"#,
        ));
        let call = call.expect("an operation");
        assert_eq!((call.operation.name, call.text("meshName")), ("DescribeMesh", Some("m")));
        assert_eq!(call.input.len(), 1);
        let answer = dispatch::encode(&call, &serde_json::json!({"mesh": {}}), "id");
        assert_eq!(answer.body, br#"{"mesh":{}}"#);
    }

    #[test]
    fn other_targets_and_bodies_are_refused() {
        for (target, body, code) in [
            ("AppMesh_20190125.Nothing", "{}", "UnknownOperationException"),
            ("Nothing.DescribeMesh", "{}", "UnknownOperationException"),
            ("DescribeMesh", "{}", "UnknownOperationException"),
            ("AppMesh_20190125.DescribeMesh", "[]", "BadRequestException"),
            ("AppMesh_20190125.DescribeMesh", "{", "BadRequestException"),
        ] {
            let refused = dispatch::decode(&request(target, body)).expect_err("refused");
            assert_eq!(refused.error.shape.code, code, "{target} {body}");
            let answer = dispatch::encode_error(refused.protocol, &refused.error, "id");
            assert_eq!(answer.status, 400);
        }
    }
}
