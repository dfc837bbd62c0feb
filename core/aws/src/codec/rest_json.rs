//! restJson1: method and path name the operation; members travel in path, query string and JSON body.
//!
//! ```text
//! PUT /v20190125/meshes/m/virtualNodes?meshOwner=123456789012     {"virtualNodeName":"n","spec":{}}
//! 200 {"meshName":"m","virtualNodeName":"n",…}                    the member that is the payload, bare
//! 404 x-amzn-ErrorType: NotFoundException                         {"__type":"NotFoundException","message":"…"}
//! ```

use percent_encoding::percent_decode_str;
use selvedge_model::{Fault, Form, Path, Shape, Value, Violations, json};
use serde_json::Map;

use crate::dispatch::{candidates, malformed, unknown_operation};
use crate::error::ApiError;
use crate::message::{Call, Protocol, Request, Response};
use crate::operations::{Location, Operation};
use crate::service::Service;

/// Reads a request.
///
/// # Errors
/// No operation has that method and path, or its members cannot be read.
pub(crate) fn decode(request: &Request<'_>) -> Result<Call, ApiError> {
    let (service, operation, path) =
        find(request).ok_or_else(|| unknown_operation(&format!("{} {}", request.method, request.path)))?;
    let mut input = Map::new();
    let mut found = Violations::default();
    for (member, encoded) in path {
        input.insert(member.to_owned(), Value::String(decode_percent(service, encoded)?));
    }
    read_query(service, operation, request.query, &mut input, &mut found)?;
    if operation.body_members().next().is_some() {
        read_body(service, operation, request.body, &mut input, &mut found)?;
    }
    if !found.is_empty() {
        return Err(service.bad_request.because(found.to_string()));
    }
    Ok(Call { service, operation, input, protocol: Protocol::RestJson1 })
}

/// Writes an answer.
pub(crate) fn encode(operation: &Operation, output: &Value) -> Response {
    let body = match operation.payload {
        Some(payload) => output.get(payload).unwrap_or(&Value::Null).to_string(),
        None => output.to_string(),
    };
    Response {
        status: 200,
        headers: vec![("content-type", "application/json".into())],
        body: body.into_bytes(),
    }
}

/// Writes a failure.
pub(crate) fn encode_error(error: &ApiError) -> Response {
    let code = error.shape.code;
    let headers = vec![("content-type", "application/json".into()), ("x-amzn-errortype", code.into())];
    let body = error.document().to_string().into_bytes();
    Response { status: error.shape.status, headers, body }
}

type PathMembers<'a> = Vec<(&'static str, &'a str)>;

fn find<'a>(request: &Request<'a>) -> Option<(&'static Service, &'static Operation, PathMembers<'a>)> {
    candidates(request).filter(|service| service.is_rest).find_map(|service| {
        let operations = service.operations.iter().filter(|operation| operation.method == request.method);
        operations.into_iter().find_map(|operation| {
            match_path(operation.path, request.path).map(|members| (service, operation, members))
        })
    })
}

/// The members that a path carries. The path is split before it is decoded, because a name may contain an encoded slash.
fn match_path<'a>(template: &'static str, path: &'a str) -> Option<PathMembers<'a>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut members = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(members),
            (Some(segment), Some(text)) => {
                match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                    Some(member) => members.push((member, text)),
                    None if segment == text => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

fn read_query(
    service: &Service,
    operation: &'static Operation,
    query: &str,
    input: &mut Map<String, Value>,
    found: &mut Violations,
) -> Result<(), ApiError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, text) = (decode_percent(service, name)?, decode_percent(service, text)?);
        let path = Path::at(&name.chars().take(Path::NAME_CHARS_MAX).collect::<String>());
        let member = operation.input.member(&name);
        let Some(member) = member.filter(|member| operation.location(member.name) == Location::Query) else {
            // A signature may travel in the query string; the rest would be ignored, so a typing error would go unseen.
            if !name.starts_with("X-Amz-") {
                found.rule(path.to_string(), "the query parameter is not known");
            }
            continue;
        };
        // A list is its parameter once for each element.
        if let Form::List { element, .. } = member.shape.form {
            let list = input.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            list.as_array_mut().into_iter().for_each(|list| list.push(from_text(element, &text)));
            continue;
        }
        if input.insert(name, from_text(member.shape, &text)).is_some() {
            found.rule(path.to_string(), "the query parameter is given twice");
        }
    }
    Ok(())
}

fn read_body(
    service: &Service,
    operation: &'static Operation,
    body: &[u8],
    input: &mut Map<String, Value>,
    found: &mut Violations,
) -> Result<(), ApiError> {
    if body.is_empty() {
        return Ok(());
    }
    let document = json::parse(body).map_err(|error| malformed(service, error))?;
    let Value::Object(members) = json::without_nulls(document) else {
        return Err(malformed(service, "the body is not an object"));
    };
    for (name, value) in members {
        match operation.input.member(&name) {
            Some(member) if operation.location(member.name) == Location::Body => {
                input.insert(name, value);
            }
            _ => {
                let mut path = Path::default();
                path.push_member(&name);
                found.add(&path, Fault::Unknown { known: operation.input.members() });
            }
        }
    }
    Ok(())
}

/// A scalar from a query string, as the shape wants it; what does not fit stays text, so that the check can name it.
fn from_text(shape: &Shape, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    match shape.form {
        Form::Integer { .. } | Form::Long { .. } => {
            text.parse::<i64>().map_or_else(|_| as_text(), Value::from)
        }
        Form::Boolean => text.parse::<bool>().map_or_else(|_| as_text(), Value::from),
        _ => as_text(),
    }
}

fn decode_percent(service: &Service, text: &str) -> Result<String, ApiError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| malformed(service, "a percent-encoded name is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(method: &'a str, path: &'a str, query: &'a str, body: &'a str) -> Request<'a> {
        Request { method, path, query, body: body.as_bytes(), ..Request::default() }
    }

    #[test]
    fn method_and_path_name_the_operation() {
        for (method, path, name) in [
            ("PUT", "/v20190125/meshes", "CreateMesh"),
            ("GET", "/v20190125/meshes", "ListMeshes"),
            ("PUT", "/v20190125/meshes/m", "UpdateMesh"),
            ("GET", "/v20190125/meshes/m", "DescribeMesh"),
            ("DELETE", "/v20190125/meshes/m", "DeleteMesh"),
            ("PUT", "/v20190125/meshes/m/virtualRouter/r/routes", "CreateRoute"),
            ("PUT", "/v20190125/meshes/m/virtualRouter/r/routes/x", "UpdateRoute"),
            ("GET", "/v20190125/meshes/m/virtualGateway/g/gatewayRoutes/x", "DescribeGatewayRoute"),
            ("PUT", "/v20190125/untag", "UntagResource"),
        ] {
            let call = decode(&request(method, path, "", "")).expect("an operation");
            assert_eq!(call.operation.name, name);
        }
        for (method, path) in [
            ("POST", "/v20190125/meshes"),
            ("PUT", "/v20190125/meshes/m/virtualRouters/r/routes"),
            ("GET", "/v20190125/meshes/m/"),
            ("GET", "/"),
            ("GET", ""),
        ] {
            let error = decode(&request(method, path, "", "")).expect_err("no operation");
            assert_eq!(error.shape.code, "UnknownOperationException", "{method} {path}");
        }
    }

    #[test]
    fn the_path_is_split_before_it_is_decoded() {
        let path = "/v20190125/meshes/m/virtualServices/a%20b.svc%2Flocal%3A80";
        let call = decode(&request("GET", path, "meshOwner=123456789012", "")).expect("an operation");
        assert_eq!(call.text("virtualServiceName"), Some("a b.svc/local:80"));
        assert_eq!(call.text("meshOwner"), Some("123456789012"));
    }

    #[test]
    fn members_that_are_unknown_or_in_the_wrong_place_are_refused() {
        let path = "/v20190125/meshes/m/virtualNodes";
        for (query, body, part) in [
            ("", r#"{"specs":{}}"#, "'specs'"),
            ("", r#"{"meshName":"m"}"#, "'meshName'"),
            ("", r#"{"meshOwner":"m"}"#, "'meshOwner'"),
            ("owner=x", "{}", "'owner'"),
            ("meshOwner=1&meshOwner=2", "{}", "given twice"),
            ("", "[]", "not an object"),
            ("", r#"{"spec":{},"spec":{}}"#, "'spec' is given twice"),
            ("", "{", "ends early"),
        ] {
            let error = decode(&request("PUT", path, query, body)).expect_err("refused");
            assert_eq!(error.shape.code, "BadRequestException");
            assert!(error.message.contains(part), "{}", error.message);
        }
        assert!(decode(&request("GET", "/v20190125/meshes/%ff", "", "")).is_err());
    }

    #[test]
    fn a_payload_is_the_bare_body() {
        let describe = crate::operations::find("describe-mesh").expect("an operation");
        let answer = encode(describe, &serde_json::json!({"mesh": {"meshName": "m"}}));
        assert_eq!((answer.status, answer.body.as_slice()), (200, br#"{"meshName":"m"}"#.as_slice()));
        let list = crate::operations::find("list-meshes").expect("an operation");
        let answer = encode(list, &serde_json::json!({"meshes": []}));
        assert_eq!(answer.body, br#"{"meshes":[]}"#);
    }

    #[test]
    fn numbers_of_the_query_string_become_numbers() {
        let call = decode(&request("GET", "/v20190125/meshes", "limit=2", "")).expect("an operation");
        assert_eq!(call.input["limit"], 2);
        let call = decode(&request("GET", "/v20190125/meshes", "limit=two", "")).expect("an operation");
        assert!(call.check(selvedge_model::Strictness::Lenient).is_err());
    }
}
