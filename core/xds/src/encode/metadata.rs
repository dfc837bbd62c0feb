//! Metadata: labels of hosts, and what has no field of its own in Envoy.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::{Struct, Value, value};
use selvedge_traffic::{BreakerConfig, BreakerPolicy, Cluster, Label, Labels};
use selvedge_xds_proto::envoy::config::core::v3::Metadata;

/// What Envoy's balancers and retries look at.
pub(crate) const LABELS: &str = "envoy.lb";
/// The metadata of what has no field of its own in Envoy.
pub(crate) const OURS: &str = "selvedge";
/// Envoy closes the connections of a removed host without being told.
pub(crate) const CLOSE_ON_REMOVAL: &str = "close_connections_on_host_removal";
/// The breaker with visible states.
pub(crate) const BREAKER: &str = "selvedge.breaker";

/// Labels as metadata; none are no metadata.
pub(super) fn labels(labels: &Labels) -> Option<Metadata> {
    (!labels.is_empty())
        .then(|| Metadata { filter_metadata: BTreeMap::from([(LABELS.to_owned(), label_struct(labels))]) })
}

/// Labels alone.
pub(super) fn label_struct(labels: &Labels) -> Struct {
    let value = |label: &Label| match label {
        Label::Text(text) => self::text(text.clone()),
        Label::Flag(flag) => self::flag(*flag),
    };
    Struct { fields: labels.iter().map(|(key, label)| (key.clone(), value(label))).collect() }
}

/// What a cluster says in metadata.
pub(super) fn cluster(cluster: &Cluster) -> Option<Metadata> {
    let mut metadata = BTreeMap::new();
    if cluster.close_connections_on_host_removal {
        let fields = BTreeMap::from([(CLOSE_ON_REMOVAL.to_owned(), flag(true))]);
        metadata.insert(OURS.to_owned(), Struct { fields });
    }
    if let Some(policy) = &cluster.breaker {
        metadata.insert(BREAKER.to_owned(), breaker(policy));
    }
    (!metadata.is_empty()).then_some(Metadata { filter_metadata: metadata })
}

fn breaker(policy: &BreakerPolicy) -> Struct {
    let config = |config: BreakerConfig| {
        let fields = BTreeMap::from([
            ("failures_in_a_row".to_owned(), number(config.failures_in_a_row)),
            ("failure_percent".to_owned(), number(config.failure_percent)),
            ("requests_min".to_owned(), number(config.requests_min)),
            ("window".to_owned(), time(config.window)),
            ("open_time".to_owned(), time(config.open_time)),
            ("open_time_max".to_owned(), time(config.open_time_max)),
            ("probes".to_owned(), number(config.probes)),
        ]);
        Value { kind: Some(value::Kind::StructValue(Struct { fields })) }
    };
    let sides = [("endpoint", policy.endpoint), ("cluster", policy.cluster)];
    let fields = sides.into_iter().filter_map(|(name, side)| Some((name.to_owned(), config(side?))));
    Struct { fields: fields.collect() }
}

fn flag(flag: bool) -> Value {
    Value { kind: Some(value::Kind::BoolValue(flag)) }
}

fn text(text: String) -> Value {
    Value { kind: Some(value::Kind::StringValue(text)) }
}

fn number(number: u32) -> Value {
    Value { kind: Some(value::Kind::NumberValue(number.into())) }
}

/// As protobuf writes lengths of time in JSON.
fn time(duration: Duration) -> Value {
    text(format!("{}.{:09}s", duration.as_secs(), duration.subsec_nanos()))
}
