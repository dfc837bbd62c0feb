//! The limits that the control plane's rate-limit service keeps for a mesh.

use selvedge_model::Snapshot;
use selvedge_model::policy::{self, LimitNode, LimitUnit};
use selvedge_traffic::rate_limit::service::{Limit, Limits, Node, Unit};

use super::{find, global_rate_limit};

/// The limits of a mesh's `rateLimits` policy, by domain as its proxies say it; none where it has none.
pub fn limits(snapshot: &Snapshot) -> Limits {
    let levels = [snapshot.mesh.key.clone()];
    let Some((_, spec)) = find::<policy::RateLimits>(snapshot, &levels) else { return Limits::default() };
    let domain = |domain: &policy::LimitDomain| {
        let nodes = domain.nodes();
        (global_rate_limit::domain(snapshot.name(), &domain.name), nodes.iter().map(node).collect())
    };
    Limits::new(spec.domains.iter().map(domain))
}

fn node(spec: &LimitNode<'_>) -> Node {
    Node {
        key: spec.key.to_owned(),
        value: spec.value.map(str::to_owned),
        limit: spec.limit.map(limit),
        shadow: spec.shadow,
        below: spec.below.iter().map(node).collect(),
    }
}

fn limit(spec: &policy::Limit) -> Limit {
    let rate = spec.unit.zip(spec.requests_per_unit).filter(|_| spec.unlimited != Some(true));
    Limit {
        name: spec.name.clone().unwrap_or_default(),
        rate: rate.map(|(of, requests)| (requests, unit(of))),
        replaces: spec.replaces.clone(),
    }
}

fn unit(unit: LimitUnit) -> Unit {
    match unit {
        LimitUnit::Second => Unit::Second,
        LimitUnit::Minute => Unit::Minute,
        LimitUnit::Hour => Unit::Hour,
        LimitUnit::Day => Unit::Day,
        LimitUnit::Week => Unit::Week,
        LimitUnit::Month => Unit::Month,
        LimitUnit::Year => Unit::Year,
    }
}
