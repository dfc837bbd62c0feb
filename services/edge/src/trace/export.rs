//! Spans on their way to a collector: OTLP by HTTP, as JSON (OpenTelemetry Protocol 1.3, §OTLP/HTTP).

use std::sync::Arc;
use std::time::Duration;

use selvedge_guard::call::Call;
use selvedge_guard::reach::Reach;
use selvedge_outbound::{Fetcher, Roots, RootsInvalid};
use selvedge_site::directive::guard::Traces;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Span;
use crate::worker::Shared;

/// Spans that wait to be sent.
pub(crate) const SPANS_MAX: usize = 4096;
/// Spans of one call.
pub(crate) const BATCH_MAX: usize = 512;
/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a call to the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of the queue that requests see.
#[derive(Debug)]
pub(crate) struct Spans(mpsc::Sender<Option<Span>>);

impl Spans {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Option<Span>>) {
        let (sender, receiver) = mpsc::channel(SPANS_MAX);
        (Self(sender), receiver)
    }

    /// Never waits; whether there was room.
    pub(super) fn add(&self, span: Span) -> bool {
        match self.0.try_send(Some(span)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }

    /// Nothing more is added: what waits is sent, as far as the collector takes it soon.
    pub(crate) async fn end(&self, exporting: tokio::task::JoinHandle<()>) {
        let ending = async {
            let _ = self.0.send(None).await;
            let _ = exporting.await;
        };
        let _ = tokio::time::timeout(PATIENCE, ending).await;
    }
}

/// Sends what comes, until it is told that no more does.
pub(crate) async fn export(shared: Arc<Shared>, mut spans: mpsc::Receiver<Option<Span>>) {
    let mut batch = Vec::new();
    let mut collector: Option<(Arc<Traces>, Fetcher)> = None;
    let mut ended = false;
    while !ended && let Some(Some(first)) = spans.recv().await {
        batch.push(first);
        let until = tokio::time::Instant::now() + GATHER;
        while batch.len() < BATCH_MAX
            && let Ok(Some(next)) = tokio::time::timeout_at(until, spans.recv()).await
        {
            let Some(next) = next else {
                ended = true;
                break;
            };
            batch.push(next);
        }
        let site = shared.site.load_full();
        let Some(traces) = site.program.base().directives.mesh.traces.clone() else {
            batch.clear();
            continue;
        };
        let known = collector.take().filter(|(known, _)| known.collector == traces.collector);
        let fetcher = match known {
            Some((_, fetcher)) => Ok(fetcher),
            None => fetcher(&traces.collector),
        };
        let outcome = match fetcher {
            Ok(fetcher) => {
                let fetcher = fetcher.with_timeout(PATIENCE);
                let answered = fetcher.fetch(&call(&traces, &batch)).await.map_err(|error| error.to_string());
                collector = Some((traces, fetcher));
                answered.and_then(|answer| match answer.status {
                    200..=299 => Ok(()),
                    status => Err(format!("it answers {status}")),
                })
            }
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(()) => shared.stats.spans_sent.add(batch.len() as u64),
            Err(error) => {
                shared.stats.spans_dropped.add(batch.len() as u64);
                tracing::warn!(error, spans = batch.len(), "the collector of traces does not take them");
            }
        }
        batch.clear();
    }
}

fn fetcher(url: &str) -> Result<Fetcher, RootsInvalid> {
    let roots = if url.starts_with("https:") { Roots::System } else { Roots::Nobody };
    Fetcher::new(Reach::of_operator([url]), &roots)
}

fn call(traces: &Traces, batch: &[Span]) -> Call {
    Call {
        method: "POST",
        url: traces.collector.to_string(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: payload(&traces.name, batch).to_string().into_bytes(),
    }
}

fn payload(name: &str, batch: &[Span]) -> Value {
    let spans: Vec<Value> = batch.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", name)] },
        "scopeSpans": [{
            "scope": { "name": "selvedge.edge", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn span(span: &Span) -> Value {
    let own = &span.trace.own;
    let mut attributes: Vec<Value> = span.attributes.iter().map(|(key, value)| text(key, value)).collect();
    attributes.push(
        json!({ "key": "http.response.status_code", "value": { "intValue": span.status.to_string() } }),
    );
    let mut out = json!({
        "traceId": format!("{:032x}", own.trace),
        "spanId": format!("{:016x}", own.span),
        "name": span.name,
        // A server's.
        "kind": 2,
        // Numbers of 64 bits are texts in protobuf's JSON.
        "startTimeUnixNano": span.began.as_nanos().to_string(),
        "endTimeUnixNano": (span.began + span.took).as_nanos().to_string(),
        "attributes": attributes,
        // An error is ours, not the client's.
        "status": if span.status >= 500 { json!({ "code": 2 }) } else { json!({}) },
    });
    if let Some(parent) = span.trace.parent {
        out["parentSpanId"] = format!("{parent:016x}").into();
    }
    out
}
