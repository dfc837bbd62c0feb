//! The PROXY protocol of listeners and of clusters.

use selvedge_traffic::{ProxyProtocol, ProxyProtocolVersion};
use selvedge_xds_proto::envoy::config::core::v3::proxy_protocol_config::Version;
use selvedge_xds_proto::envoy::extensions::filters::listener::proxy_protocol::v3 as proto;
use selvedge_xds_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;

use super::Reason;
use super::bounds::known;

pub(super) fn listener(message: proto::ProxyProtocol) -> Result<ProxyProtocol, Reason> {
    let refused = [
        (!message.rules.is_empty(), "proxy_protocol.rules"),
        (message.pass_through_tlvs.is_some(), "proxy_protocol.pass_through_tlvs"),
    ];
    refuse(&refused)?;
    let versions = message.disallowed_versions.into_iter().map(version);
    Ok(ProxyProtocol {
        optional: message.allow_requests_without_proxy_protocol,
        versions_refused: versions.collect::<Result<_, _>>()?,
        stat_prefix: message.stat_prefix,
    })
}

/// The version of the word that connections to a cluster begin with.
pub(super) fn upstream(message: &ProxyProtocolUpstreamTransport) -> Result<ProxyProtocolVersion, Reason> {
    let config = message.config.clone().unwrap_or_default();
    let refused = [
        (config.pass_through_tlvs.is_some(), "proxy_protocol.config.pass_through_tlvs"),
        (!config.added_tlvs.is_empty(), "proxy_protocol.config.added_tlvs"),
        (message.allow_unspecified_address, "proxy_protocol.allow_unspecified_address"),
        (message.tlv_as_pool_key, "proxy_protocol.tlv_as_pool_key"),
    ];
    refuse(&refused)?;
    version(config.version)
}

fn refuse(fields: &[(bool, &'static str)]) -> Result<(), Reason> {
    match fields.iter().find(|(there, _)| *there) {
        Some((_, field)) => Err(Reason::Unsupported { field, value: "a value".to_owned() }),
        None => Ok(()),
    }
}

fn version(version: i32) -> Result<ProxyProtocolVersion, Reason> {
    Ok(match known("proxy_protocol.version", version)? {
        Version::V1 => ProxyProtocolVersion::V1,
        Version::V2 => ProxyProtocolVersion::V2,
    })
}
