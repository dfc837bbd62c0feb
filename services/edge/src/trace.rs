//! Traces: each request is a span, which continues its caller's trace and is the parent of what the mesh records.
//!
//! Whether one is recorded is the edge's decision, by the configured share; only of trusted proxies the caller's word counts,
//! for strangers could have everything recorded. Spans go to a collector of OpenTelemetry's, by HTTP, as JSON: away from the
//! requests, in batches, and those that find the queue full are dropped and counted.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use selvedge_http::trace_context::TraceParent;
use selvedge_outbound::traces::{self, Attribute, Collector, Kind, Outcome, Span, Waiting};

use crate::request::Exchange;
use crate::worker::Shared;

/// The request's place in its trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    /// Our span; what those behind us get.
    pub(crate) own: TraceParent,
    /// The span that caused it.
    parent: Option<u64>,
}

impl Trace {
    /// As AWS's services name a place in a trace (`X-Amzn-Trace-Id`): the same digits, in their own order.
    pub(crate) fn header(&self) -> String {
        let TraceParent { trace, span, sampled } = self.own;
        let (epoch, rest) = (trace >> 96, trace & (u128::MAX >> 32));
        format!("Root=1-{epoch:08x}-{rest:024x};Parent={span:016x};Sampled={}", u8::from(sampled))
    }
}

/// Begins the request's span, where traces are configured, and tells everybody behind of it.
pub(crate) fn begin(x: &mut Exchange<'_>) {
    let Some(traces) = x.conf.mesh.traces.clone() else { return };
    if x.trace.is_some() {
        return;
    }
    let parent = x.head.fields.named("traceparent").and_then(TraceParent::parse);
    let believed = parent.filter(|_| x.conf.extforward.forwarder.trusts(x.peer.remote.ip()));
    let worker = x.worker;
    let sampled = match believed {
        Some(parent) => parent.sampled,
        None => worker.random() % 100 < u64::from(traces.percent),
    };
    let fresh = || (u128::from(worker.random()) << 64 | u128::from(worker.random())).max(1);
    let trace = parent.map_or_else(fresh, |parent| parent.trace);
    let own = TraceParent { trace, span: worker.random().max(1), sampled };
    if parent.is_none() {
        // It says more about a trace that is not this one.
        x.head.fields.remove_named("tracestate");
    }
    x.head.fields.set("traceparent", own.text().as_bytes());
    x.trace = Some(Trace { own, parent: parent.map(|parent| parent.span) });
}

/// Ends it.
pub(crate) fn end(x: &Exchange<'_>, took: Duration) {
    let Some(trace) = x.trace.filter(|trace| trace.own.sampled) else { return };
    let method = x.method_original.as_deref().unwrap_or_else(|| x.head.method());
    let route = x.conf.edge.route.as_deref();
    let path = x.target_original.split('?').next().unwrap_or_default();
    let mut attributes: Vec<(&'static str, Attribute)> = vec![
        ("http.request.method", method.into()),
        ("url.scheme", x.scheme().into()),
        ("url.path", path.into()),
        ("server.address", x.host().into_owned().into()),
        ("client.address", x.remote.to_string().into()),
        ("network.protocol.name", x.protocol().to_ascii_lowercase().into()),
        ("http.response.status_code", Attribute::Number(x.status.into())),
    ];
    if let Some(route) = route {
        attributes.push(("http.route", route.into()));
    }
    if let Some(service) = x.conf.mesh.service.as_deref() {
        attributes.push(("selvedge.service", service.into()));
    }
    let there_was_room = x.worker.shared.spans.add(Span {
        trace: trace.own.trace,
        id: trace.own.span,
        parent: trace.parent,
        kind: Kind::Server,
        name: route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
        began: x.begun_at.duration_since(UNIX_EPOCH).unwrap_or_default(),
        took,
        attributes,
        // An error is ours, not the client's.
        error: (x.status >= 500).then_some("".into()),
    });
    x.worker.shared.stats.spans_dropped.add(u64::from(!there_was_room));
}

/// Sends what is recorded, to wherever the configuration in force has it sent.
pub(crate) async fn export(shared: Arc<Shared>, recorded: Waiting) {
    let collector = || {
        let site = shared.site.load_full();
        let traces = site.program.base().directives.mesh.traces.clone()?;
        let (url, service) = (traces.collector.to_string(), traces.name.to_string());
        Some(Collector { url, service, scope: "selvedge.edge" })
    };
    let told = |outcome| match outcome {
        Outcome::Sent(count) => shared.stats.spans_sent.add(count),
        Outcome::Dropped(count) => shared.stats.spans_dropped.add(count),
    };
    traces::export(recorded, collector, told).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_trace_by_aws() {
        let own = TraceParent::parse(b"00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01").unwrap();
        let header = Trace { own, parent: None }.header();
        assert_eq!(header, "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
    }
}
