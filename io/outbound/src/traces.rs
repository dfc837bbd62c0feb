//! Spans on their way to a collector: OTLP by HTTP, as JSON (OpenTelemetry Protocol 1.3, §OTLP/HTTP).
//!
//! Whoever records never waits: spans go into a bounded queue, and those that find it full are dropped. They leave in batches, by
//! [`export`], of which each role runs one.

use std::borrow::Cow;
use std::time::Duration;

use selvedge_guard::call::Call;
use selvedge_guard::reach::Reach;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use crate::{Fetcher, Roots, RootsInvalid};

/// Spans that wait to be sent.
pub const SPANS_MAX: usize = 4096;
/// Spans of one call.
pub const BATCH_MAX: usize = 512;
/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a call to the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where spans go, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The whole URL, such as `http://127.0.0.1:4318/v1/traces`.
    pub url: String,
    /// `service.name`.
    pub service: String,
    /// Which part of us records: `selvedge.edge`.
    pub scope: &'static str,
}

/// What somebody did, from when to when.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: u128,
    pub id: u64,
    /// The span that caused it.
    pub parent: Option<u64>,
    pub kind: Kind,
    pub name: String,
    /// Since 1970.
    pub began: Duration,
    pub took: Duration,
    pub attributes: Vec<(&'static str, Attribute)>,
    /// It failed; the text, which may be empty, says of what.
    pub error: Option<Cow<'static, str>>,
}

/// What a span is to whoever is at its other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// What is told of a span besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Text(String),
    Number(i64),
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The end of the queue that those who record see.
#[derive(Debug)]
pub struct Spans(mpsc::Sender<Option<Span>>);

/// Its other end, for [`export`].
#[derive(Debug)]
pub struct Waiting(mpsc::Receiver<Option<Span>>);

/// What became of a batch of so many spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent(u64),
    Dropped(u64),
}

impl Spans {
    /// An empty queue.
    pub fn new() -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel(SPANS_MAX);
        (Self(sender), Waiting(receiver))
    }

    /// Never waits; whether there was room.
    pub fn add(&self, span: Span) -> bool {
        match self.0.try_send(Some(span)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }

    /// Whether one more would be taken.
    pub fn has_room(&self) -> bool {
        self.0.capacity() > 0
    }

    /// Nothing more is added: what waits is sent, as far as the collector takes it soon.
    pub async fn end(&self, exporting: tokio::task::JoinHandle<()>) {
        let ending = async {
            let _ = self.0.send(None).await;
            let _ = exporting.await;
        };
        let _ = tokio::time::timeout(PATIENCE, ending).await;
    }
}

/// Sends what comes, until it is told that no more does. `collector` says where to, batch by batch; with `None` they are gone.
pub async fn export(
    waiting: Waiting,
    collector: impl Fn() -> Option<Collector> + Send,
    mut told: impl FnMut(Outcome) + Send,
) {
    let mut spans = waiting.0;
    let mut known: Option<(String, Fetcher)> = None;
    let mut ended = false;
    while !ended && let Some(Some(first)) = spans.recv().await {
        let mut batch = vec![first];
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX
            && let Ok(Some(next)) = tokio::time::timeout_at(until, spans.recv()).await
        {
            let Some(next) = next else {
                ended = true;
                break;
            };
            batch.push(next);
        }
        let count = batch.len() as u64;
        let Some(collector) = collector() else { continue };
        match send(&collector, &batch, &mut known).await {
            Ok(()) => told(Outcome::Sent(count)),
            Err(error) => {
                told(Outcome::Dropped(count));
                tracing::warn!(error, spans = count, "the collector of traces does not take them");
            }
        }
    }
}

async fn send(
    collector: &Collector,
    batch: &[Span],
    known: &mut Option<(String, Fetcher)>,
) -> Result<(), String> {
    let fetcher = match known.take().filter(|(url, _)| *url == collector.url) {
        Some((_, fetcher)) => fetcher,
        None => fetcher(&collector.url).map_err(|error| error.to_string())?.with_timeout(PATIENCE),
    };
    let (_, fetcher) = known.insert((collector.url.clone(), fetcher));
    let answer = fetcher.fetch(&call(collector, batch)).await.map_err(|error| error.to_string())?;
    match answer.status {
        200..=299 => Ok(()),
        status => Err(format!("it answers {status}")),
    }
}

fn fetcher(url: &str) -> Result<Fetcher, RootsInvalid> {
    let roots = if url.starts_with("https:") { Roots::System } else { Roots::Nobody };
    Fetcher::new(Reach::of_operator([url]), &roots)
}

fn call(collector: &Collector, batch: &[Span]) -> Call {
    Call {
        method: "POST",
        url: collector.url.clone(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: payload(collector, batch).to_string().into_bytes(),
    }
}

fn payload(collector: &Collector, batch: &[Span]) -> Value {
    let spans: Vec<Value> = batch.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [attribute("service.name", &collector.service.as_str().into())] },
        "scopeSpans": [{
            "scope": { "name": collector.scope, "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
}

fn attribute(key: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Text(text) => json!({ "stringValue": text }),
        // Numbers of 64 bits are texts in protobuf's JSON.
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

fn span(span: &Span) -> Value {
    let attributes: Vec<Value> = span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut out = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.began.as_nanos().to_string(),
        "endTimeUnixNano": (span.began + span.took).as_nanos().to_string(),
        "attributes": attributes,
        "status": match &span.error {
            None => json!({}),
            Some(message) if message.is_empty() => json!({ "code": 2 }),
            Some(message) => json!({ "code": 2, "message": message }),
        },
    });
    if let Some(parent) = span.parent {
        out["parentSpanId"] = format!("{parent:016x}").into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_takes_no_more_and_holds_nobody_up() {
        let one = || Span {
            trace: 1,
            id: 2,
            parent: None,
            kind: Kind::Internal,
            name: String::new(),
            began: Duration::ZERO,
            took: Duration::ZERO,
            attributes: Vec::new(),
            error: None,
        };
        let (spans, waiting) = Spans::new();
        assert!((0..SPANS_MAX).all(|_| spans.has_room() && spans.add(one())));
        assert!(!spans.has_room() && !spans.add(one()));
        drop(waiting);
        assert!(!spans.add(one()), "nobody sends them any more");
    }
}
