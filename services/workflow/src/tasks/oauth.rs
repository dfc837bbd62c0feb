//! Tokens of OAuth 2.0 client credentials: fetched once, kept until shortly before they end, one fetch at a time.
//!
//! Source: RFC 6749 § 4.4 and § 2.3.1.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use selvedge_asl::Failure;
use selvedge_outbound::{Outgoing, Trust};
use serde_json::Value;
use tokio::sync::Mutex;

use super::connection::{OAuth, Opened};
use super::http::{PATIENCE, check_secrecy, encoded, encoded_form, header};
use crate::Engine;

/// A token is fetched anew this long before it ends.
const SKEW_MS: i64 = 60_000;
/// How long a token is kept that does not say when it ends.
const LIFE_DEFAULT_MS: i64 = 5 * 60_000;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The tokens of connections, by name and revision.
#[derive(Default)]
pub(super) struct Tokens(std::sync::Mutex<HashMap<String, Arc<Mutex<Option<Kept>>>>>);

struct Kept {
    token: String,
    until_ms: i64,
}

impl Tokens {
    /// The place of a connection's token; those of its earlier revisions are let go.
    fn place(&self, connection: &Opened) -> Arc<Mutex<Option<Kept>>> {
        let name = format!("{}/", connection.name);
        let key = format!("{name}{}", connection.revision);
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.contains_key(&key) {
            places.retain(|other, _| !other.starts_with(&name));
        }
        Arc::clone(places.entry(key).or_default())
    }
}

/// The token to call with. `refused` is one that was not taken, so that another has to be fetched.
pub(super) async fn token(
    engine: &Engine,
    connection: &Opened,
    oauth: &OAuth,
    refused: Option<&str>,
) -> Result<String, Failure> {
    let place = engine.tasks.tokens.place(connection);
    // Held across the fetch: whoever comes meanwhile gets what it brings.
    let mut kept = place.lock().await;
    if let Some(found) = &*kept
        && found.until_ms > engine.now_ms()
        && refused != Some(found.token.as_str())
    {
        return Ok(found.token.clone());
    }
    *kept = None;
    let (token, life_ms) = fetch(engine, connection, oauth).await?;
    let life_ms = if life_ms > 2 * SKEW_MS { life_ms - SKEW_MS } else { life_ms / 2 };
    *kept = Some(Kept { token: token.clone(), until_ms: engine.now_ms() + life_ms });
    Ok(token)
}

fn failed(connection: &Opened, problem: &str) -> Failure {
    let cause = format!("no token for the connection {}: {problem}", connection.name);
    Failure::new("Events.ConnectionResource.InvalidConnectionState", cause)
}

async fn fetch(engine: &Engine, connection: &Opened, oauth: &OAuth) -> Result<(String, i64), Failure> {
    let mut url = oauth.endpoint.clone();
    let mut form: Vec<(&str, &str)> = oauth.extra.body_map().into_iter().collect();
    if !form.iter().any(|(name, _)| *name == "grant_type") {
        form.push(("grant_type", "client_credentials"));
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // The client proves itself in one way, not in two.
    if !form.iter().any(|(name, _)| *name == "client_id") {
        let user = format!("{}:{}", encoded(&oauth.client_id), encoded(&oauth.client_secret));
        headers.insert(AUTHORIZATION, header(&format!("Basic {}", STANDARD.encode(user)))?);
    }
    for (name, value) in &oauth.extra.headers {
        let name =
            http::HeaderName::try_from(name).map_err(|_| failed(connection, "a header has no name"))?;
        headers.insert(name, header(value)?);
    }
    let mut query: Vec<(&str, &str)> =
        oauth.extra.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = if oauth.method == "GET" {
        query.extend(form);
        String::new()
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        encoded_form(form)
    };
    if !query.is_empty() {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&encoded_form(query));
    }
    let url = url.parse().map_err(|_| failed(connection, "its AuthorizationEndpoint is no URL"))?;
    check_secrecy(engine, &url)?;
    let outgoing = Outgoing {
        method: Method::from_bytes(oauth.method.as_bytes()).unwrap_or(Method::POST),
        url,
        headers,
        body: Bytes::from(body),
        patience: PATIENCE,
        answer_bytes_max: ANSWER_BYTES_MAX,
        trust: Trust::Guarded,
        keeps: true,
    };
    let answer = engine.tasks.client.send(outgoing).await;
    let answer = answer.map_err(|error| failed(connection, &error.to_string()))?;
    if !answer.status.is_success() {
        // What the server says may repeat what it was sent.
        return Err(failed(
            connection,
            &format!("the authorisation server answered {}", answer.status.as_u16()),
        ));
    }
    let answer: Value =
        serde_json::from_slice(&answer.body).map_err(|_| failed(connection, "the answer is no JSON"))?;
    let token = answer["access_token"].as_str().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| failed(connection, "the answer holds no access_token"))?;
    let seconds = answer["expires_in"].as_f64().or_else(|| answer["expires_in"].as_str()?.parse().ok());
    let life_ms =
        seconds.filter(|seconds| (0.0..1e9).contains(seconds)).map(|seconds| (seconds * 1000.0) as i64);
    Ok((token.to_owned(), life_ms.unwrap_or(LIFE_DEFAULT_MS)))
}
