//! Finished spans on their way to a collector, in batches, from the control thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use selvedge_telemetry::Registry;
use selvedge_telemetry::spans::xray::Segment;
use selvedge_telemetry::spans::{datadog, xray, zipkin};
use selvedge_traffic::balance::HostHealth;
use selvedge_traffic::tracing::Span;
use selvedge_upstream::Clusters;
use selvedge_xds::otlp;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::sync::mpsc;

use super::Tracer;

/// Spans of one request to a collector, at most.
pub(super) const BATCH_MAX: usize = 512;
/// A batch that has begun leaves after this.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// A collector gets so long for a batch.
const SEND_MAX: Duration = Duration::from_secs(5);
/// A collector's answer is read so far.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collector {
    Cluster(String),
    Host { host: String, port: u16 },
}

impl Collector {
    /// `host:port`, `[v6]:port`.
    pub(crate) fn of_authority(authority: &str) -> Self {
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        Self::Host {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            // A port that is none is nobody's: sending fails and is told.
            port: port.parse().unwrap_or(0),
        }
    }
}

/// What a collector takes.
#[derive(Clone, Debug)]
pub(super) enum Form {
    OtlpGrpc { service: String, host: String },
    OtlpHttp { service: String, uri: String },
    Zipkin { service: String, address: Option<IpAddr>, host: String, path: String },
    XRay(Segment),
    Datadog { service: String, host: String },
}

/// A batch that did not arrive.
#[derive(Debug, Error)]
enum ExportError {
    #[error("the collector has no address")]
    NoAddress,
    #[error("the collector cannot be reached")]
    Connect(#[source] io::Error),
    #[error("the collector's cluster waits for its certificates")]
    NoSecret,
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    #[error("the request failed")]
    Http(#[from] hyper::Error),
    #[error("the collector answered {0}")]
    Status(StatusCode),
    #[error("the collector answered with gRPC status {0}")]
    Grpc(String),
    #[error("no answer within {SEND_MAX:?}")]
    Timeout,
}

/// Bytes both ways, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One collector's exporter; it ends with its tracer.
pub(super) struct Exporter {
    pub(super) form: Form,
    pub(super) collector: Collector,
    pub(super) clusters: Arc<Clusters>,
    pub(super) registry: Registry,
}

impl Exporter {
    pub(super) async fn run(self, mut spans: mpsc::Receiver<Span>, tracer: Weak<Tracer>) {
        let mut batch = Vec::new();
        let mut told = false;
        while spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
            if !matches!(self.form, Form::XRay(_)) {
                self.fill(&mut spans, &mut batch).await;
            }
            let sent = match tokio::time::timeout(SEND_MAX, self.send(&batch)).await {
                Ok(sent) => sent,
                Err(_) => Err(ExportError::Timeout),
            };
            let count = batch.len() as u64;
            batch.clear();
            // The queue is open as long as the tracer lives; what is left of it after that was still sent.
            let tracer = tracer.upgrade();
            let counted = |sent: bool| {
                let Some(tracer) = &tracer else { return };
                let stats = self.registry.server();
                if sent { tracer.kind.sent(stats) } else { tracer.kind.dropped(stats) }.add(count);
            };
            counted(sent.is_ok());
            match sent {
                Ok(()) => told = false,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(collector = ?self.collector, error, "failed to send spans");
                    }
                }
            }
        }
    }

    /// Waits a moment for more.
    async fn fill(&self, spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
        let more = async {
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                if spans.recv_many(batch, room).await == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(BATCH_WAIT, more).await;
    }

    async fn send(&self, spans: &[Span]) -> Result<(), ExportError> {
        let address = self.address().await.ok_or(ExportError::NoAddress)?;
        let post = |host: &str, path: &str, content_type: &'static str| {
            Request::post(path)
                .header(header::HOST, host)
                .header(header::CONTENT_TYPE, content_type)
                .header(header::USER_AGENT, concat!("selvedge/", env!("CARGO_PKG_VERSION")))
        };
        match &self.form {
            Form::XRay(segment) => {
                let any: SocketAddr =
                    if address.is_ipv6() { ([0; 16], 0).into() } else { ([0; 4], 0).into() };
                let socket = UdpSocket::bind(any).await.map_err(ExportError::Connect)?;
                for datagram in spans.iter().filter_map(|span| xray::datagram(segment, span)) {
                    socket.send_to(&datagram, address).await.map_err(ExportError::Connect)?;
                }
                Ok(())
            }
            Form::OtlpHttp { service, uri } => {
                let (host, path) = authority_and_path(uri);
                let body = otlp::encode_spans(&resource(service), env!("CARGO_PKG_VERSION"), spans);
                let request = post(host, path, "application/x-protobuf").body(Full::from(body))?;
                self.post_http1(address, request).await
            }
            Form::Zipkin { service, address: own, host, path } => {
                let body = zipkin::report(service, *own, spans);
                let request = post(host, path, "application/json").body(Full::from(body))?;
                self.post_http1(address, request).await
            }
            Form::Datadog { service, host } => {
                let request = post(host, "/v0.4/traces", "application/msgpack")
                    .header("x-datadog-trace-count", spans.len())
                    .header("datadog-meta-lang", "rust")
                    .header("datadog-meta-tracer-version", env!("CARGO_PKG_VERSION"))
                    .body(Full::from(datadog::report(service, spans)))?;
                self.post_http1(address, request).await
            }
            Form::OtlpGrpc { service, host } => {
                let message = otlp::encode_spans(&resource(service), env!("CARGO_PKG_VERSION"), spans);
                self.call_grpc(address, host, &message).await
            }
        }
    }

    /// The collector's address at this moment: of a cluster, that of a host that is well.
    async fn address(&self) -> Option<SocketAddr> {
        match &self.collector {
            Collector::Host { host, port } => lookup_host((host.as_str(), *port)).await.ok()?.next(),
            Collector::Cluster(name) => {
                let cluster = self.clusters.get(name)?;
                let hosts = cluster.hosts();
                let well = hosts.members.iter().find(|member| member.host.health() == HostHealth::Healthy);
                well.or_else(|| hosts.members.first()).map(|member| member.host.address)
            }
        }
    }

    /// A connection for one batch, by TLS where the collector's cluster says so.
    async fn connect(&self, address: SocketAddr) -> Result<Box<dyn Stream>, ExportError> {
        let stream = TcpStream::connect(address).await.map_err(ExportError::Connect)?;
        let cluster = match &self.collector {
            Collector::Cluster(name) => self.clusters.get(name),
            Collector::Host { .. } => None,
        };
        let Some(tls) = cluster.as_ref().and_then(|cluster| cluster.tls.as_ref()) else {
            return Ok(Box::new(stream));
        };
        let context = tls.current().ok_or(ExportError::NoSecret)?;
        Ok(Box::new(context.probe(stream, address.ip()).await.map_err(ExportError::Connect)?))
    }

    async fn post_http1(
        &self,
        address: SocketAddr,
        request: Request<Full<Bytes>>,
    ) -> Result<(), ExportError> {
        let stream = self.connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answered = sender.send_request(request).await;
        connection.abort();
        match answered?.status() {
            status if status.is_success() => Ok(()),
            status => Err(ExportError::Status(status)),
        }
    }

    async fn call_grpc(&self, address: SocketAddr, host: &str, message: &[u8]) -> Result<(), ExportError> {
        let mut body = Vec::with_capacity(5 + message.len());
        body.push(0);
        // A batch is far below 4 GiB.
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(message);
        let request = Request::post(format!("http://{host}{}", otlp::GRPC_PATH))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, concat!("selvedge/", env!("CARGO_PKG_VERSION")))
            .body(Full::<Bytes>::from(body))?;
        let stream = self.connect(address).await?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let trailers = body.ok().and_then(|body| body.trailers().cloned());
            let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status").cloned());
            match status.or_else(|| head.headers.get("grpc-status").cloned()) {
                Some(status) if status == "0" => Ok(()),
                Some(status) => {
                    Err(ExportError::Grpc(String::from_utf8_lossy(status.as_bytes()).into_owned()))
                }
                None => Err(ExportError::Status(head.status)),
            }
        }
        .await;
        connection.abort();
        answered
    }
}

fn resource(service: &str) -> Vec<(String, String)> {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    vec![
        pair("service.name", service),
        pair("telemetry.sdk.name", "selvedge"),
        pair("telemetry.sdk.language", "rust"),
        pair("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ]
}

/// Of `http://host:port/path`, or of `/path` alone.
fn authority_and_path(uri: &str) -> (&str, &str) {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    match rest.find('/') {
        Some(0) => ("collector", rest),
        Some(slash) => (&rest[..slash], &rest[slash..]),
        None => (rest, "/v1/traces"),
    }
}
