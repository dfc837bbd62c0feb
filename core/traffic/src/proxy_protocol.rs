//! The PROXY protocol: a word before all others in which a load balancer says whose connection it passes on
//! (haproxy.org, `proxy-protocol.txt`).

use serde::Serialize;

/// What a listener makes of it (Envoy's `envoy.filters.listener.proxy_protocol`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProxyProtocol {
    /// A connection that begins otherwise is served as it came, instead of being closed.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub optional: bool,
    /// Versions that are not taken; with `optional` their words count as the client's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions_refused: Vec<ProxyProtocolVersion>,
    /// Between `proxy_proto.` and the names of its statistics; may be empty.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub stat_prefix: String,
}

/// How the word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ProxyProtocolVersion {
    /// As a line of text.
    V1,
    /// In binary.
    V2,
}

impl ProxyProtocol {
    /// Whether the version's words are taken.
    pub fn takes(&self, version: ProxyProtocolVersion) -> bool {
        !self.versions_refused.contains(&version)
    }
}
