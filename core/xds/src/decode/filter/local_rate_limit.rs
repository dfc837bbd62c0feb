//! The local rate limit filter.

use selvedge_traffic::Fraction;
use selvedge_traffic::filter::local_rate_limit::{DYNAMIC_DESCRIPTORS_DEFAULT, DYNAMIC_DESCRIPTORS_MAX};
use selvedge_traffic::filter::{LocalDescriptor, LocalRateLimit};
use selvedge_traffic::rate_limit::HostRateLimits;
use selvedge_xds_proto::envoy::extensions::common::ratelimit::v3 as common;
use selvedge_xds_proto::envoy::extensions::filters::http::local_ratelimit::v3 as proto;

use super::refusal_status;
use crate::decode::bounds::{known, not_empty};
use crate::decode::{Reason, headers, rate_limit, text};

pub(super) fn filter(message: proto::LocalRateLimit) -> Result<LocalRateLimit, Reason> {
    if message.local_cluster_rate_limit.is_some() {
        let field = "local_rate_limit.local_cluster_rate_limit";
        return Err(Reason::Unsupported { field, value: "a value".to_owned() });
    }
    let share = |field, percent: Option<_>| {
        percent.map_or(Ok(Fraction::NONE), |percent| text::fraction(field, percent))
    };
    let dynamic = message.max_dynamic_descriptors.unwrap_or(DYNAMIC_DESCRIPTORS_DEFAULT);
    if dynamic == 0 || dynamic > DYNAMIC_DESCRIPTORS_MAX {
        return Err(Reason::Invalid {
            field: "local_rate_limit.max_dynamic_descriptors",
            value: dynamic.to_string(),
            expected: "is not in 1..=100000",
        });
    }
    let bucket = message.token_bucket.as_ref();
    let shown: common::XRateLimitHeadersRfcVersion =
        known("local_rate_limit.enable_x_ratelimit_headers", message.enable_x_ratelimit_headers)?;
    Ok(LocalRateLimit {
        stat_prefix: not_empty("local_rate_limit.stat_prefix", message.stat_prefix)?,
        status: refusal_status("local_rate_limit.status", message.status.as_ref(), 429)?,
        bucket: bucket
            .map(|bucket| rate_limit::bucket("local_rate_limit.token_bucket", bucket))
            .transpose()?,
        descriptors: message.descriptors.into_iter().map(descriptor).collect::<Result<_, _>>()?,
        enabled: share("local_rate_limit.filter_enabled", message.filter_enabled)?,
        enforced: share("local_rate_limit.filter_enforced", message.filter_enforced)?,
        request_headers_when_not_enforced: headers::decode(
            message.request_headers_to_add_when_not_enforced,
            Vec::new(),
        )?,
        response_headers: headers::decode(message.response_headers_to_add, Vec::new())?,
        stage: rate_limit::stage("local_rate_limit.stage", message.stage)?,
        per_connection: message.local_rate_limit_per_downstream_connection,
        ratelimit_headers: shown == common::XRateLimitHeadersRfcVersion::DraftVersion03,
        host_rate_limits: match known("local_rate_limit.vh_rate_limits", message.vh_rate_limits)? {
            common::VhRateLimitsOptions::Override => HostRateLimits::Override,
            common::VhRateLimitsOptions::Include => HostRateLimits::Include,
            common::VhRateLimitsOptions::Ignore => HostRateLimits::Ignore,
        },
        always_consume_default: message.always_consume_default_token_bucket.unwrap_or(true),
        resource_exhausted: message.rate_limited_as_resource_exhausted,
        rate_limits: rate_limit::all(message.rate_limits)?,
        dynamic_descriptors_max: dynamic,
    })
}

fn descriptor(message: common::LocalRateLimitDescriptor) -> Result<LocalDescriptor, Reason> {
    const FIELD: &str = "local_rate_limit.descriptors";
    if message.shadow_mode {
        return Err(Reason::Unsupported {
            field: "local_rate_limit.descriptors.shadow_mode",
            value: "true".to_owned(),
        });
    }
    if message.entries.is_empty() {
        return Err(Reason::Missing("local_rate_limit.descriptors.entries"));
    }
    let entries = message.entries.into_iter().map(|entry| Ok((not_empty(FIELD, entry.key)?, entry.value)));
    Ok(LocalDescriptor {
        entries: entries.collect::<Result<_, Reason>>()?,
        bucket: rate_limit::bucket(FIELD, &message.token_bucket.ok_or(Reason::Missing(FIELD))?)?,
    })
}
