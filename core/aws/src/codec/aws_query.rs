//! awsQuery: a form in, XML out.
//!
//! ```text
//! POST /   Action=CreateMesh&Version=2019-01-25&meshName=m&tags.member.1.key=k&tags.member.1.value=v
//! 200 <CreateMeshResponse><CreateMeshResult><mesh>…</mesh></CreateMeshResult><ResponseMetadata><RequestId>…
//! 404 <ErrorResponse><Error><Type>Sender</Type><Code>NotFoundException</Code><Message>…
//! ```

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use selvedge_model::{Form, Shape, Value, json::DEPTH_MAX};
use serde_json::Map;

use crate::dispatch::{candidates, malformed, unknown_operation};
use crate::error::ApiError;
use crate::message::{Call, Protocol, Request, Response};
use crate::operations::{Operation, find_in};
use crate::service::Service;

/// Reads a request.
///
/// # Errors
/// The form names no operation, or cannot be read.
pub(crate) fn decode(request: &Request<'_>) -> Result<Call, ApiError> {
    let form = std::str::from_utf8(request.body).unwrap_or_default();
    let action = pairs(form).find(|(name, _)| *name == "Action").map_or("", |(_, action)| action);
    let version = pairs(form).find(|(name, _)| *name == "Version").map(|(_, version)| version);
    let mut services = candidates(request).filter(|service| version.is_none_or(|v| v == service.version));
    let found = services.find_map(|service| Some((service, find_in(service, action)?)));
    let (service, operation) = found.ok_or_else(|| unknown_operation(&format!("Action {action}")))?;
    let mut root = Node::default();
    for (name, text) in pairs(form).filter(|(name, _)| !matches!(*name, "Action" | "Version")) {
        let steps: Vec<_> = name.split('.').collect();
        if steps.len() > DEPTH_MAX {
            return Err(malformed(service, "a parameter is nested too deep"));
        }
        let text = decode_form(text).ok_or_else(|| malformed(service, "a parameter is not UTF-8"))?;
        root.insert(&steps, text).map_err(|()| malformed(service, "a parameter is given twice"))?;
    }
    let input = match root.into_value(operation.input) {
        Value::Object(input) => input,
        _ => Map::new(),
    };
    Ok(Call { service, operation, input, protocol: Protocol::AwsQuery })
}

/// Writes an answer.
pub(crate) fn encode(service: &Service, operation: &Operation, output: &Value, request_id: &str) -> Response {
    let name = operation.name;
    let mut xml =
        format!("<{name}Response xmlns=\"https://{}.amazonaws.com/doc/{}/\">", service.name, service.version);
    xml.push_str(&format!("<{name}Result>"));
    write_members(output, &mut xml);
    xml.push_str(&format!("</{name}Result><ResponseMetadata><RequestId>"));
    escape(request_id, &mut xml);
    xml.push_str(&format!("</RequestId></ResponseMetadata></{name}Response>"));
    response(200, xml)
}

/// Writes a failure.
pub(crate) fn encode_error(error: &ApiError, request_id: &str) -> Response {
    let fault = if error.shape.is_sender_fault() { "Sender" } else { "Receiver" };
    let mut xml =
        format!("<ErrorResponse><Error><Type>{fault}</Type><Code>{}</Code><Message>", error.shape.code);
    escape(&error.message, &mut xml);
    xml.push_str("</Message></Error><RequestId>");
    escape(request_id, &mut xml);
    xml.push_str("</RequestId></ErrorResponse>");
    response(error.shape.status, xml)
}

fn response(status: u16, xml: String) -> Response {
    Response { status, headers: vec![("content-type", "text/xml".into())], body: xml.into_bytes() }
}

/// The parameters of a form as a tree: `tags.member.1.key=k` is four steps deep.
#[derive(Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Self>,
}

impl Node {
    fn insert(&mut self, steps: &[&str], text: String) -> Result<(), ()> {
        match steps.split_first() {
            None if self.text.is_some() => Err(()),
            None => {
                self.text = Some(text);
                Ok(())
            }
            Some((first, rest)) => self.children.entry((*first).to_owned()).or_default().insert(rest, text),
        }
    }

    /// The value as the shape wants it. What does not fit stays as it is, so that the check can name it.
    fn into_value(mut self, shape: &Shape) -> Value {
        let text = self.text.take();
        match (shape.form, text) {
            (Form::Structure { .. } | Form::Union { .. }, None) => {
                let members = self.children.into_iter().map(|(name, child)| {
                    let value = match shape.member(&name) {
                        Some(member) => child.into_value(member.shape),
                        None => Value::String(child.text.unwrap_or_default()),
                    };
                    (name, value)
                });
                Value::Object(members.collect())
            }
            (Form::List { element, .. }, _) => {
                let children = self.children.remove("member").map(|node| node.children).unwrap_or_default();
                let mut numbered: Vec<_> = children
                    .into_iter()
                    .map(|(number, node)| (number.parse().unwrap_or(u32::MAX), node))
                    .collect();
                numbered.sort_by_key(|(number, _)| *number);
                Value::Array(numbered.into_iter().map(|(_, node)| node.into_value(element)).collect())
            }
            (Form::Map { value, .. }, _) => {
                let entries = self.children.remove("entry").map(|node| node.children).unwrap_or_default();
                let pairs = entries.into_values().filter_map(|mut entry| {
                    let name = entry.children.remove("key")?.text?;
                    Some((name, entry.children.remove("value")?.into_value(value)))
                });
                Value::Object(pairs.collect())
            }
            (Form::Integer { .. } | Form::Long { .. }, Some(text)) => {
                text.parse::<i64>().map_or_else(|_| Value::String(text), Value::from)
            }
            (Form::Boolean, Some(text)) => {
                text.parse::<bool>().map_or_else(|_| Value::String(text), Value::from)
            }
            (_, text) => Value::String(text.unwrap_or_default()),
        }
    }
}

fn pairs(form: &str) -> impl Iterator<Item = (&str, &str)> {
    form.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes a form's text, in which `+` is a space.
fn decode_form(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(Into::into)
}

fn write_members(value: &Value, xml: &mut String) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                write_element(name, value, xml);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                write_element("member", element, xml);
            }
        }
        Value::Null => {}
        Value::String(text) => escape(text, xml),
        other => xml.push_str(&other.to_string()),
    }
}

fn write_element(name: &str, value: &Value, xml: &mut String) {
    xml.push_str(&format!("<{name}>"));
    write_members(value, xml);
    xml.push_str(&format!("</{name}>"));
}

fn escape(text: &str, xml: &mut String) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            // XML 1.0 has no way to write the other control characters.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => xml.push('\u{fffd}'),
            c => xml.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch;
    use serde_json::json;

    fn request(form: &str) -> Request<'_> {
        Request {
            method: "POST",
            path: "/",
            content_type: Some("application/x-www-form-urlencoded; charset=utf-8"),
            body: form.as_bytes(),
            ..Request::default()
        }
    }

    #[test]
    fn a_form_becomes_the_same_members_as_json() {
        let form = "Action=CreateRoute&Version=2019-01-25&meshName=m&spec.priority=7&\
                    spec.httpRoute.match.prefix=%2Fa+b&\
                    spec.httpRoute.action.weightedTargets.member.2.virtualNode=second&\
                    spec.httpRoute.action.weightedTargets.member.1.virtualNode=first";
        let call = dispatch::decode(&request(form)).expect("an operation");
        assert_eq!(call.operation.name, "CreateRoute");
        let spec = json!({
            "httpRoute": {
                "action": {"weightedTargets": [{"virtualNode": "first"}, {"virtualNode": "second"}]},
                "match": {"prefix": "/a b"},
            },
            "priority": 7,
        });
        assert_eq!(call.input["spec"], spec);
    }

    #[test]
    fn answers_and_failures_are_xml() {
        let call = dispatch::decode(&request("Action=ListMeshes")).expect("an operation");
        let answer = dispatch::encode(&call, &json!({"meshes": [{"meshName": "<m>"}]}), "id-1");
        let text = String::from_utf8(answer.body).expect("XML is text");
        assert!(text.contains("<meshes><member><meshName>&lt;m&gt;</meshName></member></meshes>"), "{text}");
        assert!(text.contains("<RequestId>id-1</RequestId>"), "{text}");

        let refused = dispatch::decode(&request("Action=Nothing")).expect_err("no such operation");
        let answer = dispatch::encode_error(refused.protocol, &refused.error, "id-2");
        let text = String::from_utf8(answer.body).expect("XML is text");
        assert!(text.contains("<Type>Sender</Type><Code>UnknownOperationException</Code>"), "{text}");
    }
}
