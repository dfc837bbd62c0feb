//! The RBAC filter.

use selvedge_traffic::filter::Rbac;
use selvedge_xds_proto::envoy::extensions::filters::http::rbac::v3 as proto;

use crate::decode::{Reason, access};

pub(super) fn filter(message: proto::Rbac) -> Result<Rbac, Reason> {
    let refused = [
        (message.matcher.is_some(), "rbac.matcher"),
        (message.shadow_matcher.is_some(), "rbac.shadow_matcher"),
        (message.track_per_rule_stats, "rbac.track_per_rule_stats"),
    ];
    if let Some((_, field)) = refused.into_iter().find(|(there, _)| *there) {
        return Err(Reason::Unsupported { field, value: "a value".to_owned() });
    }
    Ok(Rbac {
        rules: message.rules.map(access::rules).transpose()?,
        rules_stat_prefix: message.rules_stat_prefix,
        shadow_rules: message.shadow_rules.map(access::rules).transpose()?,
        shadow_rules_stat_prefix: message.shadow_rules_stat_prefix,
    })
}

pub(super) fn route(message: proto::RbacPerRoute) -> Result<Option<Rbac>, Reason> {
    message.rbac.map(filter).transpose()
}
