//! Network filters before the last of a chain.

use prost_types::Any;
use selvedge_traffic::NetworkFilter;
use selvedge_xds_proto::envoy::config::listener::v3 as listener;
use selvedge_xds_proto::envoy::extensions::filters::network;

use super::{access, duration, rate_limit};
use crate::any::pack;

pub(super) fn encode(filter: &NetworkFilter) -> listener::Filter {
    let (name, config) = match filter {
        NetworkFilter::Rbac(rbac) => {
            let message = network::rbac::v3::Rbac {
                stat_prefix: rbac.stat_prefix.clone(),
                rules: rbac.rules.as_ref().map(access::rules),
                shadow_rules: rbac.shadow_rules.as_ref().map(access::rules),
                shadow_rules_stat_prefix: rbac.shadow_rules_stat_prefix.clone(),
                ..network::rbac::v3::Rbac::default()
            };
            ("envoy.filters.network.rbac", pack(&message))
        }
        NetworkFilter::ConnectionLimit(limit) => {
            let message = network::connection_limit::v3::ConnectionLimit {
                stat_prefix: limit.stat_prefix.clone(),
                max_connections: Some(limit.connections_max),
                delay: limit.delay.map(duration::encode),
                runtime_enabled: None,
            };
            ("envoy.filters.network.connection_limit", pack(&message))
        }
        NetworkFilter::RateLimit(limit) => {
            let message = network::local_ratelimit::v3::LocalRateLimit {
                stat_prefix: limit.stat_prefix.clone(),
                token_bucket: Some(rate_limit::bucket(&limit.bucket)),
                ..network::local_ratelimit::v3::LocalRateLimit::default()
            };
            ("envoy.filters.network.local_ratelimit", pack(&message))
        }
    };
    named(name, config)
}

pub(super) fn named(name: &str, config: Any) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    }
}
