//! `/stats?format=json`.

use serde_json::{Value as Json, json};

use super::{Filter, Value};
use crate::histogram::Snapshot;
use crate::histogram::snapshot::QUANTILES;
use crate::registry::Registry;

impl Registry {
    /// All statistics that `filter` lets through in Envoy's JSON shape.
    pub fn json(&self, filter: &Filter) -> Json {
        let mut selected = self.select(filter);
        selected.sort_by(|left, right| left.0.cmp(&right.0));
        let mut stats = Vec::new();
        let mut computed = Vec::new();
        for (name, sample) in selected {
            match sample.value {
                Value::Counter(value) => stats.push(json!({ "name": name, "value": value })),
                Value::Gauge(value) => stats.push(json!({ "name": name, "value": value.max(0) })),
                Value::Histogram { cumulative, interval } => {
                    computed.push(json!({ "name": name, "values": quantile_pairs(&cumulative, &interval) }));
                }
            }
        }
        if !computed.is_empty() {
            let supported: Vec<f64> =
                QUANTILES.iter().map(|quantile| super::text::percent(*quantile)).collect();
            stats.push(
                json!({ "histograms": { "supported_quantiles": supported, "computed_quantiles": computed } }),
            );
        }
        json!({ "stats": stats })
    }
}

fn quantile_pairs(cumulative: &Snapshot, interval: &Snapshot) -> Vec<Json> {
    let cumulative = cumulative.quantiles();
    let interval = interval.quantiles();
    (0..QUANTILES.len())
        .map(|index| {
            json!({
                "interval": interval.map(|values| values[index]),
                "cumulative": cumulative.map(|values| values[index]),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_by_name_and_histograms_below_one_member() {
        let registry = Registry::new(0);
        let http = registry.http("ingress");
        http.downstream_rq_total.inc();
        http.downstream_rq_time.record(0);
        let json = registry.json(&Filter { used_only: true, ..Filter::default() });
        assert_eq!(json["stats"][0], json!({ "name": "http.ingress.downstream_rq_total", "value": 1 }));
        let histogram = &json["stats"][1]["histograms"]["computed_quantiles"][0];
        assert_eq!(histogram["name"], "http.ingress.downstream_rq_time");
        assert_eq!(histogram["values"][0], json!({ "interval": null, "cumulative": 0.0 }));
    }
}
