//! How a cluster's host is chosen. What is not said is Envoy's default.

use selvedge_traffic::balance::maglev;
use selvedge_traffic::{
    LoadBalancing, LocalityRouting, Placement, RingHashFunction, SlowStart, SubsetFallback, SubsetSelector,
    Subsets,
};
use selvedge_xds_proto::envoy::config::cluster::v3 as proto;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::lb_subset_config::{
    LbSubsetFallbackPolicy, LbSubsetSelector,
};
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LbSubsetConfig, SlowStartConfig,
};
use selvedge_xds_proto::envoy::config::core::v3::RuntimeDouble;
use selvedge_xds_proto::envoy::extensions::load_balancing_policies::common::v3 as common;
use selvedge_xds_proto::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use selvedge_xds_proto::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use selvedge_xds_proto::envoy::r#type::v3::Percent;

use super::bounds::{known, unknown, unpack};
use super::{Reason, duration, metadata};
use crate::any::holds;

/// Rings are no larger (Envoy's own bound).
const RING_SIZE_MAX: u64 = selvedge_traffic::balance::ring_hash::RING_SIZE_MAX;

/// The policy, and what steers it.
pub(super) fn decode(message: &proto::Cluster) -> Result<(LoadBalancing, Placement), Reason> {
    let mut placement = common(message)?;
    let balancing = match known("lb_policy", message.lb_policy)? {
        // The newer form wins, whatever the older says.
        _ if message.load_balancing_policy.is_some() => extension(message, &mut placement)?,
        LbPolicy::RoundRobin => {
            if let Some(LbConfig::RoundRobinLbConfig(config)) = &message.lb_config {
                placement.slow_start = config.slow_start_config.as_ref().map(slow_start).transpose()?;
            }
            LoadBalancing::RoundRobin
        }
        LbPolicy::Random => LoadBalancing::Random,
        LbPolicy::ClusterProvided => LoadBalancing::ClusterProvided,
        LbPolicy::LeastRequest => match &message.lb_config {
            Some(LbConfig::LeastRequestLbConfig(config)) => {
                placement.slow_start = config.slow_start_config.as_ref().map(slow_start).transpose()?;
                LoadBalancing::LeastRequest {
                    choice_count: choice_count(config.choice_count)?,
                    active_request_bias: bias(config.active_request_bias.as_ref())?,
                    full_scan: false,
                }
            }
            _ => LoadBalancing::LEAST_REQUEST,
        },
        LbPolicy::RingHash => ring_hash(message)?,
        LbPolicy::Maglev => match &message.lb_config {
            Some(LbConfig::MaglevLbConfig(config)) => {
                let table_size = config.table_size.unwrap_or(maglev::TABLE_SIZE_DEFAULT);
                if !maglev::is_usable(table_size) {
                    return Err(Reason::Invalid {
                        field: "maglev_lb_config.table_size",
                        value: table_size.to_string(),
                        expected: "is no prime number up to 5000011",
                    });
                }
                LoadBalancing::Maglev { table_size }
            }
            _ => LoadBalancing::MAGLEV,
        },
        LbPolicy::LoadBalancingPolicyConfig => return Err(Reason::Missing("load_balancing_policy")),
    };
    Ok((balancing, placement))
}

fn common(message: &proto::Cluster) -> Result<Placement, Reason> {
    let default = Placement::default();
    let Some(config) = &message.common_lb_config else { return Ok(default) };
    let hashing = config.consistent_hashing_lb_config.unwrap_or_default();
    if hashing.hash_balance_factor.is_some_and(|factor| factor < 100) {
        return Err(Reason::Invalid {
            field: "consistent_hashing_lb_config.hash_balance_factor",
            value: hashing.hash_balance_factor.unwrap_or_default().to_string(),
            expected: "is below 100",
        });
    }
    Ok(Placement {
        panic_threshold_percent: percent(
            "common_lb_config.healthy_panic_threshold",
            config.healthy_panic_threshold,
            default.panic_threshold_percent,
        )?,
        locality: match &config.locality_config_specifier {
            None => LocalityRouting::None,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => LocalityRouting::Weighted,
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => LocalityRouting::ZoneAware {
                enabled_percent: percent(
                    "zone_aware_lb_config.routing_enabled",
                    zone.routing_enabled,
                    100.0,
                )?,
                hosts_min: zone.min_cluster_size.unwrap_or(6),
                fail_on_panic: zone.fail_traffic_on_panic,
            },
        },
        ignore_new_hosts_until_first_check: config.ignore_new_hosts_until_first_hc,
        hash_by_hostname: hashing.use_hostname_for_hashing,
        hash_balance_percent: hashing.hash_balance_factor,
        slow_start: None,
    })
}

fn ring_hash(message: &proto::Cluster) -> Result<LoadBalancing, Reason> {
    let Some(LbConfig::RingHashLbConfig(config)) = &message.lb_config else {
        return Ok(LoadBalancing::RING_HASH);
    };
    let ring_size_min = config.minimum_ring_size.unwrap_or(1 << 10);
    let ring_size_max = config.maximum_ring_size.unwrap_or(RING_SIZE_MAX);
    for (field, size) in [
        ("ring_hash_lb_config.minimum_ring_size", ring_size_min),
        ("ring_hash_lb_config.maximum_ring_size", ring_size_max),
    ] {
        if size > RING_SIZE_MAX {
            return Err(Reason::Invalid { field, value: size.to_string(), expected: "is above 8388608" });
        }
    }
    if ring_size_min > ring_size_max {
        return Err(Reason::Invalid {
            field: "ring_hash_lb_config.minimum_ring_size",
            value: ring_size_min.to_string(),
            expected: "is above maximum_ring_size",
        });
    }
    let hash = match known("ring_hash_lb_config.hash_function", config.hash_function)? {
        HashFunction::XxHash => RingHashFunction::XxHash,
        HashFunction::MurmurHash2 => RingHashFunction::Murmur2,
    };
    Ok(LoadBalancing::RingHash { ring_size_min, ring_size_max, hash })
}

/// The first policy of the newer form that is known.
fn extension(message: &proto::Cluster, placement: &mut Placement) -> Result<LoadBalancing, Reason> {
    let policies = message.load_balancing_policy.iter().flat_map(|policy| &policy.policies);
    let mut first = None;
    for extension in policies.filter_map(|policy| policy.typed_extension_config.as_ref()) {
        match &extension.typed_config {
            Some(any) if holds::<LeastRequest>(any) => return least_request(&unpack(any)?, placement),
            any => {
                first.get_or_insert_with(|| unknown(&extension.name, any.as_ref()));
            }
        }
    }
    Err(first.unwrap_or(Reason::Missing("load_balancing_policy.policies")))
}

fn least_request(config: &LeastRequest, placement: &mut Placement) -> Result<LoadBalancing, Reason> {
    use common::locality_lb_config::LocalityConfigSpecifier;
    placement.slow_start = match &config.slow_start_config {
        None => None,
        Some(start) => {
            Some(growth(start.slow_start_window, start.aggression.as_ref(), start.min_weight_percent)?)
        }
    };
    let locality = config.locality_lb_config.as_ref();
    placement.locality = match locality.and_then(|config| config.locality_config_specifier.as_ref()) {
        None => LocalityRouting::None,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => LocalityRouting::Weighted,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => LocalityRouting::ZoneAware {
            enabled_percent: percent("zone_aware_lb_config.routing_enabled", zone.routing_enabled, 100.0)?,
            hosts_min: zone.min_cluster_size.unwrap_or(6),
            fail_on_panic: zone.fail_traffic_on_panic,
        },
    };
    Ok(LoadBalancing::LeastRequest {
        choice_count: choice_count(config.choice_count)?,
        active_request_bias: bias(config.active_request_bias.as_ref())?,
        full_scan: match known("least_request.selection_method", config.selection_method)? {
            SelectionMethod::FullScan => true,
            SelectionMethod::NChoices => false,
        },
    })
}

fn choice_count(count: Option<u32>) -> Result<u32, Reason> {
    match count.unwrap_or(2) {
        count @ 2.. => Ok(count),
        count => Err(Reason::Invalid {
            field: "least_request_lb_config.choice_count",
            value: count.to_string(),
            expected: "is below 2",
        }),
    }
}

fn bias(bias: Option<&RuntimeDouble>) -> Result<f64, Reason> {
    let bias = bias.map_or(1.0, |bias| bias.default_value);
    if bias.is_finite() && bias >= 0.0 {
        return Ok(bias);
    }
    Err(Reason::Invalid {
        field: "least_request_lb_config.active_request_bias",
        value: bias.to_string(),
        expected: "is below 0",
    })
}

fn slow_start(config: &SlowStartConfig) -> Result<SlowStart, Reason> {
    growth(config.slow_start_window, config.aggression.as_ref(), config.min_weight_percent)
}

fn growth(
    window: Option<prost_types::Duration>,
    aggression: Option<&RuntimeDouble>,
    weight_min: Option<Percent>,
) -> Result<SlowStart, Reason> {
    let window = duration::optional("slow_start_config.slow_start_window", window)?
        .ok_or(Reason::Missing("slow_start_config.slow_start_window"))?;
    let aggression = aggression.map_or(1.0, |aggression| aggression.default_value);
    if !aggression.is_finite() || aggression <= 0.0 {
        return Err(Reason::Invalid {
            field: "slow_start_config.aggression",
            value: aggression.to_string(),
            expected: "is not above 0",
        });
    }
    let weight_percent_min = percent("slow_start_config.min_weight_percent", weight_min, 10.0)?;
    Ok(SlowStart { window, aggression, weight_percent_min })
}

pub(super) fn percent(field: &'static str, percent: Option<Percent>, default: f64) -> Result<f64, Reason> {
    let value = percent.map_or(default, |percent| percent.value);
    if (0.0..=100.0).contains(&value) {
        return Ok(value);
    }
    Err(Reason::Invalid { field, value: value.to_string(), expected: "is not in 0..=100" })
}

pub(super) fn subsets(config: &LbSubsetConfig) -> Result<Subsets, Reason> {
    for (field, set) in [
        ("lb_subset_config.locality_weight_aware", config.locality_weight_aware),
        ("lb_subset_config.scale_locality_weight", config.scale_locality_weight),
        ("lb_subset_config.list_as_any", config.list_as_any),
    ] {
        if set {
            return Err(Reason::Unsupported { field, value: "true".to_owned() });
        }
    }
    Ok(Subsets {
        selectors: config.subset_selectors.iter().map(selector).collect::<Result<_, _>>()?,
        fallback: match known("lb_subset_config.fallback_policy", config.fallback_policy)? {
            LbSubsetFallbackPolicy::NoFallback => SubsetFallback::None,
            LbSubsetFallbackPolicy::AnyEndpoint => SubsetFallback::Any,
            LbSubsetFallbackPolicy::DefaultSubset => SubsetFallback::Default,
        },
        default: config.default_subset.as_ref().map(metadata::label_struct).unwrap_or_default(),
        panic_mode_any: config.panic_mode_any,
    })
}

fn selector(selector: &LbSubsetSelector) -> Result<SubsetSelector, Reason> {
    if selector.single_host_per_subset {
        return Err(Reason::Unsupported {
            field: "subset_selectors.single_host_per_subset",
            value: "true".to_owned(),
        });
    }
    let mut keys = selector.keys.clone();
    keys.sort();
    keys.dedup();
    let fallback = match known("subset_selectors.fallback_policy", selector.fallback_policy)? {
        LbSubsetSelectorFallbackPolicy::NotDefined => None,
        LbSubsetSelectorFallbackPolicy::NoFallback => Some(SubsetFallback::None),
        LbSubsetSelectorFallbackPolicy::AnyEndpoint => Some(SubsetFallback::Any),
        LbSubsetSelectorFallbackPolicy::DefaultSubset => Some(SubsetFallback::Default),
        LbSubsetSelectorFallbackPolicy::KeysSubset => {
            return Err(Reason::Unsupported {
                field: "subset_selectors.fallback_policy",
                value: "KEYS_SUBSET".to_owned(),
            });
        }
    };
    Ok(SubsetSelector { keys, fallback })
}
