//! Tracing of requests: who is traced, under which ids, and the span that comes of it.
//!
//! A worker decides, and for a sampled request hands one finished span to a bounded queue; ids, headers and clocks are
//! all that the others cost. Encoding and sending are the control thread's, in [`export`].

mod export;
mod open;
mod request;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_telemetry::{Counter, Registry, ServerStats};
use selvedge_traffic::Tracing;
use selvedge_traffic::matching::RequestView;
use selvedge_traffic::tracing::{B3Form, Parent, Propagation, SamplingRules, Span, TraceContext};
use selvedge_upstream::random;
use tokio::sync::mpsc;

pub use export::Collector;
pub use open::{Tracers, TracingDefault};
pub(crate) use request::{ActiveTrace, TryEnd};

/// Finished spans that wait for the exporter; what comes while it is full is dropped and counted.
pub const QUEUE_MAX: usize = 2048;

/// What a connection manager needs to trace.
#[derive(Debug)]
pub(crate) struct ManagerTracing {
    pub(crate) config: Tracing,
    /// Custom tags whose value does not depend on the request.
    pub(crate) fixed_tags: Vec<(String, String)>,
    /// Custom tags from request headers: name, header, default.
    pub(crate) header_tags: Vec<(String, String, String)>,
    /// `None` where no collector is configured: the decision is made and passed on, nothing is recorded.
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// Begins and ends spans for one collector.
#[derive(Debug)]
pub(crate) struct Tracer {
    pub(crate) kind: Kind,
    propagation: Vec<Propagation>,
    pub(crate) node_id: String,
    queue: mpsc::Sender<Span>,
    registry: Registry,
}

/// What differs from collector to collector.
#[derive(Debug)]
pub(crate) enum Kind {
    OpenTelemetry,
    Zipkin { wide: bool, shared: bool },
    XRay { rules: SamplingRules },
    Datadog,
}

impl Kind {
    fn sent<'a>(&self, stats: &'a ServerStats) -> &'a Counter {
        match self {
            Self::OpenTelemetry => &stats.tracing_opentelemetry_spans_sent,
            Self::Zipkin { .. } => &stats.tracing_zipkin_spans_sent,
            Self::XRay { .. } => &stats.tracing_xray_spans_sent,
            Self::Datadog => &stats.tracing_datadog_spans_sent,
        }
    }

    fn dropped<'a>(&self, stats: &'a ServerStats) -> &'a Counter {
        match self {
            Self::OpenTelemetry => &stats.tracing_opentelemetry_spans_dropped,
            Self::Zipkin { .. } => &stats.tracing_zipkin_spans_dropped,
            Self::XRay { .. } => &stats.tracing_xray_spans_dropped,
            Self::Datadog => &stats.tracing_datadog_spans_dropped,
        }
    }
}

/// A span that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) context: TraceContext,
    pub(crate) remote_parent: bool,
    pub(crate) shared: bool,
}

impl Tracer {
    /// What the hop before says, in the first of the tracer's forms that is there.
    pub(crate) fn extract<'a>(&self, header: impl Fn(&str) -> Option<&'a str> + Copy) -> Option<Parent> {
        self.propagation.iter().find_map(|propagation| propagation.extract(header))
    }

    /// Begins the span of a request that arrived at `now`. `traced` is the connection manager's decision; how far it
    /// counts is the collector's affair, as measured on Envoy 1.40.
    pub(crate) fn begin(
        &self,
        parent: Option<&Parent>,
        traced: bool,
        inbound: bool,
        request: &impl RequestView,
        now: SystemTime,
    ) -> Begun {
        let fresh = nonzero();
        let epoch = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() as u32;
        let inherited = parent.and_then(|parent| parent.sampled);
        let sampled = match &self.kind {
            Kind::OpenTelemetry => traced && inherited.unwrap_or(true),
            Kind::Zipkin { .. } | Kind::Datadog => inherited.unwrap_or(traced),
            Kind::XRay { rules } => {
                inherited.unwrap_or_else(|| rules.samples(request, epoch, random::next()))
            }
        };
        if let (Kind::Zipkin { shared: true, .. }, Some(parent)) = (&self.kind, parent)
            && inbound
        {
            let Parent { trace_id, span_id, parent_id, form, .. } = *parent;
            let context = TraceContext { trace_id, span_id, parent_id, sampled, form };
            return Begun { context, remote_parent: true, shared: true };
        }
        let trace_id = parent.map_or_else(|| self.trace_id(fresh, epoch), |parent| parent.trace_id);
        let context = TraceContext {
            trace_id,
            span_id: fresh,
            parent_id: parent.map_or(0, |parent| parent.span_id),
            sampled,
            form: parent.map_or(B3Form::Multi, |parent| parent.form),
        };
        let shared = inbound && matches!(self.kind, Kind::Zipkin { shared: true, .. });
        Begun { context, remote_parent: parent.is_some(), shared }
    }

    /// Writes the headers for the next hop.
    pub(crate) fn inject(&self, context: &TraceContext, mut set: impl FnMut(&'static str, Option<&str>)) {
        self.propagation.iter().for_each(|propagation| propagation.inject(context, &mut set));
    }

    /// Hands a finished span over. Never waits.
    pub(crate) fn finish(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.kind.dropped(self.registry.server()).inc();
        }
    }

    /// The id of a trace that begins here, with the first span's id in it where that is the custom.
    fn trace_id(&self, span_id: u64, epoch: u32) -> u128 {
        let wide = || u128::from(random::next()) << 64 | u128::from(random::next());
        match self.kind {
            Kind::OpenTelemetry => wide().max(1),
            Kind::Zipkin { wide: false, .. } => u128::from(span_id),
            Kind::Zipkin { wide: true, .. } => u128::from(nonzero()) << 64 | u128::from(span_id),
            Kind::XRay { .. } => u128::from(epoch) << 96 | wide() >> 32,
            Kind::Datadog => u128::from(epoch) << 96 | u128::from(span_id),
        }
    }
}

fn nonzero() -> u64 {
    random::next().max(1)
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::matching::PlainRequest;

    use super::*;

    fn tracer(kind: Kind, propagation: Propagation, room: usize) -> (Tracer, mpsc::Receiver<Span>) {
        let (queue, spans) = mpsc::channel(room);
        let registry = Registry::new(1);
        (Tracer { kind, propagation: vec![propagation], node_id: "n".to_owned(), queue, registry }, spans)
    }

    fn begin(tracer: &Tracer, header: Option<(&str, &'static str)>, traced: bool, inbound: bool) -> Begun {
        let request = PlainRequest::new("GET", "a", "/");
        let parent =
            tracer.extract(|name| header.filter(|(known, _)| *known == name).map(|(_, value)| value));
        let now = UNIX_EPOCH + Duration::from_secs(0x5759_e988);
        tracer.begin(parent.as_ref(), traced, inbound, &request, now)
    }

    const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const B3: &str = "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1-0020000000000001";

    #[test]
    fn each_collector_heeds_the_parent_and_the_decision_in_its_own_way() {
        let (otel, _spans) = tracer(Kind::OpenTelemetry, Propagation::TraceContext, 1);
        let begun = begin(&otel, Some(("traceparent", W3C)), true, true);
        assert_eq!(begun.context.parent_id, 0xb7ad_6b71_6920_3331);
        assert!(begun.context.sampled && begun.remote_parent && !begun.shared);
        assert!(!begin(&otel, Some(("traceparent", W3C)), false, true).context.sampled);
        assert!(begin(&otel, None, true, true).context.sampled);

        let (zipkin, _spans) = tracer(Kind::Zipkin { wide: false, shared: true }, Propagation::B3, 1);
        let begun = begin(&zipkin, Some(("b3", B3)), false, true);
        assert_eq!(
            (begun.context.span_id, begun.shared),
            (0xa2fb_4a1d_1a96_d312, true),
            "shared with the client"
        );
        assert!(begun.context.sampled, "what the client sampled stays sampled");
        let begun = begin(&zipkin, Some(("b3", B3)), true, false);
        assert_eq!(begun.context.parent_id, 0xa2fb_4a1d_1a96_d312, "outbound spans are children");
        let begun = begin(&zipkin, None, true, true);
        assert_eq!(begun.context.trace_id, u128::from(begun.context.span_id));

        let rules = SamplingRules::with_rate(0.0);
        let (xray, _spans) = tracer(Kind::XRay { rules }, Propagation::XRay, 1);
        let begun = begin(&xray, None, false, true);
        assert!(begun.context.sampled, "the first request of a second, whatever the decision");
        assert_eq!((begun.context.trace_id >> 96) as u32, 0x5759_e988);
        assert!(!begin(&xray, None, true, true).context.sampled, "the second is not");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (tracer, mut spans) = tracer(Kind::OpenTelemetry, Propagation::TraceContext, 1);
        let span = Span {
            trace_id: 1,
            span_id: 1,
            parent_id: 0,
            remote_parent: false,
            shared: false,
            upstream: false,
            kind: selvedge_traffic::tracing::SpanKind::Server,
            name: String::new(),
            host: String::new(),
            start: 0,
            end: 0,
            tags: Vec::new(),
            error: false,
            trace_state: String::new(),
        };
        tracer.finish(span.clone());
        tracer.finish(span);
        assert!(spans.try_recv().is_ok() && spans.try_recv().is_err());
        assert_eq!(tracer.registry.server().tracing_opentelemetry_spans_dropped.value(), 1);
    }
}
