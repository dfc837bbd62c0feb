//! Reading all statistics at one moment, and the forms in which they are shown.

pub(crate) mod buckets;
pub(crate) mod filter;
pub(crate) mod json;
pub(crate) mod prometheus;
pub(crate) mod tags;
pub(crate) mod text;

use std::collections::BTreeMap;

pub use buckets::Buckets;
pub use filter::{Filter, StatisticKind};

use crate::Sharded;
use crate::codes::Code;
use crate::histogram::Snapshot;
use crate::registry::Registry;
use crate::stats::filter::{FilterCounters, FilterKey, Owner};
use crate::stats::{Group, ListenerStats, Statistic, cluster};

/// What a statistic belongs to, and so the first part of its name and the labels that stand for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    Server,
    Cluster(String),
    Http(String),
    Tcp(String),
    /// With the address as Envoy writes it: `0.0.0.0_15001`.
    Listener(String),
    ListenerHttp(String, String),
    /// What one worker has of a listener.
    ListenerWorker(String, usize),
    /// A filter's, with the part of the name that follows its owner's.
    Filter(Owner, String),
    /// What App Mesh's metrics extension counted for the whole proxy.
    Sidecar,
    /// What App Mesh's metrics extension counted for one target.
    Target {
        service: String,
        node: String,
    },
}

impl Scope {
    fn prefix(&self) -> String {
        match self {
            Self::Server => String::new(),
            Self::Cluster(name) => format!("cluster.{name}."),
            Self::Http(prefix) => format!("http.{prefix}."),
            Self::Tcp(prefix) => format!("tcp.{prefix}."),
            Self::Listener(address) => format!("listener.{address}."),
            Self::ListenerWorker(address, worker) => format!("listener.{address}.worker_{worker}."),
            Self::ListenerHttp(address, prefix) => format!("listener.{address}.http.{prefix}."),
            Self::Filter(owner, part) => owner.prefix() + part,
            Self::Sidecar => "appmesh.".to_owned(),
            Self::Target { service, node } => format!("appmesh.{service}.{node}."),
        }
    }
}

/// The name of a statistic within its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    Plain(&'static str),
    /// Below the prefix: `upstream_rq_<code>`.
    Code(&'static str, Code),
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Plain(name) => (*name).to_owned(),
            Self::Code(prefix, Code::Completed) => format!("{prefix}upstream_rq_completed"),
            Self::Code(prefix, Code::Class(class)) => format!("{prefix}upstream_rq_{class}xx"),
            Self::Code(prefix, Code::Status(status)) => format!("{prefix}upstream_rq_{status}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Counter(u64),
    Gauge(i64),
    Histogram { cumulative: Snapshot, interval: Snapshot },
}

impl Value {
    /// It has moved since the start.
    fn is_used(&self) -> bool {
        match self {
            Self::Counter(value) => *value > 0,
            Self::Gauge(value) => *value != 0,
            Self::Histogram { cumulative, .. } => !cumulative.is_empty(),
        }
    }
}

/// Histograms as they stood at the last two flushes; what lies between is the interval that is shown.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    flushed: BTreeMap<(Scope, Name), Snapshot>,
    shown: BTreeMap<(Scope, Name), Snapshot>,
}

/// Takes one statistic: where it belongs, its name there, and its value summed over all threads.
type Visit<'a> = dyn FnMut(&Scope, Name, Value) + 'a;

impl Registry {
    /// Ends an interval of the histograms; called every flush interval (5 s unless configured).
    pub fn flush_intervals(&self) {
        let now = self.histograms();
        let mut intervals = self.intervals().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        intervals.shown = now
            .iter()
            .map(|(key, snapshot)| match intervals.flushed.get(key) {
                Some(before) => (key.clone(), snapshot.since(before)),
                None => (key.clone(), snapshot.clone()),
            })
            .collect();
        intervals.flushed = now;
    }

    /// Sets all counters to zero (`/reset_counters`).
    pub fn reset_counters(&self) {
        fn reset<T: Group>(group: &Sharded<T>) {
            for shard in group.shards() {
                shard.visit(&mut |_, statistic| {
                    if let Statistic::Counter(counter) | Statistic::Code(_, counter) = statistic {
                        counter.reset();
                    }
                });
            }
        }
        let held = self.held();
        reset(self.server());
        for cluster in &held.clusters {
            reset(&*cluster.traffic);
            cluster.upkeep.iter().for_each(|upkeep| reset(upkeep));
        }
        held.http.iter().for_each(|(_, group)| reset(group));
        held.tcp.iter().for_each(|(_, group)| reset(group));
        held.listeners.iter().for_each(|(_, group)| reset(group));
        held.listener_http.iter().for_each(|(_, group)| reset(group));
        for (_, group) in &held.filters {
            group.shards().flat_map(|shard| &shard.counters).for_each(crate::Counter::reset);
        }
        if let Some(extension) = self.extension() {
            reset(&extension.sidecar);
            extension.targets().iter().for_each(|(_, _, group)| reset(group));
        }
    }

    /// Calls `show` with the full name and the parts of every statistic that `filter` lets through, unsorted; the
    /// histograms' intervals are filled in. Nothing is gathered: a scrape of thousands of clusters stays small.
    pub(crate) fn for_each(&self, filter: &Filter, mut show: impl FnMut(&str, &Scope, &Name, &Value)) {
        let intervals = self.intervals().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.visit_all(filter.used_only || filter.idle_clusters_hidden, &mut |scope, name, mut value| {
            if filter.used_only && !value.is_used() || !filter.takes(&value) {
                return;
            }
            let full_name = scope.prefix() + &name.text();
            if !filter.matches(&full_name) {
                return;
            }
            if let Value::Histogram { interval, .. } = &mut value
                && let Some(shown) = intervals.shown.get(&(scope.clone(), name.clone()))
            {
                interval.clone_from(shown);
            }
            show(&full_name, scope, &name, &value);
        });
    }

    /// The texts that `filter` lets through, by name.
    pub(crate) fn texts_shown(&self, filter: &Filter) -> BTreeMap<String, String> {
        if !filter.takes_texts() {
            return BTreeMap::new();
        }
        let mut texts = self.texts();
        texts.retain(|name, text| filter.matches(name) && !(filter.used_only && text.is_empty()));
        texts
    }

    /// `idle_hidden`: clusters without traffic are left out.
    pub(crate) fn visit_all(&self, idle_hidden: bool, visit: &mut Visit<'_>) {
        let held = if idle_hidden { self.held_of_noted(cluster::is_noteworthy) } else { self.held() };
        visit_group(&Scope::Server, self.server(), visit);
        let unknown = Sharded::new(0);
        for cluster in held.clusters {
            let scope = Scope::Cluster(cluster.name.to_string());
            visit_group(&scope, &cluster.traffic, visit);
            visit_group(&scope, cluster.upkeep.as_deref().unwrap_or(&unknown), visit);
        }
        for (name, gauges) in self.remaining() {
            let scope = Scope::Cluster(name);
            for (name, value) in gauges {
                visit(&scope, Name::Plain(name), Value::Gauge(value.into()));
            }
        }
        for (prefix, group) in held.http {
            visit_group(&Scope::Http(prefix), &group, visit);
        }
        for (prefix, group) in held.tcp {
            visit_group(&Scope::Tcp(prefix), &group, visit);
        }
        for (address, group) in held.listeners {
            visit_workers(&address_text(address), &group, visit);
            visit_group(&Scope::Listener(address_text(address)), &group, visit);
        }
        for ((address, prefix), group) in held.listener_http {
            visit_group(&Scope::ListenerHttp(address_text(address), prefix), &group, visit);
        }
        for (key, group) in held.filters {
            visit_filter(key, &group, visit);
        }
        if let Some(extension) = self.extension() {
            visit_group(&Scope::Sidecar, &extension.sidecar, visit);
            for (service, node, group) in extension.targets() {
                visit_group(&Scope::Target { service, node }, &group, visit);
            }
        }
    }

    /// The histograms that hold anything.
    fn histograms(&self) -> BTreeMap<(Scope, Name), Snapshot> {
        let mut found = BTreeMap::new();
        // A cluster that nobody has called has no histograms.
        let held = self.held_of_noted(|traffic, _| traffic.shards().next().is_some());
        collect_histograms(&Scope::Server, self.server(), &mut found);
        for cluster in held.clusters {
            collect_histograms(&Scope::Cluster(cluster.name.to_string()), &cluster.traffic, &mut found);
        }
        for (prefix, group) in held.http {
            collect_histograms(&Scope::Http(prefix), &group, &mut found);
        }
        for (address, group) in held.listeners {
            collect_histograms(&Scope::Listener(address_text(address)), &group, &mut found);
        }
        if let Some(extension) = self.extension() {
            for (service, node, group) in extension.targets() {
                collect_histograms(&Scope::Target { service, node }, &group, &mut found);
            }
        }
        found
    }
}

fn collect_histograms<T: Group>(
    scope: &Scope,
    group: &Sharded<T>,
    found: &mut BTreeMap<(Scope, Name), Snapshot>,
) {
    for shard in group.shards() {
        shard.visit(&mut |name, statistic| {
            if let Statistic::Histogram(histogram) = statistic
                && !histogram.is_empty()
            {
                histogram.collect(found.entry((scope.clone(), Name::Plain(name))).or_default());
            }
        });
    }
}

pub(crate) fn address_text(address: std::net::SocketAddr) -> String {
    match address {
        std::net::SocketAddr::V4(v4) => format!("{}_{}", v4.ip(), v4.port()),
        // Colons would end the name's part in some sinks; Envoy writes them as underscores.
        std::net::SocketAddr::V6(v6) => format!("[{}]_{}", v6.ip().to_string().replace(':', "_"), v6.port()),
    }
}

/// How the kernel spread a listener's connections over the workers.
fn visit_workers(address: &str, group: &Sharded<ListenerStats>, visit: &mut Visit<'_>) {
    for (worker, stats) in group.workers() {
        let scope = Scope::ListenerWorker(address.to_owned(), worker);
        let (active, total) = match stats {
            Some(stats) => (stats.downstream_cx_active.value(), stats.downstream_cx_total.value()),
            None => (0, 0),
        };
        visit(&scope, Name::Plain("downstream_cx_active"), Value::Gauge(active));
        visit(&scope, Name::Plain("downstream_cx_total"), Value::Counter(total));
    }
}

fn visit_filter(key: FilterKey, group: &Sharded<FilterCounters>, visit: &mut Visit<'_>) {
    let scope = Scope::Filter(key.owner, key.part);
    for (position, name) in key.names.iter().enumerate() {
        let of_shard = |shard: &FilterCounters| shard.counters.get(position).map_or(0, crate::Counter::value);
        let sum = group.shards().map(of_shard).sum();
        // What concerns a cluster is there from its first use on, as the cluster's own rarer statistics are.
        // So are the names of ciphers and curves.
        let lazy = match &scope {
            Scope::Filter(Owner::Cluster(_), _) => true,
            Scope::Filter(Owner::Listener(_), part) => part != "ssl.",
            _ => false,
        };
        if sum > 0 || !lazy {
            visit(&scope, Name::Plain(name), Value::Counter(sum));
        }
    }
}

fn visit_group<T: Group>(scope: &Scope, group: &Sharded<T>, visit: &mut Visit<'_>) {
    let mut values: BTreeMap<Name, Value> = BTreeMap::new();
    let fresh = T::default();
    // An untouched copy first: a group that no thread has used still shows its statistics as zero.
    for shard in std::iter::once(&fresh).chain(group.shards()) {
        shard.visit(&mut |name, statistic| add(&mut values, name, statistic));
    }
    for (name, value) in values {
        let lazy = match (scope, &name) {
            (Scope::Cluster(_), Name::Plain(name)) => cluster::is_lazy(name),
            (Scope::Server, Name::Plain(name)) => name.starts_with("tracing."),
            _ => false,
        };
        if !lazy || value.is_used() {
            visit(scope, name, value);
        }
    }
}

fn add(values: &mut BTreeMap<Name, Value>, name: &'static str, statistic: Statistic<'_>) {
    match statistic {
        Statistic::Counter(counter) => add_count(values, Name::Plain(name), counter.value()),
        Statistic::Code(code, counter) => add_count(values, Name::Code(name, code), counter.value()),
        Statistic::Gauge(gauge) => {
            let entry = values.entry(Name::Plain(name)).or_insert(Value::Gauge(0));
            if let Value::Gauge(sum) = entry {
                *sum += gauge.value();
            }
        }
        Statistic::Histogram(histogram) => {
            let entry = values.entry(Name::Plain(name)).or_insert_with(|| Value::Histogram {
                cumulative: Snapshot::default(),
                interval: Snapshot::default(),
            });
            if let Value::Histogram { cumulative, .. } = entry {
                histogram.collect(cumulative);
            }
        }
    }
}

fn add_count(values: &mut BTreeMap<Name, Value>, name: Name, count: u64) {
    if let Value::Counter(sum) = values.entry(name).or_insert(Value::Counter(0)) {
        *sum += count;
    }
}
