//! All clusters of a proxy: those that serve, and how one joins or leaves them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use selvedge_telemetry::Registry;
use selvedge_wire::tls::Secrets;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::cluster::{Cluster, Surroundings};
use crate::dns::Resolver;
use crate::events::EventLogs;
use crate::zones::{LocalCluster, LocalZones};

/// The active clusters by name, swapped whole; workers look one up for each request.
///
/// Only the control thread adds, activates and removes.
pub struct Clusters {
    active: ArcSwap<Active>,
    generation: AtomicU64,
    registry: Registry,
    resolver: Resolver,
    runtime: Handle,
    local: LocalCluster,
    zones: watch::Sender<Arc<LocalZones>>,
    secrets: Arc<Secrets>,
    events: OnceLock<EventLogs>,
}

#[derive(Clone, Default)]
struct Active {
    /// Its keys are configured: a cheap hash will do.
    by_name: HashMap<Arc<str>, Arc<Cluster>, FixedState>,
    /// Those that tell what their circuit breakers have left: mostly none.
    telling: Vec<Arc<Cluster>>,
}

impl Clusters {
    /// Without clusters. Lookups, probes and ejections run on `runtime`, the control thread's.
    pub fn new(registry: Registry, resolver: Resolver, runtime: Handle) -> Arc<Self> {
        Self::beside(registry, resolver, runtime, LocalCluster::default())
    }

    /// Without clusters, for a proxy that belongs to `local` itself: zone-aware routing weighs where its hosts stand.
    pub fn beside(registry: Registry, resolver: Resolver, runtime: Handle, local: LocalCluster) -> Arc<Self> {
        Arc::new(Self {
            active: ArcSwap::default(),
            generation: AtomicU64::new(0),
            registry,
            resolver,
            runtime,
            local,
            zones: watch::Sender::new(Arc::default()),
            secrets: Secrets::new(),
            events: OnceLock::new(),
        })
    }

    /// Lets clusters that start from then on log what happens to their hosts; only the first call counts.
    pub fn log_events(&self, events: EventLogs) {
        let _ = self.events.set(events);
    }

    /// The secrets that connections are encrypted by, those of listeners too.
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// The cluster that serves under `name`.
    pub fn get(&self, name: &str) -> Option<Arc<Cluster>> {
        self.active.load().by_name.get(name).cloned()
    }

    /// Rises when a cluster is added, replaced or removed.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The active clusters, sorted by name.
    pub fn list(&self) -> Vec<Arc<Cluster>> {
        let mut list: Vec<_> = self.active.load().by_name.values().cloned().collect();
        list.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        list
    }

    /// Calls `visit` with each active cluster that tells what its circuit breakers have left, in no order; the others are not looked at.
    pub fn each_telling(&self, visit: impl FnMut(&Arc<Cluster>)) {
        self.active.load().telling.iter().for_each(visit);
    }

    /// Starts a cluster that does not serve yet: it finds and probes its hosts. Dropping it ends that.
    pub fn start(&self, config: Arc<selvedge_traffic::Cluster>) -> Arc<Cluster> {
        let zones = self.zones.subscribe();
        let surroundings = Surroundings {
            registry: &self.registry,
            resolver: &self.resolver,
            runtime: &self.runtime,
            secrets: &self.secrets,
            events: self.events.get(),
        };
        Cluster::start(config, &surroundings, zones)
    }

    /// Lets clusters serve, each in the place of the one of its name, if there is one. All of them begin at once: each
    /// time the whole table is copied.
    pub fn activate(&self, clusters: impl IntoIterator<Item = Arc<Cluster>>) {
        let stats = self.registry.server();
        let mut active = Active::clone(&self.active.load());
        let mut replaced = Vec::new();
        for cluster in clusters {
            if *cluster.name == *self.local.name && !self.local.name.is_empty() {
                cluster.tell_zones(self.local.locality.clone(), self.zones.clone());
            }
            if cluster.tells_remaining() {
                active.telling.push(Arc::clone(&cluster));
            }
            match active.by_name.insert(Arc::clone(&cluster.name), cluster) {
                Some(former) => {
                    active.telling.retain(|other| !Arc::ptr_eq(other, &former));
                    stats.cluster_modified.inc();
                    replaced.push(former);
                }
                None => stats.cluster_added.inc(),
            }
        }
        self.publish(active);
        replaced.iter().for_each(|former| former.retire());
    }

    /// Takes a cluster away; its requests in flight finish.
    pub fn remove(&self, name: &str) {
        let mut active = Active::clone(&self.active.load());
        if let Some(removed) = active.by_name.remove(name) {
            active.telling.retain(|other| !Arc::ptr_eq(other, &removed));
            self.registry.server().cluster_removed.inc();
            self.publish(active);
            removed.retire();
        }
    }

    fn publish(&self, active: Active) {
        self.registry.server().active_clusters.set(u64::try_from(active.by_name.len()).unwrap_or(u64::MAX));
        self.active.store(Arc::new(active));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl std::fmt::Debug for Clusters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Clusters")
            .field("active", &self.active.load().by_name.keys())
            .finish_non_exhaustive()
    }
}
