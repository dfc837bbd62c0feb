//! Where a proxy is to look for what a resource refers to.

use selvedge_traffic::tls::SecretSource;
use selvedge_xds_proto::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService, api_config_source,
    config_source, grpc_service,
};

/// The static cluster of the sidecar's bootstrap that leads to the local secret discovery socket
/// (`APPMESH_SDS_SOCKET_PATH`), named as in App Mesh's Envoy image.
pub const SDS_CLUSTER: &str = "static_cluster_sds_unix_socket";

/// The stream that this resource came by.
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: None,
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
    }
}

/// Whoever hands a secret out.
pub(super) fn secrets(source: &SecretSource) -> ConfigSource {
    match source {
        SecretSource::Ads => ads(),
        SecretSource::Socket => service(grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
            authority: String::new(),
            cluster_name: SDS_CLUSTER.to_owned(),
        })),
        SecretSource::Target(uri) => {
            service(grpc_service::TargetSpecifier::GoogleGrpc(grpc_service::GoogleGrpc {
                target_uri: uri.clone(),
                // Envoy wants a prefix, and has no default.
                stat_prefix: "sds".to_owned(),
                ..grpc_service::GoogleGrpc::default()
            }))
        }
    }
}

/// A secret discovery service of its own.
fn service(target: grpc_service::TargetSpecifier) -> ConfigSource {
    let service = GrpcService { target_specifier: Some(target), ..GrpcService::default() };
    ConfigSource {
        initial_fetch_timeout: None,
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::ApiConfigSource(
            ApiConfigSource {
                api_type: api_config_source::ApiType::Grpc.into(),
                transport_api_version: ApiVersion::V3.into(),
                grpc_services: vec![service],
            },
        )),
    }
}
