//! The trace of one request.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_http::grpc;
use selvedge_http::known::HeaderId;
use selvedge_telemetry::Record;
use selvedge_traffic::tracing::{Reason, Span, SpanKind, decide};
use selvedge_upstream::random;

use super::{Begun, ManagerTracing, Tracer};
use crate::request::{Exchange, RequestHeadView};

/// Part of a path in a tag unless configured otherwise.
const PATH_BYTES_MAX: usize = 256;

/// A span that has begun, and the tries below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveTrace {
    pub(crate) begun: Begun,
    /// The span of the try under way, if tries have their own.
    attempt: Option<(u64, SystemTime)>,
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
            tracer.begin(parent.as_ref(), self.traced, self.manager.inbound, &view, self.log.start())
        };
        self.trace = Some(ActiveTrace { begun, attempt: None });
        if !tracing.config.spawn_upstream_span {
            self.inject(tracer, &begun);
        }
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
        let id = random::next().max(1);
        trace.attempt = Some((id, SystemTime::now()));
        self.trace = Some(trace);
        let mut begun = trace.begun;
        begun.context.parent_id = begun.context.span_id;
        begun.context.span_id = id;
        self.inject(tracer, &begun);
    }

    /// The try under way is over.
    fn end_attempt_span(&mut self) {
        let Some(tracing) = &self.manager.tracing else { return };
        let (Some(tracer), Some(trace)) = (&tracing.tracer, &mut self.trace) else { return };
        let Some((span_id, start)) = trace.attempt.take() else { return };
        let context = trace.begun.context;
        if !context.sampled {
            return;
        }
        let span = self.with_facts(|record| {
            let cluster = record.cluster.unwrap_or_default();
            let mut tags = vec![
                ("component".into(), "proxy".to_owned()),
                ("upstream_cluster".into(), cluster.to_owned()),
                ("upstream_cluster.name".into(), cluster.to_owned()),
            ];
            if let Some(host) = record.upstream_host {
                tags.push(("upstream_address".into(), host.to_string()));
                tags.push(("peer.address".into(), host.to_string()));
            }
            if let Some(protocol) = record.upstream_protocol {
                tags.push(("http.protocol".into(), protocol.text().to_owned()));
            }
            let status = record.response.map_or(0, |_| record.status);
            let error = status == 0 || status >= 500;
            tags.push(("http.status_code".into(), status.to_string()));
            tags.push(("response_flags".into(), flags(record)));
            Span {
                trace_id: context.trace_id,
                span_id,
                parent_id: context.span_id,
                remote_parent: false,
                shared: false,
                upstream: true,
                kind: SpanKind::Client,
                name: format!("router {cluster} egress"),
                host: String::new(),
                start: nanos(start),
                end: nanos(SystemTime::now()),
                tags,
                error,
                trace_state: String::new(),
            }
        });
        tracer.finish(span);
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
        let error = record.status == 0 || record.status >= 500;
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
            kind: if self.manager.inbound { SpanKind::Server } else { SpanKind::Client },
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
        if let Some(id) = fields.named("x-client-trace-id") {
            tags.push(("guid:x-client-trace-id".into(), text(Some(id))));
        }
        if grpc::is_grpc(fields) {
            tags.push(("grpc.path".into(), path.to_owned()));
            tags.push(("grpc.authority".into(), host.to_owned()));
            tags.push(("grpc.content_type".into(), header(HeaderId::ContentType)));
            if let Some(status) = record.grpc_status {
                tags.push(("grpc.status_code".into(), status.to_string()));
            }
        }
        if let Some(cluster) = record.cluster {
            tags.push(("upstream_cluster".into(), cluster.to_owned()));
            tags.push(("upstream_cluster.name".into(), cluster.to_owned()));
        }
        tags.push(("http.status_code".into(), record.status.to_string()));
        tags.push(("response_flags".into(), flags(record)));
        for (name, value) in &tracing.fixed_tags {
            tags.push((name.clone().into(), value.clone()));
        }
        for (name, header, default) in &tracing.header_tags {
            let value = fields.named(header).map_or_else(|| default.clone(), |value| text(Some(value)));
            if !value.is_empty() {
                tags.push((name.clone().into(), value));
            }
        }
        tags
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
