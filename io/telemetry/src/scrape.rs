//! Reading all statistics at one moment, and the forms in which they are shown.

pub(crate) mod filter;
pub(crate) mod json;
pub(crate) mod prometheus;
pub(crate) mod text;

use std::collections::BTreeMap;

pub use filter::Filter;

use crate::Sharded;
use crate::codes::Code;
use crate::histogram::Snapshot;
use crate::registry::Registry;
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

/// One statistic with its value, summed over all threads.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) scope: Scope,
    pub(crate) name: Name,
    pub(crate) value: Value,
}

impl Sample {
    pub(crate) fn full_name(&self) -> String {
        self.scope.prefix() + &self.name.text()
    }
}

/// Histograms as they stood at the last two flushes; what lies between is the interval that is shown.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    flushed: BTreeMap<(Scope, Name), Snapshot>,
    shown: BTreeMap<(Scope, Name), Snapshot>,
}

impl Registry {
    /// Ends an interval of the histograms; called every flush interval (5 s unless configured).
    pub fn flush_intervals(&self) {
        let now: BTreeMap<_, _> = self
            .read()
            .into_iter()
            .filter_map(|sample| match sample.value {
                Value::Histogram { cumulative, .. } if !cumulative.is_empty() => {
                    Some(((sample.scope, sample.name), cumulative))
                }
                _ => None,
            })
            .collect();
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
        held.clusters.iter().for_each(|(_, group)| reset(group));
        held.http.iter().for_each(|(_, group)| reset(group));
        held.tcp.iter().for_each(|(_, group)| reset(group));
        held.listeners.iter().for_each(|(_, group)| reset(group));
        held.listener_http.iter().for_each(|(_, group)| reset(group));
    }

    /// All statistics with their values, unsorted.
    pub(crate) fn read(&self) -> Vec<Sample> {
        let held = self.held();
        let mut samples = Vec::new();
        read_group(Scope::Server, self.server(), &mut samples);
        for (name, group) in held.clusters {
            read_group(Scope::Cluster(name), &group, &mut samples);
        }
        for (prefix, group) in held.http {
            read_group(Scope::Http(prefix), &group, &mut samples);
        }
        for (prefix, group) in held.tcp {
            read_group(Scope::Tcp(prefix), &group, &mut samples);
        }
        for (address, group) in held.listeners {
            read_workers(&address_text(address), &group, &mut samples);
            read_group(Scope::Listener(address_text(address)), &group, &mut samples);
        }
        for ((address, prefix), group) in held.listener_http {
            read_group(Scope::ListenerHttp(address_text(address), prefix), &group, &mut samples);
        }
        samples
    }

    /// The samples that `filter` lets through, with their full names, and the histograms' intervals filled in.
    pub(crate) fn select(&self, filter: &Filter) -> Vec<(String, Sample)> {
        let intervals = self.intervals().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut selected: Vec<(String, Sample)> = self
            .read()
            .into_iter()
            .filter(|sample| !filter.used_only || sample.value.is_used())
            .map(|sample| (sample.full_name(), sample))
            .filter(|(name, _)| filter.matches(name))
            .collect();
        for (_, sample) in &mut selected {
            if let Value::Histogram { interval, .. } = &mut sample.value {
                let key = (sample.scope.clone(), sample.name.clone());
                *interval = intervals.shown.get(&key).cloned().unwrap_or_default();
            }
        }
        selected
    }
}

fn address_text(address: std::net::SocketAddr) -> String {
    match address {
        std::net::SocketAddr::V4(v4) => format!("{}_{}", v4.ip(), v4.port()),
        // Colons would end the name's part in some sinks; Envoy writes them as underscores.
        std::net::SocketAddr::V6(v6) => format!("[{}]_{}", v6.ip().to_string().replace(':', "_"), v6.port()),
    }
}

/// How the kernel spread a listener's connections over the workers.
fn read_workers(address: &str, group: &Sharded<ListenerStats>, samples: &mut Vec<Sample>) {
    for (worker, stats) in group.workers() {
        let mut push = |name, value| {
            samples.push(Sample {
                scope: Scope::ListenerWorker(address.to_owned(), worker),
                name: Name::Plain(name),
                value,
            });
        };
        let (active, total) = match stats {
            Some(stats) => (stats.downstream_cx_active.value(), stats.downstream_cx_total.value()),
            None => (0, 0),
        };
        push("downstream_cx_active", Value::Gauge(active));
        push("downstream_cx_total", Value::Counter(total));
    }
}

fn read_group<T: Group>(scope: Scope, group: &Sharded<T>, samples: &mut Vec<Sample>) {
    let mut values: BTreeMap<Name, Value> = BTreeMap::new();
    let fresh = T::default();
    // An untouched copy first: a group that no thread has used still shows its statistics as zero.
    for shard in std::iter::once(&fresh).chain(group.shards()) {
        shard.visit(&mut |name, statistic| add(&mut values, name, statistic));
    }
    for (name, value) in values {
        let lazy =
            matches!((&scope, &name), (Scope::Cluster(_), Name::Plain(name)) if cluster::is_lazy(name));
        if !lazy || value.is_used() {
            samples.push(Sample { scope: scope.clone(), name, value });
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
