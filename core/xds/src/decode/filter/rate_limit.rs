//! The filter of the rate limit service.

use selvedge_traffic::filter::rate_limit::TIMEOUT_DEFAULT;
use selvedge_traffic::filter::{GlobalRateLimit, GlobalRateLimitRoute, RequestType};
use selvedge_traffic::rate_limit::HostRateLimits;
use selvedge_xds_proto::envoy::extensions::filters::http::ratelimit::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::ratelimit::v3::rate_limit_per_route::VhRateLimitsOptions;

use super::{grpc_service, refusal_status, transport_version};
use crate::decode::bounds::{known, not_empty};
use crate::decode::{Reason, duration, headers, rate_limit, text};

pub(super) fn filter(message: proto::RateLimit) -> Result<GlobalRateLimit, Reason> {
    let service = message.rate_limit_service.ok_or(Reason::Missing("rate_limit.rate_limit_service"))?;
    transport_version("rate_limit.transport_api_version", service.transport_api_version)?;
    // The service's own time-out is of no account: the filter's is sent with each call.
    let (cluster, authority, _) =
        grpc_service("rate_limit.rate_limit_service.grpc_service", service.grpc_service)?;
    let timeout = duration::optional("rate_limit.timeout", message.timeout)?;
    let shown: proto::rate_limit::XRateLimitHeadersRfcVersion =
        known("rate_limit.enable_x_ratelimit_headers", message.enable_x_ratelimit_headers)?;
    let share = |field, percent: Option<_>| percent.map(|percent| text::fraction(field, percent)).transpose();
    let on_error = message.status_on_error.as_ref();
    Ok(GlobalRateLimit {
        domain: not_empty("rate_limit.domain", message.domain)?,
        stage: rate_limit::stage("rate_limit.stage", message.stage)?,
        request_type: match message.request_type.as_str() {
            "" | "both" => RequestType::Both,
            "internal" => RequestType::Internal,
            "external" => RequestType::External,
            other => {
                return Err(Reason::Unsupported {
                    field: "rate_limit.request_type",
                    value: other.to_owned(),
                });
            }
        },
        timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
        failure_mode_deny: message.failure_mode_deny,
        resource_exhausted: message.rate_limited_as_resource_exhausted,
        cluster,
        authority,
        ratelimit_headers: shown == proto::rate_limit::XRateLimitHeadersRfcVersion::DraftVersion03,
        ratelimited_header: !message.disable_x_envoy_ratelimited_header,
        status: refusal_status("rate_limit.rate_limited_status", message.rate_limited_status.as_ref(), 429)?,
        status_on_error: refusal_status("rate_limit.status_on_error", on_error, 500)?,
        response_headers: headers::decode(message.response_headers_to_add, Vec::new())?,
        stat_prefix: message.stat_prefix,
        enabled: share("rate_limit.filter_enabled", message.filter_enabled)?,
        enforced: share("rate_limit.filter_enforced", message.filter_enforced)?,
    })
}

pub(super) fn route(message: proto::RateLimitPerRoute) -> Result<GlobalRateLimitRoute, Reason> {
    Ok(GlobalRateLimitRoute {
        host_rate_limits: match known("rate_limit_per_route.vh_rate_limits", message.vh_rate_limits)? {
            VhRateLimitsOptions::Override => HostRateLimits::Override,
            VhRateLimitsOptions::Include => HostRateLimits::Include,
            VhRateLimitsOptions::Ignore => HostRateLimits::Ignore,
        },
        rate_limits: rate_limit::all(message.rate_limits)?,
        domain: message.domain,
    })
}
