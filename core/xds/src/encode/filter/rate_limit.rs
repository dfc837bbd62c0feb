//! The filter of the rate limit service.

use selvedge_traffic::filter::{GlobalRateLimit, GlobalRateLimitRoute, RequestType};
use selvedge_traffic::rate_limit::HostRateLimits;
use selvedge_xds_proto::envoy::config::core::v3::ApiVersion;
use selvedge_xds_proto::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use selvedge_xds_proto::envoy::extensions::filters::http::ratelimit::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::ratelimit::v3::rate_limit::XRateLimitHeadersRfcVersion;
use selvedge_xds_proto::envoy::extensions::filters::http::ratelimit::v3::rate_limit_per_route::VhRateLimitsOptions;

use super::{grpc_service, http_status};
use crate::encode::{duration, headers, rate_limit, text};

pub(super) fn filter(limit: &GlobalRateLimit) -> proto::RateLimit {
    proto::RateLimit {
        domain: limit.domain.clone(),
        stage: limit.stage,
        request_type: match limit.request_type {
            RequestType::Both => "both",
            RequestType::Internal => "internal",
            RequestType::External => "external",
        }
        .to_owned(),
        timeout: Some(duration::encode(limit.timeout)),
        failure_mode_deny: limit.failure_mode_deny,
        rate_limited_as_resource_exhausted: limit.resource_exhausted,
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(grpc_service(&limit.cluster, &limit.authority, None)),
            transport_api_version: ApiVersion::V3.into(),
        }),
        enable_x_ratelimit_headers: if limit.ratelimit_headers {
            XRateLimitHeadersRfcVersion::DraftVersion03
        } else {
            XRateLimitHeadersRfcVersion::Off
        }
        .into(),
        disable_x_envoy_ratelimited_header: !limit.ratelimited_header,
        rate_limited_status: Some(http_status(limit.status)),
        response_headers_to_add: headers::encode(&limit.response_headers).0,
        status_on_error: Some(http_status(limit.status_on_error)),
        stat_prefix: limit.stat_prefix.clone(),
        filter_enabled: limit.enabled.map(text::fraction),
        filter_enforced: limit.enforced.map(text::fraction),
    }
}

pub(super) fn route(limit: &GlobalRateLimitRoute) -> proto::RateLimitPerRoute {
    proto::RateLimitPerRoute {
        vh_rate_limits: match limit.host_rate_limits {
            HostRateLimits::Override => VhRateLimitsOptions::Override,
            HostRateLimits::Include => VhRateLimitsOptions::Include,
            HostRateLimits::Ignore => VhRateLimitsOptions::Ignore,
        }
        .into(),
        rate_limits: rate_limit::all(&limit.rate_limits),
        domain: limit.domain.clone(),
    }
}
