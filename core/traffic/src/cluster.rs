//! A cluster: the hosts that can serve a request, and how they are found, chosen, watched and spoken to.

use std::time::Duration;

use serde::Serialize;

use crate::{CircuitBreakers, HealthCheck, LoadAssignment, OutlierDetection, UpstreamTransport};

/// A named group of upstream hosts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    pub name: String,
    pub discovery: Discovery,
    /// TCP (and TLS) must be up within this.
    pub connect_timeout: Duration,
    pub balancing: LoadBalancing,
    pub protocol: HttpProtocol,
    pub transport: UpstreamTransport,
    pub circuit_breakers: CircuitBreakers,
    pub outlier_detection: Option<OutlierDetection>,
    pub health_checks: Vec<HealthCheck>,
    /// A pooled connection without requests is closed after this; `None` is Envoy's hour.
    pub idle_timeout: Option<Duration>,
    /// A host that discovery removed goes at once, even while its health check passes.
    pub ignore_health_on_host_removal: bool,
    /// Connections to a host that discovery removed are closed.
    pub close_connections_on_host_removal: bool,
}

/// Where the hosts come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Discovery {
    /// Fixed addresses.
    Static(LoadAssignment),
    /// Every address of each name is a host.
    StrictDns { assignment: LoadAssignment, family: DnsLookupFamily },
    /// One logical host; each new connection goes to the first address of the latest answer.
    LogicalDns { assignment: LoadAssignment, family: DnsLookupFamily },
    /// Endpoints by the discovery service, under `service_name` or, if empty, the cluster's own name.
    Eds { service_name: String },
    /// The address that the intercepted connection was meant for.
    OriginalDst,
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum DnsLookupFamily {
    /// IPv6 if there is any, else IPv4.
    #[default]
    Auto,
    V4Only,
    V6Only,
    /// IPv4 if there is any, else IPv6.
    V4Preferred,
    /// Both families.
    All,
}

/// How one host is chosen among the healthy ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum LoadBalancing {
    #[default]
    RoundRobin,
    LeastRequest {
        choice_count: u32,
    },
    Random,
    RingHash {
        ring_size_min: u64,
        ring_size_max: u64,
    },
    Maglev {
        table_size: u64,
    },
    /// Only with [`Discovery::OriginalDst`].
    ClusterProvided,
}

/// The HTTP version spoken to the hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum HttpProtocol {
    #[default]
    Http1,
    Http2,
    /// The version of the downstream request.
    Downstream,
}
