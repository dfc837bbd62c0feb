//! Statistics that a filter has once for each cluster that requests go to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use selvedge_telemetry::{FilterStats, Owner, Registry};

/// Made at the first request for a cluster, then kept: there are no more than clusters in the route table.
#[derive(Debug)]
pub(super) struct ByCluster {
    registry: Registry,
    part: String,
    names: &'static [&'static str],
    // A std mutex: held for a look-up, beside a call to another process.
    known: Mutex<HashMap<String, FilterStats>>,
}

impl ByCluster {
    pub(super) fn new(registry: &Registry, part: String, names: &'static [&'static str]) -> Self {
        Self { registry: registry.clone(), part, names, known: Mutex::default() }
    }

    /// Counts one for the cluster; of no cluster there is nothing to count.
    pub(super) fn inc(&self, cluster: &str, position: usize) {
        if cluster.is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = known.get(cluster) {
            return stats.inc(position);
        }
        let stats = self.registry.filter(Owner::Cluster(cluster.to_owned()), &self.part, self.names);
        stats.inc(position);
        known.insert(cluster.to_owned(), stats);
    }
}
