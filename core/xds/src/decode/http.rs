//! HTTP connection managers.

use selvedge_traffic::{
    CertificateForwarding, ClientCertificate, Codec, FilterEntry, HttpConnection, RouteSource, ServerHeader,
};
use selvedge_xds_proto::envoy::extensions::filters::http::router::v3::Router;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, SetCurrentClientCertDetails,
    CodecType, PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation, UpgradeConfig,
};
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};

use super::bounds::{known, not_empty, unknown};
use super::{Reason, access_log, client, duration, filter, http2, route, source, tracing};
use crate::any::holds;

pub(super) fn decode(message: HttpConnectionManager) -> Result<HttpConnection, Reason> {
    let client_address = client::decode(&message)?;
    let filters = http_filters(message.http_filters)?;
    let upgrades = upgrades(message.upgrade_configs)?;
    escaped_slashes(message.path_with_escaped_slashes_action)?;
    let routes = match message.route_specifier {
        None => return Err(Reason::Missing("route_specifier")),
        Some(RouteSpecifier::Rds(rds)) => {
            source::aggregated("rds.config_source", rds.config_source.as_ref())?;
            RouteSource::Rds(not_empty("rds.route_config_name", rds.route_config_name)?)
        }
        Some(RouteSpecifier::RouteConfig(table)) => RouteSource::Inline(route::table(table)?),
    };
    let common = message.common_http_protocol_options.unwrap_or_default();
    Ok(HttpConnection {
        stat_prefix: not_empty("stat_prefix", message.stat_prefix)?,
        codec: codec(known("codec_type", message.codec_type)?)?,
        routes,
        filters,
        access_logs: access_log::all(message.access_log)?,
        normalize_path: message.normalize_path.unwrap_or_default(),
        merge_slashes: message.merge_slashes,
        websocket: upgrades.websocket,
        connect: upgrades.connect,
        extended_connect: message.http2_protocol_options.is_some_and(|options| options.allow_connect),
        http2: message.http2_protocol_options.map(http2::settings).transpose()?.unwrap_or_default(),
        proxy_100_continue: message.proxy_100_continue,
        use_remote_address: message.use_remote_address.unwrap_or_default(),
        client_address,
        client_certificate: client_certificate(
            message.forward_client_cert_details,
            message.set_current_client_cert_details,
        )?,
        server_name: (!message.server_name.is_empty()).then_some(message.server_name),
        server_header: server_header(message.server_header_transformation)?,
        stream_idle_timeout: duration::optional("stream_idle_timeout", message.stream_idle_timeout)?,
        request_timeout: duration::optional("request_timeout", message.request_timeout)?,
        request_headers_timeout: duration::optional(
            "request_headers_timeout",
            message.request_headers_timeout,
        )?,
        idle_timeout: duration::optional("common_http_protocol_options.idle_timeout", common.idle_timeout)?,
        stream_duration_max: duration::optional(
            "common_http_protocol_options.max_stream_duration",
            common.max_stream_duration,
        )?,
        connection_duration_max: duration::optional(
            "common_http_protocol_options.max_connection_duration",
            common.max_connection_duration,
        )?,
        requests_per_connection_max: common.max_requests_per_connection,
        drain_timeout: duration::optional("drain_timeout", message.drain_timeout)?,
        tracing: message.tracing.map(tracing::decode).transpose()?,
    })
}

/// The filters before the router, which stands once and last; one that is marked optional may be unknown, and is left
/// out.
fn http_filters(filters: Vec<HttpFilter>) -> Result<Vec<FilterEntry>, Reason> {
    let mut decoded: Vec<FilterEntry> = Vec::new();
    let mut routers = 0;
    let count = filters.len();
    for (at, message) in filters.into_iter().enumerate() {
        let any = message.config_type.map(|http_filter::ConfigType::TypedConfig(any)| any);
        if any.as_ref().is_some_and(|any| holds::<Router>(any) && at + 1 == count) {
            routers += 1;
            continue;
        }
        let Some(filter) = any.as_ref().map(filter::decode).transpose()?.flatten() else {
            if message.is_optional {
                continue;
            }
            return Err(unknown(&message.name, any.as_ref()));
        };
        let name = not_empty("http_filters.name", message.name)?;
        if decoded.iter().any(|entry| entry.name == name) {
            return Err(Reason::Invalid {
                field: "http_filters.name",
                value: name,
                expected: "stands there twice",
            });
        }
        decoded.push(FilterEntry { name, disabled: message.disabled, filter });
    }
    if routers == 1 { Ok(decoded) } else { Err(Reason::Missing("http_filters: the router")) }
}

fn server_header(transformation: i32) -> Result<ServerHeader, Reason> {
    Ok(match known("server_header_transformation", transformation)? {
        ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
        ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
        ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
    })
}

fn escaped_slashes(action: i32) -> Result<(), Reason> {
    match known("path_with_escaped_slashes_action", action)? {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault
        | PathWithEscapedSlashesAction::KeepUnchanged => Ok(()),
        other => Err(Reason::Unsupported {
            field: "path_with_escaped_slashes_action",
            value: other.as_str_name().to_owned(),
        }),
    }
}

fn client_certificate(
    forwarding: i32,
    details: Option<SetCurrentClientCertDetails>,
) -> Result<ClientCertificate, Reason> {
    let details = details.unwrap_or_default();
    if details.chain {
        return Err(Reason::Unsupported {
            field: "set_current_client_cert_details.chain",
            value: "true".to_owned(),
        });
    }
    Ok(ClientCertificate {
        forwarding: match known("forward_client_cert_details", forwarding)? {
            ForwardClientCertDetails::Sanitize => CertificateForwarding::Sanitize,
            ForwardClientCertDetails::ForwardOnly => CertificateForwarding::ForwardOnly,
            ForwardClientCertDetails::AppendForward => CertificateForwarding::AppendForward,
            ForwardClientCertDetails::SanitizeSet => CertificateForwarding::SanitizeSet,
            ForwardClientCertDetails::AlwaysForwardOnly => CertificateForwarding::AlwaysForwardOnly,
        },
        subject: details.subject.unwrap_or_default(),
        certificate: details.cert,
        uri: details.uri,
        dns: details.dns,
    })
}

fn codec(codec: CodecType) -> Result<Codec, Reason> {
    match codec {
        CodecType::Auto => Ok(Codec::Auto),
        CodecType::Http1 => Ok(Codec::Http1),
        CodecType::Http2 => Ok(Codec::Http2),
        CodecType::Http3 => Err(Reason::Unsupported { field: "codec_type", value: "HTTP3".to_owned() }),
    }
}

/// Which changes of the protocol are allowed.
#[derive(Default)]
struct Upgrades {
    websocket: bool,
    connect: bool,
}

fn upgrades(configs: Vec<UpgradeConfig>) -> Result<Upgrades, Reason> {
    let mut upgrades = Upgrades::default();
    for config in configs {
        let enabled = config.enabled.unwrap_or(true);
        if !config.filters.is_empty() {
            let (field, value) = ("upgrade_configs.filters", config.upgrade_type);
            return Err(Reason::Unsupported { field, value });
        }
        if config.upgrade_type.eq_ignore_ascii_case("websocket") {
            upgrades.websocket = enabled;
        } else if config.upgrade_type.eq_ignore_ascii_case("connect") {
            upgrades.connect = enabled;
        } else if enabled {
            return Err(Reason::Unsupported {
                field: "upgrade_configs.upgrade_type",
                value: config.upgrade_type,
            });
        }
    }
    Ok(upgrades)
}
