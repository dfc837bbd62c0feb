//! HTTP connection managers.

use selvedge_traffic::{
    CertificateForwarding, ClientCertificate, Codec, FilterEntry, HttpConnection, RouteSource, ServerHeader,
};
use selvedge_xds_proto::envoy::config::core::v3::{Http2ProtocolOptions, HttpProtocolOptions};
use selvedge_xds_proto::envoy::extensions::filters::http::router::v3::Router;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, SetCurrentClientCertDetails,
    CodecType, RouteSpecifier, ServerHeaderTransformation, UpgradeConfig,
};
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};

use super::{access_log, client, duration, filter, http2, route, source, tracing};
use crate::any::pack;

pub(super) fn encode(connection: &HttpConnection) -> HttpConnectionManager {
    let routes = match &connection.routes {
        RouteSource::Rds(name) => {
            RouteSpecifier::Rds(Rds { config_source: Some(source::ads()), route_config_name: name.clone() })
        }
        RouteSource::Inline(table) => RouteSpecifier::RouteConfig(route::table(table)),
    };
    let upgrade = |name: &str| UpgradeConfig { upgrade_type: name.to_owned(), ..UpgradeConfig::default() };
    let upgrades = [(connection.websocket, "websocket"), (connection.connect, "CONNECT")];
    let upgrade_configs = upgrades.iter().filter(|(on, _)| *on).map(|(_, name)| upgrade(name)).collect();
    let common = HttpProtocolOptions {
        idle_timeout: connection.idle_timeout.map(duration::encode),
        max_connection_duration: connection.connection_duration_max.map(duration::encode),
        max_stream_duration: connection.stream_duration_max.map(duration::encode),
        max_requests_per_connection: connection.requests_per_connection_max,
    };
    let mut message = HttpConnectionManager {
        codec_type: codec(connection.codec).into(),
        stat_prefix: connection.stat_prefix.clone(),
        http_filters: connection.filters.iter().map(http_filter).chain([router()]).collect(),
        common_http_protocol_options: (common != HttpProtocolOptions::default()).then_some(common),
        server_name: connection.server_name.clone().unwrap_or_default(),
        server_header_transformation: server_header(connection.server_header).into(),
        stream_idle_timeout: connection.stream_idle_timeout.map(duration::encode),
        request_timeout: connection.request_timeout.map(duration::encode),
        request_headers_timeout: connection.request_headers_timeout.map(duration::encode),
        drain_timeout: connection.drain_timeout.map(duration::encode),
        access_log: access_log::all(&connection.access_logs),
        use_remote_address: connection.use_remote_address.then_some(true),
        forward_client_cert_details: forwarding(connection.client_certificate.forwarding).into(),
        set_current_client_cert_details: certificate_details(&connection.client_certificate),
        upgrade_configs,
        http2_protocol_options: Some(http2::options(connection.http2, connection.extended_connect))
            .filter(|options| *options != Http2ProtocolOptions::default()),
        proxy_100_continue: connection.proxy_100_continue,
        normalize_path: Some(connection.normalize_path),
        merge_slashes: connection.merge_slashes,
        route_specifier: Some(routes),
        tracing: connection.tracing.as_ref().map(tracing::encode),
        ..HttpConnectionManager::default()
    };
    client::encode(&connection.client_address, &mut message);
    message
}

fn forwarding(forwarding: CertificateForwarding) -> ForwardClientCertDetails {
    match forwarding {
        CertificateForwarding::Sanitize => ForwardClientCertDetails::Sanitize,
        CertificateForwarding::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        CertificateForwarding::AppendForward => ForwardClientCertDetails::AppendForward,
        CertificateForwarding::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        CertificateForwarding::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    }
}

fn certificate_details(told: &ClientCertificate) -> Option<SetCurrentClientCertDetails> {
    let details = SetCurrentClientCertDetails {
        subject: told.subject.then_some(true),
        cert: told.certificate,
        chain: false,
        dns: told.dns,
        uri: told.uri,
    };
    (details != SetCurrentClientCertDetails::default()).then_some(details)
}

fn server_header(server: ServerHeader) -> ServerHeaderTransformation {
    match server {
        ServerHeader::Overwrite => ServerHeaderTransformation::Overwrite,
        ServerHeader::AppendIfAbsent => ServerHeaderTransformation::AppendIfAbsent,
        ServerHeader::PassThrough => ServerHeaderTransformation::PassThrough,
    }
}

fn codec(codec: Codec) -> CodecType {
    match codec {
        Codec::Auto => CodecType::Auto,
        Codec::Http1 => CodecType::Http1,
        Codec::Http2 => CodecType::Http2,
    }
}

fn http_filter(entry: &FilterEntry) -> HttpFilter {
    HttpFilter {
        name: entry.name.clone(),
        is_optional: false,
        disabled: entry.disabled,
        config_type: Some(http_filter::ConfigType::TypedConfig(filter::encode(&entry.filter))),
    }
}

fn router() -> HttpFilter {
    HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        is_optional: false,
        disabled: false,
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(&Router {}))),
    }
}
