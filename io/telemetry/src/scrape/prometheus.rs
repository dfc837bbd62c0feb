//! `/stats/prometheus`: the same statistics with Envoy's tags taken out of the names and put into labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use super::{Filter, Scope, Value, tags};
use crate::histogram::Snapshot;
use crate::histogram::snapshot::{PROMETHEUS_BOUNDS, QUANTILES};
use crate::registry::Registry;

/// Labels that every series carries, such as `appmesh.mesh`.
pub type FixedTags = Vec<(String, String)>;

/// Text is handed out in pieces of about this size, so that no scrape stands in memory as a whole.
const PIECE_BYTES: usize = 32 * 1024;

/// The format that a scraper asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own text, 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0 with the same names: whoever negotiates it finds the series that its dashboards name. A counter
    /// whose name does not end in `_total` is therefore of the type `unknown`.
    OpenMetrics,
}

/// How a scrape is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub exposition: Exposition,
    /// Quantiles of the last interval in place of buckets.
    pub summaries: bool,
    /// Texts as gauges of 0 with a label.
    pub texts: bool,
}

/// A scrape as it is written, piece by piece. It holds the values of one moment and nothing of their text.
#[derive(Debug)]
pub struct Scrape {
    families: std::collections::btree_map::IntoIter<(u8, String), Vec<Series>>,
    current: Option<(String, std::vec::IntoIter<Series>)>,
    /// Every family's name: OpenMetrics lets none be another's with a suffix.
    names: BTreeSet<String>,
    fixed: String,
    shape: Shape,
    finished: bool,
}

#[derive(Debug)]
struct Series {
    /// Each label followed by a comma.
    own: String,
    scope: Arc<str>,
    value: Shown,
}

#[derive(Debug)]
enum Shown {
    Counter(u64),
    Gauge(i64),
    Histogram(Box<Snapshot>),
    Summary(Box<Snapshot>),
}

impl Registry {
    /// All statistics that `filter` lets through, with Envoy's families and labels.
    pub fn prometheus(&self, filter: &Filter, fixed: &FixedTags, shape: Shape) -> Scrape {
        let mut families: BTreeMap<(u8, String), Vec<Series>> = BTreeMap::new();
        let mut last: Option<(Scope, Arc<str>)> = None;
        self.for_each(filter, |_, scope, name, value| {
            let tagged = tags::split(scope, name);
            let labels = match &last {
                Some((known, labels)) if known == scope => Arc::clone(labels),
                _ => {
                    let labels: Arc<str> = tags::of_scope(scope, self.dimensions())
                        .iter()
                        .map(|(tag, value)| label(tag, value))
                        .collect::<String>()
                        .into();
                    last = Some((scope.clone(), Arc::clone(&labels)));
                    labels
                }
            };
            let (rank, value) = match value {
                Value::Counter(value) => (0, Shown::Counter(*value)),
                Value::Gauge(value) => (1, Shown::Gauge(*value)),
                Value::Histogram { interval, .. } if shape.summaries => {
                    (2, Shown::Summary(Box::new(interval.clone())))
                }
                Value::Histogram { cumulative, .. } => (2, Shown::Histogram(Box::new(cumulative.clone()))),
            };
            let own = tagged.own.map(|(tag, value)| label(tag, &value)).unwrap_or_default();
            let family = format!("envoy_{}", sanitize(&tagged.name));
            families.entry((rank, family)).or_default().push(Series { own, scope: labels, value });
        });
        if shape.texts {
            for (name, text) in self.texts_shown(filter) {
                let own = label("text_value", &text);
                let series = Series { own, scope: "".into(), value: Shown::Gauge(0) };
                families.entry((1, format!("envoy_{}", sanitize(&name)))).or_default().push(series);
            }
        }
        let names = match shape.exposition {
            Exposition::Prometheus => BTreeSet::new(),
            Exposition::OpenMetrics => families.keys().map(|(_, family)| family.clone()).collect(),
        };
        let fixed = fixed.iter().map(|(name, value)| label(name, value)).collect();
        Scrape { families: families.into_iter(), current: None, names, fixed, shape, finished: false }
    }
}

impl Iterator for Scrape {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut piece = String::new();
        while piece.len() < PIECE_BYTES {
            let Some((family, series)) = &mut self.current else {
                match self.families.next() {
                    Some(((_, family), series)) => {
                        self.head(&family, series.first(), &mut piece);
                        self.current = Some((family, series.into_iter()));
                    }
                    None => {
                        if self.shape.exposition == Exposition::OpenMetrics && !self.finished {
                            piece.push_str("# EOF\n");
                        }
                        self.finished = true;
                        break;
                    }
                }
                continue;
            };
            match series.next() {
                Some(one) => {
                    let labels = format!("{}{}{}", self.fixed, one.own, one.scope);
                    write_series(&mut piece, family, labels.trim_end_matches(','), &one.value);
                }
                None => self.current = None,
            }
        }
        (!piece.is_empty()).then_some(piece)
    }
}

impl Scrape {
    /// The family's type.
    fn head(&self, family: &str, first: Option<&Series>, out: &mut String) {
        let kind = match first.map(|series| &series.value) {
            Some(Shown::Counter(_)) => "counter",
            Some(Shown::Gauge(_)) | None => "gauge",
            Some(Shown::Histogram(_)) => "histogram",
            Some(Shown::Summary(_)) => "summary",
        };
        let (name, kind) = match (self.shape.exposition, kind, family.strip_suffix("_total")) {
            (Exposition::OpenMetrics, "counter", Some(base)) if !self.names.contains(base) => (base, kind),
            (Exposition::OpenMetrics, "counter", _) => (family, "unknown"),
            _ => (family, kind),
        };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "# TYPE {name} {kind}");
    }
}

fn write_series(out: &mut String, family: &str, labels: &str, value: &Shown) {
    let comma = if labels.is_empty() { "" } else { "," };
    match value {
        Shown::Counter(value) => {
            let _ = writeln!(out, "{family}{{{labels}}} {value}");
        }
        Shown::Gauge(value) => {
            let _ = writeln!(out, "{family}{{{labels}}} {}", (*value).max(0));
        }
        Shown::Histogram(cumulative) => {
            for bound in PROMETHEUS_BOUNDS {
                let count = cumulative.count_below(bound);
                let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
            }
            let count = cumulative.count();
            let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "{family}_sum{{{labels}}} {}", cumulative.sum());
            let _ = writeln!(out, "{family}_count{{{labels}}} {count}");
        }
        Shown::Summary(interval) => {
            let values = interval.quantiles();
            for (index, quantile) in QUANTILES.iter().enumerate() {
                let value = values.map_or_else(|| "NaN".to_owned(), |values| values[index].to_string());
                let _ = writeln!(out, "{family}{{{labels}{comma}quantile=\"{quantile}\"}} {value}");
            }
            let _ = writeln!(out, "{family}_sum{{{labels}}} {}", interval.sum());
            let _ = writeln!(out, "{family}_count{{{labels}}} {}", interval.count());
        }
    }
}

fn label(name: &str, value: &str) -> String {
    format!("{}=\"{}\",", sanitize(name), escape(value))
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Letters, digits, `_` and `:` stay; all else becomes `_`.
fn sanitize(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Filter {
        Filter { used_only: true, ..Filter::default() }
    }

    fn text(registry: &Registry, filter: &Filter, fixed: &FixedTags) -> String {
        registry.prometheus(filter, fixed, Shape::default()).collect()
    }

    #[test]
    fn tags_leave_the_name_and_become_labels() {
        let registry = Registry::new(0);
        let cluster = registry.cluster("up");
        cluster.rq.record(503);
        cluster.external.record(503);
        let http = registry.http("ingress");
        http.response(204);
        let address = std::net::SocketAddr::from(([0, 0, 0, 0], 15001));
        let listener = registry.listener_http(address, "egress");
        listener.response(404);
        let text = text(&registry, &used(), &FixedTags::new());
        for line in [
            "# TYPE envoy_cluster_upstream_rq counter",
            "envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"up\"} 1",
            "envoy_cluster_external_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"up\"} 1",
            "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"up\"} 1",
            "envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"up\"} 1",
            "envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\",envoy_http_conn_manager_prefix=\"ingress\"} 1",
            "envoy_listener_http_downstream_rq_xx{envoy_response_code_class=\"4\",envoy_http_conn_manager_prefix=\"egress\",envoy_listener_address=\"0.0.0.0_15001\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn histograms_are_cumulative_buckets_with_sum_and_count() {
        let registry = Registry::new(0);
        let cluster = registry.cluster("up");
        cluster.upstream_cx_length_ms.record(0);
        cluster.upstream_cx_length_ms.record(7);
        let text = text(&registry, &used(), &FixedTags::new());
        for line in [
            "# TYPE envoy_cluster_upstream_cx_length_ms histogram",
            "envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name=\"up\",le=\"0.5\"} 1",
            "envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name=\"up\",le=\"10\"} 2",
            "envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name=\"up\",le=\"3600000\"} 2",
            "envoy_cluster_upstream_cx_length_ms_bucket{envoy_cluster_name=\"up\",le=\"+Inf\"} 2",
            "envoy_cluster_upstream_cx_length_ms_count{envoy_cluster_name=\"up\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn fixed_tags_stand_on_every_series_and_values_are_escaped() {
        let registry = Registry::new(0);
        registry.server().live.set(1);
        let fixed = vec![("appmesh.mesh".to_owned(), "a\"b".to_owned())];
        assert_eq!(
            text(&registry, &used(), &fixed),
            "# TYPE envoy_server_live gauge\nenvoy_server_live{appmesh_mesh=\"a\\\"b\"} 1\n"
        );
    }

    #[test]
    fn clusters_without_traffic_cost_no_bytes_and_those_with_some_are_whole() {
        let registry = Registry::new(1);
        let held: Vec<_> = (0..5000).map(|n| registry.cluster(&format!("c{n}"))).collect();
        let upkeep: Vec<_> = (0..5000).map(|n| registry.upkeep(&format!("c{n}"))).collect();
        for cluster in &upkeep {
            cluster.membership_total.set(2);
            cluster.membership_healthy.set(2);
            cluster.max_host_weight.set(1);
            cluster.membership_change.inc();
            cluster.update_success.inc();
        }
        assert!(held.iter().all(|cluster| cluster.shards().count() == 0), "and none of what traffic counts");
        assert_eq!(text(&registry, &used(), &FixedTags::new()), "");
        held[7].upstream_cx_total.inc();
        let shown = text(&registry, &used(), &FixedTags::new());
        assert!(shown.contains("envoy_cluster_membership_healthy{envoy_cluster_name=\"c7\"} 2"), "{shown}");
        assert!(!shown.contains("\"c8\""));
    }

    #[test]
    fn a_cluster_that_has_lost_a_host_is_shown_without_traffic() {
        let registry = Registry::new(1);
        let _cluster = registry.cluster("c");
        let upkeep = registry.upkeep("c");
        upkeep.membership_total.set(2);
        upkeep.membership_healthy.set(1);
        upkeep.tell();
        let shown = text(&registry, &used(), &FixedTags::new());
        assert!(shown.contains("envoy_cluster_membership_healthy{envoy_cluster_name=\"c\"} 1"), "{shown}");
    }

    #[test]
    fn idle_clusters_are_hidden_and_the_zeros_of_others_are_not() {
        let registry = Registry::new(1);
        let (called, _idle) = (registry.cluster("called"), registry.cluster("idle"));
        called.upstream_cx_total.inc();
        let filter = Filter { idle_clusters_hidden: true, ..Filter::default() };
        let shown = text(&registry, &filter, &FixedTags::new());
        assert!(
            shown.contains("envoy_cluster_upstream_rq_timeout{envoy_cluster_name=\"called\"} 0"),
            "{shown}"
        );
        assert!(shown.contains("envoy_server_live"));
        assert!(!shown.contains("\"idle\""));
    }

    #[test]
    fn a_large_scrape_comes_in_pieces() {
        let registry = Registry::new(1);
        let _held: Vec<_> = (0..200).map(|n| registry.cluster(&format!("c{n}"))).collect();
        let pieces: Vec<String> =
            registry.prometheus(&Filter::default(), &FixedTags::new(), Shape::default()).collect();
        assert!(pieces.len() > 10);
        assert!(pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 8 * 1024));
        assert_eq!(pieces.concat().matches("envoy_cluster_upstream_rq_total{").count(), 200);
    }

    #[test]
    fn openmetrics_keeps_every_name_and_ends_with_its_mark() {
        let registry = Registry::new(1);
        let cluster = registry.cluster("up");
        cluster.rq.record(200);
        cluster.upstream_rq_total.inc();
        cluster.upstream_cx_total.inc();
        cluster.upstream_cx_connect_ms.record(2);
        let shape = Shape { exposition: Exposition::OpenMetrics, ..Shape::default() };
        let text: String = registry.prometheus(&used(), &FixedTags::new(), shape).collect();
        for line in [
            // `envoy_cluster_upstream_rq` is a family itself: the total cannot be its counter.
            "# TYPE envoy_cluster_upstream_rq unknown",
            "# TYPE envoy_cluster_upstream_rq_total unknown",
            "# TYPE envoy_cluster_upstream_cx counter",
            "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"up\"} 1",
            "# TYPE envoy_cluster_upstream_cx_connect_ms histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn summaries_and_texts_are_written_when_asked_for() {
        let registry = Registry::new(1);
        registry.set_text("control_plane.identifier", "selvedge");
        let cluster = registry.cluster("up");
        cluster.upstream_cx_connect_ms.record(0);
        let shape = Shape { summaries: true, texts: true, ..Shape::default() };
        let text: String = registry.prometheus(&used(), &FixedTags::new(), shape).collect();
        for line in [
            "envoy_cluster_upstream_cx_connect_ms{envoy_cluster_name=\"up\",quantile=\"0.5\"} NaN",
            "envoy_control_plane_identifier{text_value=\"selvedge\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
    }
}
