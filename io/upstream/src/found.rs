//! Hosts as discovery names them, before they are hosts of a cluster.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use selvedge_traffic::{Address, EndpointHealth, LoadAssignment, Locality};

/// A cluster has at most this many hosts; what discovery sends beyond is ignored, and warned of.
pub const HOSTS_MAX: usize = 16_384;

/// A host as discovery found it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) address: SocketAddr,
    pub(crate) hostname: Option<Arc<str>>,
    pub(crate) weight: u32,
    pub(crate) priority: u32,
    pub(crate) health: EndpointHealth,
    pub(crate) locality: Arc<Locality>,
}

/// The endpoints that have an address; of several with the same address the first counts.
pub(crate) fn found(assignment: &LoadAssignment) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut seen = HashSet::new();
    for group in &assignment.localities {
        let locality = Arc::new(group.locality.clone());
        for endpoint in &group.endpoints {
            let Address::Socket(address) = endpoint.address else {
                tracing::warn!(cluster = assignment.cluster, address = ?endpoint.address, "endpoint without a socket address ignored");
                continue;
            };
            if found.len() >= HOSTS_MAX {
                tracing::warn!(
                    cluster = assignment.cluster,
                    "more than {HOSTS_MAX} endpoints, the rest is ignored"
                );
                return found;
            }
            if seen.insert(address) {
                found.push(Found {
                    address,
                    hostname: (!endpoint.hostname.is_empty()).then(|| endpoint.hostname.as_str().into()),
                    weight: endpoint.weight,
                    priority: group.priority,
                    health: endpoint.health,
                    locality: Arc::clone(&locality),
                });
            }
        }
    }
    found
}
