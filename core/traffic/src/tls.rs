//! Transport security of listeners and clusters.

use serde::Serialize;

/// How a filter chain's bytes arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Transport {
    #[default]
    Plain,
    Tls(DownstreamTls),
}

/// How a cluster's bytes leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum UpstreamTransport {
    #[default]
    Plain,
    Tls(UpstreamTls),
}

/// Server side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DownstreamTls {
    pub certificate: Certificate,
    pub validation: Option<Validation>,
    pub require_client_certificate: bool,
    pub alpn: Vec<String>,
}

/// Client side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamTls {
    pub certificate: Option<Certificate>,
    pub validation: Option<Validation>,
    pub sni: String,
    pub alpn: Vec<String>,
}

/// A certificate chain and its key, by reference: no key is ever held here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Certificate {
    Files {
        chain: String,
        key: String,
    },
    /// A secret of the local secret discovery socket.
    Sds {
        name: String,
    },
}

/// What a peer must show.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Validation {
    pub trust: Trust,
    /// Exact subject alternative names, any of which will do; empty accepts any.
    pub subject_alternative_names: Vec<String>,
}

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Trust {
    File {
        chain: String,
    },
    Sds {
        name: String,
    },
    /// Encrypt, verify nobody: what App Mesh does for file certificates without a client policy.
    AcceptAny,
}
