//! Where a proxy is to look for what a resource refers to.

use selvedge_traffic::tls::{SecretSource, SecretTls};
use selvedge_xds_proto::envoy::config::core::v3::api_config_source::ApiType;
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::google_grpc::channel_credentials::CredentialSpecifier;
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::google_grpc::{
    ChannelCredentials, SslCredentials,
};
use selvedge_xds_proto::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService, PathConfigSource,
    WatchedDirectory, config_source, grpc_service,
};

use super::tls::file;

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
        SecretSource::Socket => service(socket(), ApiType::Grpc),
        SecretSource::DeltaSocket => service(socket(), ApiType::DeltaGrpc),
        SecretSource::Target(target) => {
            let form = if target.delta { ApiType::DeltaGrpc } else { ApiType::Grpc };
            let credentials = target.tls.as_ref().map(|tls| ChannelCredentials {
                credential_specifier: Some(CredentialSpecifier::SslCredentials(credentials(tls))),
            });
            let grpc = grpc_service::GoogleGrpc {
                target_uri: target.uri.clone(),
                channel_credentials: credentials,
                // Envoy wants a prefix, and has no default.
                stat_prefix: "sds".to_owned(),
                ..grpc_service::GoogleGrpc::default()
            };
            service(grpc_service::TargetSpecifier::GoogleGrpc(grpc), form)
        }
        SecretSource::File(file) => ConfigSource {
            initial_fetch_timeout: None,
            resource_api_version: ApiVersion::V3.into(),
            config_source_specifier: Some(config_source::ConfigSourceSpecifier::PathConfigSource(
                PathConfigSource {
                    path: file.path.clone(),
                    watched_directory: file.watched.clone().map(|path| WatchedDirectory { path }),
                },
            )),
        },
    }
}

fn socket() -> grpc_service::TargetSpecifier {
    grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
        authority: String::new(),
        cluster_name: SDS_CLUSTER.to_owned(),
    })
}

fn credentials(tls: &SecretTls) -> SslCredentials {
    let pair = tls.certificate.as_ref();
    SslCredentials {
        root_certs: tls.roots.as_ref().map(|path| file(path)),
        private_key: pair.map(|(_, key)| file(key)),
        cert_chain: pair.map(|(chain, _)| file(chain)),
    }
}

/// A secret discovery service of its own.
fn service(target: grpc_service::TargetSpecifier, form: ApiType) -> ConfigSource {
    let service = GrpcService { target_specifier: Some(target), ..GrpcService::default() };
    ConfigSource {
        initial_fetch_timeout: None,
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::ApiConfigSource(
            ApiConfigSource {
                api_type: form.into(),
                transport_api_version: ApiVersion::V3.into(),
                grpc_services: vec![service],
            },
        )),
    }
}
