//! An input as a restJson1 request: what goes into the path, the query string and the body.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use selvedge_aws::{Location, Operation, Service};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::error::Error;

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes `input` as a call of `operation`.
///
/// # Errors
/// When a member of the path is absent, empty or no text.
pub(crate) fn encode(
    endpoint: &Endpoint,
    operation: &Operation,
    input: &Map<String, Value>,
    region: Option<&str>,
) -> Result<Request<Full<Bytes>>, Error> {
    let path = path(operation, input)?;
    let query = query(operation, input);
    let body: Map<String, Value> = input
        .iter()
        .filter(|(name, value)| operation.location(name) == Location::Body && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let method =
        Method::from_bytes(operation.method.as_bytes()).expect("the operation table names HTTP methods");
    let has_body = method != Method::GET && operation.body_members().next().is_some();
    let body = if has_body { Value::Object(body).to_string() } else { String::new() };
    let mut request = plain(endpoint, method, &format!("{path}{query}"), body.into());
    if has_body {
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    }
    if let Some(scope) = region.and_then(scope) {
        request.headers_mut().insert(header::AUTHORIZATION, scope);
    }
    Ok(request)
}

/// The credential scope that names a region, as AWS's signatures carry it. Nothing is signed: the server takes the region from
/// here and checks no signature yet.
fn scope(region: &str) -> Option<header::HeaderValue> {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=unsigned/19700101/{region}/appmesh/aws4_request, SignedHeaders=host, Signature=unsigned"
    );
    header::HeaderValue::try_from(scope).ok()
}

/// A call in awsJson: everything is in the body, the operation in a header.
pub(crate) fn aws_json(
    endpoint: &Endpoint,
    service: &Service,
    operation: &Operation,
    input: &Value,
) -> Request<Full<Bytes>> {
    let mut request = plain(endpoint, Method::POST, "/", input.to_string().into());
    let target = format!("{}.{}", service.target_prefix, operation.name);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-amz-json-1.0"));
    headers.insert("x-amz-target", header::HeaderValue::try_from(target).expect("names are ASCII"));
    request
}

/// A request for any path of the front door.
pub(crate) fn plain(
    endpoint: &Endpoint,
    method: Method,
    path_and_query: &str,
    body: Bytes,
) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(endpoint.target(path_and_query))
        .header(header::HOST, endpoint.authority())
        .header(header::USER_AGENT, concat!("selvedge/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json")
        .body(Full::new(body))
        .expect("encoded paths and parsed authorities are valid in a request")
}

fn path(operation: &Operation, input: &Map<String, Value>) -> Result<String, Error> {
    let mut path = operation.path.to_owned();
    for member in operation.path_members() {
        let value = input.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
        let value = value.ok_or(Error::PathMember { member })?;
        path = path.replace(&format!("{{{member}}}"), &encoded(value));
    }
    Ok(path)
}

fn query(operation: &Operation, input: &Map<String, Value>) -> String {
    let pairs: Vec<String> = operation
        .query
        .iter()
        .filter_map(|name| Some((name, input.get(*name).filter(|value| !value.is_null())?)))
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={}", encoded(&text))
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use selvedge_aws::operations;
    use serde_json::json;

    use super::*;

    fn check(command: &str, input: Value, method: &str, target: &str) {
        let endpoint: Endpoint = "http://127.0.0.1:7070".parse().expect("an endpoint");
        let operation = operations::find(command).expect(command);
        let request = encode(&endpoint, operation, input.as_object().expect("an object"), Some("us-west-2"))
            .expect(command);
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), (method, target));
        assert_eq!(request.headers()["host"], "127.0.0.1:7070");
        let authorization = request.headers()["authorization"].to_str().expect("text");
        let scope = selvedge_aws::CredentialScope::of(authorization).expect("a scope");
        assert_eq!((scope.region, scope.service), ("us-west-2", "appmesh"));
    }

    #[test]
    fn members_travel_where_the_model_puts_them() {
        check("create-mesh", json!({"meshName": "m"}), "PUT", "/v20190125/meshes");
        check(
            "describe-virtual-service",
            json!({"meshName": "m", "virtualServiceName": "a b.svc/local:80", "meshOwner": "123456789012"}),
            "GET",
            "/v20190125/meshes/m/virtualServices/a%20b.svc%2Flocal%3A80?meshOwner=123456789012",
        );
        check(
            "delete-route",
            json!({"meshName": "m", "virtualRouterName": "r", "routeName": "x"}),
            "DELETE",
            "/v20190125/meshes/m/virtualRouter/r/routes/x",
        );
        check(
            "list-meshes",
            json!({"limit": 2, "nextToken": "a="}),
            "GET",
            "/v20190125/meshes?limit=2&nextToken=a%3D",
        );
    }

    #[test]
    fn a_missing_path_member_is_named_before_anything_is_sent() {
        let endpoint: Endpoint = "http://127.0.0.1:7070".parse().expect("an endpoint");
        let operation = operations::find("describe-mesh").expect("known");
        for input in [json!({}), json!({"meshName": ""}), json!({"meshName": 1})] {
            let error = encode(&endpoint, operation, input.as_object().expect("an object"), None)
                .expect_err("no name");
            assert!(matches!(error, Error::PathMember { member: "meshName" }), "{error}");
        }
    }
}
