//! Hosts that are simply where intercepted connections wanted to go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::cluster::{Cluster, next_id};
use crate::host::Host;

/// Destinations known at once; a connection to one more finds no host.
pub const DESTINATIONS_MAX: usize = 16_384;

/// A destination that nobody uses is forgotten at the next tick (Envoy's `cleanup_interval`).
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);

/// The destinations in use.
#[derive(Debug, Default)]
pub(crate) struct OriginalDst {
    hosts: ArcSwap<HashMap<SocketAddr, Arc<Host>>>,
    /// Serialises writers: workers that meet a new destination, and the cleanup.
    writing: Mutex<()>,
}

impl OriginalDst {
    /// The host for a destination, made at its first use.
    pub(crate) fn host(&self, address: SocketAddr) -> Option<Arc<Host>> {
        if let Some(known) = self.hosts.load().get(&address) {
            return Some(Arc::clone(known));
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = HashMap::clone(&self.hosts.load());
        if let Some(known) = hosts.get(&address) {
            return Some(Arc::clone(known));
        }
        if hosts.len() >= DESTINATIONS_MAX {
            return None;
        }
        let host = Arc::new(Host::new(next_id(), address, None, None, None));
        hosts.insert(address, Arc::clone(&host));
        self.hosts.store(Arc::new(hosts));
        Some(host)
    }

    /// Forgets the hosts that nobody else holds.
    fn cleanup(&self) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.hosts.load_full();
        let used = |host: &Arc<Host>| Arc::strong_count(host) > 1 || host.stats.cx_active.value() > 0;
        if current.values().all(used) {
            return;
        }
        let mut kept = HashMap::new();
        for (address, host) in current.iter() {
            if used(host) {
                kept.insert(*address, Arc::clone(host));
            } else {
                host.remove();
            }
        }
        self.hosts.store(Arc::new(kept));
    }
}

/// Cleans up until the cluster is gone.
pub(crate) async fn run(cluster: Weak<Cluster>) {
    loop {
        tokio::time::sleep(CLEANUP_INTERVAL).await;
        let Some(cluster) = cluster.upgrade() else { return };
        if let Some(original_dst) = cluster.original_dst() {
            original_dst.cleanup();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_one_host_until_nobody_holds_it() {
        let original_dst = OriginalDst::default();
        let address = SocketAddr::from(([192, 0, 2, 1], 443));
        let host = original_dst.host(address).expect("room");
        assert!(Arc::ptr_eq(&host, &original_dst.host(address).expect("known")));
        original_dst.cleanup();
        assert!(!host.is_removed(), "still held");
        let id = host.id;
        drop(host);
        original_dst.cleanup();
        assert_ne!(original_dst.host(address).expect("room").id, id);
    }
}
