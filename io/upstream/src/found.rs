//! Hosts as discovery names them, before they are hosts of a cluster.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use selvedge_traffic::{
    Address, Endpoint, EndpointHealth, Labels, LoadAssignment, Locality, LocalityEndpoints,
};

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
    pub(crate) place: Arc<Place>,
    pub(crate) labels: Option<Arc<Labels>>,
}

/// A locality with its share among the localities of its priority.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub locality: Locality,
    /// 0 is none.
    pub weight: u32,
}

impl Place {
    pub(crate) fn of(group: &LocalityEndpoints) -> Arc<Self> {
        Arc::new(Self { locality: group.locality.clone(), weight: group.weight })
    }
}

/// The labels of an endpoint; most have none.
pub(crate) fn labels(endpoint: &Endpoint) -> Option<Arc<Labels>> {
    (!endpoint.labels.is_empty()).then(|| Arc::new(endpoint.labels.clone()))
}

/// The endpoints that have an address; of several with the same address the first counts.
pub(crate) fn found(assignment: &LoadAssignment) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut seen = HashSet::new();
    for group in &assignment.localities {
        let place = Place::of(group);
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
                    place: Arc::clone(&place),
                    labels: labels(endpoint),
                });
            }
        }
    }
    found
}
