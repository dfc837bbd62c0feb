//! Requests and answers, without the sockets: what decides, and nothing else.

use std::fmt;

use selvedge_model::{Path, Strictness, Value, Violations};
use serde_json::Map;

use crate::operations::Operation;
use crate::service::Service;

/// Bytes that the body of a request may have. A spec of App Mesh stays far below.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// A request, as far as it decides which operation is called with what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The path as it was sent, still percent-encoded: a name may contain an encoded slash.
    pub path: &'a str,
    /// What follows `?`, still percent-encoded.
    pub query: &'a str,
    pub content_type: Option<&'a str>,
    /// `X-Amz-Target`.
    pub target: Option<&'a str>,
    /// `Authorization`; only its credential scope is looked at here.
    pub authorization: Option<&'a str>,
    /// `Smithy-Protocol`.
    pub smithy_protocol: Option<&'a str>,
    pub body: &'a [u8],
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct Call {
    pub service: &'static Service,
    pub operation: &'static Operation,
    /// The members that were given, wherever they travelled. Nothing about them is checked yet but that they could be read.
    pub input: Map<String, Value>,
    pub protocol: Protocol,
}

/// How a request was written, and how its answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Paths, query strings and JSON bodies. (Smithy `aws.protocols#restJson1`.)
    RestJson1,
    /// `X-Amz-Target` and JSON bodies. (Smithy `aws.protocols#awsJson1_0`.)
    AwsJson1_0,
    /// The same with qualified error types. (Smithy `aws.protocols#awsJson1_1`.)
    AwsJson1_1,
    /// Forms in, XML out. (Smithy `aws.protocols#awsQuery`.)
    AwsQuery,
    /// CBOR both ways. (Smithy `smithy.protocols#rpcv2Cbor`.)
    RpcV2Cbor,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// The account and region that a signature claims. Whether it is genuine is decided elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialScope<'a> {
    pub access_key: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

// === impl Call ===

impl Call {
    /// Checks the members against the operation's input.
    ///
    /// # Errors
    /// Everything that is wrong, each with its field path.
    pub fn check(&self, strictness: Strictness) -> Result<(), Violations> {
        let mut found = Violations::default();
        let input = Value::Object(self.input.clone());
        self.operation.input.check(&input, strictness, &mut Path::default(), &mut found);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    /// A text member; `None` when absent.
    pub fn text(&self, member: &str) -> Option<&str> {
        self.input.get(member).and_then(Value::as_str)
    }
}

// === impl CredentialScope ===

impl<'a> CredentialScope<'a> {
    /// Reads the scope from an `Authorization` header: `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
    pub fn of(authorization: &'a str) -> Option<Self> {
        let rest = authorization.trim().strip_prefix("AWS4-")?;
        let (_, rest) = rest.split_once("Credential=")?;
        let scope = rest.split(|c: char| c == ',' || c.is_whitespace()).next()?;
        let mut parts = scope.rsplit('/');
        let (terminator, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (_date, access_key) = (parts.next()?, parts.next()?);
        let is_whole = terminator == "aws4_request" && !region.is_empty() && !service.is_empty();
        is_whole.then_some(Self { access_key, region, service })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RestJson1 => "restJson1",
            Self::AwsJson1_0 => "awsJson1.0",
            Self::AwsJson1_1 => "awsJson1.1",
            Self::AwsQuery => "awsQuery",
            Self::RpcV2Cbor => "rpcv2Cbor",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_of_a_signature_is_read() {
        let header = "AWS4-HMAC-SHA256 Credential=AKID/20261121/eu-west-1/appmesh/aws4_request, SignedHeaders=host, Signature=0";
        let scope = CredentialScope { access_key: "AKID", region: "eu-west-1", service: "appmesh" };
        assert_eq!(CredentialScope::of(header), Some(scope));
        for other in
            ["", "Bearer x", "AWS4-HMAC-SHA256 Credential=AKID", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e"]
        {
            assert_eq!(CredentialScope::of(other), None, "{other}");
        }
    }
}
