//! Client tokens: the same request sent twice happens once.
//!
//! ```text
//! appmesh-token/OPERATION/TOKEN        digest of the request, and its output
//! appmesh-token-age/MILLIS/OPERATION/TOKEN
//! ```
//!
//! A token is remembered per operation. Sent again with the same members, it gives the same output; with others, a conflict. A token
//! whose resource has meanwhile been deleted or made anew is forgotten, because its output would be a lie.

use bytes::Bytes;
use selvedge_aws::Call;
use selvedge_aws::operations::appmesh::{BAD_REQUEST, CONFLICT};
use selvedge_model::{Timestamp, Value, json};
use selvedge_store::{Read, Transaction};
use sha2::{Digest, Sha256};

use super::document;
use super::failure::Failure;

/// How long a token is remembered, at least. App Mesh never said how long it did.
pub const RETENTION_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// Expired tokens that one write clears away. More than one, so that their number shrinks.
const SWEPT_PER_WRITE: usize = 4;
/// Characters of a token; a UUID has 36.
const TOKEN_CHARS_MAX: usize = 64;

const TOKENS: &str = "appmesh-token/";
const AGES: &str = "appmesh-token-age/";

/// A token that came with a call.
pub(super) struct Token {
    /// `OPERATION/TOKEN`.
    id: String,
    /// Of all members but the token.
    digest: String,
}

impl Token {
    /// The token of a call; `None` when it has none.
    pub(super) fn of(call: &Call) -> Result<Option<Self>, Failure> {
        let member = call.operation.idempotency_token;
        let Some(text) = member.and_then(|member| call.text(member)) else { return Ok(None) };
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if text.is_empty() || text.len() > TOKEN_CHARS_MAX || !text.chars().all(is_fine) {
            let message = format!(
                "clientToken: must have 1 to {TOKEN_CHARS_MAX} letters, digits, hyphens and underscores"
            );
            return Err(BAD_REQUEST.because(message).into());
        }
        let mut members = call.input.clone();
        members.retain(|name, _| Some(name.as_str()) != member);
        members.sort_keys();
        let digest = Sha256::digest(Value::Object(members).to_string());
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(Self { id: format!("{}/{text}", call.operation.name), digest }))
    }

    /// What the same request gave before; `None` when it is the first.
    pub(super) fn recall(&self, view: &dyn Read, now: Timestamp) -> Result<Option<Value>, Failure> {
        let Some(document) = view.get(&format!("{TOKENS}{}", self.id))? else { return Ok(None) };
        // What cannot be read is a token that is not remembered.
        let Ok(remembered) = json::parse(&document.value) else { return Ok(None) };
        let at = remembered.get("at").and_then(Value::as_u64).unwrap_or_default();
        if at.saturating_add(RETENTION_MILLIS) < now.0 || !is_still_there(view, &remembered)? {
            return Ok(None);
        }
        if remembered.get("digest").and_then(Value::as_str) != Some(&self.digest) {
            let message = "The client token was used for an earlier request with different specifications";
            return Err(CONFLICT.because(message).into());
        }
        Ok(remembered.get("output").cloned())
    }

    /// Remembers what the request gave, and forgets a few that are old.
    pub(super) fn remember(
        &self,
        tx: &mut dyn Transaction,
        now: Timestamp,
        output: &Value,
    ) -> Result<(), Failure> {
        let horizon = age_key(now.0.saturating_sub(RETENTION_MILLIS), "");
        for old in tx.scan(AGES, None, SWEPT_PER_WRITE)?.into_iter().filter(|old| old.key < horizon) {
            forget(tx, &old.key)?;
        }
        let at = format!("{TOKENS}{}", self.id);
        let remembered = serde_json::json!({ "at": now.0, "digest": self.digest, "output": output });
        tx.put(&at, Bytes::from(remembered.to_string()))?;
        tx.put(&age_key(now.0, &self.id), Bytes::new())?;
        Ok(())
    }
}

/// Whether the resource of a remembered output is the one that stands there still.
fn is_still_there(view: &dyn Read, remembered: &Value) -> Result<bool, Failure> {
    let metadata = remembered.get("output").and_then(|output| output.get("metadata"));
    let text = |name: &str| metadata.and_then(|metadata| metadata.get(name)).and_then(Value::as_str);
    let (Some(arn), Some(uid)) = (text("arn"), text("uid")) else { return Ok(false) };
    let Ok(arn) = arn.parse::<selvedge_model::Arn>() else { return Ok(false) };
    let Some(document) = view.get(&document::key_of(&arn.key))? else { return Ok(false) };
    let stored = json::parse(&document.value).ok();
    let stored_uid =
        stored.as_ref().and_then(|stored| stored.pointer("/metadata/uid")).and_then(Value::as_str);
    Ok(stored_uid == Some(uid))
}

/// Removes an age and its token, unless the token has been used again since.
fn forget(tx: &mut dyn Transaction, age: &str) -> Result<(), Failure> {
    tx.delete(age)?;
    let Some((millis, id)) = age[AGES.len()..].split_once('/') else { return Ok(()) };
    let key = format!("{TOKENS}{id}");
    let Some(document) = tx.get(&key)? else { return Ok(()) };
    let at = json::parse(&document.value).ok().and_then(|value| value.get("at").and_then(Value::as_u64));
    if at.is_none_or(|at| Some(at) == millis.parse().ok()) {
        tx.delete(&key)?;
    }
    Ok(())
}

/// Twenty digits, so that keys sort by age.
fn age_key(millis: u64, id: &str) -> String {
    format!("{AGES}{millis:020}/{id}")
}
