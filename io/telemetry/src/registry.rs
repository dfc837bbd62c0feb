//! Who holds which statistics: the groups by name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::Sharded;
use crate::noted::{Note, Noted};
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
    /// Locked after `groups`, where both are.
    noted: Arc<Noted>,
    texts: Mutex<BTreeMap<String, String>>,
    remaining: Mutex<Remaining>,
    extension: OnceLock<Arc<Extension>>,
    runtime: Runtime,
    pub(crate) intervals: Mutex<Intervals>,
}

#[derive(Debug, Default)]
struct Groups {
    clusters: Named<Arc<str>, ClusterStats>,
    upkeep: Named<Arc<str>, ClusterUpkeep>,
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
                noted: Arc::default(),
                texts: Mutex::default(),
                remaining: Mutex::default(),
                extension: OnceLock::new(),
                runtime: Runtime::default(),
                intervals: Mutex::default(),
            }),
        }
    }

    pub fn cluster(&self, name: &str) -> Arc<Sharded<ClusterStats>> {
        let mut groups = self.groups();
        let name = groups.cluster_name(name);
        groups
            .clusters
            .hold(Arc::clone(&name), || Sharded::noted_at_first_use(self.inner.workers, self.note(name)))
    }

    /// What moves of a cluster without any traffic.
    pub fn upkeep(&self, cluster: &str) -> Arc<Sharded<ClusterUpkeep>> {
        let mut groups = self.groups();
        let name = groups.cluster_name(cluster);
        groups
            .upkeep
            .hold(Arc::clone(&name), || Sharded::noted_when_told(self.inner.workers, self.note(name)))
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
        named(&mut self.groups()).hold(key, || Sharded::new(self.inner.workers))
    }

    fn note(&self, name: Arc<str>) -> Note {
        Note { name, noted: Arc::clone(&self.inner.noted) }
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.inner.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is held at this moment.
    pub(crate) fn held(&self) -> Held {
        let groups = self.groups();
        let mut upkeep = groups.upkeep.groups.iter().peekable();
        let clusters = groups.clusters.groups.iter().filter_map(|(name, group)| {
            // Both are sorted by name: one goes on until it has come as far as the other.
            while upkeep.next_if(|(other, _)| *other < name).is_some() {}
            let upkeep = upkeep.next_if(|(other, _)| *other == name).and_then(|(_, group)| group.upgrade());
            Some(HeldCluster { name: Arc::clone(name), traffic: group.upgrade()?, upkeep })
        });
        groups.held(clusters.collect())
    }

    /// The same, but of the clusters only those that were noted and are `wanted`, by what traffic counts of them and by their upkeep.
    /// Others are not looked at: there may be thousands.
    pub(crate) fn held_of_noted(&self, wanted: impl Fn(&Traffic, Option<&Upkeep>) -> bool) -> Held {
        let groups = self.groups();
        let mut clusters = Vec::new();
        self.inner.noted.retain(|name| {
            let Some(traffic) = groups.clusters.groups.get(name).and_then(Weak::upgrade) else {
                return false;
            };
            let upkeep = groups.upkeep.groups.get(name).and_then(Weak::upgrade);
            if wanted(&traffic, upkeep.as_deref()) {
                clusters.push(HeldCluster { name: Arc::clone(name), traffic, upkeep });
            }
            true
        });
        groups.held(clusters)
    }

    pub(crate) fn intervals(&self) -> &Mutex<Intervals> {
        &self.inner.intervals
    }
}

impl Groups {
    /// A cluster's name, as it is known already if it is.
    fn cluster_name(&self, name: &str) -> Arc<str> {
        let known = self.clusters.groups.get_key_value(name).map(|(name, _)| Arc::clone(name));
        known.unwrap_or_else(|| name.into())
    }

    fn held(&self, clusters: Vec<HeldCluster>) -> Held {
        Held {
            clusters,
            http: alive(&self.http),
            tcp: alive(&self.tcp),
            listeners: alive(&self.listeners),
            listener_http: alive(&self.listener_http),
            filters: alive(&self.filters),
        }
    }
}

impl<K: Ord, T: Default> Named<K, T> {
    /// The group of that name: the one that somebody holds, or a fresh one.
    fn hold(&mut self, key: K, fresh: impl FnOnce() -> Sharded<T>) -> Arc<Sharded<T>> {
        if let Some(held) = self.groups.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        if self.groups.len() >= self.tidy_at {
            self.groups.retain(|_, group| group.strong_count() > 0);
            self.tidy_at = TIDY_MIN.max(2 * self.groups.len());
        }
        let fresh = Arc::new(fresh());
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
    pub(crate) name: Arc<str>,
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
        assert_eq!(registry.held().clusters.len(), 0);
        assert_eq!(registry.cluster("a").upstream_rq_total.value(), 0);
    }

    #[test]
    fn only_clusters_with_something_to_tell_are_looked_at() {
        let registry = Registry::new(1);
        let held: Vec<_> = (0..100).map(|n| registry.cluster(&format!("c{n}"))).collect();
        let upkeep: Vec<_> = (0..100).map(|n| registry.upkeep(&format!("c{n}"))).collect();
        upkeep.iter().for_each(|upkeep| upkeep.update_success.inc());
        held[7].upstream_rq_total.inc();
        upkeep[9].tell();
        let looked_at = || {
            let count = std::cell::Cell::new(0);
            registry.held_of_noted(|_, _| {
                count.set(count.get() + 1);
                true
            });
            count.get()
        };
        assert_eq!(looked_at(), 2);
        let names: Vec<_> =
            registry.held_of_noted(|_, _| true).clusters.iter().map(|one| Arc::clone(&one.name)).collect();
        assert_eq!(names, ["c7".into(), "c9".into()]);
        drop(held);
        assert_eq!((looked_at(), looked_at()), (0, 0), "who is gone is forgotten");
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
        let held = registry.held().clusters;
        let found: Vec<_> = held.iter().map(|one| (&*one.name, one.upkeep.is_some())).collect();
        assert_eq!(found, [("b", false), ("c", true)]);
    }
}
