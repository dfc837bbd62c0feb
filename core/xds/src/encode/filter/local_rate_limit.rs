//! The local rate limit filter.

use selvedge_traffic::filter::{LocalDescriptor, LocalRateLimit};
use selvedge_traffic::rate_limit::HostRateLimits;
use selvedge_xds_proto::envoy::extensions::common::ratelimit::v3 as common;
use selvedge_xds_proto::envoy::extensions::filters::http::local_ratelimit::v3 as proto;

use super::http_status;
use crate::encode::{headers, rate_limit, text};

pub(super) fn filter(limit: &LocalRateLimit) -> proto::LocalRateLimit {
    proto::LocalRateLimit {
        stat_prefix: limit.stat_prefix.clone(),
        status: Some(http_status(limit.status)),
        token_bucket: limit.bucket.as_ref().map(rate_limit::bucket),
        filter_enabled: Some(text::fraction(limit.enabled)),
        filter_enforced: Some(text::fraction(limit.enforced)),
        response_headers_to_add: headers::encode(&limit.response_headers).0,
        descriptors: limit.descriptors.iter().map(descriptor).collect(),
        stage: limit.stage,
        request_headers_to_add_when_not_enforced: headers::encode(&limit.request_headers_when_not_enforced).0,
        local_rate_limit_per_downstream_connection: limit.per_connection,
        enable_x_ratelimit_headers: if limit.ratelimit_headers {
            common::XRateLimitHeadersRfcVersion::DraftVersion03
        } else {
            common::XRateLimitHeadersRfcVersion::Off
        }
        .into(),
        vh_rate_limits: match limit.host_rate_limits {
            HostRateLimits::Override => common::VhRateLimitsOptions::Override,
            HostRateLimits::Include => common::VhRateLimitsOptions::Include,
            HostRateLimits::Ignore => common::VhRateLimitsOptions::Ignore,
        }
        .into(),
        always_consume_default_token_bucket: Some(limit.always_consume_default),
        rate_limited_as_resource_exhausted: limit.resource_exhausted,
        local_cluster_rate_limit: None,
        rate_limits: rate_limit::all(&limit.rate_limits),
        max_dynamic_descriptors: Some(limit.dynamic_descriptors_max),
    }
}

fn descriptor(descriptor: &LocalDescriptor) -> common::LocalRateLimitDescriptor {
    let entry = |(key, value): &(String, String)| common::rate_limit_descriptor::Entry {
        key: key.clone(),
        value: value.clone(),
    };
    common::LocalRateLimitDescriptor {
        entries: descriptor.entries.iter().map(entry).collect(),
        token_bucket: Some(rate_limit::bucket(&descriptor.bucket)),
        shadow_mode: false,
    }
}
