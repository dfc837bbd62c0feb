//! What is known about a request or a connection when it is logged.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::tls::TlsSource;
use crate::ResponseFlags;

/// Headers of a message, wherever they are kept.
pub trait HeaderSource {
    /// The first value of a header; `name` is lower case, pseudo-headers are `:method`, `:path`, `:authority`,
    /// `:scheme`, `:status`.
    fn header(&self, name: &str) -> Option<&[u8]>;

    /// The lengths of all names and values together.
    fn byte_len(&self) -> u64 {
        0
    }

    /// Calls `test` with each value until it answers true, and gives its last answer; `None` without the header.
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        self.header(name).map(test)
    }
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordKind {
    /// An HTTP stream's end.
    #[default]
    Http,
    /// A TCP proxy's connection's end.
    Tcp,
    /// A listener's connection's end.
    Connection,
}

/// The version spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
    Http3,
}

impl Protocol {
    pub fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// One request or connection. What is `None` (or 0 for `status` and `attempts`) prints as `-`, in JSON as `null`.
/// All durations are since `start`.
#[derive(Clone, Copy, Default)]
pub struct Record<'a> {
    pub kind: RecordKind,
    pub start: Option<SystemTime>,
    pub duration: Option<Duration>,
    /// The last byte of the request came in.
    pub request_received: Option<Duration>,
    /// The last byte of the request went to the upstream.
    pub request_sent: Option<Duration>,
    /// The first byte of the upstream's response came in.
    pub response_first: Option<Duration>,
    /// A pooled connection was there.
    pub pool_ready: Option<Duration>,

    pub protocol: Option<Protocol>,
    /// What the client got; 0 if it got nothing.
    pub status: u16,
    pub details: Option<&'a str>,
    pub termination_details: Option<&'a str>,
    pub flags: ResponseFlags,
    pub grpc_status: Option<u32>,

    /// Bodies only.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub request_header_bytes: u64,
    pub response_header_bytes: u64,
    pub response_trailer_bytes: u64,
    pub upstream_wire_sent: u64,
    pub upstream_wire_received: u64,
    pub upstream_header_sent: u64,
    pub upstream_header_received: u64,
    pub downstream_wire_sent: u64,
    pub downstream_wire_received: u64,
    pub downstream_header_sent: u64,
    pub downstream_header_received: u64,

    pub request: Option<&'a dyn HeaderSource>,
    pub response: Option<&'a dyn HeaderSource>,
    pub trailers: Option<&'a dyn HeaderSource>,

    pub route_name: Option<&'a str>,
    pub chain_name: Option<&'a str>,
    /// Of a client that speaks TLS.
    pub downstream_tls: Option<&'a dyn TlsSource>,
    /// Of a host that is spoken to by TLS.
    pub upstream_tls: Option<&'a dyn TlsSource>,
    /// Why the client's handshake failed.
    pub downstream_failure: Option<&'a str>,
    /// The TLS client's SNI.
    pub server_name: Option<&'a str>,
    pub local_reply_body: Option<&'a str>,
    pub local_close_reason: Option<&'a str>,
    pub stream_id: Option<&'a [u8]>,
    pub connection_id: Option<u64>,
    /// The request is traced; the ids are those of its span.
    pub traced: bool,
    pub trace_id: Option<u128>,
    pub span_id: Option<u64>,
    /// The request was answered as a health check of this proxy.
    pub health_check: bool,
    /// Any number, for filters that draw.
    pub random: u32,

    pub cluster: Option<&'a str>,
    pub upstream_host: Option<SocketAddr>,
    pub upstream_host_name: Option<&'a str>,
    pub upstream_local: Option<SocketAddr>,
    pub upstream_protocol: Option<Protocol>,
    pub upstream_failure: Option<&'a str>,
    pub upstream_connection_id: Option<u64>,
    /// Tries so far, the first included.
    pub attempts: u32,

    /// The client as believed, after X-Forwarded-For.
    pub downstream_remote: Option<SocketAddr>,
    /// The peer of the socket.
    pub downstream_direct_remote: Option<SocketAddr>,
    /// Where the client wanted to go, before interception.
    pub downstream_local: Option<SocketAddr>,
    /// The socket's own address.
    pub downstream_direct_local: Option<SocketAddr>,
}
