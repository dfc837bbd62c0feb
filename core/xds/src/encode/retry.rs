//! Retry policies.

use selvedge_traffic::retry::{RateLimitedBackoff, ResetFormat};
use selvedge_traffic::{RetryOn, RetryPolicy};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate,
    retry_host_predicate,
};
use selvedge_xds_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use super::duration;
use crate::any::pack;

pub(super) fn encode(policy: &RetryPolicy) -> proto::RetryPolicy {
    let words: Vec<&str> = RetryOn::NAMES
        .iter()
        .filter(|(condition, _)| policy.on.contains(*condition))
        .map(|(_, word)| *word)
        .collect();
    let predicate = || RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
    };
    proto::RetryPolicy {
        retry_on: words.join(","),
        num_retries: Some(policy.retries_max),
        per_try_timeout: policy.per_try_timeout.map(duration::encode),
        retry_host_predicate: if policy.avoid_previous_hosts { vec![predicate()] } else { Vec::new() },
        host_selection_retry_max_attempts: policy.host_selection_attempts_max.into(),
        retriable_status_codes: policy.retriable_status_codes.iter().map(|code| u32::from(*code)).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(duration::encode(policy.backoff.base)),
            max_interval: Some(duration::encode(policy.backoff.max)),
        }),
        rate_limited_retry_back_off: policy.rate_limited_backoff.as_ref().map(rate_limited),
    }
}

fn rate_limited(backoff: &RateLimitedBackoff) -> RateLimitedRetryBackOff {
    let header = |header: &selvedge_traffic::retry::ResetHeader| ResetHeader {
        name: header.name.clone(),
        format: match header.format {
            ResetFormat::Seconds => ResetHeaderFormat::Seconds,
            ResetFormat::UnixTimestamp => ResetHeaderFormat::UnixTimestamp,
        }
        .into(),
    };
    RateLimitedRetryBackOff {
        reset_headers: backoff.reset_headers.iter().map(header).collect(),
        max_interval: Some(duration::encode(backoff.interval_max)),
    }
}
