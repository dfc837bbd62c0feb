//! The CORS filter.

use selvedge_traffic::Fraction;
use selvedge_traffic::filter::CorsPolicy;
use selvedge_xds_proto::envoy::extensions::filters::http::cors::v3 as proto;

use crate::encode::text;

pub(super) fn route(policy: &CorsPolicy) -> proto::CorsPolicy {
    proto::CorsPolicy {
        allow_origin_string_match: policy.origins.iter().map(text::text).collect(),
        allow_methods: policy.methods.clone(),
        allow_headers: policy.headers.clone(),
        expose_headers: policy.expose_headers.clone(),
        max_age: policy.max_age.clone(),
        allow_credentials: policy.credentials.then_some(true),
        allow_private_network_access: policy.private_network.then_some(true),
        forward_not_matching_preflights: (!policy.forward_unmatched_preflights).then_some(false),
        filter_enabled: (policy.enabled != Fraction::ALL).then(|| text::fraction(policy.enabled)),
        shadow_enabled: (policy.shadow != Fraction::NONE).then(|| text::fraction(policy.shadow)),
    }
}
