//! Hosts of a cluster, grouped by where they stand.

use serde::Serialize;

/// All hosts of a cluster, as one answer of discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct LoadAssignment {
    /// The cluster's name (or its `service_name`).
    pub cluster: String,
    pub localities: Vec<LocalityEndpoints>,
}

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
}

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
