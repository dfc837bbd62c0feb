//! `/stats`: a line a statistic, texts first, then counters and gauges, then histograms, each sorted by name.

use std::fmt::Write;

use super::{Buckets, Filter, Value};
use crate::histogram::Snapshot;
use crate::histogram::snapshot::QUANTILES;
use crate::registry::Registry;

impl Registry {
    /// All statistics that `filter` lets through as Envoy's text.
    pub fn text(&self, filter: &Filter, buckets: Buckets) -> String {
        let mut lines: Vec<String> = self
            .texts_shown(filter)
            .into_iter()
            .map(|(name, text)| format!("{name}: \"{text}\"\n"))
            .collect();
        let mut numbers = Vec::new();
        let mut histograms = Vec::new();
        self.for_each(filter, |name, _, _, value| match value {
            Value::Counter(value) => numbers.push(format!("{name}: {value}\n")),
            Value::Gauge(value) => numbers.push(format!("{name}: {}\n", value.max(&0))),
            Value::Histogram { cumulative, interval } => {
                histograms.push(format!("{name}:{}\n", buckets.text(cumulative, interval)));
            }
        });
        numbers.sort_unstable();
        histograms.sort_unstable();
        lines.append(&mut numbers);
        lines.append(&mut histograms);
        lines.concat()
    }
}

/// `P0(interval,cumulative) P25(…) …`
pub(super) fn histogram_text(cumulative: &Snapshot, interval: &Snapshot) -> String {
    let Some(cumulative) = cumulative.quantiles() else { return "No recorded values".to_owned() };
    let interval = interval.quantiles();
    let mut text = String::new();
    for (index, quantile) in QUANTILES.iter().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        let interval = interval.map_or_else(|| "nan".to_owned(), |values| values[index].to_string());
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}P{}({interval},{})", percent(*quantile), cumulative[index]);
    }
    text
}

/// `99.5`, not `99.499…`.
pub(super) fn percent(quantile: f64) -> f64 {
    (quantile * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sorted_with_histograms_last() {
        let registry = Registry::new(1);
        let cluster = registry.cluster("up");
        cluster.upstream_rq_total.add(3);
        cluster.upstream_rq_active.inc();
        cluster.rq.record(200);
        cluster.upstream_cx_connect_ms.record(1);
        let filter = Filter { used_only: true, ..Filter::default() };
        let expected = "\
cluster.up.upstream_rq_200: 1
cluster.up.upstream_rq_2xx: 1
cluster.up.upstream_rq_active: 1
cluster.up.upstream_rq_completed: 1
cluster.up.upstream_rq_total: 3
cluster.up.upstream_cx_connect_ms: P0(nan,1.05) P25(nan,1.05) P50(nan,1.05) P75(nan,1.05) P90(nan,1.05) P95(nan,1.05) P99(nan,1.05) P99.5(nan,1.05) P99.9(nan,1.05) P100(nan,1.05)
";
        assert_eq!(registry.text(&filter, Buckets::Summary), expected);
    }

    #[test]
    fn the_interval_is_what_lies_between_the_last_two_flushes() {
        let registry = Registry::new(0);
        let cluster = registry.cluster("up");
        cluster.upstream_cx_connect_ms.record(0);
        registry.flush_intervals();
        let filter = Filter { used_only: true, ..Filter::default() };
        assert!(registry.text(&filter, Buckets::Summary).contains("P0(0,0)"));
        registry.flush_intervals();
        assert!(registry.text(&filter, Buckets::Summary).contains("P0(nan,0)"));
    }

    #[test]
    fn the_filter_matches_anywhere_and_can_be_inverted() {
        let registry = Registry::new(0);
        let _cluster = registry.cluster("up");
        let filter = Filter::default().with_name("upstream_rq_t.*al$").expect("a valid expression");
        assert_eq!(registry.text(&filter, Buckets::Summary), "cluster.up.upstream_rq_total: 0\n");
        let inverted = Filter { inverted: true, ..filter };
        assert!(!registry.text(&inverted, Buckets::Summary).contains("upstream_rq_total"));
        assert!(registry.text(&inverted, Buckets::Summary).contains("upstream_rq_active"));
    }

    #[test]
    fn every_name_that_the_reference_lists_for_a_cluster_is_spelt_alike() {
        let registry = Registry::new(0);
        let _held = (registry.cluster("c"), registry.http("h"));
        let text = registry.text(&Filter::default(), Buckets::Summary);
        for name in [
            "cluster.c.upstream_cx_destroy_with_active_rq: 0",
            "cluster.c.circuit_breakers.default.rq_open: 0",
            "cluster.c.membership_total: 0",
            "http.h.downstream_rq_time: No recorded values",
            "cluster_manager.active_clusters: 0",
            "listener_manager.lds.update_success: 0",
            "control_plane.connected_state: 0",
            "http.h.tracing.not_traceable: 0",
        ] {
            assert!(text.lines().any(|line| line == name), "{name}");
        }
    }
}
