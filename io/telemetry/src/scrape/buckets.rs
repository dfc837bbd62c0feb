//! How histograms are shown: the `histogram_buckets` parameter of `/stats`.

use serde_json::{Value as Json, json};

use super::text::{histogram_text, percent};
use crate::histogram::Snapshot;
use crate::histogram::snapshot::{PROMETHEUS_BOUNDS, QUANTILES};

/// What is told of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buckets {
    /// Quantiles.
    #[default]
    Summary,
    /// How many values lie below each of Envoy's bounds.
    Cumulative,
    /// How many values lie between each two of them.
    Disjoint,
    /// The log-linear buckets themselves, and the quantiles.
    Detailed,
}

impl Buckets {
    /// Envoy's word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "" | "summary" | "none" => Self::Summary,
            "cumulative" => Self::Cumulative,
            "disjoint" => Self::Disjoint,
            "detailed" => Self::Detailed,
            _ => return None,
        })
    }

    /// What follows the histogram's name and its colon in the text.
    pub(super) fn text(self, cumulative: &Snapshot, interval: &Snapshot) -> String {
        match self {
            _ if cumulative.is_empty() => " No recorded values".to_owned(),
            Self::Summary => format!(" {}", histogram_text(cumulative, interval)),
            Self::Cumulative | Self::Disjoint => {
                let (interval, cumulative) = (self.counts(interval), self.counts(cumulative));
                let one = |index: usize| {
                    let bound = general(PROMETHEUS_BOUNDS[index]);
                    format!(" B{bound}({},{})", interval[index], cumulative[index])
                };
                (0..PROMETHEUS_BOUNDS.len()).map(one).collect()
            }
            Self::Detailed => format!(
                "\n  totals={}\n  intervals={}\n  summary={}",
                spans_text(cumulative),
                spans_text(interval),
                histogram_text(cumulative, interval)
            ),
        }
    }

    /// One histogram as a member of `/stats?format=json`.
    pub(super) fn json(self, name: &str, cumulative: &Snapshot, interval: &Snapshot) -> Json {
        match self {
            Self::Summary => json!({ "name": name, "values": quantiles(cumulative, interval) }),
            Self::Cumulative | Self::Disjoint => {
                let (interval, cumulative) = (self.counts(interval), self.counts(cumulative));
                let one = |index: usize| {
                    json!({
                        "upper_bound": PROMETHEUS_BOUNDS[index],
                        "interval": interval[index],
                        "cumulative": cumulative[index],
                    })
                };
                json!({ "name": name, "buckets": (0..PROMETHEUS_BOUNDS.len()).map(one).collect::<Vec<_>>() })
            }
            Self::Detailed => json!({
                "name": name,
                "totals": spans_json(cumulative),
                "intervals": spans_json(interval),
                "percentiles": quantiles(cumulative, interval),
            }),
        }
    }

    /// All histograms' member of `/stats?format=json`.
    pub(super) fn frame(self, histograms: Vec<Json>) -> Json {
        let supported: Vec<f64> = QUANTILES.iter().map(|quantile| percent(*quantile)).collect();
        match self {
            Self::Summary => {
                json!({ "histograms": { "supported_quantiles": supported, "computed_quantiles": histograms } })
            }
            Self::Cumulative | Self::Disjoint => json!({ "histograms": histograms }),
            Self::Detailed => {
                json!({ "histograms": { "supported_percentiles": supported, "details": histograms } })
            }
        }
    }

    fn counts(self, snapshot: &Snapshot) -> Vec<u64> {
        let below = PROMETHEUS_BOUNDS.iter().map(|bound| snapshot.count_below(*bound));
        match self {
            Self::Disjoint => {
                below.scan(0, |before, count| Some(count - std::mem::replace(before, count))).collect()
            }
            _ => below.collect(),
        }
    }
}

fn quantiles(cumulative: &Snapshot, interval: &Snapshot) -> Vec<Json> {
    let (cumulative, interval) = (cumulative.quantiles(), interval.quantiles());
    (0..QUANTILES.len())
        .map(|index| {
            json!({
                "interval": interval.map(|values| values[index]),
                "cumulative": cumulative.map(|values| values[index]),
            })
        })
        .collect()
}

fn spans_text(snapshot: &Snapshot) -> String {
    let each = snapshot.spans().map(|(left, width, count)| format!("{left},{width}:{count}"));
    each.collect::<Vec<_>>().join(", ")
}

fn spans_json(snapshot: &Snapshot) -> Vec<Json> {
    let one = |(left, width, count)| json!({ "lower_bound": left, "width": width, "count": count });
    snapshot.spans().map(one).collect()
}

/// C's `%g`: six significant digits, an exponent from a million on.
fn general(value: f64) -> String {
    if value < 1e6 {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{digits}e+{:0>2}", exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use crate::scrape::Filter;

    fn registry() -> Registry {
        let registry = Registry::new(1);
        let http = registry.http("h");
        (0..5).for_each(|_| http.downstream_rq_time.record(0));
        http.downstream_rq_time.record(1);
        // The registry forgets a group that nobody holds.
        std::mem::forget(http);
        registry
    }

    #[test]
    fn text_of_buckets_is_as_measured_on_envoy_1_40() {
        let filter = Filter::default().with_name("downstream_rq_time$").expect("valid");
        let text = |buckets| registry().text(&filter, buckets);
        assert!(
            text(Buckets::Cumulative).starts_with("http.h.downstream_rq_time: B0.5(0,5) B1(0,6) B5(0,6) ")
        );
        assert!(text(Buckets::Cumulative).ends_with(" B600000(0,6) B1.8e+06(0,6) B3.6e+06(0,6)\n"));
        assert!(text(Buckets::Disjoint).starts_with("http.h.downstream_rq_time: B0.5(0,5) B1(0,1) B5(0,0) "));
        let detailed = text(Buckets::Detailed);
        assert!(
            detailed.starts_with(
                "http.h.downstream_rq_time:\n  totals=0,0:5, 1,0.1:1\n  intervals=\n  summary=P0(nan,0) "
            ),
            "{detailed}"
        );
    }

    #[test]
    fn json_of_buckets_has_envoys_members() {
        let filter = Filter::default().with_name("downstream_rq_time$").expect("valid");
        let json = |buckets| registry().json(&filter, buckets);
        let cumulative = json(Buckets::Cumulative);
        assert_eq!(
            cumulative["stats"][0]["histograms"][0]["buckets"][0],
            json!({ "upper_bound": 0.5, "interval": 0, "cumulative": 5 })
        );
        let detailed = json(Buckets::Detailed);
        let details = &detailed["stats"][0]["histograms"]["details"][0];
        assert_eq!(details["totals"][1], json!({ "lower_bound": 1.0, "width": 0.1, "count": 1 }));
    }
}
