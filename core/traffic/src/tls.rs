//! Transport security of listeners and clusters.

mod suite;

use std::time::Duration;

use serde::Serialize;

use crate::matching::text::TextMatch;
pub use suite::{Cipher, Curve, Suites};

/// How a filter chain's bytes arrive.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub enum Transport {
    #[default]
    Plain,
    Tls(Box<DownstreamTls>),
}

/// How a cluster's bytes leave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub enum UpstreamTransport {
    #[default]
    Plain,
    Tls(Box<UpstreamTls>),
}

/// Server side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DownstreamTls {
    pub certificate: Certificate,
    pub validation: Option<Validation>,
    pub require_client_certificate: bool,
    /// A client that names no server is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_sni: bool,
    pub alpn: Vec<String>,
    #[serde(skip_serializing_if = "Versions::is_default")]
    pub versions: Versions,
    #[serde(skip_serializing_if = "Suites::is_default")]
    pub suites: Suites,
    /// Clients get no tickets: every handshake is a whole one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub without_tickets: bool,
    /// The handshake must be over within this; `None` leaves the choice to the proxy, zero is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<Duration>,
}

impl DownstreamTls {
    /// A certificate for whoever calls, with the defaults of all else.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate,
            validation: None,
            require_client_certificate: false,
            require_sni: false,
            alpn: Vec::new(),
            versions: Versions::default(),
            suites: Suites::default(),
            without_tickets: false,
            handshake_timeout: None,
        }
    }
}

/// Client side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamTls {
    pub certificate: Option<Certificate>,
    pub validation: Option<Validation>,
    pub sni: String,
    pub alpn: Vec<String>,
    #[serde(skip_serializing_if = "Versions::is_default")]
    pub versions: Versions,
    #[serde(skip_serializing_if = "Suites::is_default")]
    pub suites: Suites,
}

/// Which versions of the protocol are spoken. Without bounds: a server speaks 1.2 and 1.3, a client 1.2 alone, as
/// Envoy does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Versions {
    pub min: Option<Version>,
    pub max: Option<Version>,
}

impl Versions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A version of the protocol; older ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Version {
    Tls12,
    Tls13,
}

/// A certificate chain and its key, by reference: no key is ever held here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Certificate {
    Files {
        chain: String,
        key: String,
    },
    /// A secret of the secret discovery service.
    Sds(SecretRef),
}

/// A secret by its name, and who is to be asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SecretRef {
    pub name: String,
    pub source: SecretSource,
}

/// Who hands a secret out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum SecretSource {
    /// The local secret discovery socket.
    #[default]
    Socket,
    /// The same, by the protocol's other form: differences alone.
    DeltaSocket,
    /// The control plane, over the stream that everything else comes by.
    Ads,
    /// A secret discovery service by its address.
    Target(Box<SecretTarget>),
    /// A file that holds what such a service would answer.
    File(SecretFile),
}

/// A secret discovery service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SecretTarget {
    /// `unix:/run/agent.sock`, `127.0.0.1:8080`.
    pub uri: String,
    /// Differences alone are sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub delta: bool,
    /// Without it nothing is encrypted: the service had better be on the same machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<SecretTls>,
}

impl SecretTarget {
    /// One that is spoken to in the clear.
    pub fn plain(uri: &str) -> Box<Self> {
        Box::new(Self { uri: uri.to_owned(), delta: false, tls: None })
    }
}

/// How a secret discovery service is believed, and believes; each is the path of a PEM file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SecretTls {
    /// Who vouches for it; `None` are the system's authorities.
    pub roots: Option<String>,
    /// What is shown to it: a chain, and its key.
    pub certificate: Option<(String, String)>,
}

/// A file of secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SecretFile {
    /// Its ending says what it is: `.json`, `.yaml`, `.yml` or `.pb`.
    pub path: String,
    /// A folder that changes when the file is to be read again, besides the file itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watched: Option<String>,
}

impl SecretRef {
    /// A secret of the local socket.
    pub fn of_socket(name: &str) -> Self {
        Self { name: name.to_owned(), source: SecretSource::Socket }
    }
}

/// What a peer must show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    pub trust: Trust,
    /// Subject alternative names, any of which will do; empty accepts any.
    pub names: Vec<NameMatch>,
    /// SHA-256 of the leaf, 64 hexadecimal digits; any will do, as will any of `spki_hashes`; both empty accept any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_hashes: Vec<String>,
    /// SHA-256 of the leaf's public key information, in base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spki_hashes: Vec<String>,
    /// Revocation lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<Pem>,
    /// Only the leaf must be covered by a revocation list.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub crl_of_leaf_only: bool,
    /// A certificate that is past its time is as good as one that is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_expired: bool,
}

impl Validation {
    /// Trust alone.
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            names: Vec::new(),
            certificate_hashes: Vec::new(),
            spki_hashes: Vec::new(),
            crl: None,
            crl_of_leaf_only: false,
            allow_expired: false,
        }
    }
}

/// A name that will do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NameMatch {
    pub kind: NameKind,
    pub text: TextMatch,
}

/// The sort of a subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NameKind {
    Dns,
    Uri,
    Email,
    Ip,
}

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Trust {
    File {
        chain: String,
    },
    /// Authorities that came with the configuration, in PEM.
    Inline(String),
    Sds(SecretRef),
    /// Peers are SPIFFE identities, each vouched for by the authorities of its own trust domain.
    Spiffe(Vec<TrustDomain>),
    /// Anybody: encrypt, verify nobody. What App Mesh does for file certificates without a client policy.
    AcceptAny,
    /// No authority vouches: the names and pins alone are looked at.
    Unvouched,
}

/// A SPIFFE trust domain and those who may vouch for its members.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TrustDomain {
    /// `example.org`, without a scheme.
    pub name: String,
    pub bundle: Pem,
}

/// A PEM text that is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Pem {
    /// The path of a file.
    File(String),
    Inline(String),
}
