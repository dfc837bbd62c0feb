//! `/stats?format=json`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Buckets, Filter, Value};
use crate::registry::Registry;

impl Registry {
    /// All statistics that `filter` lets through in Envoy's JSON shape.
    pub fn json(&self, filter: &Filter, buckets: Buckets) -> Json {
        let mut numbers = BTreeMap::new();
        let mut histograms = BTreeMap::new();
        self.for_each(filter, |name, _, _, value| match value {
            Value::Counter(value) => {
                numbers.insert(name.to_owned(), *value);
            }
            Value::Gauge(value) => {
                numbers.insert(name.to_owned(), u64::try_from(*value).unwrap_or(0));
            }
            Value::Histogram { cumulative, interval } => {
                histograms.insert(name.to_owned(), buckets.json(name, cumulative, interval));
            }
        });
        let texts = self.texts_shown(filter);
        let mut stats: Vec<Json> =
            texts.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        stats.extend(numbers.into_iter().map(|(name, value)| json!({ "name": name, "value": value })));
        if !histograms.is_empty() {
            stats.push(buckets.frame(histograms.into_values().collect()));
        }
        json!({ "stats": stats })
    }
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
        let json = registry.json(&Filter { used_only: true, ..Filter::default() }, Buckets::Summary);
        assert_eq!(json["stats"][0], json!({ "name": "http.ingress.downstream_rq_total", "value": 1 }));
        let histogram = &json["stats"][1]["histograms"]["computed_quantiles"][0];
        assert_eq!(histogram["name"], "http.ingress.downstream_rq_time");
        assert_eq!(histogram["values"][0], json!({ "interval": null, "cumulative": 0.0 }));
    }
}
