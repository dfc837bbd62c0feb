//! Command operators: the `%NAME(arguments):length%` of a format.

use super::format::FormatError;
use super::time::TimeFormat;

/// A compiled operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) kind: Kind,
    /// Values are cut to so many bytes.
    pub(super) length_max: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain(Plain),
    StartTime(TimeFormat),
    /// When the certificate of the peer of that side begins to count, or ends.
    CertificateTime(Peer, Bound, TimeFormat),
    EmitTime(TimeFormat),
    Request(Header),
    Response(Header),
    Trailer(Header),
    /// As a number, not a name.
    GrpcStatusNumber,
    CommonDuration(Point, Point, Unit),
    QueryParameter(String),
    /// With the query, and rewritten or as the client sent it.
    Path {
        query: bool,
        original: Original,
    },
    /// Fixed for the life of the process.
    Literal(Option<String>),
    /// Accepted, known, and never has a value in a proxy without the feature behind it.
    Absent,
}

/// A header and the one to take if it is absent; lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) fallback: Option<String>,
}

/// Which path `%PATH%` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Original {
    Only,
    Never,
    Preferred,
}

/// A moment of a stream's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    RequestBegin,
    RequestEnd,
    UpstreamRequestEnd,
    UpstreamResponseBegin,
    ResponseEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

macro_rules! plain {
    ($($name:literal => $variant:ident,)*) => {
        /// Operators without arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Plain { $($variant,)* }

        fn plain(name: &str) -> Option<Plain> {
            match name {
                $($name => Some(Plain::$variant),)*
                _ => None,
            }
        }
    };
}

plain! {
    "PROTOCOL" => Protocol,
    "REQUESTED_SERVER_NAME" => RequestedServerName,
    "RESPONSE_CODE" => ResponseCode,
    "RESPONSE_CODE_DETAILS" => ResponseCodeDetails,
    "CONNECTION_TERMINATION_DETAILS" => ConnectionTerminationDetails,
    "RESPONSE_FLAGS" => ResponseFlags,
    "RESPONSE_FLAGS_LONG" => ResponseFlagsLong,
    "DURATION" => Duration,
    "REQUEST_DURATION" => RequestDuration,
    "REQUEST_TX_DURATION" => RequestTxDuration,
    "RESPONSE_DURATION" => ResponseDuration,
    "RESPONSE_TX_DURATION" => ResponseTxDuration,
    "UPSTREAM_CONNECTION_POOL_READY_DURATION" => PoolReadyDuration,
    "BYTES_RECEIVED" => BytesReceived,
    "BYTES_SENT" => BytesSent,
    "REQUEST_HEADERS_BYTES" => RequestHeadersBytes,
    "RESPONSE_HEADERS_BYTES" => ResponseHeadersBytes,
    "RESPONSE_TRAILERS_BYTES" => ResponseTrailersBytes,
    "UPSTREAM_WIRE_BYTES_SENT" => UpstreamWireBytesSent,
    "UPSTREAM_WIRE_BYTES_RECEIVED" => UpstreamWireBytesReceived,
    "UPSTREAM_HEADER_BYTES_SENT" => UpstreamHeaderBytesSent,
    "UPSTREAM_HEADER_BYTES_RECEIVED" => UpstreamHeaderBytesReceived,
    "DOWNSTREAM_WIRE_BYTES_SENT" => DownstreamWireBytesSent,
    "DOWNSTREAM_WIRE_BYTES_RECEIVED" => DownstreamWireBytesReceived,
    "DOWNSTREAM_HEADER_BYTES_SENT" => DownstreamHeaderBytesSent,
    "DOWNSTREAM_HEADER_BYTES_RECEIVED" => DownstreamHeaderBytesReceived,
    "UPSTREAM_HOST" => UpstreamHost,
    "UPSTREAM_HOST_NAME" => UpstreamHostName,
    "UPSTREAM_HOST_NAME_WITHOUT_PORT" => UpstreamHostNameWithoutPort,
    "UPSTREAM_CLUSTER" => UpstreamCluster,
    "UPSTREAM_CLUSTER_RAW" => UpstreamClusterRaw,
    "UPSTREAM_LOCAL_ADDRESS" => UpstreamLocalAddress,
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => UpstreamLocalIp,
    "UPSTREAM_LOCAL_PORT" => UpstreamLocalPort,
    "UPSTREAM_REMOTE_ADDRESS" => UpstreamRemoteAddress,
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => UpstreamRemoteIp,
    "UPSTREAM_REMOTE_PORT" => UpstreamRemotePort,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT" => UpstreamRequestAttemptCount,
    "UPSTREAM_PROTOCOL" => UpstreamProtocol,
    "UPSTREAM_TRANSPORT_FAILURE_REASON" => UpstreamTransportFailureReason,
    "UPSTREAM_CONNECTION_ID" => UpstreamConnectionId,
    "DOWNSTREAM_REMOTE_ADDRESS" => DownstreamRemoteAddress,
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => DownstreamRemoteIp,
    "DOWNSTREAM_REMOTE_PORT" => DownstreamRemotePort,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => DownstreamDirectRemoteAddress,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => DownstreamDirectRemoteIp,
    "DOWNSTREAM_DIRECT_REMOTE_PORT" => DownstreamDirectRemotePort,
    "DOWNSTREAM_LOCAL_ADDRESS" => DownstreamLocalAddress,
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => DownstreamLocalIp,
    "DOWNSTREAM_LOCAL_PORT" => DownstreamLocalPort,
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS" => DownstreamDirectLocalAddress,
    "DOWNSTREAM_LOCAL_CLOSE_REASON" => DownstreamLocalCloseReason,
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON" => DownstreamTransportFailureReason,
    "DOWNSTREAM_TLS_VERSION" => DownstreamTlsVersion,
    "DOWNSTREAM_TLS_CIPHER" => DownstreamTlsCipher,
    "UPSTREAM_TLS_VERSION" => UpstreamTlsVersion,
    "UPSTREAM_TLS_CIPHER" => UpstreamTlsCipher,
    "DOWNSTREAM_PEER_URI_SAN" => DownstreamPeerUriSan,
    "DOWNSTREAM_PEER_DNS_SAN" => DownstreamPeerDnsSan,
    "DOWNSTREAM_PEER_IP_SAN" => DownstreamPeerIpSan,
    "DOWNSTREAM_PEER_EMAIL_SAN" => DownstreamPeerEmailSan,
    "DOWNSTREAM_PEER_SUBJECT" => DownstreamPeerSubject,
    "DOWNSTREAM_PEER_ISSUER" => DownstreamPeerIssuer,
    "DOWNSTREAM_PEER_CERT" => DownstreamPeerCert,
    "DOWNSTREAM_PEER_FINGERPRINT_256" => DownstreamPeerFingerprint256,
    "DOWNSTREAM_PEER_FINGERPRINT_1" => DownstreamPeerFingerprint1,
    "DOWNSTREAM_PEER_SERIAL" => DownstreamPeerSerial,
    "DOWNSTREAM_LOCAL_URI_SAN" => DownstreamLocalUriSan,
    "DOWNSTREAM_LOCAL_DNS_SAN" => DownstreamLocalDnsSan,
    "DOWNSTREAM_LOCAL_SUBJECT" => DownstreamLocalSubject,
    "DOWNSTREAM_LOCAL_EMAIL_SAN" => DownstreamLocalEmailSan,
    "UPSTREAM_PEER_URI_SAN" => UpstreamPeerUriSan,
    "UPSTREAM_PEER_DNS_SAN" => UpstreamPeerDnsSan,
    "UPSTREAM_PEER_SUBJECT" => UpstreamPeerSubject,
    "UPSTREAM_PEER_ISSUER" => UpstreamPeerIssuer,
    "UPSTREAM_PEER_CERT" => UpstreamPeerCert,
    "UPSTREAM_LOCAL_URI_SAN" => UpstreamLocalUriSan,
    "UPSTREAM_LOCAL_DNS_SAN" => UpstreamLocalDnsSan,
    "LOCAL_REPLY_BODY" => LocalReplyBody,
    "ROUTE_NAME" => RouteName,
    "CONNECTION_ID" => ConnectionId,
    "STREAM_ID" => StreamId,
    "UNIQUE_ID" => UniqueId,
    "FILTER_CHAIN_NAME" => FilterChainName,
    "ACCESS_LOG_TYPE" => AccessLogType,
    "GRPC_STATUS_NUMBER" => GrpcStatusNumber,
    "GRPC_STATUS" => GrpcStatus,
    "TRACE_ID" => TraceId,
    "SPAN_ID" => SpanId,
}

/// Operators of TLS, tracing, metadata and filters that this proxy does not run: known, without a value.
const ABSENT: [&str; 18] = [
    "UPSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "VIRTUAL_CLUSTER_NAME",
    "CUSTOM_FLAGS",
    "DYNAMIC_METADATA",
    "CLUSTER_METADATA",
    "UPSTREAM_METADATA",
    "FILTER_STATE",
    "UPSTREAM_FILTER_STATE",
    "METADATA",
    "QUERY_PARAMS",
    "CEL",
    "COALESCE",
];

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Host,
}

/// An end of a certificate's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Begin,
    End,
}

/// Parses what stands between two percent signs.
pub(super) fn parse(text: &str) -> Result<Operator, FormatError> {
    let unknown = || FormatError::UnknownOperator(text.to_owned());
    let (name, arguments, length) = split(text).ok_or_else(unknown)?;
    let length_max = match length {
        None => None,
        Some(length) => Some(length.parse().map_err(|_| unknown())?),
    };
    Ok(Operator { kind: kind(name, arguments).ok_or_else(unknown)?, length_max })
}

/// `NAME(arguments):length`
fn split(text: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let Some(open) = text.find('(') else {
        return Some(match text.split_once(':') {
            Some((name, length)) => (name, None, Some(length)),
            None => (text, None, None),
        });
    };
    let close = text.rfind(')')?;
    let length = match &text[close + 1..] {
        "" => None,
        rest => Some(rest.strip_prefix(':')?),
    };
    Some((&text[..open], Some(text.get(open + 1..close)?), length))
}

fn kind(name: &str, arguments: Option<&str>) -> Option<Kind> {
    Some(match (name, arguments) {
        ("START_TIME" | "START_TIME_LOCAL", format) => {
            Kind::StartTime(TimeFormat::parse(format.unwrap_or(""))?)
        }
        ("DOWNSTREAM_PEER_CERT_V_START", format) => certificate_time(Peer::Client, Bound::Begin, format)?,
        ("DOWNSTREAM_PEER_CERT_V_END", format) => certificate_time(Peer::Client, Bound::End, format)?,
        ("UPSTREAM_PEER_CERT_V_START", format) => certificate_time(Peer::Host, Bound::Begin, format)?,
        ("UPSTREAM_PEER_CERT_V_END", format) => certificate_time(Peer::Host, Bound::End, format)?,
        ("EMIT_TIME" | "EMIT_TIME_LOCAL", format) => Kind::EmitTime(TimeFormat::parse(format.unwrap_or(""))?),
        ("REQ" | "REQUEST_HEADER", Some(header)) => Kind::Request(self::header(header)?),
        ("RESP" | "RESPONSE_HEADER", Some(header)) => Kind::Response(self::header(header)?),
        ("TRAILER" | "RESPONSE_TRAILER", Some(header)) => Kind::Trailer(self::header(header)?),
        ("GRPC_STATUS", Some("NUMBER")) => Kind::GrpcStatusNumber,
        ("GRPC_STATUS", Some("CAMEL_STRING" | "")) => Kind::Plain(Plain::GrpcStatus),
        ("COMMON_DURATION", Some(arguments)) => common_duration(arguments)?,
        ("QUERY_PARAM", Some(parameter)) => Kind::QueryParameter(parameter.to_owned()),
        ("PATH", arguments) => path(arguments.unwrap_or(""))?,
        ("HOSTNAME", None) => Kind::Literal(hostname()),
        ("ENVIRONMENT", Some(variable)) => Kind::Literal(std::env::var(variable).ok()),
        (name, None) if plain(name).is_some() => Kind::Plain(plain(name)?),
        (name, _) if ABSENT.contains(&name) => Kind::Absent,
        _ => return None,
    })
}

fn certificate_time(peer: Peer, bound: Bound, format: Option<&str>) -> Option<Kind> {
    Some(Kind::CertificateTime(peer, bound, TimeFormat::parse(format.unwrap_or(""))?))
}

/// `X?Y`: Y if X is absent.
fn header(arguments: &str) -> Option<Header> {
    let (name, fallback) = match arguments.split_once('?') {
        Some((name, fallback)) => (name, Some(fallback.to_ascii_lowercase())),
        None => (arguments, None),
    };
    (!name.is_empty()).then(|| Header { name: name.to_ascii_lowercase(), fallback })
}

/// `START:END[:unit]`
fn common_duration(arguments: &str) -> Option<Kind> {
    let mut parts = arguments.split(':');
    let from = point(parts.next()?)?;
    let to = point(parts.next()?)?;
    let unit = match parts.next() {
        None | Some("ms") => Unit::Milliseconds,
        Some("us") => Unit::Microseconds,
        Some("ns") => Unit::Nanoseconds,
        Some(_) => return None,
    };
    Some(Kind::CommonDuration(from, to, unit))
}

fn point(name: &str) -> Option<Point> {
    Some(match name {
        "DS_RX_BEG" => Point::RequestBegin,
        "DS_RX_END" => Point::RequestEnd,
        "US_TX_BEG" | "US_TX_END" => Point::UpstreamRequestEnd,
        "US_RX_BEG" => Point::UpstreamResponseBegin,
        "US_RX_END" | "DS_TX_BEG" | "DS_TX_END" => Point::ResponseEnd,
        _ => return None,
    })
}

/// `PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)`
fn path(arguments: &str) -> Option<Kind> {
    let (query, original) = arguments.split_once(':').unwrap_or((arguments, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        _ => return None,
    };
    let original = match original {
        "" | "ORIG_OR_PATH" => Original::Preferred,
        "ORIG" => Original::Only,
        "PATH" => Original::Never,
        _ => return None,
    };
    Some(Kind::Path { query, original })
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned())
}
