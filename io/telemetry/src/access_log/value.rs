//! What an operator stands for in one record.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::operator::{Bound, Header, Kind, Operator, Original, Peer, Plain, Point, Unit};
use super::record::{HeaderSource, Record, RecordKind};
use super::tls::{CertificateFact, TlsSource, Whose};
use crate::{ResponseFlags, grpc};

/// What has been written for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing: the record has no such value.
    Missing,
    Text,
    /// Text of our own, in which nothing is that JSON would have to escape.
    Plain,
    /// Digits that JSON may carry as a number.
    Number,
}

/// The value, where it is one of the numbers that stand in most records: who puts no quote before it need not take it away.
pub(super) fn number_of(operator: &Operator, record: &Record<'_>) -> Option<u64> {
    match operator {
        Operator { kind: Kind::Plain(plain), length_max: None } => match plain {
            Plain::ResponseCode => Some(record.status.into()),
            Plain::Duration => record.duration.map(millis),
            Plain::BytesReceived => Some(record.bytes_received),
            Plain::BytesSent => Some(record.bytes_sent),
            _ => None,
        },
        _ => None,
    }
}

/// Appends the operator's value for `record`.
pub(super) fn write(operator: &Operator, record: &Record<'_>, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    let written = write_kind(&operator.kind, record, out);
    if let Some(length_max) = operator.length_max {
        out.truncate(start.saturating_add(length_max).min(out.len()));
    }
    written
}

fn write_kind(kind: &Kind, record: &Record<'_>, out: &mut Vec<u8>) -> Written {
    match kind {
        Kind::Plain(plain) => write_plain(*plain, record, out),
        Kind::StartTime(format) => match record.start {
            Some(start) => {
                format.write(start, out);
                Written::Text
            }
            None => Written::Missing,
        },
        Kind::CertificateTime(peer, bound, format) => {
            let tls = match peer {
                Peer::Client => record.downstream_tls,
                Peer::Host => record.upstream_tls,
            };
            let Some((begin, end)) = tls.and_then(|tls| tls.validity(Whose::Peer)) else {
                return Written::Missing;
            };
            let seconds = if *bound == Bound::Begin { begin } else { end };
            let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            format.write(SystemTime::UNIX_EPOCH + since, out);
            Written::Text
        }
        Kind::EmitTime(format) => {
            format.write(SystemTime::now(), out);
            Written::Text
        }
        Kind::Request(header) => write_header(record.request, header, out),
        Kind::Response(header) => write_header(record.response, header, out),
        Kind::Trailer(header) => write_header(record.trailers, header, out),
        Kind::GrpcStatusNumber => number(record.grpc_status.map(u64::from), out),
        Kind::CommonDuration(from, to, unit) => number(common_duration(record, *from, *to, *unit), out),
        Kind::QueryParameter(name) => text(query_parameter(record, name), out),
        Kind::Path { query, original } => text(path(record, *query, *original), out),
        Kind::Literal(value) => text(value.as_deref().map(str::as_bytes), out),
        Kind::Absent => Written::Missing,
    }
}

fn write_plain(plain: Plain, record: &Record<'_>, out: &mut Vec<u8>) -> Written {
    match plain {
        Plain::Protocol => ascii(record.protocol.map(|protocol| protocol.text()), out),
        Plain::DownstreamTransportFailureReason => string(record.downstream_failure, out),
        Plain::DownstreamTlsVersion => string(record.downstream_tls.map(TlsSource::version), out),
        Plain::DownstreamTlsCipher => string(record.downstream_tls.map(TlsSource::cipher), out),
        Plain::DownstreamPeerUriSan => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Uris, out)
        }
        Plain::DownstreamPeerDnsSan => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::DnsNames, out)
        }
        Plain::DownstreamPeerSubject => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Subject, out)
        }
        Plain::DownstreamPeerIssuer => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Issuer, out)
        }
        Plain::DownstreamPeerCert => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Pem, out)
        }
        Plain::DownstreamLocalUriSan => {
            certificate(record.downstream_tls, Whose::Local, CertificateFact::Uris, out)
        }
        Plain::DownstreamLocalDnsSan => {
            certificate(record.downstream_tls, Whose::Local, CertificateFact::DnsNames, out)
        }
        Plain::DownstreamLocalSubject => {
            certificate(record.downstream_tls, Whose::Local, CertificateFact::Subject, out)
        }
        Plain::UpstreamTlsVersion => string(record.upstream_tls.map(TlsSource::version), out),
        Plain::UpstreamTlsCipher => string(record.upstream_tls.map(TlsSource::cipher), out),
        Plain::UpstreamPeerUriSan => {
            certificate(record.upstream_tls, Whose::Peer, CertificateFact::Uris, out)
        }
        Plain::UpstreamPeerDnsSan => {
            certificate(record.upstream_tls, Whose::Peer, CertificateFact::DnsNames, out)
        }
        Plain::UpstreamPeerSubject => {
            certificate(record.upstream_tls, Whose::Peer, CertificateFact::Subject, out)
        }
        Plain::UpstreamPeerIssuer => {
            certificate(record.upstream_tls, Whose::Peer, CertificateFact::Issuer, out)
        }
        Plain::UpstreamPeerCert => certificate(record.upstream_tls, Whose::Peer, CertificateFact::Pem, out),
        Plain::UpstreamLocalUriSan => {
            certificate(record.upstream_tls, Whose::Local, CertificateFact::Uris, out)
        }
        Plain::UpstreamLocalDnsSan => {
            certificate(record.upstream_tls, Whose::Local, CertificateFact::DnsNames, out)
        }
        Plain::DownstreamPeerIpSan => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Addresses, out)
        }
        Plain::DownstreamPeerEmailSan => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Emails, out)
        }
        Plain::DownstreamPeerFingerprint256 => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Fingerprint256, out)
        }
        Plain::DownstreamPeerFingerprint1 => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Fingerprint1, out)
        }
        Plain::DownstreamPeerSerial => {
            certificate(record.downstream_tls, Whose::Peer, CertificateFact::Serial, out)
        }
        Plain::DownstreamLocalEmailSan => {
            certificate(record.downstream_tls, Whose::Local, CertificateFact::Emails, out)
        }
        Plain::RequestedServerName => string(record.server_name, out),
        Plain::ResponseCode => number(Some(record.status.into()), out),
        Plain::ResponseCodeDetails => string(record.details, out),
        Plain::ConnectionTerminationDetails => string(record.termination_details, out),
        Plain::ResponseFlags => flags(&record.flags, |flag| flag.short(), out),
        Plain::ResponseFlagsLong => flags(&record.flags, |flag| flag.long(), out),
        Plain::Duration => number(record.duration.map(millis), out),
        Plain::RequestDuration => number(record.request_received.map(millis), out),
        Plain::RequestTxDuration => number(record.request_sent.map(millis), out),
        Plain::ResponseDuration => number(record.response_first.map(millis), out),
        Plain::ResponseTxDuration => {
            let spent =
                record.duration.zip(record.response_first).map(|(end, begin)| end.saturating_sub(begin));
            number(spent.map(millis), out)
        }
        Plain::PoolReadyDuration => number(record.pool_ready.map(millis), out),
        Plain::BytesReceived => number(Some(record.bytes_received), out),
        Plain::BytesSent => number(Some(record.bytes_sent), out),
        Plain::RequestHeadersBytes => {
            number(Some(byte_len(record.request, record.request_header_bytes)), out)
        }
        Plain::ResponseHeadersBytes => {
            number(Some(byte_len(record.response, record.response_header_bytes)), out)
        }
        Plain::ResponseTrailersBytes => number(Some(record.response_trailer_bytes), out),
        Plain::UpstreamWireBytesSent => number(Some(record.upstream_wire_sent), out),
        Plain::UpstreamWireBytesReceived => number(Some(record.upstream_wire_received), out),
        Plain::UpstreamHeaderBytesSent => number(Some(record.upstream_header_sent), out),
        Plain::UpstreamHeaderBytesReceived => number(Some(record.upstream_header_received), out),
        Plain::DownstreamWireBytesSent => number(Some(record.downstream_wire_sent), out),
        Plain::DownstreamWireBytesReceived => number(Some(record.downstream_wire_received), out),
        Plain::DownstreamHeaderBytesSent => number(Some(record.downstream_header_sent), out),
        Plain::DownstreamHeaderBytesReceived => number(Some(record.downstream_header_received), out),
        Plain::UpstreamHost | Plain::UpstreamRemoteAddress => address(record.upstream_host, out),
        Plain::UpstreamHostName => match record.upstream_host_name {
            Some(name) => string(Some(name), out),
            None => address(record.upstream_host, out),
        },
        Plain::UpstreamHostNameWithoutPort => match record.upstream_host_name {
            Some(name) => string(name.rsplit_once(':').map_or(Some(name), |(host, _)| Some(host)), out),
            None => ip(record.upstream_host, out),
        },
        Plain::UpstreamCluster | Plain::UpstreamClusterRaw => string(record.cluster, out),
        Plain::UpstreamLocalAddress => address(record.upstream_local, out),
        Plain::UpstreamLocalIp => ip(record.upstream_local, out),
        Plain::UpstreamLocalPort => port(record.upstream_local, out),
        Plain::UpstreamRemoteIp => ip(record.upstream_host, out),
        Plain::UpstreamRemotePort => port(record.upstream_host, out),
        Plain::UpstreamRequestAttemptCount => number(Some(record.attempts.into()), out),
        Plain::UpstreamProtocol => string(record.upstream_protocol.map(|protocol| protocol.text()), out),
        Plain::UpstreamTransportFailureReason => string(record.upstream_failure, out),
        Plain::UpstreamConnectionId => number(record.upstream_connection_id, out),
        Plain::DownstreamRemoteAddress => address(record.downstream_remote, out),
        Plain::DownstreamRemoteIp => ip(record.downstream_remote, out),
        Plain::DownstreamRemotePort => port(record.downstream_remote, out),
        Plain::DownstreamDirectRemoteAddress => address(record.downstream_direct_remote, out),
        Plain::DownstreamDirectRemoteIp => ip(record.downstream_direct_remote, out),
        Plain::DownstreamDirectRemotePort => port(record.downstream_direct_remote, out),
        Plain::DownstreamLocalAddress => address(record.downstream_local, out),
        Plain::DownstreamLocalIp => ip(record.downstream_local, out),
        Plain::DownstreamLocalPort => port(record.downstream_local, out),
        Plain::DownstreamDirectLocalAddress => address(record.downstream_direct_local, out),
        Plain::DownstreamLocalCloseReason => string(record.local_close_reason, out),
        Plain::LocalReplyBody => string(record.local_reply_body, out),
        Plain::RouteName => string(record.route_name.filter(|name| !name.is_empty()), out),
        Plain::ConnectionId => number(record.connection_id, out),
        Plain::StreamId | Plain::UniqueId => text(record.stream_id, out),
        Plain::FilterChainName => string(record.chain_name.filter(|name| !name.is_empty()), out),
        Plain::AccessLogType => string(
            Some(match record.kind {
                RecordKind::Http => "DownstreamEnd",
                RecordKind::Tcp => "TcpConnectionEnd",
                RecordKind::Connection => "NotSet",
            }),
            out,
        ),
        Plain::GrpcStatusNumber => number(record.grpc_status.map(u64::from), out),
        Plain::TraceId => match record.trace_id {
            Some(id) => hex(format_args!("{id:032x}"), out),
            None => Written::Missing,
        },
        Plain::SpanId => match record.span_id {
            Some(id) => hex(format_args!("{id:016x}"), out),
            None => Written::Missing,
        },
        Plain::GrpcStatus => match record.grpc_status {
            Some(status) => match grpc::name(status) {
                Some(name) => string(Some(name), out),
                None => number(Some(status.into()), out),
            },
            None => Written::Missing,
        },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn number(value: Option<u64>, out: &mut Vec<u8>) -> Written {
    let Some(value) = value else { return Written::Missing };
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    Written::Number
}

fn certificate(
    tls: Option<&dyn TlsSource>,
    whose: Whose,
    fact: CertificateFact,
    out: &mut Vec<u8>,
) -> Written {
    match tls.is_some_and(|tls| tls.write(whose, fact, out)) {
        true => Written::Text,
        false => Written::Missing,
    }
}

fn ascii(value: Option<&'static str>, out: &mut Vec<u8>) -> Written {
    match text(value.map(str::as_bytes), out) {
        Written::Missing => Written::Missing,
        _ => Written::Plain,
    }
}

fn string(value: Option<&str>, out: &mut Vec<u8>) -> Written {
    text(value.map(str::as_bytes), out)
}

fn text(value: Option<&[u8]>, out: &mut Vec<u8>) -> Written {
    let Some(value) = value else { return Written::Missing };
    out.extend_from_slice(value);
    Written::Text
}

fn hex(id: std::fmt::Arguments<'_>, out: &mut Vec<u8>) -> Written {
    let _ = out.write_fmt(id);
    Written::Text
}

fn address(value: Option<SocketAddr>, out: &mut Vec<u8>) -> Written {
    let Some(value) = value else { return Written::Missing };
    match value {
        SocketAddr::V4(value) => {
            write_ipv4(*value.ip(), out);
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(value.port()).as_bytes());
        }
        // Writing to a Vec cannot fail, here and below.
        SocketAddr::V6(_) => drop(write!(out, "{value}")),
    }
    Written::Plain
}

fn ip(value: Option<SocketAddr>, out: &mut Vec<u8>) -> Written {
    let Some(value) = value else { return Written::Missing };
    match value.ip() {
        IpAddr::V4(ip) => write_ipv4(ip, out),
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
    Written::Plain
}

/// What `Display` writes, for a tenth of its price: an address stands in nearly every record.
fn write_ipv4(ip: Ipv4Addr, out: &mut Vec<u8>) {
    for (index, octet) in ip.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
}

fn port(value: Option<SocketAddr>, out: &mut Vec<u8>) -> Written {
    number(value.map(|value| value.port().into()), out)
}

fn flags(flags: &ResponseFlags, name: impl Fn(crate::Flag) -> &'static str, out: &mut Vec<u8>) -> Written {
    if flags.is_empty() {
        // Unlike what is missing, no flag is `-` in JSON too.
        out.push(b'-');
    }
    for (index, flag) in flags.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name(flag).as_bytes());
    }
    Written::Plain
}

fn write_header(source: Option<&dyn HeaderSource>, header: &Header, out: &mut Vec<u8>) -> Written {
    let value = source.and_then(|source| {
        source
            .header(&header.name)
            .or_else(|| header.fallback.as_deref().and_then(|name| source.header(name)))
    });
    text(value, out)
}

fn path<'a>(record: &Record<'a>, query: bool, original: Original) -> Option<&'a [u8]> {
    let request = record.request?;
    let before = || request.header("x-envoy-original-path");
    let path = match original {
        Original::Only => before()?,
        Original::Never => request.header(":path")?,
        Original::Preferred => before().or_else(|| request.header(":path"))?,
    };
    let end = if query { None } else { path.iter().position(|byte| *byte == b'?') };
    Some(&path[..end.unwrap_or(path.len())])
}

fn query_parameter<'a>(record: &Record<'a>, name: &str) -> Option<&'a [u8]> {
    let path = path(record, true, Original::Never)?;
    let question = path.iter().position(|byte| *byte == b'?')?;
    path[question + 1..].split(|byte| *byte == b'&').find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        (&pair[..equals] == name.as_bytes()).then(|| &pair[equals + 1..])
    })
}

fn common_duration(record: &Record<'_>, from: Point, to: Point, unit: Unit) -> Option<u64> {
    let at = |point| match point {
        Point::RequestBegin => Some(Duration::ZERO),
        Point::RequestEnd => record.request_received,
        Point::UpstreamRequestEnd => record.request_sent,
        Point::UpstreamResponseBegin => record.response_first,
        Point::ResponseEnd => record.duration,
    };
    let spent = at(to)?.checked_sub(at(from)?)?;
    let value = match unit {
        Unit::Milliseconds => spent.as_millis(),
        Unit::Microseconds => spent.as_micros(),
        Unit::Nanoseconds => spent.as_nanos(),
    };
    u64::try_from(value).ok()
}

/// What the message itself says of its headers' length, or else what was counted.
fn byte_len(message: Option<&dyn HeaderSource>, counted: u64) -> u64 {
    message.map(HeaderSource::byte_len).filter(|len| *len > 0).unwrap_or(counted)
}
