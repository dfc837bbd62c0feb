//! Namespaces: the rooms in which services have their names.

use serde::{Deserialize, Serialize};

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// `ns-` and sixteen letters and digits.
    pub id: String,
    pub name: String,
    pub kind: NamespaceKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Seconds that a resolver may keep a negative answer, where the namespace is in the DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soa_ttl: Option<u32>,
    /// The network that a private namespace was made for; kept and not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    pub creator_request_id: String,
    /// The region of its ARN.
    pub region: String,
    /// The operation that made it.
    pub operation: String,
}

/// How a namespace's names can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// By the API alone.
    #[serde(rename = "HTTP")]
    Http,
    /// By the API and by DNS.
    #[serde(rename = "DNS_PRIVATE")]
    PrivateDns,
}

impl NamespaceKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::PrivateDns => "DNS_PRIVATE",
        }
    }
}

impl Namespace {
    /// What a private namespace's SOA record says when nobody says otherwise. (Cloud Map, `SOA.TTL`.)
    pub const SOA_TTL_DEFAULT: u32 = 15;
}
