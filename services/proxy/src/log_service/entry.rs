//! A record as an entry of an access log service's message.

use selvedge_telemetry::{CertificateFact, Flag, HeaderSource, Record, RecordKind, TlsSource, Whose};
use selvedge_traffic::GrpcRecords;
use selvedge_traffic::tracing::{CustomTag, TagValue};
use selvedge_xds::rpc::access_log::{Certificate, Common, Http, Tcp, Tls, append_http, append_tcp};

/// What a log's configuration adds to each record.
#[derive(Debug)]
pub(super) struct Tag {
    name: String,
    /// A header whose value it is; without one, or without a value, the default is.
    header: Option<String>,
    default: String,
}

impl Tag {
    /// What does not depend on the request is found out once.
    pub(super) fn all(tags: &[CustomTag]) -> Vec<Self> {
        let one = |tag: &CustomTag| {
            let (header, default) = match &tag.value {
                TagValue::Literal(value) => (None, value.clone()),
                TagValue::Environment { name, default } => {
                    (None, std::env::var(name).unwrap_or_else(|_| default.clone()))
                }
                TagValue::RequestHeader { name, default } => (Some(name.clone()), default.clone()),
            };
            Self { name: tag.name.clone(), header, default }
        };
        tags.iter().map(one).collect()
    }

    /// A tag without a value is none.
    fn of<'a>(&'a self, record: &Record<'_>) -> Option<(&'a str, String)> {
        let value = self.header.as_deref().and_then(|name| record.request?.header(name));
        let value =
            value.map_or_else(|| self.default.clone(), |value| String::from_utf8_lossy(value).into_owned());
        (!value.is_empty()).then_some((&*self.name, value))
    }
}

/// Appends `record` to what will be sent; one of the other kind is told as far as it goes.
pub(super) fn append(records: &GrpcRecords, tags: &[Tag], record: &Record<'_>, out: &mut Vec<u8>) {
    let tags = tags.iter().filter_map(|tag| tag.of(record)).collect();
    let common = Common { tags, ..common(record) };
    match records {
        GrpcRecords::Tcp => {
            let tcp = Tcp { received_bytes: record.bytes_received, sent_bytes: record.bytes_sent };
            append_tcp(&common, tcp, out);
        }
        GrpcRecords::Http { request_headers, response_headers, response_trailers } => {
            let of = |name: &str| text(record.request, name);
            let http = Http {
                protocol: record.protocol.map_or("", |protocol| protocol.text()),
                method: of(":method"),
                scheme: of(":scheme"),
                authority: of(":authority"),
                path: of(":path"),
                user_agent: of("user-agent"),
                referer: of("referer"),
                forwarded_for: of("x-forwarded-for"),
                request_id: of("x-request-id"),
                original_path: of("x-envoy-original-path"),
                request_header_bytes: record.request.map_or(0, HeaderSource::byte_len),
                request_body_bytes: record.bytes_received,
                request_headers: values(record.request, request_headers),
                status: record.status,
                details: record.details.unwrap_or_default(),
                response_header_bytes: record.response.map_or(0, HeaderSource::byte_len),
                response_body_bytes: record.bytes_sent,
                response_headers: values(record.response, response_headers),
                response_trailers: values(record.trailers, response_trailers),
            };
            append_http(&common, &http, out);
        }
    }
}

fn common<'a>(record: &Record<'a>) -> Common<'a> {
    let answered = record.status != 0 && record.kind == RecordKind::Http;
    Common {
        start: record.start,
        duration: record.duration,
        last_received: record.request_received,
        // A request's head leaves as soon as there is a connection for it.
        first_upstream_sent: record.pool_ready,
        last_upstream_sent: record.request_sent,
        first_upstream_received: record.response_first,
        last_upstream_received: record.response_first.and(record.duration),
        first_sent: record.response_first.or(record.duration).filter(|_| answered),
        last_sent: record.duration.filter(|_| answered),
        downstream_remote: record.downstream_remote,
        downstream_direct_remote: record.downstream_direct_remote,
        downstream_local: record.downstream_local,
        upstream_remote: record.upstream_host,
        upstream_local: record.upstream_local,
        // Of the host that answered, as Envoy has it: without a host there is none.
        cluster: record.upstream_host.and(record.cluster).unwrap_or_default(),
        route: record.route_name.unwrap_or_default(),
        flags: record.flags.iter().map(Flag::short).collect(),
        upstream_failure: record.upstream_failure.unwrap_or_default(),
        downstream_failure: record.downstream_failure.unwrap_or_default(),
        termination_details: record.termination_details.unwrap_or_default(),
        attempts: record.attempts,
        tags: Vec::new(),
        stream_id: record.stream_id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default(),
        downstream_wire_sent: record.downstream_wire_sent,
        downstream_wire_received: record.downstream_wire_received,
        upstream_wire_sent: record.upstream_wire_sent,
        upstream_wire_received: record.upstream_wire_received,
        server_name: record.server_name.unwrap_or_default(),
        tls: record.downstream_tls.map(tls),
    }
}

fn tls(source: &dyn TlsSource) -> Tls<'_> {
    let fact = |whose, fact| {
        let mut out = Vec::new();
        source.write(whose, fact, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let certificate = |whose| {
        let uris = fact(whose, CertificateFact::Uris);
        let uris = uris.split(',').filter(|uri| !uri.is_empty()).map(str::to_owned).collect();
        Certificate { uris, subject: fact(whose, CertificateFact::Subject) }
    };
    Tls {
        version: source.version(),
        cipher: cipher(source.cipher()),
        local: certificate(Whose::Local),
        peer: certificate(Whose::Peer),
    }
}

/// The IANA number of a cipher suite that we speak, by its name.
fn cipher(name: &str) -> Option<u16> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => 0x1301,
        "TLS_AES_256_GCM_SHA384" => 0x1302,
        "TLS_CHACHA20_POLY1305_SHA256" => 0x1303,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => 0xc02b,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => 0xc02c,
        "ECDHE-RSA-AES128-GCM-SHA256" => 0xc02f,
        "ECDHE-RSA-AES256-GCM-SHA384" => 0xc030,
        "ECDHE-RSA-CHACHA20-POLY1305" => 0xcca8,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => 0xcca9,
        _ => return None,
    })
}

/// A header as text; what is none reads as nothing: protobuf's texts are UTF-8.
fn text<'a>(source: Option<&'a dyn HeaderSource>, name: &str) -> &'a str {
    let value = source.and_then(|source| source.header(name));
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

fn values<'n>(source: Option<&dyn HeaderSource>, names: &'n [String]) -> Vec<(&'n str, String)> {
    let Some(source) = source else { return Vec::new() };
    let value = |name: &'n String| {
        let value = source.header(name)?;
        Some((name.as_str(), String::from_utf8_lossy(value).into_owned()))
    };
    names.iter().filter_map(value).collect()
}
