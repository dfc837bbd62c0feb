//! The RBAC filter.

use selvedge_traffic::filter::Rbac;
use selvedge_xds_proto::envoy::extensions::filters::http::rbac::v3 as proto;

use crate::encode::access;

pub(super) fn filter(rbac: &Rbac) -> proto::Rbac {
    proto::Rbac {
        rules: rbac.rules.as_ref().map(access::rules),
        rules_stat_prefix: rbac.rules_stat_prefix.clone(),
        shadow_rules: rbac.shadow_rules.as_ref().map(access::rules),
        shadow_rules_stat_prefix: rbac.shadow_rules_stat_prefix.clone(),
        ..proto::Rbac::default()
    }
}

pub(super) fn route(rbac: Option<&Rbac>) -> proto::RbacPerRoute {
    proto::RbacPerRoute { rbac: rbac.map(filter) }
}
