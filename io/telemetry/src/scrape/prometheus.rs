//! `/stats/prometheus`: the same statistics with Envoy's tags taken out of the names and put into labels.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Filter, Name, Scope, Value};
use crate::codes::Code;
use crate::histogram::snapshot::PROMETHEUS_BOUNDS;
use crate::registry::Registry;

/// Labels that every series carries, such as `appmesh.mesh`.
pub type FixedTags = Vec<(String, String)>;

impl Registry {
    /// All statistics that `filter` lets through in the Prometheus text format, with Envoy's families and labels.
    pub fn prometheus(&self, filter: &Filter, fixed: &FixedTags) -> String {
        let fixed: String =
            fixed.iter().map(|(name, value)| format!("{}=\"{}\",", sanitize(name), escape(value))).collect();
        let mut families: BTreeMap<(u8, String), String> = BTreeMap::new();
        self.for_each(filter, |_, scope, name, value| {
            let (family, labels) = family_and_labels(scope, name);
            let labels = format!("{fixed}{labels}");
            let (rank, kind) = match value {
                Value::Counter(_) => (0, "counter"),
                Value::Gauge(_) => (1, "gauge"),
                Value::Histogram { .. } => (2, "histogram"),
            };
            let series =
                families.entry((rank, family.clone())).or_insert_with(|| format!("# TYPE {family} {kind}\n"));
            write_series(series, &family, labels.trim_end_matches(','), value);
        });
        families.into_values().collect::<Vec<_>>().join("")
    }
}

/// Writing to a String cannot fail, so its results are dropped.
fn write_series(out: &mut String, family: &str, labels: &str, value: &Value) {
    match value {
        Value::Counter(value) => {
            let _ = writeln!(out, "{family}{{{labels}}} {value}");
        }
        Value::Gauge(value) => {
            let _ = writeln!(out, "{family}{{{labels}}} {}", (*value).max(0));
        }
        Value::Histogram { cumulative, .. } => {
            let comma = if labels.is_empty() { "" } else { "," };
            for bound in PROMETHEUS_BOUNDS {
                let count = cumulative.count_below(bound);
                let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
            }
            let count = cumulative.count();
            let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "{family}_sum{{{labels}}} {}", cumulative.sum());
            let _ = writeln!(out, "{family}_count{{{labels}}} {count}");
        }
    }
}

/// The family's name and its labels, each followed by a comma.
fn family_and_labels(scope: &Scope, name: &Name) -> (String, String) {
    let (name, code) = split_code(name);
    let (kind, scope) = match scope {
        Scope::Server => ("", String::new()),
        Scope::Cluster(name) => ("cluster_", label("envoy_cluster_name", name)),
        Scope::Http(prefix) => ("http_", label("envoy_http_conn_manager_prefix", prefix)),
        Scope::Tcp(prefix) => ("tcp_", label("envoy_tcp_prefix", prefix)),
        Scope::Listener(address) => ("listener_", label("envoy_listener_address", address)),
        Scope::ListenerWorker(address, worker) => (
            "listener_worker_",
            label("envoy_worker_id", &worker.to_string()) + &label("envoy_listener_address", address),
        ),
        Scope::ListenerHttp(address, prefix) => (
            "listener_http_",
            label("envoy_http_conn_manager_prefix", prefix) + &label("envoy_listener_address", address),
        ),
    };
    (format!("envoy_{kind}{}", sanitize(&name)), code + &scope)
}

/// Takes a response code or class out of a name: `upstream_rq_503` is `upstream_rq` with a label, `downstream_rq_5xx`
/// is `downstream_rq_xx` with a label.
fn split_code(name: &Name) -> (String, String) {
    match name {
        Name::Code(prefix, Code::Status(status)) => {
            (format!("{prefix}upstream_rq"), label("envoy_response_code", &status.to_string()))
        }
        Name::Code(prefix, Code::Class(class)) => {
            (format!("{prefix}upstream_rq_xx"), label("envoy_response_code_class", &class.to_string()))
        }
        Name::Code(_, Code::Completed) => (name.text(), String::new()),
        Name::Plain(plain) => {
            match plain.strip_suffix("xx").and_then(|rest| rest.split_at_checked(rest.len() - 1)) {
                Some((rest, class))
                    if rest.ends_with("_rq_") && class.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    (format!("{rest}xx"), label("envoy_response_code_class", class))
                }
                _ => ((*plain).to_owned(), String::new()),
            }
        }
    }
}

fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{}\",", escape(value))
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
        let text = registry.prometheus(&used(), &FixedTags::new());
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
        let text = registry.prometheus(&used(), &FixedTags::new());
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
            registry.prometheus(&used(), &fixed),
            "# TYPE envoy_server_live gauge\nenvoy_server_live{appmesh_mesh=\"a\\\"b\"} 1\n"
        );
    }

    #[test]
    fn unused_series_cost_no_bytes() {
        let registry = Registry::new(0);
        let _held: Vec<_> = (0..1000).map(|n| registry.cluster(&format!("c{n}"))).collect();
        assert_eq!(registry.prometheus(&used(), &FixedTags::new()), "");
    }
}
