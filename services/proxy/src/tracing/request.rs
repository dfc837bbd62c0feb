//! The trace of one request.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_http::grpc;
use selvedge_http::known::HeaderId;
use selvedge_telemetry::spans::xray;
use selvedge_telemetry::{Flag, Record};
use selvedge_traffic::tracing::{Reason, Span, SpanKind, TraceContext, decide};
use selvedge_upstream::random;

use super::{Begun, Kind, ManagerTracing, Tracer};
use crate::request::{Exchange, RequestHeadView};

/// Part of a path in a tag unless configured otherwise.
const PATH_BYTES_MAX: usize = 256;

/// A span that has begun, and the tries below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveTrace {
    pub(crate) begun: Begun,
    /// The span of the try under way, if tries have their own.
    attempt: Option<Try>,
}

/// A try under way.
#[derive(Clone, Copy, Debug)]
struct Try {
    span_id: u64,
    start: SystemTime,
    /// How it ended, as far as is known.
    end: Option<TryEnd>,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TryEnd {
    /// What the host answered; 0 if nothing.
    pub(crate) status: u16,
    /// Why there was no answer.
    pub(crate) reason: Option<&'static str>,
    pub(crate) flag: Option<Flag>,
    /// It was given up by us.
    pub(crate) canceled: bool,
}

impl TryEnd {
    /// Nothing came, and nobody waits for it any more.
    pub(crate) const CANCELED: Self = Self { status: 0, reason: None, flag: None, canceled: true };
}

impl Exchange<'_> {
    /// Decides whether the request is traced, says so in its id, and tells the next hop.
    pub(crate) fn begin_trace(&mut self, tracing: &ManagerTracing) {
        self.mark_id(tracing);
        let Some(tracer) = &tracing.tracer else { return };
        let begun = {
            let fields = &self.heads.request.fields;
            let parent = tracer.extract(|name| std::str::from_utf8(fields.named(name)?).ok());
            let view = RequestHeadView(&self.heads.request);
            let serves = self.serves(tracing);
            tracer.begin(parent.as_ref(), self.traced, serves, &view, self.log.start())
        };
        self.trace = Some(ActiveTrace { begun, attempt: None });
        if !tracing.config.spawn_upstream_span {
            self.inject(tracer, &begun);
        }
    }

    /// Whether the request's span is a server's: where tries have spans of their own, those are the client's.
    fn serves(&self, tracing: &ManagerTracing) -> bool {
        self.manager.inbound || tracing.config.spawn_upstream_span
    }

    fn mark_id(&mut self, tracing: &ManagerTracing) {
        let fields = &mut self.heads.request.fields;
        let mut id: smallvec::SmallVec<[u8; 36]> =
            fields.get(HeaderId::XRequestId).unwrap_or_default().into();
        let client = fields.named("x-client-trace-id").is_some();
        let reason = decide(&tracing.config, &id, client, false, random::next);
        if Reason::of_id(&id) != reason {
            reason.mark(&mut id);
            fields.set_id(HeaderId::XRequestId, &id);
        }
        self.traced = reason.is_traced();
        let stats = &self.manager.stats;
        match reason {
            Reason::NotTraced => stats.tracing_not_traceable.inc(),
            Reason::Sampled => stats.tracing_random_sampling.inc(),
            Reason::Forced => stats.tracing_service_forced.inc(),
            Reason::Client => stats.tracing_client_enabled.inc(),
        }
    }

    fn inject(&mut self, tracer: &Tracer, begun: &Begun) {
        let fields = &mut self.heads.request.fields;
        tracer.inject(&begun.context, |name, value| match value {
            Some(value) => fields.set(name, value.as_bytes()),
            None => fields.remove_named(name),
        });
    }

    /// A try begins: where tries have spans of their own, the next hop is told of this one.
    pub(crate) fn begin_attempt_span(&mut self) {
        let Some(tracing) = &self.manager.tracing else { return };
        let (Some(tracer), Some(mut trace)) = (&tracing.tracer, self.trace) else { return };
        if !tracing.config.spawn_upstream_span {
            return;
        }
        self.end_attempt_span();
        let span_id = random::next().max(1);
        trace.attempt = Some(Try { span_id, start: SystemTime::now(), end: None });
        self.trace = Some(trace);
        let mut begun = trace.begun;
        begun.context.parent_id = begun.context.span_id;
        begun.context.span_id = span_id;
        self.inject(tracer, &begun);
    }

    /// Notes how the try under way has ended, where that will be told.
    pub(crate) fn note_try(&mut self, end: impl FnOnce(&Self) -> TryEnd) {
        if self.trace.is_some_and(|trace| trace.attempt.is_some()) {
            let end = end(self);
            if let Some(attempt) = self.trace.as_mut().and_then(|trace| trace.attempt.as_mut()) {
                attempt.end = Some(end);
            }
        }
    }

    /// Whether a span of this request will be told of.
    pub(crate) fn is_recorded(&self) -> bool {
        self.trace.is_some_and(|trace| trace.begun.context.sampled)
    }

    /// The try under way is over.
    pub(crate) fn end_attempt_span(&mut self) {
        let Some(tracing) = &self.manager.tracing else { return };
        let (Some(tracer), Some(trace)) = (&tracing.tracer, &mut self.trace) else { return };
        let Some(attempt) = trace.attempt.take() else { return };
        let context = trace.begun.context;
        if !context.sampled {
            return;
        }
        let span = self.with_facts(|record| self.attempt_span(tracing, &context, attempt, record));
        tracer.finish(span);
    }

    fn attempt_span(
        &self,
        tracing: &ManagerTracing,
        context: &TraceContext,
        attempt: Try,
        record: &Record<'_>,
    ) -> Span {
        let cluster = record.cluster.unwrap_or_default();
        let left = record.flags.contains(Flag::DownstreamConnectionTermination);
        let end = attempt.end.unwrap_or(TryEnd::CANCELED);
        let late = [
            Flag::UpstreamRequestTimeout,
            Flag::UpstreamConnectionTermination,
            Flag::UpstreamRemoteReset,
            Flag::UpstreamProtocolError,
        ];
        let late = late.into_iter().find(|flag| record.flags.contains(*flag));
        let flag = end.flag.or(late).map_or("-", Flag::short);
        // What the last try was answered stands in the response.
        let grpc = record.grpc_status.filter(|_| end.status != 0 && !end.canceled);
        let error = end.status == 0 || end.status >= 500 || grpc.is_some_and(grpc::is_fault);
        let mut tags: Vec<(Cow<'static, str>, String)> = vec![
            ("component".into(), "proxy".to_owned()),
            ("upstream_cluster".into(), cluster.to_owned()),
            ("upstream_cluster.name".into(), cluster.to_owned()),
        ];
        if let Some(host) = record.upstream_host {
            tags.push(("upstream_address".into(), host.to_string()));
            tags.push(("peer.address".into(), host.to_string()));
        }
        let is_connected = !end.flag.is_some_and(|flag| flag == Flag::UpstreamConnectionFailure);
        let protocol = record.upstream_protocol.filter(|_| is_connected);
        tags.push(("http.protocol".into(), protocol.map_or("-", |protocol| protocol.text()).to_owned()));
        tags.push(("http.status_code".into(), end.status.to_string()));
        tags.push(("response_flags".into(), flag.to_owned()));
        if error {
            tags.push(("error".into(), "true".to_owned()));
        }
        if grpc.is_some() {
            self.grpc_tags(record, &mut tags);
        }
        if let Some(reason) = end.reason {
            tags.push(("error.reason".into(), reason.to_owned()));
        }
        if end.canceled || left {
            tags.push(("canceled".into(), "true".to_owned()));
        }
        if record.attempts > 1 {
            tags.push(("retry.count".into(), (record.attempts - 1).to_string()));
        }
        self.custom_tags(tracing, &mut tags);
        Span {
            trace_id: context.trace_id,
            span_id: attempt.span_id,
            parent_id: context.span_id,
            remote_parent: false,
            shared: false,
            upstream: true,
            kind: SpanKind::Client,
            name: format!("router {cluster} egress"),
            host: String::new(),
            start: nanos(attempt.start),
            end: nanos(SystemTime::now()),
            tags,
            error,
            trace_state: text(self.heads.request.fields.named("tracestate")),
        }
    }

    /// The request is over: its span goes to the collector.
    pub(crate) fn end_trace(&mut self, tracing: &ManagerTracing) {
        self.end_attempt_span();
        let (Some(tracer), Some(trace)) = (&tracing.tracer, self.trace) else { return };
        if trace.begun.context.sampled {
            let span = self.with_facts(|record| self.span(tracing, tracer, &trace.begun, record));
            tracer.finish(span);
        }
    }

    fn span(&self, tracing: &ManagerTracing, tracer: &Tracer, begun: &Begun, record: &Record<'_>) -> Span {
        let head = &self.heads.request;
        let context = begun.context;
        let host = head.authority().unwrap_or_default().to_owned();
        let start = nanos(self.log.start());
        let duration = record.duration.unwrap_or_default();
        let name = if self.manager.inbound { "ingress".to_owned() } else { format!("egress {host}") };
        let is_fault = record.grpc_status.is_some_and(grpc::is_fault);
        let error = record.status == 0 || record.status >= 500 || is_fault;
        let mut tags = self.tags(tracing, tracer, record, &host);
        if error {
            tags.push(("error".into(), "true".to_owned()));
        }
        Span {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent_id: context.parent_id,
            remote_parent: begun.remote_parent,
            shared: begun.shared,
            upstream: false,
            kind: if self.serves(tracing) { SpanKind::Server } else { SpanKind::Client },
            name,
            host,
            start,
            end: start + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            tags,
            error,
            trace_state: text(head.fields.named("tracestate")),
        }
    }

    /// Envoy's tags, in its order.
    fn tags(
        &self,
        tracing: &ManagerTracing,
        tracer: &Tracer,
        record: &Record<'_>,
        host: &str,
    ) -> Vec<(Cow<'static, str>, String)> {
        let fields = &self.heads.request.fields;
        let header = |id| text(fields.get(id));
        let or_dash = |value: String| if value.is_empty() { "-".to_owned() } else { value };
        let scheme = fields.get_str(HeaderId::XForwardedProto).unwrap_or("http");
        let path = fields.get_str(HeaderId::XEnvoyOriginalPath).unwrap_or_else(|| self.heads.request.path());
        let limit = tracing.config.path_length_max.map_or(PATH_BYTES_MAX, |limit| limit as usize);
        let mut tags: Vec<(Cow<'static, str>, String)> = vec![
            ("node_id".into(), tracer.node_id.clone()),
            ("zone".into(), String::new()),
            ("guid:x-request-id".into(), header(HeaderId::XRequestId)),
            ("http.url".into(), format!("{scheme}://{host}{}", cut(path, limit))),
            ("http.method".into(), self.heads.request.method().to_owned()),
            ("downstream_cluster".into(), or_dash(header(HeaderId::XEnvoyDownstreamServiceCluster))),
            ("user_agent".into(), or_dash(header(HeaderId::UserAgent))),
            ("http.protocol".into(), record.protocol.map_or("-", |protocol| protocol.text()).to_owned()),
            ("peer.address".into(), self.peer.direct.ip().to_canonical().to_string()),
            ("request_size".into(), record.bytes_received.to_string()),
            ("response_size".into(), record.bytes_sent.to_string()),
            ("component".into(), "proxy".to_owned()),
        ];
        if let (Kind::XRay { .. }, Some(addresses)) = (&tracer.kind, fields.get_str(HeaderId::XForwardedFor))
        {
            tags.push((xray::FORWARDED_FOR.into(), addresses.to_owned()));
        }
        if let Some(id) = fields.named("x-client-trace-id") {
            tags.push(("guid:x-client-trace-id".into(), text(Some(id))));
        }
        if grpc::is_grpc(fields) {
            tags.push(("grpc.path".into(), path.to_owned()));
            tags.push(("grpc.authority".into(), host.to_owned()));
            tags.push(("grpc.content_type".into(), header(HeaderId::ContentType)));
            self.grpc_tags(record, &mut tags);
        }
        if let Some(cluster) = record.cluster {
            tags.push(("upstream_cluster".into(), cluster.to_owned()));
            tags.push(("upstream_cluster.name".into(), cluster.to_owned()));
        }
        tags.push(("http.status_code".into(), record.status.to_string()));
        tags.push(("response_flags".into(), flags(record)));
        self.custom_tags(tracing, &mut tags);
        tags
    }

    fn grpc_tags(&self, record: &Record<'_>, tags: &mut Vec<(Cow<'static, str>, String)>) {
        if let Some(status) = record.grpc_status {
            tags.push(("grpc.status_code".into(), status.to_string()));
        }
        if let Some(message) = &self.log.grpc_message {
            tags.push(("grpc.message".into(), message.to_string()));
        }
    }

    fn custom_tags(&self, tracing: &ManagerTracing, tags: &mut Vec<(Cow<'static, str>, String)>) {
        for (name, value) in &tracing.fixed_tags {
            tags.push((name.clone().into(), value.clone()));
        }
        for (name, header, default) in &tracing.header_tags {
            let value = self.heads.request.fields.named(header);
            let value = value.map_or_else(|| default.clone(), |value| text(Some(value)));
            if !value.is_empty() {
                tags.push((name.clone().into(), value));
            }
        }
    }
}

fn flags(record: &Record<'_>) -> String {
    let names: Vec<&str> = record.flags.iter().map(|flag| flag.short()).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

/// At most so many bytes, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
