//! RPC v2 CBOR: `POST /service/SERVICE/operation/OPERATION`, and everything in one CBOR body.
//!
//! ```text
//! POST /service/AppMesh_20190125/operation/DescribeMesh   Smithy-Protocol: rpc-v2-cbor
//! ```

use selvedge_model::{Value, json};

use super::cbor;
use crate::dispatch::{malformed, unknown_operation};
use crate::error::ApiError;
use crate::message::{Call, Protocol, Request, Response};
use crate::operations::{Operation, find_in};
use crate::service::by_target;

/// Reads a request.
///
/// # Errors
/// The path names no operation, or the body cannot be read.
pub(crate) fn decode(request: &Request<'_>) -> Result<Call, ApiError> {
    let found = match request.path.rsplitn(5, '/').collect::<Vec<_>>().as_slice() {
        [name, "operation", service, "service", _] if request.method == "POST" => {
            by_target(service).and_then(|service| Some((service, find_in(service, name)?)))
        }
        _ => None,
    };
    let (service, operation) = found.ok_or_else(|| unknown_operation(&format!("POST {}", request.path)))?;
    // An operation without members is called with an empty body or an empty map.
    let body = if request.body.is_empty() { b"\xa0" } else { request.body };
    let document = cbor::decode(body).map_err(|error| malformed(service, error))?;
    let Value::Object(input) = json::without_nulls(document) else {
        return Err(malformed(service, "the body is not a map"));
    };
    Ok(Call { service, operation, input, protocol: Protocol::RpcV2Cbor })
}

/// Writes an answer.
pub(crate) fn encode(operation: &Operation, output: &Value) -> Response {
    response(200, cbor::encode(output, Some(operation.output)))
}

/// Writes a failure.
pub(crate) fn encode_error(error: &ApiError) -> Response {
    response(error.shape.status, cbor::encode(&error.document(), None))
}

fn response(status: u16, body: Vec<u8>) -> Response {
    let headers =
        vec![("content-type", "application/cbor".into()), ("smithy-protocol", "rpc-v2-cbor".into())];
    Response { status, headers, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch;
    use serde_json::json;

    fn request<'a>(path: &'a str, body: &'a [u8]) -> Request<'a> {
        Request { method: "POST", path, smithy_protocol: Some("rpc-v2-cbor"), body, ..Request::default() }
    }

    #[test]
    fn the_path_names_the_operation() {
        let body = cbor::encode(&json!({"meshName": "m"}), None);
        let request = request("/service/AppMesh_20190125/operation/DescribeMesh", &body);
        let call = dispatch::decode(&request).expect("an operation");
        assert_eq!((call.operation.name, call.text("meshName")), ("DescribeMesh", Some("m")));
        let output = json!({"mesh": {"metadata": {"createdAt": 1.5, "version": 1}}});
        let answer = dispatch::encode(&call, &output, "id");
        assert_eq!(cbor::decode(&answer.body), Ok(output));
        // A time carries its tag; a plain number does not.
        assert!(answer.body.windows(11).any(|bytes| bytes[..2] == [0xc1, 0xfb]));
    }

    #[test]
    fn other_paths_and_bodies_are_refused() {
        for (path, body, code) in [
            ("/service/AppMesh_20190125/operation/Nothing", &b""[..], "UnknownOperationException"),
            ("/service/Nothing/operation/DescribeMesh", b"", "UnknownOperationException"),
            ("/v20190125/meshes", b"", "UnknownOperationException"),
            ("/service/AppMesh_20190125/operation/DescribeMesh", b"\x80", "BadRequestException"),
            ("/service/AppMesh_20190125/operation/DescribeMesh", b"\xff", "BadRequestException"),
        ] {
            let refused = dispatch::decode(&request(path, body)).expect_err("refused");
            assert_eq!(refused.error.shape.code, code, "{path}");
            let answer = dispatch::encode_error(refused.protocol, &refused.error, "id");
            assert_eq!(cbor::decode(&answer.body).expect("our own")["__type"], code);
        }
    }
}
