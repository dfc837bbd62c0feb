//! The control plane as the store of what an authority issues: the edges of several machines share it so.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use selvedge_acme::{Asked, Change, Documents, Kept, Seen, Unavailable};
use selvedge_client::{Client, Endpoint};
use serde_json::{Value, json};
use std::time::Duration;

/// Where the control plane has it.
const PATH: &str = "/selvedge/v1/acme";
/// How long the control plane may take to accept a connection, and to answer.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

/// Documents at the control plane.
#[derive(Debug)]
pub(super) struct Remote(Client);

impl Remote {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self(Client::new(endpoint.clone()).with_timeouts(PATIENCE.0, PATIENCE.1))
    }

    async fn ask(&self, question: Value) -> Result<Value, Unavailable> {
        self.0.post(PATH, &question).await.map_err(|error| Unavailable(said(&error)))
    }
}

/// The chain of reasons.
fn said(error: &selvedge_client::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Documents for Remote {
    fn get(&self, key: &str) -> Asked<'_, Option<Kept>> {
        let question = json!({ "get": key });
        Box::pin(async move {
            let answer = self.ask(question).await?;
            let Some(value) = answer.get("value").and_then(Value::as_str) else { return Ok(None) };
            let value = BASE64_STANDARD.decode(value);
            let value = value.map_err(|_| Unavailable("an answer cannot be read".into()))?;
            let revision = answer.get("revision").and_then(Value::as_u64).unwrap_or_default();
            Ok(Some(Kept { value: value.into(), revision }))
        })
    }

    fn commit(&self, seen: Option<Seen>, changes: Vec<Change>) -> Asked<'_, Option<u64>> {
        let seen = seen.map(|seen| json!({ "key": seen.key, "revision": seen.revision }));
        let changes = changes.into_iter().map(|change| {
            json!({ "key": change.key, "value": change.value.map(|value| BASE64_STANDARD.encode(value)) })
        });
        let question = json!({ "commit": changes.collect::<Value>(), "seen": seen });
        Box::pin(async move { Ok(self.ask(question).await?.get("revision").and_then(Value::as_u64)) })
    }
}
