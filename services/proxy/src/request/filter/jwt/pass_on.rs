//! What a good token tells the upstream and other filters.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use selvedge_traffic::filter;
use serde_json::Value;

use super::{NAMESPACE, Verified};
use crate::request::exchange::Exchange;

/// Takes out of a request what only this filter may say.
pub(super) fn sanitize(x: &mut Exchange<'_>, config: &filter::Jwt) {
    let fields = &mut x.heads.request.fields;
    for provider in &config.providers {
        if !provider.forward_payload_header.is_empty() {
            fields.remove_named(&provider.forward_payload_header);
        }
        for (header, _) in &provider.claim_to_headers {
            fields.remove_named(header);
        }
    }
}

/// Hands a good token on as its provider says.
pub(super) fn pass_on(x: &mut Exchange<'_>, verified: &Verified<'_>) {
    let (provider, token) = (verified.provider, &verified.token);
    let fields = &mut x.heads.request.fields;
    if !provider.forward
        && let Some(header) = &verified.found.header
    {
        fields.remove_named(header);
    }
    if !provider.forward_payload_header.is_empty() {
        let padded;
        let payload = if provider.pad_forward_payload_header {
            padded = format!("{}{}", token.payload(), "=".repeat((4 - token.payload().len() % 4) % 4));
            padded.as_str()
        } else {
            token.payload()
        };
        fields.set(&provider.forward_payload_header, payload.as_bytes());
    }
    let mut told = false;
    for (header, claim) in &provider.claim_to_headers {
        if let Some(value) = token.claim(claim).and_then(text) {
            fields.set(header, value.as_bytes());
            told = true;
        }
    }
    if !provider.payload_in_metadata.is_empty() {
        let claims = Value::Object(token.claims.clone());
        x.metadata.set(NAMESPACE, &provider.payload_in_metadata, claims);
        told = true;
    }
    if !provider.header_in_metadata.is_empty() {
        let header = Value::Object(token.header.clone());
        x.metadata.set(NAMESPACE, &provider.header_in_metadata, header);
    }
    x.rerouted |= told && provider.clear_route_cache;
}

/// A claim as a header's value: texts, numbers and truths as they are, the rest as JSON in base64url. Control characters
/// have no place in a header.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => URL_SAFE.encode(value.to_string()),
    };
    text.bytes().all(|byte| byte >= 0x20 && byte != 0x7f || byte == b'\t').then_some(text)
}
