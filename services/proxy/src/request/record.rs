//! What is remembered of a request until it is logged and counted.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use selvedge_http::grpc;
use selvedge_http::head::Version;
use selvedge_http::known::HeaderId;
use selvedge_telemetry::{Extension, Protocol, Record, RecordKind, ResponseFlags, TlsSource};
use selvedge_traffic::Route;
use selvedge_upstream::pool::{self, UpstreamStream};
use selvedge_upstream::{Cluster, Host, random};
use selvedge_wire::channel::Channel;
use selvedge_wire::tls::Facts;
use tokio::time::Instant;

use super::exchange::Exchange;
use super::view::{Request, Response};

/// The facts of one request, as they become known.
pub(crate) struct Log<'a> {
    pub(crate) started: Instant,
    /// When the last byte of the response went out; `None` before, and where there was none.
    pub(crate) ended: Option<Instant>,
    start: SystemTime,
    pub(crate) flags: ResponseFlags,
    /// What the client got; 0 if nothing.
    pub(crate) status: u16,
    pub(crate) details: Cow<'static, str>,
    pub(crate) local_body: Option<Cow<'static, str>>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) request_received: Option<Duration>,
    pub(crate) request_sent: Option<Duration>,
    pub(crate) response_first: Option<Duration>,
    pub(crate) pool_ready: Option<Duration>,
    pub(crate) route: Option<&'a Route>,
    pub(crate) virtual_host: Option<&'a str>,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) host: Option<Arc<Host>>,
    pub(crate) upstream_failure: Option<Rc<str>>,
    pub(crate) attempts: u32,
    pub(crate) grpc_status: Option<u32>,
    /// Of a request that is traced.
    pub(crate) grpc_message: Option<Box<str>>,
    upstream_protocol: Option<Protocol>,
    upstream_connection_id: Option<u64>,
    upstream_local: Option<SocketAddr>,
    upstream_tls: Option<Rc<Facts>>,
}

impl Log<'_> {
    pub(crate) fn new(started: Instant, start: SystemTime) -> Self {
        Self {
            started,
            ended: None,
            start,
            flags: ResponseFlags::default(),
            status: 0,
            details: Cow::Borrowed(""),
            local_body: None,
            bytes_received: 0,
            bytes_sent: 0,
            request_received: None,
            request_sent: None,
            response_first: None,
            pool_ready: None,
            route: None,
            virtual_host: None,
            cluster: None,
            host: None,
            upstream_failure: None,
            attempts: 0,
            grpc_status: None,
            grpc_message: None,
            upstream_protocol: None,
            upstream_connection_id: None,
            upstream_local: None,
            upstream_tls: None,
        }
    }

    pub(crate) fn start(&self) -> SystemTime {
        self.start
    }

    pub(crate) fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long the request took, or has taken so far.
    fn duration(&self) -> Duration {
        self.ended.map_or_else(|| self.since_start(), |ended| ended - self.started)
    }

    /// Notes the stream that a try got. The socket's own address is asked for only where it may be logged.
    pub(crate) fn connected(&mut self, stream: &UpstreamStream, logged: bool, now: Instant) {
        self.upstream_protocol = Some(match stream.protocol() {
            pool::Protocol::Http1 => Protocol::Http11,
            pool::Protocol::Http2 => Protocol::Http2,
        });
        self.upstream_connection_id = Some(stream.connection_id());
        if logged {
            self.upstream_local = stream.local_addr();
            self.upstream_tls = stream.tls().cloned();
            self.pool_ready = Some(now - self.started);
        }
    }

    /// Counts a status that the cluster answered with, or that was answered in its place.
    pub(crate) fn charge(&self, status: u16) {
        if let Some(cluster) = &self.cluster {
            cluster.stats.rq.record(status);
            cluster.stats.external.record(status);
        }
    }
}

impl Exchange<'_> {
    /// Counts the request under App Mesh's own metrics.
    fn count_for(&self, extension: &Extension) {
        let log = &self.log;
        if self.manager.inbound {
            let sidecar = extension.sidecar();
            sidecar.requests.inc();
            if grpc::is_grpc(&self.heads.request.fields) {
                sidecar.grpc_requests.inc();
            }
        }
        if let (Some(service), Some(cluster)) = (log.virtual_host, &log.cluster)
            && let Some(target) = extension.target(service, &cluster.name)
        {
            let took = log.response_first.unwrap_or_else(|| log.since_start());
            let status = if log.response_first.is_some() { log.status } else { 0 };
            target.record(status, log.bytes_received + log.bytes_sent, took.as_millis() as u64);
        }
    }

    /// Whether anything of this request will be logged.
    pub(super) fn is_logged(&self) -> bool {
        !self.manager.loggers.is_empty()
    }

    /// Counts and logs the request, which is over.
    pub(super) fn record(&mut self) {
        let stats = &self.manager.stats;
        let duration = *self.log.ended.get_or_insert_with(Instant::now) - self.log.started;
        if self.log.status != 0 {
            stats.response(self.log.status);
            self.manager.listener_stats.response(self.log.status);
        }
        stats.downstream_rq_time.record(duration.as_millis() as u64);
        if let Some(extension) = &self.manager.extension {
            self.count_for(extension);
        }
        if let Some(tracing) = &self.manager.tracing {
            self.end_trace(tracing);
        }
        if self.manager.loggers.is_empty() {
            return;
        }
        self.with_facts(|record| {
            for logger in &self.manager.loggers {
                logger.log(record);
            }
        });
    }

    /// Hands out what is known of the request so far.
    pub(crate) fn with_facts<R>(&self, use_them: impl FnOnce(&Record<'_>) -> R) -> R {
        let log = &self.log;
        let (request, response) = (Request(&self.heads.request), Response(&self.heads.response));
        let protocol = match self.heads.request.version {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
            Version::Http2 => Protocol::Http2,
        };
        let wire = match &*self.channel {
            Channel::Http1(http) => (http.io.bytes_read, http.io.bytes_written),
            Channel::Http2(_) | Channel::Inner(_) | Channel::Over => (0, 0),
        };
        let record = Record {
            kind: RecordKind::Http,
            start: Some(log.start),
            duration: Some(log.duration()),
            request_received: log.request_received,
            request_sent: log.request_sent,
            response_first: log.response_first,
            pool_ready: log.pool_ready,
            protocol: Some(protocol),
            status: log.status,
            details: (!log.details.is_empty()).then_some(&*log.details),
            flags: log.flags,
            grpc_status: log.grpc_status,
            bytes_received: log.bytes_received,
            bytes_sent: log.bytes_sent,
            downstream_wire_received: wire.0,
            downstream_wire_sent: wire.1,
            request: Some(&request),
            response: Some(&response),
            route_name: log.route.map(|route| route.name.as_str()).filter(|name| !name.is_empty()),
            chain_name: Some(&*self.peer.chain).filter(|name| !name.is_empty()),
            local_reply_body: log.local_body.as_deref(),
            stream_id: self.heads.request.fields.get(HeaderId::XRequestId),
            connection_id: Some(self.peer.connection_id),
            traced: self.traced,
            trace_id: self.trace.map(|trace| trace.begun.context.trace_id),
            span_id: self.trace.map(|trace| trace.begun.context.span_id),
            random: random::next() as u32,
            cluster: log.cluster.as_ref().map(|cluster| &*cluster.name),
            upstream_host: log.host.as_ref().map(|host| host.address),
            upstream_host_name: log.host.as_ref().and_then(|host| host.hostname.as_deref()),
            upstream_local: log.upstream_local,
            upstream_protocol: log.upstream_protocol,
            upstream_failure: log.upstream_failure.as_deref(),
            upstream_connection_id: log.upstream_connection_id,
            attempts: log.attempts,
            downstream_remote: Some(self.client),
            downstream_direct_remote: Some(self.peer.direct),
            downstream_local: Some(self.peer.original_dst.unwrap_or(self.peer.local)),
            downstream_direct_local: Some(self.peer.local),
            server_name: self.peer.server_name.as_deref(),
            downstream_tls: self.peer.tls.as_deref().map(|tls| tls as &dyn TlsSource),
            upstream_tls: log.upstream_tls.as_deref().map(|tls| tls as &dyn TlsSource),
            ..Record::default()
        };
        use_them(&record)
    }
}
