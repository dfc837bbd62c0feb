//! `POST /selvedge/v1/acme`: what edges keep of certificates that an authority outside issues to them – the account, certificates
//! with their keys, what answers a challenge, who is at work – so that the edges of several machines are one to the authority.
//!
//! ```text
//! {"get": "acme/certificate/…"}                                               → {"value": "base64", "revision": 7}, or {}
//! {"commit": [{"key": "acme/…", "value": "base64" or null}, …],
//!  "seen": {"key": "acme/lease/…", "revision": 7} or null}                    → {"revision": 8}, or {} when it was not as it was seen
//! ```
//! It is kept sealed, and there for [`Channel::Private`] connections alone.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use selvedge_model::{Value, json as parser};
use selvedge_store::{Error as StoreError, Store, Transaction, Vault, WriteError};
use serde_json::json;

use super::count;
use crate::api::{Channel, Extension, json as answer};

/// Documents that are kept of edges' certificates.
pub const ACME_DOCUMENTS_MAX: usize = 20_000;
/// Bytes of one.
pub const ACME_VALUE_BYTES_MAX: usize = 128 * 1024;
/// Changes of one call.
pub const ACME_CHANGES_MAX: usize = 256;
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 512;
/// What an edge calls its documents begins with this.
const PREFIX: &str = "acme/";
/// How many there are.
const COUNT: &str = "edge/acme-count";

/// The route.
pub struct AcmeRoute {
    store: Arc<dyn Store>,
    vault: Vault,
}

/// Why nothing was done.
enum Refusal {
    /// The caller's fault.
    Invalid(String),
    /// The connection is open to others.
    Open,
    Full,
    Store(StoreError),
}

impl AcmeRoute {
    /// Over `store`; what is kept there, `vault` seals.
    pub fn new(store: Arc<dyn Store>, vault: Vault) -> Self {
        Self { store, vault }
    }

    fn perform(&self, request: &Request<Bytes>) -> Result<Value, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::Invalid("this is asked with POST".into()));
        }
        if request.extensions().get::<Channel>().copied().unwrap_or_default() != Channel::Private {
            return Err(Refusal::Open);
        }
        let question =
            parser::parse(request.body()).map_err(|error| Refusal::Invalid(format!("the body: {error}")))?;
        match (question.get("get"), question.get("commit")) {
            (Some(key), None) => self.get(key_of(key)?),
            (None, Some(Value::Array(changes))) => self.commit(changes, question.get("seen")),
            _ => Err(Refusal::Invalid("the body has either get, a key, or commit, a list of changes".into())),
        }
    }

    fn get(&self, key: &str) -> Result<Value, Refusal> {
        let stored = stored(key);
        let Some(found) = self.store.snapshot()?.get(&stored)? else { return Ok(json!({})) };
        let sealed = std::str::from_utf8(&found.value).map_err(|_| damaged(&stored, &"it is no text"))?;
        let value = self.vault.open(&stored, sealed).map_err(|error| damaged(&stored, &error))?;
        Ok(json!({ "value": BASE64_STANDARD.encode(value), "revision": found.modified.number() }))
    }

    fn commit(&self, changes: &[Value], seen: Option<&Value>) -> Result<Value, Refusal> {
        if changes.len() > ACME_CHANGES_MAX {
            return Err(Refusal::Invalid(format!("commit has more than {ACME_CHANGES_MAX} changes")));
        }
        let changes = changes.iter().map(|change| self.change(change)).collect::<Result<Vec<_>, _>>()?;
        let seen = match seen {
            None | Some(Value::Null) => None,
            Some(seen) => {
                let key = key_of(seen.get("key").unwrap_or(&Value::Null))?;
                let revision = seen.get("revision").and_then(Value::as_u64);
                Some((key, revision.ok_or_else(|| Refusal::Invalid("seen: revision is a number".into()))?))
            }
        };
        let written = self.store.write(|tx| {
            if let Some((key, revision)) = seen {
                let stands = tx.get(&stored(key))?.map_or(0, |found| found.modified.number());
                if stands != revision {
                    return Err(WriteError::Refused(None));
                }
            }
            apply(tx, &changes)
        });
        match written {
            Ok(((), revision)) => Ok(json!({ "revision": revision.number() })),
            Err(WriteError::Refused(None)) => Ok(json!({})),
            Err(WriteError::Refused(Some(refusal))) => Err(refusal),
            Err(WriteError::Store(error)) => Err(error.into()),
        }
    }

    /// A change: where it is kept, and what, sealed.
    fn change(&self, change: &Value) -> Result<(String, Option<String>), Refusal> {
        let key = stored(key_of(change.get("key").unwrap_or(&Value::Null))?);
        let value = match change.get("value") {
            None | Some(Value::Null) => return Ok((key, None)),
            Some(value) => value.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok()),
        };
        let value = value.map(zeroize::Zeroizing::new);
        let value = value.ok_or_else(|| Refusal::Invalid("value is base64 or null".into()))?;
        if value.len() > ACME_VALUE_BYTES_MAX {
            return Err(Refusal::Invalid(format!("value has more than {ACME_VALUE_BYTES_MAX} bytes")));
        }
        let sealed = self.vault.seal(&key, &value).map_err(|error| damaged(&key, &error))?;
        Ok((key, Some(sealed)))
    }
}

impl Extension for AcmeRoute {
    fn path(&self) -> &str {
        "acme"
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let refused = |status, code: &str, message: String| {
            answer(status, &json!({ "code": code, "message": message }))
        };
        match self.perform(request) {
            Ok(document) => answer(StatusCode::OK, &document),
            Err(Refusal::Invalid(message)) => refused(StatusCode::BAD_REQUEST, "BadRequestException", message),
            Err(Refusal::Open) => refused(
                StatusCode::FORBIDDEN,
                "ForbiddenException",
                "edges keep private keys here: over loopback, a socket in the file system, or TLS on a port that asks clients for \
                 a certificate (--tls-client-ca), and over nothing else"
                    .into(),
            ),
            Err(Refusal::Full) => refused(
                StatusCode::BAD_REQUEST,
                "LimitExceededException",
                format!("{ACME_DOCUMENTS_MAX} documents of edges' certificates are kept"),
            ),
            Err(Refusal::Store(error)) => {
                tracing::error!(%error, "the store failed");
                refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", error.to_string())
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Where a document is kept.
fn stored(key: &str) -> String {
    format!("edge/{key}")
}

fn key_of(value: &Value) -> Result<&str, Refusal> {
    let is_key = |key: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        key.starts_with(PREFIX) && key.len() <= KEY_BYTES_MAX && key.bytes().all(fits)
    };
    let key = value.as_str().filter(is_key);
    key.ok_or_else(|| {
        Refusal::Invalid(format!("a key begins with {PREFIX}, and has letters, digits and -_./"))
    })
}

fn damaged(key: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::Store(StoreError::Corrupt(format!("{key}: {error}")))
}

fn apply(
    tx: &mut dyn Transaction,
    changes: &[(String, Option<String>)],
) -> Result<(), WriteError<Option<Refusal>>> {
    let mut more = 0;
    for (key, value) in changes {
        match value {
            Some(value) => {
                more += i64::from(tx.get(key)?.is_none());
                tx.put(key, value.clone().into())?;
            }
            None => more -= i64::from(tx.delete(key)?),
        }
    }
    let kept = count(tx, COUNT, more)?;
    if more > 0 && kept > ACME_DOCUMENTS_MAX {
        return Err(WriteError::Refused(Some(Refusal::Full)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use selvedge_store::SECRETS_KEY_BYTES;
    use selvedge_store::memory::Memory;

    use super::*;

    fn route() -> (Arc<dyn Store>, AcmeRoute) {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let vault = Vault::new(&[7; SECRETS_KEY_BYTES]).expect("a key");
        (Arc::clone(&store), AcmeRoute::new(store, vault))
    }

    fn ask_by(route: &AcmeRoute, channel: Channel, body: &Value) -> (u16, Value) {
        let mut request =
            Request::post("/selvedge/v1/acme").body(body.to_string().into()).expect("a request");
        request.extensions_mut().insert(channel);
        let answer = route.handle(&request);
        (answer.status().as_u16(), parser::parse(answer.body()).expect("JSON"))
    }

    fn ask(route: &AcmeRoute, body: Value) -> (u16, Value) {
        ask_by(route, Channel::Private, &body)
    }

    fn put(key: &str, text: &str, seen: &Value) -> Value {
        json!({ "commit": [{ "key": key, "value": BASE64_STANDARD.encode(text) }], "seen": seen })
    }

    #[test]
    fn replicas_agree_by_what_they_have_seen() {
        let (store, route) = route();
        let seen = |revision: u64| json!({ "key": "acme/lease/c", "revision": revision });
        let (status, first) = ask(&route, put("acme/lease/c", "one", &seen(0)));
        assert_eq!(status, 200, "{first}");
        let revision = first["revision"].as_u64().expect("written");
        assert_eq!(ask(&route, put("acme/lease/c", "two", &seen(0))), (200, json!({})), "another was faster");
        let (_, found) = ask(&route, json!({ "get": "acme/lease/c" }));
        assert_eq!(found, json!({ "value": BASE64_STANDARD.encode("one"), "revision": revision }));
        let stored =
            store.snapshot().and_then(|view| view.get("edge/acme/lease/c")).expect("the store is there");
        let stored = stored.expect("kept").value;
        assert!(stored.starts_with(b"v1."), "sealed");
        let gone = json!({ "commit": [{ "key": "acme/lease/c", "value": null }], "seen": seen(revision) });
        assert_eq!(ask(&route, gone).0, 200);
        assert_eq!(ask(&route, json!({ "get": "acme/lease/c" })), (200, json!({})));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let (store, route) = route();
        let long = "x".repeat(ACME_VALUE_BYTES_MAX + 1);
        for body in [
            json!({}),
            json!({ "get": "meshes/a" }),
            json!({ "get": "acme/../a b" }),
            json!({ "get": "acme/a", "commit": [] }),
            json!({ "commit": {} }),
            json!({ "commit": [{ "key": "acme/a", "value": "not base64!" }] }),
            put("acme/a", "x", &json!({ "key": "acme/a" })),
            put("acme/a", &long, &Value::Null),
            json!({ "commit": vec![json!({ "key": "acme/a", "value": null }); ACME_CHANGES_MAX + 1] }),
        ] {
            let (status, said) = ask(&route, body.clone());
            assert_eq!(status, 400, "{said}");
        }
        assert_eq!(ask_by(&route, Channel::Open, &json!({ "get": "acme/a" })).0, 403, "others could read it");
        assert_eq!(store.revision().map(|revision| revision.number()), Ok(0));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let (store, route) = route();
        let full = store.write(|tx| {
            count(tx, COUNT, i64::try_from(ACME_DOCUMENTS_MAX).unwrap_or(i64::MAX) - 1)
                .map_err(WriteError::<()>::from)
        });
        assert!(full.is_ok());
        assert_eq!(ask(&route, put("acme/a", "x", &Value::Null)).0, 200);
        assert_eq!(ask(&route, put("acme/b", "x", &Value::Null)).1["code"], "LimitExceededException");
        assert_eq!(ask(&route, put("acme/a", "y", &Value::Null)).0, 200, "what is there can change");
        assert_eq!(ask(&route, json!({ "commit": [{ "key": "acme/a", "value": null }] })).0, 200);
        assert_eq!(ask(&route, put("acme/b", "x", &Value::Null)).0, 200);
    }
}
