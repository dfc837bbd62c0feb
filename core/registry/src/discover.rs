//! `DiscoverInstances`: who fits a question.

use std::collections::BTreeMap;

use crate::instance::{Health, Instance};
use crate::service::HealthCheck;
use crate::snapshot::ServiceState;

/// Which instances are wanted by their health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthFilter {
    Healthy,
    Unhealthy,
    All,
    /// The healthy ones, or everybody when nobody is.
    HealthyOrElseAll,
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// All of these attributes must be there.
    pub required: &'a BTreeMap<String, String>,
    /// These too, if anybody has them all; otherwise they are not looked at.
    pub optional: &'a BTreeMap<String, String>,
    pub health: HealthFilter,
    /// Instances of the answer, at most.
    pub limit: usize,
    /// Where the search begins, so that callers with a small limit do not all get the same.
    pub draw: u64,
}

/// An instance that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub id: &'a str,
    pub instance: &'a Instance,
    pub health: Health,
}

/// The instances that fit, in the order of identifiers from a drawn one on. Where nobody checks health, nobody counts as
/// unhealthy who is not said to be.
pub fn discover<'a>(state: ServiceState<'a>, query: &Query<'_>) -> Vec<Found<'a>> {
    let health = match (state.service.health_check, query.health) {
        (HealthCheck::None, HealthFilter::Unhealthy) => HealthFilter::All,
        (_, health) => health,
    };
    let query = &Query { health, ..*query };
    if !query.optional.is_empty() {
        let found = by_health(state, query, true);
        if !found.is_empty() {
            return found;
        }
    }
    by_health(state, query, false)
}

fn by_health<'a>(state: ServiceState<'a>, query: &Query<'_>, with_optional: bool) -> Vec<Found<'a>> {
    let fits: fn(Health) -> bool = match query.health {
        HealthFilter::Healthy | HealthFilter::HealthyOrElseAll => |health| health.is_usable(),
        HealthFilter::Unhealthy => |health| !health.is_usable(),
        HealthFilter::All => |_| true,
    };
    let found = search(state, query, with_optional, fits);
    if found.is_empty() && query.health == HealthFilter::HealthyOrElseAll {
        return search(state, query, with_optional, |_| true);
    }
    found
}

fn search<'a>(
    state: ServiceState<'a>,
    query: &Query<'_>,
    with_optional: bool,
    fits: fn(Health) -> bool,
) -> Vec<Found<'a>> {
    let all = state.instances;
    let start = usize::try_from(query.draw % (all.len().max(1) as u64)).unwrap_or(0);
    let is_whole = query.limit >= all.len();
    let (tail, head) = all.split_at(if is_whole { 0 } else { start });
    head.iter()
        .chain(tail)
        .filter(|(_, instance)| !instance.is_draining())
        .map(|(id, instance)| Found { id, instance, health: instance.health(state.service.health_check) })
        .filter(|found| fits(found.health))
        .filter(|found| found.instance.has_all(query.required))
        .filter(|found| !with_optional || found.instance.has_all(query.optional))
        .take(query.limit)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{instance, put, put_service, shop};
    use crate::{RecordType, RoutingPolicy, Snapshot};

    fn pairs(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        pairs.filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// a and b of version 1, c of version 2 and ill, d leaving.
    fn world() -> Snapshot {
        let mut snapshot = shop();
        put_service(&mut snapshot, "srv", "web", RoutingPolicy::Multivalue, &[RecordType::A]);
        for (id, version, unhealthy, drained_at) in [
            ("a", "1", false, None),
            ("b", "1", false, None),
            ("c", "2", true, None),
            ("d", "2", false, Some(9)),
        ] {
            let one = Instance { unhealthy, drained_at, ..instance(&[("version", version), ("id", id)]) };
            put(&mut snapshot, "srv", id, &one, 9);
        }
        snapshot
    }

    fn found(required: &str, optional: &str, health: HealthFilter, limit: usize, draw: u64) -> String {
        let snapshot = world();
        let state = snapshot.service("srv").expect("there");
        let (required, optional) = (pairs(required), pairs(optional));
        let query = Query { required: &required, optional: &optional, health, limit, draw };
        discover(state, &query).iter().map(|found| found.id).collect()
    }

    #[test]
    fn filters_are_joined_and_optional_ones_give_way() {
        use HealthFilter::{All, Healthy, HealthyOrElseAll, Unhealthy};
        for (required, optional, health, expected) in [
            ("", "", Healthy, "ab"),
            ("", "", Unhealthy, "c"),
            ("", "", All, "abc"),
            ("", "", HealthyOrElseAll, "ab"),
            ("version=2", "", HealthyOrElseAll, "c"),
            ("version=2", "", Healthy, ""),
            ("version=1,id=b", "", All, "b"),
            ("version=1,id=c", "", All, ""),
            ("version=1", "id=b", Healthy, "b"),
            ("version=1", "id=z", Healthy, "ab"),
            ("version=3", "", HealthyOrElseAll, ""),
        ] {
            assert_eq!(
                found(required, optional, health, 100, 0),
                expected,
                "{required} {optional} {health:?}"
            );
        }
    }

    #[test]
    fn a_small_limit_is_served_from_a_drawn_place() {
        use HealthFilter::All;
        assert_eq!(found("", "", All, 1, 0), "a");
        assert_eq!(found("", "", All, 1, 1), "b");
        assert_eq!(found("", "", All, 2, 2), "ca");
        assert_eq!(found("", "", All, 3, u64::MAX), "abc");
    }
}
