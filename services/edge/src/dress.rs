//! What an answer gets on its way out: configured headers, expiry, compression, ranges.

mod beside;
mod deflate;
mod expire;
mod ranges;

use std::sync::Arc;

use selvedge_http::cgi;
use selvedge_http::known::HeaderId;

use crate::request::{Body, Exchange, Response};

/// Sets the configured headers of the request and variables of its environment, once.
pub(crate) fn request_headers(x: &mut Exchange<'_>) {
    if std::mem::replace(&mut x.dressed, true) {
        return;
    }
    let setenv = &x.conf.setenv;
    let nothing = setenv.add_request_header.is_empty()
        && setenv.set_request_header.is_empty()
        && setenv.add_environment.is_empty()
        && setenv.set_environment.is_empty();
    if nothing {
        return;
    }
    let conf = Arc::clone(&x.conf.0);
    let setenv = &conf.directives.setenv;
    for (name, value) in setenv.add_request_header.iter() {
        let name = name.to_ascii_lowercase();
        let joined = match x.head.fields.named(&name).filter(|_| name != "host") {
            Some(known) => [known, b", ", value.as_bytes()].concat(),
            None => value.as_bytes().to_vec(),
        };
        x.head.fields.set(&name, &joined);
    }
    for (name, value) in setenv.set_request_header.iter() {
        let name = name.to_ascii_lowercase();
        // A program that reads an underscore as a hyphen would take a client's twin of it for what is set here.
        x.head.fields.retain(|_, other, _| {
            let other = std::str::from_utf8(other).unwrap_or_default();
            other == name || !cgi::is_same_variable(other, &name)
        });
        match (name.as_str(), value.is_empty()) {
            ("host", false) => x.head.set_authority(value),
            (_, true) => x.head.fields.remove_named(&name),
            (_, false) => x.head.fields.set(&name, value.as_bytes()),
        }
    }
    for (name, value) in setenv.add_environment.iter() {
        let name = cgi::variable(name);
        let known = x.environment.iter_mut().find(|(known, _)| *known == name);
        match known {
            Some((_, known)) => *known = format!("{known}, {value}"),
            None => x.environment.push((name, value.to_string())),
        }
    }
    for (name, value) in setenv.set_environment.iter() {
        let name = cgi::variable(name);
        x.environment.retain(|(known, _)| *known != name);
        x.environment.push((name, value.to_string()));
    }
}

/// Dresses an answer.
pub(crate) fn finish(x: &mut Exchange<'_>, mut response: Response) -> Response {
    if response.head.status < 200 {
        return response;
    }
    let conf = Arc::clone(&x.conf.0);
    expire::set(x, &mut response);
    let setenv = &conf.directives.setenv;
    for (name, value) in setenv.add_response_header.iter() {
        response.head.fields.append(name.as_bytes(), value.as_bytes());
    }
    for (name, value) in setenv.set_response_header.iter() {
        let name = name.to_ascii_lowercase();
        match value.is_empty() {
            true => response.head.fields.remove_named(&name),
            false => response.head.fields.set(&name, value.as_bytes()),
        }
    }
    let edge = &conf.directives.edge;
    if let Some(value) = &edge.cache_control {
        response.head.fields.set("cache-control", value.as_bytes());
    }
    if edge.security_headers || edge.hsts.is_some() {
        security(x, &mut response);
    }
    if let Some(value) = crate::http3::offer(x) {
        response.head.fields.append(b"alt-svc", value.as_bytes());
    }
    for line in std::mem::take(&mut x.set_cookies) {
        response.head.fields.append(b"set-cookie", line.as_bytes());
    }
    deflate::apply(x, &mut response);
    ranges::apply(x, &mut response);
    if response.head.status == 416 && matches!(response.body, Body::None) {
        response.head.fields.set_id(HeaderId::ContentType, b"text/html");
        response.body = Body::Bytes(crate::request::page::plain(416).into());
    }
    response
}

/// What browsers are told to be careful about, where nobody said otherwise.
fn security(x: &Exchange<'_>, response: &mut Response) {
    let mut default = |name: &str, value: &str| {
        if response.head.fields.named(name).is_none() {
            response.head.fields.append(name.as_bytes(), value.as_bytes());
        }
    };
    let edge = &x.conf.edge;
    if x.https {
        let hsts = edge.hsts.as_deref().unwrap_or("max-age=31536000; includeSubDomains");
        default("strict-transport-security", hsts);
    }
    if !edge.security_headers {
        return;
    }
    default("x-content-type-options", "nosniff");
    default("x-frame-options", "SAMEORIGIN");
    default("referrer-policy", "strict-origin-when-cross-origin");
}
