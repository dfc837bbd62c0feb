//! The external authorization filter.

use selvedge_traffic::filter::ext_authz::TIMEOUT_DEFAULT;
use selvedge_traffic::filter::{AuthzBody, AuthzHttp, AuthzService, ExtAuthz, ExtAuthzRoute};
use selvedge_xds_proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use selvedge_xds_proto::envoy::extensions::filters::http::ext_authz::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use selvedge_xds_proto::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;

use super::{grpc_service, transport_version};
use crate::decode::bounds::{not_empty, status};
use crate::decode::{Reason, duration, text};

pub(super) fn filter(message: proto::ExtAuthz) -> Result<ExtAuthz, Reason> {
    let refused = [
        (message.include_peer_certificate, "ext_authz.include_peer_certificate"),
        (message.filter_enabled_metadata.is_some(), "ext_authz.filter_enabled_metadata"),
    ];
    if let Some((_, field)) = refused.into_iter().find(|(there, _)| *there) {
        return Err(Reason::Unsupported { field, value: "a value".to_owned() });
    }
    let service = match message.services.ok_or(Reason::Missing("ext_authz.services"))? {
        Services::GrpcService(service) => {
            transport_version("ext_authz.transport_api_version", message.transport_api_version)?;
            let (cluster, authority, timeout) = grpc_service("ext_authz.grpc_service", Some(service))?;
            AuthzService::Grpc { cluster, authority, timeout: timeout.unwrap_or(TIMEOUT_DEFAULT) }
        }
        Services::HttpService(service) => AuthzService::Http(Box::new(http(service)?)),
    };
    let disabled = message.deny_at_disable.and_then(|flag| flag.default_value);
    let enabled = message.filter_enabled.map(|percent| text::fraction("ext_authz.filter_enabled", percent));
    Ok(ExtAuthz {
        service,
        failure_mode_allow: message.failure_mode_allow,
        failure_mode_allow_header: message.failure_mode_allow_header_add,
        body: message.with_request_body.map(body).transpose()?,
        clear_route_cache: message.clear_route_cache,
        status_on_error: match message.status_on_error {
            None => 403,
            Some(on_error) => status("ext_authz.status_on_error", on_error.code.unsigned_abs())?,
        },
        metadata_namespaces: message.metadata_context_namespaces,
        enabled: enabled.transpose()?,
        deny_at_disable: disabled.unwrap_or_default(),
        stat_prefix: message.stat_prefix,
        allowed_headers: text::texts("ext_authz.allowed_headers", message.allowed_headers)?,
        disallowed_headers: text::texts("ext_authz.disallowed_headers", message.disallowed_headers)?,
    })
}

fn body(message: proto::BufferSettings) -> Result<AuthzBody, Reason> {
    if message.max_request_bytes == 0 {
        return Err(Reason::Missing("ext_authz.with_request_body.max_request_bytes"));
    }
    Ok(AuthzBody {
        bytes_max: message.max_request_bytes,
        allow_partial: message.allow_partial_message,
        as_bytes: message.pack_as_bytes,
    })
}

fn http(message: proto::HttpService) -> Result<AuthzHttp, Reason> {
    const FIELD: &str = "ext_authz.http_service.server_uri";
    let uri = message.server_uri.ok_or(Reason::Missing(FIELD))?;
    let HttpUpstreamType::Cluster(cluster) =
        uri.http_upstream_type.ok_or(Reason::Missing("ext_authz.http_service.server_uri.cluster"))?;
    let request = message.authorization_request.unwrap_or_default();
    let response = message.authorization_response.unwrap_or_default();
    Ok(AuthzHttp {
        uri: not_empty(FIELD, uri.uri)?,
        cluster: not_empty("ext_authz.http_service.server_uri.cluster", cluster)?,
        timeout: duration::or(FIELD, uri.timeout, TIMEOUT_DEFAULT)?,
        path_prefix: message.path_prefix,
        allowed_headers: text::texts("ext_authz.authorization_request", request.allowed_headers)?,
        headers_to_add: request
            .headers_to_add
            .into_iter()
            .map(|header| Ok((not_empty("ext_authz.headers_to_add.key", header.key)?, header.value)))
            .collect::<Result<_, Reason>>()?,
        upstream_headers: text::texts(
            "ext_authz.allowed_upstream_headers",
            response.allowed_upstream_headers,
        )?,
        upstream_headers_to_append: text::texts(
            "ext_authz.allowed_upstream_headers_to_append",
            response.allowed_upstream_headers_to_append,
        )?,
        client_headers: text::texts("ext_authz.allowed_client_headers", response.allowed_client_headers)?,
        client_headers_on_success: text::texts(
            "ext_authz.allowed_client_headers_on_success",
            response.allowed_client_headers_on_success,
        )?,
    })
}

pub(super) fn route(message: proto::ExtAuthzPerRoute) -> Result<ExtAuthzRoute, Reason> {
    match message.r#override {
        Some(Override::Disabled(true)) => Ok(ExtAuthzRoute::Disabled),
        Some(Override::CheckSettings(settings)) => Ok(ExtAuthzRoute::Settings {
            context: settings.context_extensions.into_iter().collect(),
            without_body: settings.disable_request_body_buffering,
            body: settings.with_request_body.map(body).transpose()?,
        }),
        Some(Override::Disabled(false)) | None => Err(Reason::Missing("ext_authz_per_route.override")),
    }
}
