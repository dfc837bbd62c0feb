//! `http:invoke`: any endpoint, authorised by a connection.
//!
//! Source: "Call HTTPS APIs in Step Functions workflows". Beyond the original: a call needs no connection, `RequestBody` may be
//! a reference to a kept value, and `Transform.ResponseBodyStore: "BLOB"` keeps the answer's body and passes a reference.

mod form;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form::{form, object, texts};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use selvedge_asl::Failure;
use selvedge_outbound::{Answer, Error, Outgoing, Trust};
use serde_json::{Map, Value, json};

use super::connection::{Authorization, Opened};
use super::{Call, EGRESS_REFUSED, blob, connection, needed, oauth, unfit};
use crate::Engine;

/// The longest wait for an endpoint.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How many redirects are followed.
pub(crate) const REDIRECTS_MAX: usize = 5;
/// As much of an answer as the cause of an error repeats.
const CAUSE_CHARS_MAX: usize = 8192;

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::HEAD];

/// Headers that a definition does not set: they belong to the exchange, or would have the caller taken for another.
const HEADERS_REFUSED: &[&str] = &[
    "a-im",
    "accept-charset",
    "accept-datetime",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-md5",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "warning",
    "x-api-gateway-api-id",
];
const PREFIXES_REFUSED: &[&str] = &["x-forwarded-", "x-amz-", "x-amzn-", "x-selvedge-", "x-envoy-"];

/// A call as it was asked for, without what a connection brings.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Body,
    is_kept: bool,
}

/// What is sent.
pub(super) enum Body {
    None,
    Json(Value),
    Form(Vec<(String, String)>),
    Raw(Vec<u8>),
}

pub(super) async fn invoke(engine: &Arc<Engine>, call: &Call) -> Result<Value, Failure> {
    let parameters = call.parameters();
    let url = needed(parameters, "ApiEndpoint")?;
    let url: Uri = url.parse().map_err(|_| unfit("ApiEndpoint: it is no URL"))?;
    let asked = Asked::read(engine, call).await?;
    let arn = ["Authentication", "InvocationConfig"]
        .iter()
        .find_map(|member| parameters.get(*member)?.get("ConnectionArn")?.as_str());
    let connection = arn.map(|arn| open(engine, arn)).transpose()?;
    if connection.is_some() {
        check_secrecy(engine, &url)?;
    }
    let mut refused = None;
    loop {
        let (headers, token) = authorise(engine, connection.as_ref(), &asked, refused.as_deref()).await?;
        let outgoing = asked.outgoing(&url, headers, connection.as_ref())?;
        let answer = follow(engine, outgoing, connection.as_ref()).await?;
        // A token may have been revoked before its end: another one is tried, once.
        if answer.status == StatusCode::UNAUTHORIZED && token.is_some() && refused.is_none() {
            refused = token;
            continue;
        }
        return shown(engine, &answer, asked.is_kept).await;
    }
}

impl Asked {
    /// What the parameters ask for: `Method`, `Headers`, `QueryParameters`, `RequestBody`, `Transform`.
    pub(super) async fn read(engine: &Arc<Engine>, call: &Call) -> Result<Self, Failure> {
        let parameters = call.parameters();
        let method = needed(parameters, "Method")?;
        let method = METHODS.into_iter().find(|known| known.as_str() == method);
        let method = method
            .ok_or_else(|| unfit("Method: it has to be GET, POST, PUT, DELETE, PATCH, OPTIONS or HEAD"))?;
        let mut headers = HeaderMap::new();
        let given = object(parameters, "Headers")?;
        for (name, value) in given.into_iter().flatten() {
            let known = HeaderName::try_from(name)
                .map_err(|_| unfit(format!("Headers: '{name}' is no header's name")))?;
            let is_refused = HEADERS_REFUSED.contains(&known.as_str())
                || PREFIXES_REFUSED.iter().any(|prefix| known.as_str().starts_with(prefix));
            if is_refused {
                return Err(unfit(format!("Headers.{name}: this header cannot be set")));
            }
            for text in texts(value).ok_or_else(|| unfit(format!("Headers.{name}: a text is expected")))? {
                let value = HeaderValue::try_from(text)
                    .map_err(|_| unfit(format!("Headers.{name}: a header cannot hold it")))?;
                headers.append(&known, value);
            }
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("selvedge/", env!("CARGO_PKG_VERSION"))));
        if !headers.contains_key("idempotency-key") {
            headers.insert("idempotency-key", header(&call.idempotency_key)?);
        }
        if let Some(trace) = call.trace.filter(|_| !headers.contains_key("traceparent")) {
            headers.insert("traceparent", header(&trace.traceparent())?);
        }
        let mut query = Vec::new();
        for (name, value) in object(parameters, "QueryParameters")?.into_iter().flatten() {
            let values =
                texts(value).ok_or_else(|| unfit(format!("QueryParameters.{name}: a text is expected")))?;
            query.extend(values.into_iter().map(|value| (name.clone(), value)));
        }
        let transform = object(parameters, "Transform")?;
        let option = |name: &str| transform.and_then(|found| found.get(name)).and_then(Value::as_str);
        let is_form = match option("RequestBodyEncoding") {
            None | Some("NONE") => false,
            Some("URL_ENCODED") => true,
            Some(_) => return Err(unfit("Transform.RequestBodyEncoding: it has to be NONE or URL_ENCODED")),
        };
        let options = transform.and_then(|found| found.get("RequestEncodingOptions"));
        let format =
            options.and_then(|found| found.get("ArrayFormat")).and_then(Value::as_str).unwrap_or("INDICES");
        let is_kept = match option("ResponseBodyStore") {
            None | Some("NONE") => false,
            Some("BLOB") => true,
            Some(_) => return Err(unfit("Transform.ResponseBodyStore: it has to be NONE or BLOB")),
        };
        let body = match parameters.get("RequestBody") {
            None | Some(Value::Null) => Body::None,
            Some(reference) if blob::is_reference(reference) => Body::Raw(kept(engine, reference).await?),
            Some(Value::Object(members)) if is_form => Body::Form(form(members, format)?),
            Some(Value::String(text)) => Body::Raw(text.clone().into_bytes()),
            Some(_) if is_form => {
                return Err(unfit("RequestBody: an object is expected where it is URL_ENCODED"));
            }
            Some(value) => Body::Json(value.clone()),
        };
        if !headers.contains_key(CONTENT_TYPE) {
            match &body {
                Body::None => {}
                Body::Form(_) => {
                    headers
                        .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                }
                Body::Json(_) | Body::Raw(_) => {
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
            }
        }
        Ok(Self { method, headers, query, body, is_kept })
    }

    fn outgoing(
        &self,
        url: &Uri,
        headers: HeaderMap,
        connection: Option<&Opened>,
    ) -> Result<Outgoing, Failure> {
        let mut url = url.to_string();
        let extra = connection.map(|found| &found.extra);
        let query: Vec<(&str, &str)> = self
            .query
            .iter()
            .chain(extra.iter().flat_map(|extra| &extra.query))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if !query.is_empty() {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&encoded_form(query));
        }
        let added = extra.map(|extra| extra.body_map()).unwrap_or_default();
        Ok(Outgoing {
            method: self.method.clone(),
            url: url.parse().map_err(|_| unfit("ApiEndpoint: it is no URL with these QueryParameters"))?,
            headers,
            body: self.body.bytes(&added)?,
            patience: PATIENCE,
            answer_bytes_max: if self.is_kept {
                blob::BLOB_BYTES_MAX
            } else {
                selvedge_outbound::ANSWER_BYTES_MAX
            },
            trust: Trust::Guarded,
            keeps: true,
        })
    }
}

impl Body {
    /// What is sent, with what a connection adds to it.
    pub(super) fn bytes(&self, added: &std::collections::BTreeMap<&str, &str>) -> Result<Bytes, Failure> {
        let needs_object =
            || unfit("RequestBody: an object is expected, for the connection adds members to it");
        Ok(match self {
            Self::None if added.is_empty() => Bytes::new(),
            Self::None => json!(added).to_string().into(),
            Self::Raw(_) if !added.is_empty() => return Err(needs_object()),
            Self::Raw(bytes) => bytes.clone().into(),
            Self::Json(value) if added.is_empty() => value.to_string().into(),
            Self::Json(value) => {
                let mut value = value.clone();
                let members = value.as_object_mut().ok_or_else(needs_object)?;
                members.extend(added.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
                value.to_string().into()
            }
            Self::Form(pairs) => {
                let own = pairs.iter().filter(|(name, _)| !added.contains_key(name.as_str()));
                let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
                encoded_form(own.chain(added.iter().map(|(name, value)| (*name, *value))).collect()).into()
            }
        })
    }
}

fn open(engine: &Engine, arn: &str) -> Result<Opened, Failure> {
    let invalid = |cause: String| Failure::new("Events.ConnectionResource.InvalidConnectionState", cause);
    let view = engine.store.snapshot().map_err(|error| invalid(error.to_string()))?;
    connection::open(&*view, &engine.tasks.vault, arn).map_err(|error| invalid(error.to_string()))
}

/// Secrets travel in the open only where an operator allowed the very address.
pub(super) fn check_secrecy(engine: &Engine, url: &Uri) -> Result<(), Failure> {
    if url.scheme_str() == Some("https") {
        return Ok(());
    }
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let named = host
        .parse::<IpAddr>()
        .is_ok_and(|ip| engine.tasks.guard.names((ip, url.port_u16().unwrap_or(80)).into()));
    if named {
        return Ok(());
    }
    Err(unfit(
        "a connection's secrets are sent by https:// only, or to an address that the server was told to allow",
    ))
}

/// The headers with the connection's, and the token among them if it is one that was fetched.
async fn authorise(
    engine: &Engine,
    connection: Option<&Opened>,
    asked: &Asked,
    refused: Option<&str>,
) -> Result<(HeaderMap, Option<String>), Failure> {
    let mut headers = asked.headers.clone();
    let Some(connection) = connection else { return Ok((headers, None)) };
    let mut fetched = None;
    match &connection.authorization {
        Authorization::ApiKey { name, value } => {
            let name =
                HeaderName::try_from(name).map_err(|_| unfit("the connection's key has no header's name"))?;
            headers.insert(name, secret(value)?);
        }
        Authorization::Basic { username, password } => {
            let user = STANDARD.encode(format!("{username}:{password}"));
            headers.insert(AUTHORIZATION, secret(&format!("Basic {user}"))?);
        }
        Authorization::OAuth(oauth) => {
            let token = oauth::token(engine, connection, oauth, refused).await?;
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}"))?);
            fetched = Some(token);
        }
    }
    for (name, value) in &connection.extra.headers {
        let name =
            HeaderName::try_from(name).map_err(|_| unfit("the connection has a header without a name"))?;
        headers.insert(name, secret(value)?);
    }
    Ok((headers, fetched))
}

/// Calls, and goes where the answer points: with GET and HEAD, never from https:// to http://, and nothing that proves who
/// calls goes along to another origin. The guard decides about each address anew.
async fn follow(engine: &Engine, outgoing: Outgoing, connection: Option<&Opened>) -> Result<Answer, Failure> {
    let mut outgoing = outgoing;
    for _ in 0..=REDIRECTS_MAX {
        let url = outgoing.url.clone();
        let is_safe = matches!(outgoing.method, Method::GET | Method::HEAD);
        let answer = engine.tasks.client.send(outgoing.clone()).await.map_err(|error| unreached(&error))?;
        let is_redirect = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let target = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let (true, true, Some(target)) = (is_redirect, is_safe, target) else { return Ok(answer) };
        let Some(next) = resolve(&url, target) else { return Ok(answer) };
        if origin(&next) != origin(&url) {
            // What the connection put into the query string stays behind with the URL; what is in headers is taken out.
            if url.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Ok(answer);
            }
            outgoing.headers.remove(AUTHORIZATION);
            outgoing.headers.remove(COOKIE);
            for name in connection.into_iter().flat_map(secret_headers) {
                outgoing.headers.remove(name);
            }
            outgoing.body = Bytes::new();
        }
        outgoing.url = next;
    }
    Err(Failure::new("States.Http.Socket", format!("there were more than {REDIRECTS_MAX} redirects")))
}

fn secret_headers(connection: &Opened) -> Vec<&str> {
    let mut names: Vec<&str> = connection.extra.headers.iter().map(|(name, _)| name.as_str()).collect();
    if let Authorization::ApiKey { name, .. } = &connection.authorization {
        names.push(name);
    }
    names
}

fn origin(url: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
    (url.scheme_str(), url.host().map(str::to_ascii_lowercase), url.port_u16().or(Some(default)))
}

/// The URL that a `Location` means: whole, of the same scheme, or a path. RFC 3986 § 5.2 without dots in relative paths.
fn resolve(base: &Uri, target: &str) -> Option<Uri> {
    let target = target.split('#').next().unwrap_or_default();
    if target.starts_with("http://") || target.starts_with("https://") {
        return target.parse().ok();
    }
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if let Some(rest) = target.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    if target.starts_with('/') {
        return format!("{scheme}://{authority}{target}").parse().ok();
    }
    if target.contains("://") {
        return None;
    }
    let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{scheme}://{authority}{folder}/{target}").parse().ok()
}

/// There is no answer.
pub(super) fn unreached(error: &Error) -> Failure {
    let name = match error {
        Error::Url(_) => "States.Runtime",
        Error::Refused { .. } => EGRESS_REFUSED,
        Error::TooLarge { .. } => "States.DataLimitExceeded",
        _ => "States.Http.Socket",
    };
    Failure::new(name, error.to_string())
}

/// The task's result, or the error that its status is.
pub(super) async fn shown(engine: &Arc<Engine>, answer: &Answer, is_kept: bool) -> Result<Value, Failure> {
    let content_type =
        answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut headers = Map::new();
    for (name, value) in &answer.headers {
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(String::from_utf8_lossy(value.as_bytes()).into());
        }
    }
    let is_json = content_type.split(';').next().is_some_and(|kind| {
        let kind = kind.trim();
        kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json")
    });
    let text = || String::from_utf8_lossy(&answer.body).into_owned();
    let is_success = answer.status.is_success();
    let body = if is_kept && is_success {
        let (own, contents, content_type) =
            (Arc::clone(engine), answer.body.clone(), content_type.to_owned());
        let kept = engine.aside(move || blob::put(&*own.store, &contents, &content_type)).await;
        let kept = kept.map_err(|_| Failure::new("States.TaskFailed", "the server is ending"))?;
        kept.map_err(blob::failed)?.reference()
    } else if is_json {
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| text().into())
    } else {
        text().into()
    };
    let status = answer.status.as_u16();
    let reason = answer.status.canonical_reason().unwrap_or_default();
    if is_success {
        return Ok(
            json!({ "Headers": headers, "ResponseBody": body, "StatusCode": status, "StatusText": reason }),
        );
    }
    let cause =
        json!({ "StatusCode": status, "StatusText": reason, "ResponseBody": body, "Headers": headers });
    let cause: String = cause.to_string().chars().take(CAUSE_CHARS_MAX).collect();
    Err(Failure::new(format!("States.Http.StatusCode.{status}"), cause))
}

async fn kept(engine: &Arc<Engine>, reference: &Value) -> Result<Vec<u8>, Failure> {
    let (own, reference) = (Arc::clone(engine), reference.clone());
    let found = engine.aside(move || {
        let hash = blob::hash_of(&reference).map_err(blob::failed)?;
        blob::get(&*own.store, hash).map(|(_, contents)| contents).map_err(blob::failed)
    });
    found.await.unwrap_or_else(|_| Err(Failure::new("States.TaskFailed", "the server is ending")))
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

pub(super) fn encoded_form(pairs: Vec<(&str, &str)>) -> String {
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.join("&")
}

pub(super) fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::try_from(text).map_err(|_| unfit("a header cannot hold it"))
}

/// A header whose value no log shows.
fn secret(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = header(text)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_mean_what_they_say() {
        let base: Uri = "https://a.example:8443/x/y?q".parse().unwrap();
        for (target, expected) in [
            ("https://b.example/z", Some("https://b.example/z")),
            ("//b.example/z", Some("https://b.example/z")),
            ("/z?w#f", Some("https://a.example:8443/z?w")),
            ("z", Some("https://a.example:8443/x/z")),
            ("file:///etc/passwd", None),
            ("gopher://b.example/", None),
        ] {
            assert_eq!(resolve(&base, target).map(|url| url.to_string()).as_deref(), expected, "{target}");
        }
    }
}
