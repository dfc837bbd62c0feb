//! Answers that the proxy gives itself, in Envoy's words.

use std::borrow::Cow;

use selvedge_http::refusal::Refusal;
use selvedge_telemetry::{Flag, details};
use selvedge_upstream::Scope;

/// `DEADLINE_EXCEEDED`.
const GRPC_DEADLINE_EXCEEDED: u8 = 4;

/// An answer of our own.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) flag: Option<Flag>,
    pub(crate) details: Cow<'static, str>,
    pub(crate) body: Cow<'static, str>,
    /// `x-envoy-overloaded: true`.
    pub(crate) overloaded: bool,
    /// More of the head, names in lower case.
    pub(crate) headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// For gRPC, where it is not the one that stands for the status.
    pub(crate) grpc_status: Option<u8>,
    /// The connection ends with the answer.
    pub(crate) close: bool,
    /// It stands for an answer that the cluster owed, and counts as one.
    pub(crate) charged: bool,
    /// The route's edits are made to it, as to every answer that the cluster owed.
    pub(crate) edited: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, flag: Option<Flag>, details: &'static str, body: &'static str) -> Self {
        Self {
            status,
            flag,
            details: details.into(),
            body: body.into(),
            overloaded: false,
            headers: Vec::new(),
            grpc_status: None,
            close: false,
            charged: false,
            edited: false,
        }
    }

    pub(crate) fn refusal(refusal: Refusal) -> Self {
        let flag = refusal.protocol_error.then_some(Flag::DownstreamProtocolError);
        Self { close: refusal.close, ..Self::new(refusal.status, flag, refusal.details, refusal.body) }
    }

    pub(crate) fn no_route() -> Self {
        Self::new(404, Some(Flag::NoRouteFound), details::ROUTE_NOT_FOUND, "")
    }

    pub(crate) fn no_cluster(status: u16) -> Self {
        Self::new(status, Some(Flag::NoClusterFound), details::CLUSTER_NOT_FOUND, "")
    }

    pub(crate) fn no_healthy_upstream() -> Self {
        let flag = Some(Flag::NoHealthyUpstream);
        Self { charged: true, ..Self::new(503, flag, details::NO_HEALTHY_UPSTREAM, "no healthy upstream") }
    }

    /// A breaker with states lets nothing through.
    pub(crate) fn breaker_open(scope: Scope) -> Self {
        let details = match scope {
            Scope::Endpoint => details::BREAKER_OPEN_ENDPOINT,
            Scope::Cluster => details::BREAKER_OPEN_CLUSTER,
        };
        let flag = Some(Flag::UpstreamOverflow);
        Self { overloaded: true, charged: true, ..Self::new(503, flag, details, "circuit breaker open") }
    }

    pub(crate) fn response_timeout() -> Self {
        let flag = Some(Flag::UpstreamRequestTimeout);
        Self { charged: true, ..Self::new(504, flag, details::RESPONSE_TIMEOUT, "upstream request timeout") }
    }

    pub(crate) fn per_try_timeout() -> Self {
        let flag = Some(Flag::UpstreamRequestTimeout);
        Self {
            charged: true,
            ..Self::new(504, flag, details::UPSTREAM_PER_TRY_TIMEOUT, "upstream request timeout")
        }
    }

    pub(crate) fn per_try_idle_timeout() -> Self {
        let flag = Some(Flag::UpstreamRequestTimeout);
        let details = details::UPSTREAM_PER_TRY_IDLE_TIMEOUT;
        Self { charged: true, ..Self::new(504, flag, details, "upstream request timeout") }
    }

    /// The cluster's bound of a stream has passed.
    pub(crate) fn upstream_stream_duration(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        let flag = Some(Flag::UpstreamMaxStreamDurationReached);
        let details = details::UPSTREAM_MAX_STREAM_DURATION_REACHED;
        Self { charged: true, ..Self::new(status, flag, details, "upstream max stream duration reached") }
    }

    /// The connection manager's or the route's has.
    pub(crate) fn stream_duration(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        Self {
            grpc_status: Some(GRPC_DEADLINE_EXCEEDED),
            ..Self::new(status, None, details::MAX_DURATION_TIMEOUT, "downstream duration timeout")
        }
    }

    /// Nothing moved for the idle time-out: the client's doing while its request is incomplete, the upstream's after.
    pub(crate) fn idle(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        let flag = Some(Flag::StreamIdleTimeout);
        let close = !request_complete;
        Self { close, ..Self::new(status, flag, details::STREAM_IDLE_TIMEOUT, "stream timeout") }
    }

    /// The body outgrew what a filter may hold.
    pub(crate) fn payload_too_large() -> Self {
        let reply = Self::new(413, None, details::REQUEST_PAYLOAD_TOO_LARGE, "Payload Too Large");
        Self { close: true, ..reply }
    }

    pub(crate) fn request_timeout() -> Self {
        Self { close: true, ..Self::new(408, None, details::REQUEST_OVERALL_TIMEOUT, "request timeout") }
    }

    pub(crate) fn header_timeout() -> Self {
        Self {
            close: true,
            ..Self::new(408, None, details::REQUEST_HEADER_TIMEOUT, "request header timeout")
        }
    }

    /// The upstream gave no response. `retried` tells whether it was asked more than once.
    pub(crate) fn upstream_reset(reset: &UpstreamReset, retried: bool) -> Self {
        let again = if retried { "retried and the latest " } else { "" };
        Self {
            status: if *reset == UpstreamReset::Protocol { 502 } else { 503 },
            flag: Some(reset.flag()),
            details: details::upstream_reset_before_response(reset.words(), reset.transport()).into(),
            body: format!(
                "upstream connect error or disconnect/reset before headers. {again}reset reason: {}",
                reset.words()
            )
            .into(),
            overloaded: *reset == UpstreamReset::Overflow,
            headers: Vec::new(),
            grpc_status: None,
            close: false,
            charged: true,
            edited: true,
        }
    }
}

/// Why a try ended without a response, in the words that clients and logs read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamReset {
    /// With the transport's own reason.
    RemoteConnectionFailure(std::rc::Rc<str>),
    LocalConnectionFailure(std::rc::Rc<str>),
    ConnectionTimeout,
    ConnectionTermination,
    RemoteReset,
    RemoteRefusedStream,
    Overflow,
    Protocol,
}

impl UpstreamReset {
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::RemoteConnectionFailure(_) => "remote connection failure",
            Self::LocalConnectionFailure(_) => "local connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStream => "remote refused stream reset",
            Self::Overflow => "overflow",
            Self::Protocol => "protocol error",
        }
    }

    pub(crate) fn transport(&self) -> Option<&str> {
        match self {
            Self::RemoteConnectionFailure(reason) | Self::LocalConnectionFailure(reason) => Some(reason),
            _ => None,
        }
    }

    pub(crate) fn flag(&self) -> Flag {
        match self {
            Self::RemoteConnectionFailure(_) | Self::LocalConnectionFailure(_) | Self::ConnectionTimeout => {
                Flag::UpstreamConnectionFailure
            }
            Self::ConnectionTermination => Flag::UpstreamConnectionTermination,
            Self::RemoteReset | Self::RemoteRefusedStream => Flag::UpstreamRemoteReset,
            Self::Overflow => Flag::UpstreamOverflow,
            Self::Protocol => Flag::UpstreamProtocolError,
        }
    }
}
