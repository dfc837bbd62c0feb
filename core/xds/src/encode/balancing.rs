//! How a cluster's host is chosen.

use selvedge_traffic::{
    Cluster, LoadBalancing, LocalityRouting, Placement, RingHashFunction, SlowStart, SubsetFallback, Subsets,
};
use selvedge_xds_proto::envoy::config::cluster::v3 as proto;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::lb_subset_config::{
    LbSubsetFallbackPolicy, LbSubsetSelector,
};
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction;
use selvedge_xds_proto::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LbSubsetConfig, LeastRequestLbConfig, MaglevLbConfig,
    RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use selvedge_xds_proto::envoy::config::cluster::v3::load_balancing_policy::Policy;
use selvedge_xds_proto::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use selvedge_xds_proto::envoy::extensions::load_balancing_policies::common::v3 as common;
use selvedge_xds_proto::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use selvedge_xds_proto::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use selvedge_xds_proto::envoy::r#type::v3::Percent;

use super::{duration, metadata};
use crate::any::pack;

/// Sets what `cluster` says of balancing.
pub(super) fn encode(cluster: &Cluster, message: &mut proto::Cluster) {
    let placement = &cluster.placement;
    message.common_lb_config = common(placement);
    message.lb_subset_config = cluster.subsets.as_ref().map(subsets);
    let slow_start_config = placement.slow_start.map(slow_start);
    let (policy, config) = match cluster.balancing {
        LoadBalancing::RoundRobin => (
            LbPolicy::RoundRobin,
            slow_start_config.map(|config| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config: Some(config) })
            }),
        ),
        LoadBalancing::LeastRequest { choice_count, active_request_bias, full_scan: true } => {
            message.load_balancing_policy = Some(full_scan(placement, choice_count, active_request_bias));
            (LbPolicy::LoadBalancingPolicyConfig, None)
        }
        LoadBalancing::LeastRequest { choice_count, active_request_bias, full_scan: false } => (
            LbPolicy::LeastRequest,
            Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                choice_count: Some(choice_count),
                active_request_bias: bias(active_request_bias),
                slow_start_config,
            })),
        ),
        LoadBalancing::Random => (LbPolicy::Random, None),
        LoadBalancing::RingHash { ring_size_min, ring_size_max, hash } => (
            LbPolicy::RingHash,
            Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: Some(ring_size_min),
                hash_function: match hash {
                    RingHashFunction::XxHash => HashFunction::XxHash,
                    RingHashFunction::Murmur2 => HashFunction::MurmurHash2,
                }
                .into(),
                maximum_ring_size: Some(ring_size_max),
            })),
        ),
        LoadBalancing::Maglev { table_size } => (
            LbPolicy::Maglev,
            Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: Some(table_size) })),
        ),
        LoadBalancing::ClusterProvided => (LbPolicy::ClusterProvided, None),
    };
    (message.lb_policy, message.lb_config) = (policy.into(), config);
}

/// 1 is what a bias is when nothing is said.
fn bias(bias: f64) -> Option<RuntimeDouble> {
    (bias != 1.0).then(|| runtime_double(bias, "upstream.least_request.active_request_bias"))
}

/// Envoy asks for a key under which its runtime may change the value.
fn runtime_double(value: f64, key: &str) -> RuntimeDouble {
    RuntimeDouble { default_value: value, runtime_key: key.to_owned() }
}

fn percent(value: f64) -> Percent {
    Percent { value }
}

/// `None` where all is as when nothing is said.
fn common(placement: &Placement) -> Option<CommonLbConfig> {
    let default = Placement::default();
    let hashing = (placement.hash_by_hostname || placement.hash_balance_percent.is_some()).then_some(
        ConsistentHashingLbConfig {
            use_hostname_for_hashing: placement.hash_by_hostname,
            hash_balance_factor: placement.hash_balance_percent,
        },
    );
    let config = CommonLbConfig {
        healthy_panic_threshold: (placement.panic_threshold_percent != default.panic_threshold_percent)
            .then(|| percent(placement.panic_threshold_percent)),
        ignore_new_hosts_until_first_hc: placement.ignore_new_hosts_until_first_check,
        consistent_hashing_lb_config: hashing,
        locality_config_specifier: match placement.locality {
            LocalityRouting::None => None,
            LocalityRouting::Weighted => {
                Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}))
            }
            LocalityRouting::ZoneAware { enabled_percent, hosts_min, fail_on_panic } => {
                Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
                    routing_enabled: Some(percent(enabled_percent)),
                    min_cluster_size: Some(hosts_min),
                    fail_traffic_on_panic: fail_on_panic,
                }))
            }
        },
        ..CommonLbConfig::default()
    };
    (config != CommonLbConfig::default()).then_some(config)
}

fn slow_start(start: SlowStart) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: Some(duration::encode(start.window)),
        aggression: Some(runtime_double(start.aggression, "upstream.slow_start.aggression")),
        min_weight_percent: Some(percent(start.weight_percent_min)),
    }
}

/// Looking at every host is only said in the newer form.
fn full_scan(
    placement: &Placement,
    choice_count: u32,
    active_request_bias: f64,
) -> proto::LoadBalancingPolicy {
    let locality = match placement.locality {
        LocalityRouting::None => None,
        LocalityRouting::Weighted => {
            Some(common::locality_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(
                common::locality_lb_config::LocalityWeightedLbConfig {},
            ))
        }
        LocalityRouting::ZoneAware { enabled_percent, hosts_min, fail_on_panic } => {
            Some(common::locality_lb_config::LocalityConfigSpecifier::ZoneAwareLbConfig(
                common::locality_lb_config::ZoneAwareLbConfig {
                    routing_enabled: Some(percent(enabled_percent)),
                    min_cluster_size: Some(hosts_min),
                    fail_traffic_on_panic: fail_on_panic,
                },
            ))
        }
    };
    let policy = LeastRequest {
        choice_count: Some(choice_count),
        active_request_bias: bias(active_request_bias),
        slow_start_config: placement.slow_start.map(|start| common::SlowStartConfig {
            slow_start_window: Some(duration::encode(start.window)),
            aggression: Some(runtime_double(start.aggression, "upstream.slow_start.aggression")),
            min_weight_percent: Some(percent(start.weight_percent_min)),
        }),
        locality_lb_config: locality
            .map(|locality| common::LocalityLbConfig { locality_config_specifier: Some(locality) }),
        selection_method: SelectionMethod::FullScan.into(),
    };
    let extension = TypedExtensionConfig {
        name: "envoy.load_balancing_policies.least_request".to_owned(),
        typed_config: Some(pack(&policy)),
    };
    proto::LoadBalancingPolicy { policies: vec![Policy { typed_extension_config: Some(extension) }] }
}

fn subsets(subsets: &Subsets) -> LbSubsetConfig {
    LbSubsetConfig {
        fallback_policy: match subsets.fallback {
            SubsetFallback::None => LbSubsetFallbackPolicy::NoFallback,
            SubsetFallback::Any => LbSubsetFallbackPolicy::AnyEndpoint,
            SubsetFallback::Default => LbSubsetFallbackPolicy::DefaultSubset,
        }
        .into(),
        default_subset: (!subsets.default.is_empty()).then(|| metadata::label_struct(&subsets.default)),
        subset_selectors: subsets
            .selectors
            .iter()
            .map(|selector| LbSubsetSelector {
                keys: selector.keys.clone(),
                fallback_policy: match selector.fallback {
                    None => LbSubsetSelectorFallbackPolicy::NotDefined,
                    Some(SubsetFallback::None) => LbSubsetSelectorFallbackPolicy::NoFallback,
                    Some(SubsetFallback::Any) => LbSubsetSelectorFallbackPolicy::AnyEndpoint,
                    Some(SubsetFallback::Default) => LbSubsetSelectorFallbackPolicy::DefaultSubset,
                }
                .into(),
                ..LbSubsetSelector::default()
            })
            .collect(),
        panic_mode_any: subsets.panic_mode_any,
        ..LbSubsetConfig::default()
    }
}
