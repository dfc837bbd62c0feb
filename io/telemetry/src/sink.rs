//! Statistics in the line protocol of statsd: what changed since the last flush, in datagrams.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::histogram::Snapshot;
use crate::registry::Registry;
use crate::scrape::{Filter, Name, Scope, Value, tags};

/// Datagrams are kept below this, so that none is cut on an Ethernet.
pub const DATAGRAM_BYTES_MAX: usize = 1432;

/// How a statistic's tags are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Plain statsd has none: the whole name stands in front of the colon.
    Statsd,
    /// DogStatsD has them behind `|#`, under Envoy's names.
    DogStatsd,
}

/// Writes flushes; remembers what it has told.
#[derive(Debug)]
pub struct Statsd {
    dialect: Dialect,
    prefix: String,
    fixed: Vec<(String, String)>,
    counters: BTreeMap<(Scope, Name), u64>,
    histograms: BTreeMap<(Scope, Name), Snapshot>,
}

impl Statsd {
    /// Names begin with `prefix` (Envoy's is `envoy`); `fixed` tags stand on each line of DogStatsD.
    pub fn new(dialect: Dialect, prefix: &str, fixed: Vec<(String, String)>) -> Self {
        Self {
            dialect,
            prefix: prefix.to_owned(),
            fixed,
            counters: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// What has moved since the last flush: counters by their differences, gauges as they stand, of each histogram one
    /// line for each occupied bucket with its count as a sampling rate.
    pub fn flush(&mut self, registry: &Registry) -> Vec<String> {
        let mut datagrams = Datagrams::default();
        let filter = Filter { used_only: true, ..Filter::default() };
        let (mut counters, mut histograms) = (BTreeMap::new(), BTreeMap::new());
        registry.for_each(&filter, |full, scope, name, value| {
            let key = (scope.clone(), name.clone());
            let (name, tags) = self.name(registry, full, scope, &key.1);
            match value {
                Value::Counter(value) => {
                    // A counter that was reset begins anew.
                    let before =
                        self.counters.get(&key).copied().filter(|before| before <= value).unwrap_or(0);
                    if *value > before {
                        datagrams.line(format_args!("{name}:{}|c{tags}", value - before));
                    }
                    counters.insert(key, *value);
                }
                Value::Gauge(value) => datagrams.line(format_args!("{name}:{}|g{tags}", value.max(&0))),
                Value::Histogram { cumulative, .. } => {
                    let fresh = match self.histograms.get(&key) {
                        Some(before) => cumulative.since(before),
                        None => cumulative.clone(),
                    };
                    for (left, _, count) in fresh.spans() {
                        match count {
                            1 => datagrams.line(format_args!("{name}:{left}|ms{tags}")),
                            _ => {
                                let rate = 1.0 / count as f64;
                                datagrams.line(format_args!("{name}:{left}|ms|@{rate}{tags}"));
                            }
                        }
                    }
                    histograms.insert(key, cumulative.clone());
                }
            }
        });
        self.counters = counters;
        self.histograms = histograms;
        datagrams.finish()
    }

    /// The name, and what follows the type.
    fn name(&self, registry: &Registry, full: &str, scope: &Scope, name: &Name) -> (String, String) {
        let prefix = &self.prefix;
        if self.dialect == Dialect::Statsd {
            return (format!("{prefix}.{}", clean(full)), String::new());
        }
        let tagged = tags::split(scope, name);
        let mut text = String::new();
        let fixed = self.fixed.iter().map(|(tag, value)| (tag.as_str(), value.clone()));
        let of_scope = tags::of_scope(scope, registry.dimensions());
        for (tag, value) in fixed.chain(tagged.own).chain(of_scope) {
            let separator = if text.is_empty() { "|#" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{tag}:{}", value.replace([',', '|', '\n'], "_"));
        }
        (format!("{prefix}.{}", clean(&tagged.name)), text)
    }
}

/// What would end a name in the line protocol.
fn clean(name: &str) -> String {
    name.replace([':', '|', '@', '\n'], "_")
}

/// Lines, as many in a datagram as fit.
#[derive(Default)]
struct Datagrams {
    done: Vec<String>,
    open: String,
}

impl Datagrams {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let before = self.open.len();
        if before > 0 {
            self.open.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = self.open.write_fmt(line);
        if self.open.len() > DATAGRAM_BYTES_MAX && before > 0 {
            let last = self.open.split_off(before);
            self.done.push(std::mem::replace(&mut self.open, last[1..].to_owned()));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dogstatsd_gets_differences_with_tags() {
        let registry = Registry::new(1);
        let cluster = registry.cluster("up");
        let mut sink =
            Statsd::new(Dialect::DogStatsd, "envoy", vec![("appmesh.mesh".to_owned(), "m".to_owned())]);
        cluster.rq.record(200);
        cluster.upstream_rq_active.inc();
        (0..4).for_each(|_| cluster.upstream_cx_connect_ms.record(12));
        let first = sink.flush(&registry).join("\n");
        for line in [
            "envoy.cluster.upstream_rq:1|c|#appmesh.mesh:m,envoy.response_code:200,envoy.cluster_name:up",
            "envoy.cluster.upstream_rq_active:1|g|#appmesh.mesh:m,envoy.cluster_name:up",
            "envoy.cluster.upstream_cx_connect_ms:12|ms|@0.25|#appmesh.mesh:m,envoy.cluster_name:up",
        ] {
            assert!(first.lines().any(|found| found == line), "{line}\nin\n{first}");
        }
        cluster.rq.record(200);
        cluster.rq.record(200);
        let second = sink.flush(&registry).join("\n");
        assert!(second.contains("envoy.cluster.upstream_rq:2|c|"), "{second}");
        assert!(!second.contains("connect_ms"), "{second}");
        assert!(!sink.flush(&registry).join("\n").contains("|c"));
    }

    #[test]
    fn plain_statsd_has_whole_names_and_no_tags() {
        let registry = Registry::new(1);
        let cluster = registry.cluster("a:b");
        cluster.rq.record(503);
        let text = Statsd::new(Dialect::Statsd, "envoy", Vec::new()).flush(&registry).join("\n");
        assert!(text.lines().any(|line| line == "envoy.cluster.a_b.upstream_rq_503:1|c"), "{text}");
        assert!(!text.contains('#'));
    }

    #[test]
    fn a_reset_counter_is_told_from_its_new_beginning() {
        let registry = Registry::new(1);
        let cluster = registry.cluster("up");
        let mut sink = Statsd::new(Dialect::Statsd, "envoy", Vec::new());
        cluster.upstream_rq_total.add(10);
        sink.flush(&registry);
        registry.reset_counters();
        cluster.upstream_rq_total.add(3);
        assert!(sink.flush(&registry).join("\n").contains("envoy.cluster.up.upstream_rq_total:3|c"));
    }

    #[test]
    fn datagrams_stay_below_an_ethernets_frame_and_lose_no_line() {
        let registry = Registry::new(1);
        let held: Vec<_> = (0..100).map(|n| registry.cluster(&format!("cluster-{n}"))).collect();
        held.iter().for_each(|cluster| cluster.upstream_rq_total.inc());
        let datagrams = Statsd::new(Dialect::DogStatsd, "envoy", Vec::new()).flush(&registry);
        assert!(datagrams.len() > 1 && datagrams.iter().all(|one| one.len() <= DATAGRAM_BYTES_MAX));
        let lines: Vec<&str> = datagrams.iter().flat_map(|one| one.lines()).collect();
        assert_eq!(lines.iter().filter(|line| line.contains("upstream_rq_total:1|c")).count(), 100);
    }
}
