//! The external authorization filter.

use selvedge_traffic::filter::{AuthzBody, AuthzHttp, AuthzService, ExtAuthz, ExtAuthzRoute};
use selvedge_xds_proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use selvedge_xds_proto::envoy::config::core::v3::{ApiVersion, HeaderValue, HttpUri, RuntimeFeatureFlag};
use selvedge_xds_proto::envoy::extensions::filters::http::ext_authz::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use selvedge_xds_proto::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;

use super::{grpc_service, http_status};
use crate::encode::{duration, text};

pub(super) fn filter(authz: &ExtAuthz) -> proto::ExtAuthz {
    let services = match &authz.service {
        AuthzService::Grpc { cluster, authority, timeout } => {
            Services::GrpcService(grpc_service(cluster, authority, Some(*timeout)))
        }
        AuthzService::Http(service) => Services::HttpService(http(service)),
    };
    proto::ExtAuthz {
        services: Some(services),
        failure_mode_allow: authz.failure_mode_allow,
        failure_mode_allow_header_add: authz.failure_mode_allow_header,
        with_request_body: authz.body.map(body),
        clear_route_cache: authz.clear_route_cache,
        status_on_error: Some(http_status(authz.status_on_error)),
        metadata_context_namespaces: authz.metadata_namespaces.clone(),
        filter_enabled: authz.enabled.map(text::fraction),
        include_peer_certificate: false,
        deny_at_disable: authz.deny_at_disable.then(|| RuntimeFeatureFlag {
            default_value: Some(true),
            // Envoy asks for a key, even where there is no runtime.
            runtime_key: "ext_authz.deny_at_disable".to_owned(),
        }),
        transport_api_version: ApiVersion::V3.into(),
        stat_prefix: authz.stat_prefix.clone(),
        filter_enabled_metadata: None,
        allowed_headers: text::texts(&authz.allowed_headers),
        disallowed_headers: text::texts(&authz.disallowed_headers),
    }
}

fn body(body: AuthzBody) -> proto::BufferSettings {
    proto::BufferSettings {
        max_request_bytes: body.bytes_max,
        allow_partial_message: body.allow_partial,
        pack_as_bytes: body.as_bytes,
    }
}

fn http(service: &AuthzHttp) -> proto::HttpService {
    let header = |(key, value): &(String, String)| HeaderValue { key: key.clone(), value: value.clone() };
    proto::HttpService {
        server_uri: Some(HttpUri {
            uri: service.uri.clone(),
            timeout: Some(duration::encode(service.timeout)),
            http_upstream_type: Some(HttpUpstreamType::Cluster(service.cluster.clone())),
        }),
        path_prefix: service.path_prefix.clone(),
        authorization_request: Some(proto::AuthorizationRequest {
            allowed_headers: text::texts(&service.allowed_headers),
            headers_to_add: service.headers_to_add.iter().map(header).collect(),
        }),
        authorization_response: Some(proto::AuthorizationResponse {
            allowed_upstream_headers: text::texts(&service.upstream_headers),
            allowed_client_headers: text::texts(&service.client_headers),
            allowed_upstream_headers_to_append: text::texts(&service.upstream_headers_to_append),
            allowed_client_headers_on_success: text::texts(&service.client_headers_on_success),
        }),
    }
}

pub(super) fn route(route: &ExtAuthzRoute) -> proto::ExtAuthzPerRoute {
    proto::ExtAuthzPerRoute {
        r#override: Some(match route {
            ExtAuthzRoute::Disabled => Override::Disabled(true),
            ExtAuthzRoute::Settings { context, without_body, body: own } => {
                Override::CheckSettings(proto::CheckSettings {
                    context_extensions: context.iter().cloned().collect(),
                    disable_request_body_buffering: *without_body,
                    with_request_body: own.map(body),
                })
            }
        }),
    }
}
