//! `envoy.service.accesslog.v3.AccessLogService`: what a proxy tells of requests and connections. Entries are written one behind
//! the other as they happen; a message is what stands there when it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use prost::encoding::{encode_key, encode_varint};
use selvedge_xds_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use selvedge_xds_proto::envoy::config::core::v3::{Address, RequestMethod, SocketAddress, address};
use selvedge_xds_proto::envoy::data::accesslog::v3 as data;
use selvedge_xds_proto::envoy::data::accesslog::v3::http_access_log_entry::HttpVersion;
use selvedge_xds_proto::envoy::data::accesslog::v3::response_flags::Unauthorized;
use selvedge_xds_proto::envoy::data::accesslog::v3::response_flags::unauthorized::Reason;
use selvedge_xds_proto::envoy::data::accesslog::v3::tls_properties::certificate_properties::{
    SubjectAltName, subject_alt_name::San,
};
use selvedge_xds_proto::envoy::data::accesslog::v3::tls_properties::{CertificateProperties, TlsVersion};
use selvedge_xds_proto::envoy::service::accesslog::v3 as proto;
use selvedge_xds_proto::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;

use crate::Node;

/// The path of the service's only method, a stream of messages that is answered at its end.
pub const PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// What a request and a connection have in common. All durations are since `start`; 0 and an empty text are nothing.
#[derive(Clone, Debug, Default)]
pub struct Common<'a> {
    pub start: Option<SystemTime>,
    pub duration: Option<Duration>,
    pub last_received: Option<Duration>,
    pub first_upstream_sent: Option<Duration>,
    pub last_upstream_sent: Option<Duration>,
    pub first_upstream_received: Option<Duration>,
    pub last_upstream_received: Option<Duration>,
    pub first_sent: Option<Duration>,
    pub last_sent: Option<Duration>,
    pub downstream_remote: Option<SocketAddr>,
    pub downstream_direct_remote: Option<SocketAddr>,
    pub downstream_local: Option<SocketAddr>,
    pub upstream_remote: Option<SocketAddr>,
    pub upstream_local: Option<SocketAddr>,
    pub cluster: &'a str,
    pub route: &'a str,
    /// By their short names.
    pub flags: Vec<&'a str>,
    pub upstream_failure: &'a str,
    pub downstream_failure: &'a str,
    pub termination_details: &'a str,
    pub attempts: u32,
    /// What the log's configuration adds.
    pub tags: Vec<(&'a str, String)>,
    pub stream_id: &'a str,
    pub downstream_wire_sent: u64,
    pub downstream_wire_received: u64,
    pub upstream_wire_sent: u64,
    pub upstream_wire_received: u64,
    pub server_name: &'a str,
    pub tls: Option<Tls<'a>>,
}

/// A handshake.
#[derive(Clone, Debug, Default)]
pub struct Tls<'a> {
    /// `TLSv1.3`
    pub version: &'a str,
    /// By its IANA number.
    pub cipher: Option<u16>,
    pub local: Certificate,
    pub peer: Certificate,
}

/// What a certificate says of its holder.
#[derive(Clone, Debug, Default)]
pub struct Certificate {
    pub uris: Vec<String>,
    pub subject: String,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Http<'a> {
    /// `HTTP/1.1`
    pub protocol: &'a str,
    pub method: &'a str,
    pub scheme: &'a str,
    pub authority: &'a str,
    pub path: &'a str,
    pub user_agent: &'a str,
    pub referer: &'a str,
    pub forwarded_for: &'a str,
    pub request_id: &'a str,
    pub original_path: &'a str,
    pub request_header_bytes: u64,
    pub request_body_bytes: u64,
    pub request_headers: Vec<(&'a str, String)>,
    /// 0 if there was no answer.
    pub status: u16,
    pub details: &'a str,
    pub response_header_bytes: u64,
    pub response_body_bytes: u64,
    pub response_headers: Vec<(&'a str, String)>,
    pub response_trailers: Vec<(&'a str, String)>,
}

/// One connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp {
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

/// What entries are of; those of one message are all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http,
    Tcp,
}

/// The number of a list's entries and that of either list in a message.
const ENTRY: u32 = 1;
const HTTP_LOGS: u32 = 2;
const TCP_LOGS: u32 = 3;

/// Appends the entry of a request to what will be sent.
pub fn append_http(common: &Common<'_>, http: &Http<'_>, out: &mut Vec<u8>) {
    let pairs = |headers: &[(&str, String)]| -> BTreeMap<String, String> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let entry = data::HttpAccessLogEntry {
        common_properties: Some(properties(common, data::AccessLogType::DownstreamEnd)),
        protocol_version: version(http.protocol).into(),
        request: Some(data::HttpRequestProperties {
            request_method: method(http.method).into(),
            scheme: http.scheme.to_owned(),
            authority: http.authority.to_owned(),
            path: http.path.to_owned(),
            user_agent: http.user_agent.to_owned(),
            referer: http.referer.to_owned(),
            forwarded_for: http.forwarded_for.to_owned(),
            request_id: http.request_id.to_owned(),
            original_path: http.original_path.to_owned(),
            request_headers_bytes: http.request_header_bytes,
            request_body_bytes: http.request_body_bytes,
            request_headers: pairs(&http.request_headers),
            upstream_header_bytes_sent: 0,
            downstream_header_bytes_received: 0,
        }),
        response: Some(data::HttpResponseProperties {
            response_code: (http.status != 0).then_some(http.status.into()),
            response_headers_bytes: http.response_header_bytes,
            response_body_bytes: http.response_body_bytes,
            response_headers: pairs(&http.response_headers),
            response_trailers: pairs(&http.response_trailers),
            response_code_details: http.details.to_owned(),
            upstream_header_bytes_received: 0,
            downstream_header_bytes_sent: 0,
        }),
    };
    append(&entry, out);
}

/// Appends the entry of a connection.
pub fn append_tcp(common: &Common<'_>, tcp: Tcp, out: &mut Vec<u8>) {
    let entry = data::TcpAccessLogEntry {
        common_properties: Some(properties(common, data::AccessLogType::TcpConnectionEnd)),
        connection_properties: Some(data::ConnectionProperties {
            received_bytes: tcp.received_bytes,
            sent_bytes: tcp.sent_bytes,
        }),
    };
    append(&entry, out);
}

/// As it stands in a list, so that a list is entries one behind the other.
fn append(entry: &impl Message, out: &mut Vec<u8>) {
    encode_key(ENTRY, prost::encoding::WireType::LengthDelimited, out);
    encode_varint(entry.encoded_len() as u64, out);
    entry.encode_raw(out);
}

/// A message of `entries`; the first of a stream says whose they are.
pub fn message(kind: Kind, identity: Option<(&Node, &str)>, entries: &[u8]) -> Vec<u8> {
    let identifier = identity.map(|(node, log_name)| proto::stream_access_logs_message::Identifier {
        node: Some(node.encode()),
        log_name: log_name.to_owned(),
    });
    let mut bytes = proto::StreamAccessLogsMessage { identifier, log_entries: None }.encode_to_vec();
    let list = match kind {
        Kind::Http => HTTP_LOGS,
        Kind::Tcp => TCP_LOGS,
    };
    encode_key(list, prost::encoding::WireType::LengthDelimited, &mut bytes);
    encode_varint(entries.len() as u64, &mut bytes);
    bytes.extend_from_slice(entries);
    bytes
}

fn properties(common: &Common<'_>, kind: data::AccessLogType) -> data::AccessLogCommon {
    data::AccessLogCommon {
        downstream_remote_address: common.downstream_remote.map(address),
        downstream_local_address: common.downstream_local.map(address),
        tls_properties: tls(common),
        start_time: common.start.map(timestamp),
        time_to_last_rx_byte: common.last_received.map(duration),
        time_to_first_upstream_tx_byte: common.first_upstream_sent.map(duration),
        time_to_last_upstream_tx_byte: common.last_upstream_sent.map(duration),
        time_to_first_upstream_rx_byte: common.first_upstream_received.map(duration),
        time_to_last_upstream_rx_byte: common.last_upstream_received.map(duration),
        time_to_first_downstream_tx_byte: common.first_sent.map(duration),
        time_to_last_downstream_tx_byte: common.last_sent.map(duration),
        upstream_remote_address: common.upstream_remote.map(address),
        upstream_local_address: common.upstream_local.map(address),
        upstream_cluster: common.cluster.to_owned(),
        response_flags: flags(&common.flags),
        upstream_transport_failure_reason: common.upstream_failure.to_owned(),
        route_name: common.route.to_owned(),
        downstream_direct_remote_address: common.downstream_direct_remote.map(address),
        duration: common.duration.map(duration),
        upstream_request_attempt_count: common.attempts,
        custom_tags: common.tags.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        connection_termination_details: common.termination_details.to_owned(),
        stream_id: common.stream_id.to_owned(),
        downstream_transport_failure_reason: common.downstream_failure.to_owned(),
        downstream_wire_bytes_sent: common.downstream_wire_sent,
        downstream_wire_bytes_received: common.downstream_wire_received,
        upstream_wire_bytes_sent: common.upstream_wire_sent,
        upstream_wire_bytes_received: common.upstream_wire_received,
        access_log_type: kind.into(),
    }
}

fn tls(common: &Common<'_>) -> Option<data::TlsProperties> {
    if common.tls.is_none() && common.server_name.is_empty() {
        return None;
    }
    let certificate = |certificate: &Certificate| CertificateProperties {
        subject_alt_name: certificate
            .uris
            .iter()
            .map(|uri| SubjectAltName { san: Some(San::Uri(uri.clone())) })
            .collect(),
        subject: certificate.subject.clone(),
        issuer: String::new(),
    };
    let tls = common.tls.as_ref();
    let version = match tls.map_or("", |tls| tls.version) {
        "TLSv1" => TlsVersion::TlSv1,
        "TLSv1.1" => TlsVersion::TlSv11,
        "TLSv1.2" => TlsVersion::TlSv12,
        "TLSv1.3" => TlsVersion::TlSv13,
        _ => TlsVersion::VersionUnspecified,
    };
    Some(data::TlsProperties {
        tls_version: version.into(),
        tls_cipher_suite: tls.and_then(|tls| tls.cipher).map(u32::from),
        tls_sni_hostname: common.server_name.to_owned(),
        local_certificate_properties: tls.map(|tls| certificate(&tls.local)),
        peer_certificate_properties: tls.map(|tls| certificate(&tls.peer)),
        tls_session_id: String::new(),
    })
}

/// `None` without a flag; what the message has no member for is not said.
fn flags(short: &[&str]) -> Option<data::ResponseFlags> {
    let has = |name| short.contains(&name);
    (!short.is_empty()).then(|| data::ResponseFlags {
        failed_local_healthcheck: has("LH"),
        no_healthy_upstream: has("UH"),
        upstream_request_timeout: has("UT"),
        local_reset: has("LR"),
        upstream_remote_reset: has("UR"),
        upstream_connection_failure: has("UF"),
        upstream_connection_termination: has("UC"),
        upstream_overflow: has("UO"),
        no_route_found: has("NR"),
        delay_injected: has("DI"),
        fault_injected: has("FI"),
        rate_limited: has("RL"),
        unauthorized_details: has("UAEX").then(|| Unauthorized { reason: Reason::ExternalService.into() }),
        rate_limit_service_error: has("RLSE"),
        downstream_connection_termination: has("DC"),
        upstream_retry_limit_exceeded: has("URX"),
        stream_idle_timeout: has("SI"),
        invalid_envoy_request_headers: has("IH"),
        downstream_protocol_error: has("DPE"),
        upstream_max_stream_duration_reached: has("UMSDR"),
        response_from_cache_filter: has("RFCF"),
        no_filter_config_found: has("NFCF"),
        duration_timeout: has("DT"),
        upstream_protocol_error: has("UPE"),
        no_cluster_found: has("NC"),
        overload_manager: has("OM"),
        dns_resolution_failure: has("DF"),
        downstream_remote_reset: has("DR"),
    })
}

fn version(protocol: &str) -> HttpVersion {
    match protocol {
        "HTTP/1.0" => HttpVersion::Http10,
        "HTTP/1.1" => HttpVersion::Http11,
        "HTTP/2" => HttpVersion::Http2,
        "HTTP/3" => HttpVersion::Http3,
        _ => HttpVersion::ProtocolUnspecified,
    }
}

fn method(method: &str) -> RequestMethod {
    RequestMethod::from_str_name(method).unwrap_or(RequestMethod::MethodUnspecified)
}

fn address(at: SocketAddr) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: at.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(at.port().into())),
            ..SocketAddress::default()
        })),
    }
}

fn timestamp(at: SystemTime) -> prost_types::Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp {
        seconds: since.as_secs().cast_signed(),
        nanos: since.subsec_nanos().cast_signed(),
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// A message as a service that is told of requests sees it: what a person would want to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The node's id and the log's name, in the first message of a stream.
    pub identity: Option<(String, String)>,
    /// By Envoy's names of the members; what is empty or nothing is left out.
    pub entries: Vec<BTreeMap<String, String>>,
}

/// Reads a message; `None` if it is none.
pub fn decode(bytes: &[u8]) -> Option<Told> {
    let message = proto::StreamAccessLogsMessage::decode(bytes).ok()?;
    let identity = message.identifier.map(|id| (id.node.unwrap_or_default().id, id.log_name));
    let entries = match message.log_entries {
        None => Vec::new(),
        Some(LogEntries::HttpLogs(logs)) => logs.log_entry.iter().map(told_http).collect(),
        Some(LogEntries::TcpLogs(logs)) => logs.log_entry.iter().map(told_tcp).collect(),
    };
    Some(Told { identity, entries })
}

type Members = BTreeMap<String, String>;

fn say(members: &mut Members, name: &str, value: impl ToString) {
    let value = value.to_string();
    if !value.is_empty() && value != "0" {
        members.insert(name.to_owned(), value);
    }
}

fn told_http(entry: &data::HttpAccessLogEntry) -> Members {
    let mut members = told_common(&entry.common_properties.clone().unwrap_or_default());
    let (request, response) =
        (entry.request.clone().unwrap_or_default(), entry.response.clone().unwrap_or_default());
    let mut say = |name: &str, value: String| say(&mut members, name, value);
    say("protocol_version", entry.protocol_version().as_str_name().to_owned());
    say("request_method", request.request_method().as_str_name().to_owned());
    say("scheme", request.scheme);
    say("authority", request.authority);
    say("path", request.path);
    say("user_agent", request.user_agent);
    say("referer", request.referer);
    say("forwarded_for", request.forwarded_for);
    say("request_id", request.request_id);
    say("original_path", request.original_path);
    say("request_headers_bytes", request.request_headers_bytes.to_string());
    say("request_body_bytes", request.request_body_bytes.to_string());
    say("response_code", response.response_code.unwrap_or_default().to_string());
    say("response_code_details", response.response_code_details);
    say("response_headers_bytes", response.response_headers_bytes.to_string());
    say("response_body_bytes", response.response_body_bytes.to_string());
    for (kind, headers) in [
        ("request_headers", &request.request_headers),
        ("response_headers", &response.response_headers),
        ("response_trailers", &response.response_trailers),
    ] {
        headers.iter().for_each(|(name, value)| say(&format!("{kind}.{name}"), value.clone()));
    }
    members
}

fn told_tcp(entry: &data::TcpAccessLogEntry) -> Members {
    let mut members = told_common(&entry.common_properties.clone().unwrap_or_default());
    let connection = entry.connection_properties.unwrap_or_default();
    say(&mut members, "received_bytes", connection.received_bytes);
    say(&mut members, "sent_bytes", connection.sent_bytes);
    members
}

fn told_common(common: &data::AccessLogCommon) -> Members {
    let mut members = Members::new();
    let mut tell = |name: &str, value: String| say(&mut members, name, value);
    let place = |address: &Option<Address>| match address.as_ref().and_then(|it| it.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => socket.address.clone(),
        },
        _ => String::new(),
    };
    let micros = |time: &Option<prost_types::Duration>| {
        time.map_or_else(String::new, |time| {
            // Nothing that took no time is nothing.
            (time.seconds * 1_000_000 + i64::from(time.nanos) / 1000).max(1).to_string()
        })
    };
    tell("downstream_remote_address", place(&common.downstream_remote_address));
    tell("downstream_direct_remote_address", place(&common.downstream_direct_remote_address));
    tell("downstream_local_address", place(&common.downstream_local_address));
    tell("upstream_remote_address", place(&common.upstream_remote_address));
    tell("upstream_local_address", place(&common.upstream_local_address));
    tell("start_time", common.start_time.map_or_else(String::new, |at| at.seconds.to_string()));
    tell("time_to_last_rx_byte", micros(&common.time_to_last_rx_byte));
    tell("time_to_first_upstream_tx_byte", micros(&common.time_to_first_upstream_tx_byte));
    tell("time_to_last_upstream_tx_byte", micros(&common.time_to_last_upstream_tx_byte));
    tell("time_to_first_upstream_rx_byte", micros(&common.time_to_first_upstream_rx_byte));
    tell("time_to_last_upstream_rx_byte", micros(&common.time_to_last_upstream_rx_byte));
    tell("time_to_first_downstream_tx_byte", micros(&common.time_to_first_downstream_tx_byte));
    tell("time_to_last_downstream_tx_byte", micros(&common.time_to_last_downstream_tx_byte));
    tell("duration", micros(&common.duration));
    tell("upstream_cluster", common.upstream_cluster.clone());
    tell("route_name", common.route_name.clone());
    common.custom_tags.iter().for_each(|(name, value)| tell(&format!("custom_tags.{name}"), value.clone()));
    tell("upstream_request_attempt_count", common.upstream_request_attempt_count.to_string());
    tell("upstream_transport_failure_reason", common.upstream_transport_failure_reason.clone());
    tell("downstream_transport_failure_reason", common.downstream_transport_failure_reason.clone());
    tell("connection_termination_details", common.connection_termination_details.clone());
    tell("stream_id", common.stream_id.clone());
    tell("downstream_wire_bytes_sent", common.downstream_wire_bytes_sent.to_string());
    tell("downstream_wire_bytes_received", common.downstream_wire_bytes_received.to_string());
    tell("upstream_wire_bytes_sent", common.upstream_wire_bytes_sent.to_string());
    tell("upstream_wire_bytes_received", common.upstream_wire_bytes_received.to_string());
    tell("access_log_type", common.access_log_type().as_str_name().to_owned());
    if let Some(tls) = &common.tls_properties {
        tell("tls_version", tls.tls_version().as_str_name().to_owned());
        tell("tls_cipher_suite", tls.tls_cipher_suite.unwrap_or_default().to_string());
        tell("tls_sni_hostname", tls.tls_sni_hostname.clone());
    }
    if let Some(flags) = &common.response_flags {
        // Of the message's own making: member and value, of those that are set.
        let text = format!("{flags:?}");
        let set = text.split([',', '{', '}']).filter_map(|member| member.trim().strip_suffix(": true"));
        tell("response_flags", set.collect::<Vec<_>>().join(","));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_one_behind_the_other_and_the_first_message_says_whose_they_are() {
        let common = Common {
            start: Some(UNIX_EPOCH + Duration::from_secs(5)),
            duration: Some(Duration::from_millis(3)),
            downstream_remote: Some("127.0.0.1:4000".parse().expect("an address")),
            cluster: "c",
            flags: vec!["UF", "URX"],
            attempts: 2,
            ..Common::default()
        };
        let http = Http {
            protocol: "HTTP/1.1",
            method: "GET",
            path: "/a",
            status: 503,
            request_headers: vec![("x-a", "1".to_owned())],
            ..Http::default()
        };
        let mut entries = Vec::new();
        append_http(&common, &http, &mut entries);
        append_http(&common, &Http { path: "/b", ..http }, &mut entries);
        let node = Node { id: "n".to_owned(), ..Node::default() };
        let told = decode(&message(Kind::Http, Some((&node, "log")), &entries)).expect("a message");
        assert_eq!(told.identity, Some(("n".to_owned(), "log".to_owned())));
        let of = |at: usize, name: &str| told.entries[at].get(name).map(String::as_str);
        assert_eq!((told.entries.len(), of(0, "path"), of(1, "path")), (2, Some("/a"), Some("/b")));
        assert_eq!((of(0, "response_code"), of(0, "upstream_cluster")), (Some("503"), Some("c")));
        assert_eq!((of(0, "duration"), of(0, "request_headers.x-a")), (Some("3000"), Some("1")));
        assert_eq!((of(0, "request_method"), of(0, "protocol_version")), (Some("GET"), Some("HTTP11")));
        assert_eq!(
            of(0, "response_flags"),
            Some("upstream_connection_failure,upstream_retry_limit_exceeded")
        );
        assert_eq!(of(0, "downstream_remote_address"), Some("127.0.0.1:4000"));

        let mut entries = Vec::new();
        append_tcp(&common, Tcp { received_bytes: 7, sent_bytes: 9 }, &mut entries);
        let told = decode(&message(Kind::Tcp, None, &entries)).expect("a message");
        assert_eq!(told.identity, None);
        assert_eq!(told.entries[0].get("received_bytes").map(String::as_str), Some("7"));
        assert_eq!(told.entries[0].get("access_log_type").map(String::as_str), Some("TcpConnectionEnd"));
    }
}
