//! An HTTP connection manager: how requests are read from a connection and found a route.

use std::time::Duration;

use serde::Serialize;

use crate::{AccessLog, ClientAddress, FilterEntry, RouteTable, Tracing};

/// Envoy's `HttpConnectionManager`, the parts that are spoken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpConnection {
    /// First part of its statistics' names: `http.<stat_prefix>.…`; never empty.
    pub stat_prefix: String,
    pub codec: Codec,
    pub routes: RouteSource,
    /// In the order in which requests pass them; responses pass them backwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterEntry>,
    pub access_logs: Vec<AccessLog>,
    /// RFC 3986 dot segments are resolved.
    pub normalize_path: bool,
    pub merge_slashes: bool,
    /// `Upgrade: websocket` is allowed.
    pub websocket: bool,
    /// `CONNECT` is allowed on routes that take it.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub connect: bool,
    /// Clients that speak HTTP/2 may ask for a WebSocket (RFC 8441) or another tunnel.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub extended_connect: bool,
    /// The upstream, not this proxy, says whether a client shall send its body (`100 Continue`).
    #[serde(skip_serializing_if = "crate::is_default")]
    pub proxy_100_continue: bool,
    /// The peer's address is the client's: X-Forwarded-For is appended, its requests are judged internal or external.
    pub use_remote_address: bool,
    /// Whose address counts as the client's where others stand between.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub client_address: ClientAddress,
    /// What stands in the `server` response header; `None` is `envoy`.
    pub server_name: Option<String>,
    /// Whether it does where the upstream has named itself.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub server_header: ServerHeader,
    /// What clients that speak HTTP/2 are told they may do.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub http2: Http2Settings,
    /// What becomes of `x-forwarded-client-cert`.
    #[serde(skip_serializing_if = "ClientCertificate::is_default")]
    pub client_certificate: ClientCertificate,
    /// A stream without progress: 408 or 504; zero is none, `None` is 5 min.
    pub stream_idle_timeout: Option<Duration>,
    /// The whole request must have arrived; zero or `None` is none.
    pub request_timeout: Option<Duration>,
    /// Its head must have arrived; zero or `None` is none.
    pub request_headers_timeout: Option<Duration>,
    /// A connection without streams is drained; `None` is 1 h.
    pub idle_timeout: Option<Duration>,
    /// Between announcement and close; `None` is 5 s.
    pub drain_timeout: Option<Duration>,
    /// `None` traces nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// A stream may last so long; `None` and zero are none.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub stream_duration_max: Option<Duration>,
    /// A connection is drained after this; `None` and zero are none.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub connection_duration_max: Option<Duration>,
    /// … or after so many requests; `None` and 0 are no bound.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub requests_per_connection_max: Option<u32>,
}

impl HttpConnection {
    /// A manager as Envoy has it when nothing else is said.
    pub fn new(stat_prefix: &str, routes: RouteSource) -> Self {
        Self {
            stat_prefix: stat_prefix.to_owned(),
            codec: Codec::default(),
            routes,
            filters: Vec::new(),
            access_logs: Vec::new(),
            normalize_path: false,
            merge_slashes: false,
            websocket: false,
            connect: false,
            extended_connect: false,
            proxy_100_continue: false,
            use_remote_address: false,
            client_address: ClientAddress::default(),
            server_name: None,
            server_header: ServerHeader::default(),
            http2: Http2Settings::default(),
            client_certificate: ClientCertificate::default(),
            stream_idle_timeout: None,
            request_timeout: None,
            request_headers_timeout: None,
            idle_timeout: None,
            drain_timeout: None,
            stream_duration_max: None,
            connection_duration_max: None,
            requests_per_connection_max: None,
            tracing: None,
        }
    }
}

/// What becomes of the `server` header of a response (Envoy's `ServerHeaderTransformation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ServerHeader {
    /// It names the proxy.
    #[default]
    Overwrite,
    /// It names the proxy where the upstream has not named itself.
    AppendIfAbsent,
    /// It is the upstream's, or none.
    PassThrough,
}

/// What the other end of an HTTP/2 connection may do; `None` is the proxy's own value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Http2Settings {
    /// Streams at once, at least 1: of a client, or towards an upstream that would take more.
    pub streams_max: Option<u32>,
    /// Bytes of one stream that may be on their way unread, 65,535 to 2³¹ − 1.
    pub stream_window_bytes: Option<u32>,
    /// … and of all streams together.
    pub connection_window_bytes: Option<u32>,
    /// Whether it is asked if it is still there; `None` is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Http2Keepalive>,
}

/// How the other end of an HTTP/2 connection is asked, by PING frames, whether it is still there (Envoy's
/// `KeepaliveSettings`). Whoever does not answer in time, and sends nothing else either, loses the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Http2Keepalive {
    /// Between an answer and the next question, at least 1 ms; `None` asks only after idleness.
    pub interval: Option<Duration>,
    /// An answer may take so long, at least 1 ms.
    pub timeout: Duration,
    /// Chance makes an interval longer by up to this share of it, 0 to 100.
    pub jitter_percent: u32,
    /// A connection on which nothing came for so long is asked ahead of its next stream, at least 1 ms. Of clients.
    pub idle_interval: Option<Duration>,
}

impl Http2Keepalive {
    /// Unless told otherwise.
    pub const JITTER_PERCENT_DEFAULT: u32 = 15;

    /// Asks in these intervals.
    pub fn every(interval: Duration, timeout: Duration) -> Self {
        let jitter_percent = Self::JITTER_PERCENT_DEFAULT;
        Self { interval: Some(interval), timeout, jitter_percent, idle_interval: None }
    }
}

/// How the next hop is told of the client's certificate (`x-forwarded-client-cert`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientCertificate {
    pub forwarding: CertificateForwarding,
    /// What is told besides the certificate's hash and our own URI.
    pub subject: bool,
    pub certificate: bool,
    pub uri: bool,
    pub dns: bool,
}

/// Whose word on the client's certificate goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum CertificateForwarding {
    /// Nobody's.
    #[default]
    Sanitize,
    /// The client's, if it shows a certificate itself.
    ForwardOnly,
    /// The client's and then ours, if it shows a certificate.
    AppendForward,
    /// Ours alone, if it shows a certificate.
    SanitizeSet,
    /// The client's, whoever it is.
    AlwaysForwardOnly,
}

impl ClientCertificate {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The versions accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Codec {
    /// HTTP/2 if the connection opens with its preface, else HTTP/1.1.
    #[default]
    Auto,
    Http1,
    Http2,
}

/// Where the routes come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RouteSource {
    /// A resource of the route discovery service.
    Rds(String),
    Inline(RouteTable),
}
