//! How an instance is chosen, and what of a request decides.

use crate::translation::Places;
use selvedge_model::policy::{self, Algorithm, HashKey};
use selvedge_traffic::hash::{HashCookie, HashPolicy, HashSource};
use selvedge_traffic::{Cluster, LoadBalancing, LocalityRouting, RingHashFunction, SlowStart};

pub(super) fn apply(spec: &policy::LoadBalancing, cluster: &mut Cluster) {
    cluster.balancing = balancing(spec);
    cluster.placement.hash_balance_percent = spec.balance_percent;
    cluster.placement.slow_start = spec.slow_start.as_ref().map(|slow| {
        let start = SlowStart::over(slow.window.0);
        SlowStart {
            weight_percent_min: slow.min_weight_percent.map_or(start.weight_percent_min, f64::from),
            ..start
        }
    });
    if spec.algorithm.hashes() {
        // Who has a hash goes to one instance, wherever that stands.
        cluster.placement.locality = LocalityRouting::None;
    }
    if let (Some(said), LocalityRouting::ZoneAware { enabled_percent, hosts_min, .. }) =
        (&spec.zone_aware, &mut cluster.placement.locality)
    {
        *enabled_percent = super::filters::percent(said.share);
        *hosts_min = said.min_instances.map_or(*hosts_min, u64::from);
    }
    if let Some(percent) = spec.panic_percent {
        cluster.placement.panic_threshold_percent = f64::from(percent);
    }
}

/// Which places are called before which.
pub(super) fn priorities(spec: &policy::LoadBalancing) -> Vec<Places> {
    let group =
        |group: &policy::PlaceGroup| Places { zones: group.zones.clone(), regions: group.regions.clone() };
    spec.priorities.iter().map(group).collect()
}

fn balancing(spec: &policy::LoadBalancing) -> LoadBalancing {
    match spec.algorithm {
        Algorithm::RoundRobin => LoadBalancing::RoundRobin,
        Algorithm::LeastRequest => LoadBalancing::LeastRequest {
            choice_count: spec.choice_count.unwrap_or(2),
            active_request_bias: 1.0,
            full_scan: false,
        },
        Algorithm::Random => LoadBalancing::Random,
        Algorithm::RingHash => LoadBalancing::RingHash {
            ring_size_min: spec
                .ring_size_min
                .map_or(1 << 10, u64::from)
                .min(spec.ring_size_max.map_or(u64::MAX, u64::from)),
            ring_size_max: spec.ring_size_max.map_or(1 << 23, u64::from),
            hash: RingHashFunction::XxHash,
        },
        Algorithm::Maglev => {
            LoadBalancing::Maglev { table_size: spec.table_size.map_or(TABLE_SIZE, u64::from) }
        }
    }
}

/// Envoy's table, when nothing is said.
const TABLE_SIZE: u64 = 65_537;

/// What of a request decides.
pub(super) fn hash(spec: &policy::LoadBalancing) -> Vec<HashPolicy> {
    keys(&spec.hash)
}

pub(super) fn keys(keys: &[HashKey]) -> Vec<HashPolicy> {
    keys.iter().filter_map(ingredient).collect()
}

fn ingredient(key: &HashKey) -> Option<HashPolicy> {
    let source = match key {
        HashKey { header: Some(name), .. } => HashSource::Header(name.to_ascii_lowercase()),
        HashKey { cookie: Some(cookie), .. } => HashSource::Cookie(HashCookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.map(|ttl| ttl.0),
            path: cookie.path.clone().unwrap_or_default(),
            attributes: Vec::new(),
        }),
        HashKey { query_parameter: Some(name), .. } => HashSource::QueryParameter(name.clone()),
        HashKey { source_ip: Some(true), .. } => HashSource::SourceIp,
        _ => return None,
    };
    Some(HashPolicy { source, terminal: key.terminal.unwrap_or(false) })
}
