//! A form, answered with XML: SNS and STS.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value};

use super::{Fault, Prepared, Received, Unfit, json, plain};
use crate::sigv4::ENCODED;
use crate::xml::Element;

/// Members that are maps, with the names of an entry's key and value: everything else that is an object is a structure.
const MAPS: &[(&str, &str, &str)] = &[("MessageAttributes", "Name", "Value"), ("Attributes", "key", "value")];

pub(super) fn request(version: &str, operation: &str, parameters: &Value) -> Result<Prepared, Unfit> {
    let mut pairs = vec![("Action".to_owned(), operation.to_owned()), ("Version".into(), version.into())];
    flatten("", parameters, &mut pairs)?;
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let body: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    Ok(Prepared {
        method: "POST",
        path: "/".into(),
        headers: vec![("content-type".into(), "application/x-www-form-urlencoded; charset=utf-8".into())],
        body: body.join("&").into(),
        ..Prepared::default()
    })
}

fn flatten(at: &str, value: &Value, pairs: &mut Vec<(String, String)>) -> Result<(), Unfit> {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            let name = at.rsplit('.').next().unwrap_or(at);
            if let Some((_, key, of)) = MAPS.iter().find(|(map, _, _)| *map == name) {
                for (index, (entry, member)) in members.iter().enumerate() {
                    let at = format!("{at}.entry.{}", index + 1);
                    pairs.push((format!("{at}.{key}"), entry.clone()));
                    flatten(&format!("{at}.{of}"), member, pairs)?;
                }
            } else {
                for (name, member) in members {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    flatten(&at, member, pairs)?;
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{at}.member.{}", index + 1), item, pairs)?;
            }
        }
        scalar => {
            let text = plain(scalar).ok_or_else(|| Unfit::NoText(at.to_owned()))?;
            pairs.push((at.to_owned(), text));
        }
    }
    Ok(())
}

pub(super) fn output(operation: &str, received: &Received<'_>) -> Result<Value, Fault> {
    let document = Element::parse(received.text()?)
        .map_err(|error| received.unreadable(format!("the answer is not understood: {error}")))?;
    let result = document.child(&format!("{operation}Result"));
    Ok(result.map_or_else(|| Value::Object(Map::new()), structure))
}

/// Lists have children called `member`, maps such called `entry`.
fn value(element: &Element) -> Value {
    let all =
        |name: &str| !element.children.is_empty() && element.children.iter().all(|child| child.name == name);
    if all("member") {
        return Value::Array(element.children.iter().map(value).collect());
    }
    if all("entry") {
        let entries = element.children.iter().filter_map(|entry| {
            let key = entry.child_text("key").or_else(|| entry.child_text("Name"))?;
            let found = entry.child("value").or_else(|| entry.child("Value"))?;
            Some((key.to_owned(), value(found)))
        });
        return Value::Object(entries.collect());
    }
    if element.children.is_empty() { element.text.as_str().into() } else { structure(element) }
}

fn structure(element: &Element) -> Value {
    Value::Object(element.children.iter().map(|child| (child.name.clone(), value(child))).collect())
}

/// `<ErrorResponse><Error><Code>…`, or S3's `<Error><Code>…`.
pub(super) fn fault(received: &Received<'_>) -> Fault {
    let document = std::str::from_utf8(received.body).ok().and_then(|text| Element::parse(text).ok());
    let error = document.as_ref().and_then(|document| document.find("Error"));
    let text = |name: &str| error.and_then(|error| error.child_text(name)).map(str::to_owned);
    let request_id = text("RequestId")
        .or_else(|| document.as_ref().and_then(|found| found.find("RequestId")).map(|id| id.text.clone()));
    Fault {
        code: text("Code").unwrap_or_default(),
        message: text("Message").unwrap_or_else(|| json::shown(received.body)),
        status: received.status,
        request_id,
    }
}
