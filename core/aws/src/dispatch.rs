//! Which operation a request calls, and in which protocol.
//!
//! The protocols do not overlap, so the first sign decides: the RPC v2 header, the `X-Amz-Target`, a form posted to `/`, and
//! otherwise method and path. Where several services could be meant, the credential scope says which.

use crate::codec::{aws_json, aws_query, rest_json, rpc_v2_cbor};
use crate::error::{ApiError, REQUEST_TOO_LARGE, UNKNOWN_OPERATION};
use crate::message::{BODY_BYTES_MAX, Call, CredentialScope, Protocol, Request, Response};
use crate::service::{SERVICES, Service, by_scope};

use selvedge_model::Value;

/// A request that calls nothing, with the protocol in which to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub error: ApiError,
    pub protocol: Protocol,
}

/// Reads a request.
///
/// # Errors
/// No operation is meant, or its members cannot be read; the members are not checked yet.
pub fn decode(request: &Request<'_>) -> Result<Call, Refused> {
    let protocol = protocol_of(request);
    let refused = |error| Refused { error, protocol };
    if request.body.len() > BODY_BYTES_MAX {
        return Err(refused(
            REQUEST_TOO_LARGE.because(format!("the body is longer than {BODY_BYTES_MAX} bytes")),
        ));
    }
    match protocol {
        Protocol::RestJson1 => rest_json::decode(request),
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => aws_json::decode(request, protocol),
        Protocol::AwsQuery => aws_query::decode(request),
        Protocol::RpcV2Cbor => rpc_v2_cbor::decode(request),
    }
    .map_err(refused)
}

/// Writes the answer of an operation.
pub fn encode(call: &Call, output: &Value, request_id: &str) -> Response {
    match call.protocol {
        Protocol::RestJson1 => rest_json::encode(call.operation, output),
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => aws_json::encode(call.protocol, output),
        Protocol::AwsQuery => aws_query::encode(call.service, call.operation, output, request_id),
        Protocol::RpcV2Cbor => rpc_v2_cbor::encode(call.operation, output),
    }
}

/// Writes a failure.
pub fn encode_error(protocol: Protocol, error: &ApiError, request_id: &str) -> Response {
    match protocol {
        Protocol::RestJson1 => rest_json::encode_error(error),
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => aws_json::encode_error(protocol, error),
        Protocol::AwsQuery => aws_query::encode_error(error, request_id),
        Protocol::RpcV2Cbor => rpc_v2_cbor::encode_error(error),
    }
}

/// The protocol in which a request is written.
fn protocol_of(request: &Request<'_>) -> Protocol {
    let media_type = request.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if request.smithy_protocol == Some("rpc-v2-cbor") {
        Protocol::RpcV2Cbor
    } else if request.target.is_some() {
        match media_type.eq_ignore_ascii_case("application/x-amz-json-1.0") {
            true => Protocol::AwsJson1_0,
            false => Protocol::AwsJson1_1,
        }
    } else if request.method == "POST"
        && request.path == "/"
        && media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        Protocol::AwsQuery
    } else {
        Protocol::RestJson1
    }
}

/// The service that the signature names, if it names one of ours.
pub(crate) fn scoped_service(request: &Request<'_>) -> Option<&'static Service> {
    by_scope(CredentialScope::of(request.authorization?)?.service)
}

/// The services to look at for a request, the one that the signature names alone if there is one.
pub(crate) fn candidates(request: &Request<'_>) -> impl Iterator<Item = &'static Service> {
    let scoped = scoped_service(request);
    SERVICES.iter().copied().filter(move |service| scoped.is_none_or(|scoped| scoped.name == service.name))
}

pub(crate) fn unknown_operation(what: &str) -> ApiError {
    const CHARS_MAX: usize = 200;
    let what: String = what.chars().take(CHARS_MAX).collect();
    UNKNOWN_OPERATION.because(format!("no operation is called by {what}"))
}

/// The exception for a request that cannot be read.
pub(crate) fn malformed(service: &Service, reason: impl std::fmt::Display) -> ApiError {
    service.bad_request.because(format!("the request is malformed: {reason}"))
}
