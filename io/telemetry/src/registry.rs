//! Who holds which statistics: the groups by name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::Sharded;
use crate::runtime::Runtime;
use crate::scrape::Intervals;
use crate::stats::filter::{FilterCounters, FilterKey};
use crate::stats::{
    ClusterStats, ClusterUpkeep, Dimensions, Extension, HttpStats, ListenerHttpStats, ListenerStats,
    ServerStats, TcpStats,
};
use crate::stats::{FilterStats, Owner};

/// A cheap handle to all statistics of a process.
///
/// A group lives as long as somebody holds it; asked for again meanwhile, it is the same one. The lock inside is for
/// configuration changes and scrapes: whoever serves requests keeps the `Arc` that it was given.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    workers: usize,
    server: Sharded<ServerStats>,
    groups: Mutex<Groups>,
    texts: Mutex<BTreeMap<String, String>>,
    remaining: Mutex<Remaining>,
    extension: OnceLock<Arc<Extension>>,
    runtime: Runtime,
    pub(crate) intervals: Mutex<Intervals>,
}

#[derive(Debug, Default)]
struct Groups {
    clusters: Named<String, ClusterStats>,
    upkeep: Named<String, ClusterUpkeep>,
    http: Named<String, HttpStats>,
    tcp: Named<String, TcpStats>,
    listeners: Named<SocketAddr, ListenerStats>,
    listener_http: Named<(SocketAddr, String), ListenerHttpStats>,
    filters: Named<FilterKey, FilterCounters>,
}

/// By cluster: the name of a gauge below it, and its value.
pub type Remaining = BTreeMap<String, Vec<(&'static str, u32)>>;

/// Groups by name. Those that nobody holds any more are forgotten when as many again have been added, so that a thousand
/// new ones do not look at each other.
#[derive(Debug)]
struct Named<K, T> {
    groups: BTreeMap<K, Weak<Sharded<T>>>,
    /// The number of groups at which the next look is due.
    tidy_at: usize,
}

/// So many groups are no reason to look for those that nobody holds.
const TIDY_MIN: usize = 16;

impl Registry {
    /// For a process with so many worker threads.
    pub fn new(workers: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                workers,
                server: Sharded::new(workers),
                groups: Mutex::default(),
                texts: Mutex::default(),
                remaining: Mutex::default(),
                extension: OnceLock::new(),
                runtime: Runtime::default(),
                intervals: Mutex::default(),
            }),
        }
    }

    pub fn cluster(&self, name: &str) -> Arc<Sharded<ClusterStats>> {
        self.hold(|groups| &mut groups.clusters, name.to_owned())
    }

    /// What moves of a cluster without any traffic.
    pub fn upkeep(&self, cluster: &str) -> Arc<Sharded<ClusterUpkeep>> {
        self.hold(|groups| &mut groups.upkeep, cluster.to_owned())
    }

    pub fn http(&self, stat_prefix: &str) -> Arc<Sharded<HttpStats>> {
        self.hold(|groups| &mut groups.http, stat_prefix.to_owned())
    }

    pub fn tcp(&self, stat_prefix: &str) -> Arc<Sharded<TcpStats>> {
        self.hold(|groups| &mut groups.tcp, stat_prefix.to_owned())
    }

    pub fn listener(&self, address: SocketAddr) -> Arc<Sharded<ListenerStats>> {
        self.hold(|groups| &mut groups.listeners, address)
    }

    pub fn listener_http(&self, address: SocketAddr, stat_prefix: &str) -> Arc<Sharded<ListenerHttpStats>> {
        self.hold(|groups| &mut groups.listener_http, (address, stat_prefix.to_owned()))
    }

    /// A filter's counters: `<owner's prefix><part><name>`, at most [`FILTER_COUNTERS`](crate::FILTER_COUNTERS)
    /// names.
    pub fn filter(&self, owner: Owner, part: &str, names: &'static [&'static str]) -> FilterStats {
        let key = FilterKey { owner, part: part.to_owned(), names };
        FilterStats { group: self.hold(|groups| &mut groups.filters, key) }
    }

    pub fn server(&self) -> &Sharded<ServerStats> {
        &self.inner.server
    }

    /// Counts from now on what App Mesh's metrics extension counted.
    pub fn enable_extension(&self, dimensions: Dimensions) -> &Arc<Extension> {
        let workers = self.inner.workers;
        self.inner.extension.get_or_init(|| Arc::new(Extension::new(dimensions, workers)))
    }

    /// The metrics extension, if it is enabled.
    pub fn extension(&self) -> Option<&Arc<Extension>> {
        self.inner.extension.get()
    }

    /// The tags of the extension's series.
    pub(crate) fn dimensions(&self) -> Option<&Dimensions> {
        self.extension().map(|extension| &extension.dimensions)
    }

    /// What was set while the process runs.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// Sets a statistic that is a text, such as the version of a configuration. For a handful of fixed names.
    pub fn set_text(&self, name: &str, text: &str) {
        let mut texts = self.inner.texts.lock().unwrap_or_else(PoisonError::into_inner);
        match texts.get_mut(name) {
            Some(known) if known == text => {}
            Some(known) => text.clone_into(known),
            None => drop(texts.insert(name.to_owned(), text.to_owned())),
        }
    }

    /// Sets what circuit breakers have left, of the clusters that tell: counted when somebody reads, not with each request.
    pub fn set_remaining(&self, remaining: Remaining) {
        *self.inner.remaining.lock().unwrap_or_else(PoisonError::into_inner) = remaining;
    }

    pub(crate) fn remaining(&self) -> Remaining {
        self.inner.remaining.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        self.inner.texts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The group of that name: the one that somebody holds, or a new one.
    fn hold<K: Ord, T: Default>(
        &self,
        named: impl FnOnce(&mut Groups) -> &mut Named<K, T>,
        key: K,
    ) -> Arc<Sharded<T>> {
        let mut groups = self.inner.groups.lock().unwrap_or_else(PoisonError::into_inner);
        named(&mut groups).hold(key, self.inner.workers)
    }

    /// Everything that is held at this moment; of the clusters those that are `wanted`, by what traffic counts of them and
    /// by their upkeep. Of the others not even the name is copied: there may be thousands.
    pub(crate) fn held(&self, wanted: impl Fn(&Traffic, Option<&Upkeep>) -> bool) -> Held {
        let groups = self.inner.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut upkeep = groups.upkeep.groups.iter().peekable();
        let clusters = groups.clusters.groups.iter().filter_map(|(name, group)| {
            // Both are sorted by name: one goes on until it has come as far as the other.
            while upkeep.next_if(|(other, _)| *other < name).is_some() {}
            let upkeep = upkeep.next_if(|(other, _)| *other == name).and_then(|(_, group)| group.upgrade());
            let traffic = group.upgrade()?;
            wanted(&traffic, upkeep.as_deref()).then(|| HeldCluster { name: name.clone(), traffic, upkeep })
        });
        Held {
            clusters: clusters.collect(),
            http: alive(&groups.http),
            tcp: alive(&groups.tcp),
            listeners: alive(&groups.listeners),
            listener_http: alive(&groups.listener_http),
            filters: alive(&groups.filters),
        }
    }

    pub(crate) fn intervals(&self) -> &Mutex<Intervals> {
        &self.inner.intervals
    }
}

impl<K: Ord, T: Default> Named<K, T> {
    /// The group of that name: the one that somebody holds, or a new one.
    fn hold(&mut self, key: K, workers: usize) -> Arc<Sharded<T>> {
        if let Some(held) = self.groups.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        if self.groups.len() >= self.tidy_at {
            self.groups.retain(|_, group| group.strong_count() > 0);
            self.tidy_at = TIDY_MIN.max(2 * self.groups.len());
        }
        let fresh = Arc::new(Sharded::new(workers));
        self.groups.insert(key, Arc::downgrade(&fresh));
        fresh
    }
}

impl<K, T> Default for Named<K, T> {
    fn default() -> Self {
        Self { groups: BTreeMap::new(), tidy_at: TIDY_MIN }
    }
}

pub(crate) type Traffic = Sharded<ClusterStats>;
pub(crate) type Upkeep = Sharded<ClusterUpkeep>;

/// What is counted of a cluster.
pub(crate) struct HeldCluster {
    pub(crate) name: String,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) upkeep: Option<Arc<Upkeep>>,
}

/// Groups with their names.
type Alive<K, T> = Vec<(K, Arc<Sharded<T>>)>;

/// The groups that are alive, by name.
pub(crate) struct Held {
    pub(crate) clusters: Vec<HeldCluster>,
    pub(crate) http: Alive<String, HttpStats>,
    pub(crate) tcp: Alive<String, TcpStats>,
    pub(crate) listeners: Alive<SocketAddr, ListenerStats>,
    pub(crate) listener_http: Alive<(SocketAddr, String), ListenerHttpStats>,
    pub(crate) filters: Alive<FilterKey, FilterCounters>,
}

fn alive<K: Clone, T>(named: &Named<K, T>) -> Alive<K, T> {
    named.groups.iter().filter_map(|(key, group)| Some((key.clone(), group.upgrade()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_group_is_shared_and_a_dropped_one_is_forgotten() {
        let registry = Registry::new(1);
        let first = registry.cluster("a");
        first.upstream_rq_total.inc();
        assert!(Arc::ptr_eq(&first, &registry.cluster("a")));
        drop(first);
        assert_eq!(registry.held(|_, _| true).clusters.len(), 0);
        assert_eq!(registry.cluster("a").upstream_rq_total.value(), 0);
    }

    #[test]
    fn groups_that_nobody_holds_do_not_gather() {
        let registry = Registry::new(1);
        let _held: Vec<_> = (0..10).map(|n| registry.cluster(&format!("held-{n}"))).collect();
        (0..1000).for_each(|n| drop(registry.cluster(&format!("gone-{n}"))));
        let groups = registry.inner.groups.lock().expect("no poison");
        assert!(groups.clusters.groups.len() <= 2 * TIDY_MIN, "{}", groups.clusters.groups.len());
    }

    #[test]
    fn a_clusters_two_groups_are_found_by_its_name() {
        let registry = Registry::new(1);
        let (_b, _c) = (registry.cluster("b"), registry.cluster("c"));
        let _upkeep = ["a", "c", "d"].map(|name| registry.upkeep(name));
        let held = registry.held(|_, _| true).clusters;
        let found: Vec<_> = held.iter().map(|one| (one.name.as_str(), one.upkeep.is_some())).collect();
        assert_eq!(found, [("b", false), ("c", true)]);
    }
}
