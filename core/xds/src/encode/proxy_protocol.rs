//! The PROXY protocol of listeners and of clusters.

use selvedge_traffic::{ProxyProtocol, ProxyProtocolVersion};
use selvedge_xds_proto::envoy::config::core::v3::{
    ProxyProtocolConfig, TransportSocket, proxy_protocol_config, transport_socket,
};
use selvedge_xds_proto::envoy::extensions::filters::listener::proxy_protocol::v3 as proto;
use selvedge_xds_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use selvedge_xds_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;

use crate::any::pack;

pub(super) fn listener(protocol: &ProxyProtocol) -> proto::ProxyProtocol {
    proto::ProxyProtocol {
        allow_requests_without_proxy_protocol: protocol.optional,
        disallowed_versions: protocol.versions_refused.iter().map(|one| version(*one).into()).collect(),
        stat_prefix: protocol.stat_prefix.clone(),
        ..proto::ProxyProtocol::default()
    }
}

/// Around a cluster's own transport.
pub(super) fn upstream(
    protocol: Option<ProxyProtocolVersion>,
    inner: Option<TransportSocket>,
) -> Option<TransportSocket> {
    let Some(protocol) = protocol else { return inner };
    let plain = || socket("envoy.transport_sockets.raw_buffer", pack(&RawBuffer {}));
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: version(protocol).into(),
            ..ProxyProtocolConfig::default()
        }),
        transport_socket: Some(inner.unwrap_or_else(plain)),
        ..ProxyProtocolUpstreamTransport::default()
    };
    Some(socket("envoy.transport_sockets.upstream_proxy_protocol", pack(&transport)))
}

fn socket(name: &str, config: prost_types::Any) -> TransportSocket {
    TransportSocket {
        name: name.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(config)),
    }
}

fn version(version: ProxyProtocolVersion) -> proxy_protocol_config::Version {
    match version {
        ProxyProtocolVersion::V1 => proxy_protocol_config::Version::V1,
        ProxyProtocolVersion::V2 => proxy_protocol_config::Version::V2,
    }
}
