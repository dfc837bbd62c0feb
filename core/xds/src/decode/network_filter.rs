//! Network filters before the last of a chain.

use selvedge_traffic::{ConnectionLimit, ConnectionRateLimit, NetworkFilter, NetworkRbac};
use selvedge_xds_proto::envoy::config::core::v3::RuntimeFeatureFlag;
use selvedge_xds_proto::envoy::config::listener::v3 as listener;
use selvedge_xds_proto::envoy::extensions::filters::network;
use selvedge_xds_proto::envoy::extensions::filters::network::rbac::v3::rbac::EnforcementType;

use super::bounds::{known, not_empty, unknown, unpack};
use super::{Reason, access, duration, rate_limit};
use crate::any::holds;

pub(super) fn decode(message: listener::Filter) -> Result<NetworkFilter, Reason> {
    let any = message.config_type.map(|listener::filter::ConfigType::TypedConfig(any)| any);
    match any {
        Some(any) if holds::<network::rbac::v3::Rbac>(&any) => {
            rbac(unpack(&any)?).map(|rbac| NetworkFilter::Rbac(Box::new(rbac)))
        }
        Some(any) if holds::<network::connection_limit::v3::ConnectionLimit>(&any) => {
            limit(unpack(&any)?).map(NetworkFilter::ConnectionLimit)
        }
        Some(any) if holds::<network::local_ratelimit::v3::LocalRateLimit>(&any) => {
            rate(unpack(&any)?).map(NetworkFilter::RateLimit)
        }
        other => Err(unknown(&message.name, other.as_ref())),
    }
}

fn rbac(message: network::rbac::v3::Rbac) -> Result<NetworkRbac, Reason> {
    let continuous = match known("rbac.enforcement_type", message.enforcement_type)? {
        EnforcementType::OneTimeOnFirstByte => false,
        EnforcementType::Continuous => true,
    };
    let refused = [
        (continuous, "rbac.enforcement_type"),
        (message.matcher.is_some(), "rbac.matcher"),
        (message.shadow_matcher.is_some(), "rbac.shadow_matcher"),
        (message.delay_deny.is_some(), "rbac.delay_deny"),
    ];
    if let Some((_, field)) = refused.into_iter().find(|(there, _)| *there) {
        return Err(Reason::Unsupported { field, value: "a value".to_owned() });
    }
    Ok(NetworkRbac {
        stat_prefix: not_empty("rbac.stat_prefix", message.stat_prefix)?,
        rules: message.rules.map(access::rules).transpose()?,
        shadow_rules: message.shadow_rules.map(access::rules).transpose()?,
        shadow_rules_stat_prefix: message.shadow_rules_stat_prefix,
    })
}

fn limit(message: network::connection_limit::v3::ConnectionLimit) -> Result<ConnectionLimit, Reason> {
    on("connection_limit.runtime_enabled", message.runtime_enabled.as_ref())?;
    Ok(ConnectionLimit {
        stat_prefix: not_empty("connection_limit.stat_prefix", message.stat_prefix)?,
        connections_max: match message.max_connections {
            None => return Err(Reason::Missing("connection_limit.max_connections")),
            Some(0) => {
                return Err(Reason::Invalid {
                    field: "connection_limit.max_connections",
                    value: "0".to_owned(),
                    expected: "is below 1",
                });
            }
            Some(most) => most,
        },
        delay: duration::optional("connection_limit.delay", message.delay)?,
    })
}

fn rate(message: network::local_ratelimit::v3::LocalRateLimit) -> Result<ConnectionRateLimit, Reason> {
    on("local_ratelimit.runtime_enabled", message.runtime_enabled.as_ref())?;
    if !message.share_key.is_empty() {
        return Err(Reason::Unsupported { field: "local_ratelimit.share_key", value: message.share_key });
    }
    let bucket = message.token_bucket.ok_or(Reason::Missing("local_ratelimit.token_bucket"))?;
    Ok(ConnectionRateLimit {
        stat_prefix: not_empty("local_ratelimit.stat_prefix", message.stat_prefix)?,
        bucket: rate_limit::bucket("local_ratelimit.token_bucket", &bucket)?,
    })
}

/// A filter that is switched off need not be configured.
pub(super) fn on(field: &'static str, flag: Option<&RuntimeFeatureFlag>) -> Result<(), Reason> {
    match flag.and_then(|flag| flag.default_value) {
        Some(false) => Err(Reason::Unsupported { field, value: "false".to_owned() }),
        Some(true) | None => Ok(()),
    }
}
