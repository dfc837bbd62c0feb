//! The PROXY protocol.

use selvedge_model::policy::{self, ProxyProtocolAccept};
use selvedge_traffic::{ProxyProtocol, ProxyProtocolVersion};

pub(super) fn accept(spec: &ProxyProtocolAccept) -> ProxyProtocol {
    let refused =
        |one: &&policy::ProxyProtocolVersion| !spec.versions.is_empty() && !spec.versions.contains(one);
    ProxyProtocol {
        optional: spec.optional.unwrap_or(false),
        versions_refused: policy::ProxyProtocolVersion::ALL
            .iter()
            .filter(refused)
            .map(|one| version(*one))
            .collect(),
        stat_prefix: String::new(),
    }
}

pub(super) fn version(version: policy::ProxyProtocolVersion) -> ProxyProtocolVersion {
    match version {
        policy::ProxyProtocolVersion::V1 => ProxyProtocolVersion::V1,
        policy::ProxyProtocolVersion::V2 => ProxyProtocolVersion::V2,
    }
}
