//! The CORS filter.

use selvedge_traffic::Fraction;
use selvedge_traffic::filter::CorsPolicy;
use selvedge_xds_proto::envoy::extensions::filters::http::cors::v3 as proto;

use crate::decode::{Reason, text};

pub(super) fn route(message: proto::CorsPolicy) -> Result<CorsPolicy, Reason> {
    const ORIGINS: &str = "cors.allow_origin_string_match";
    let shadow =
        message.shadow_enabled.map(|share| text::fraction("cors.shadow_enabled", share)).transpose()?;
    let enabled =
        message.filter_enabled.map(|share| text::fraction("cors.filter_enabled", share)).transpose()?;
    let origins = message.allow_origin_string_match.into_iter().map(|one| text::text(ORIGINS, one));
    Ok(CorsPolicy {
        origins: origins.collect::<Result<_, _>>()?,
        methods: message.allow_methods,
        headers: message.allow_headers,
        expose_headers: message.expose_headers,
        max_age: message.max_age,
        credentials: message.allow_credentials.unwrap_or_default(),
        private_network: message.allow_private_network_access.unwrap_or_default(),
        forward_unmatched_preflights: message.forward_not_matching_preflights.unwrap_or(true),
        enabled: enabled.unwrap_or(Fraction::ALL),
        shadow: shadow.unwrap_or(Fraction::NONE),
    })
}
