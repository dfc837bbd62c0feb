//! Hosts of a cluster, grouped by where they stand.

use std::collections::BTreeMap;

use serde::Serialize;

/// All hosts of a cluster, as one answer of discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct LoadAssignment {
    /// The cluster's name (or its `service_name`).
    pub cluster: String,
    pub localities: Vec<LocalityEndpoints>,
    /// A priority counts as fully available while this many percent of its hosts would carry the load; `None` is
    /// [`OVERPROVISIONING_PERCENT_DEFAULT`].
    #[serde(skip_serializing_if = "crate::is_default")]
    pub overprovisioning_percent: Option<u32>,
}

/// With 140, up to 28 % of the hosts may be missing before the next priority is asked (Envoy's
/// `overprovisioning_factor`).
pub const OVERPROVISIONING_PERCENT_DEFAULT: u32 = 140;

/// Hosts of one place and priority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct LocalityEndpoints {
    pub locality: Locality,
    /// 0 is tried first.
    pub priority: u32,
    /// Share among localities where locality weighting is on; 0 is none.
    pub weight: u32,
    pub endpoints: Vec<Endpoint>,
}

/// Where hosts stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    pub address: Address,
    /// Relative share, at least 1.
    pub weight: u32,
    pub health: EndpointHealth,
    /// The name that the address was found by; empty if there is none.
    pub hostname: String,
    /// What else is known of it (Envoy's `envoy.lb` metadata): `hash_key` is its name for consistent hashing, `canary` marks
    /// a canary, all can be asked for by subsets and avoided by retries.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub labels: Labels,
}

impl Endpoint {
    /// A healthy host of weight 1.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            weight: 1,
            health: EndpointHealth::default(),
            hostname: String::new(),
            labels: Labels::default(),
        }
    }
}

/// Labels by key.
pub type Labels = BTreeMap<String, Label>;

/// A label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Label {
    Text(String),
    Flag(bool),
}

/// The label that names a host for consistent hashing.
pub const HASH_KEY: &str = "hash_key";
/// The label that marks a canary.
pub const CANARY: &str = "canary";

/// An address to connect to, or a name to resolve first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Address {
    Socket(std::net::SocketAddr),
    /// A DNS name and a port.
    Name(String, u16),
    /// A unix socket's path.
    Pipe(String),
}

/// What discovery says of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum EndpointHealth {
    #[default]
    Healthy,
    Unhealthy,
    Draining,
    TimedOut,
    Degraded,
}
