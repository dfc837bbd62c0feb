//! Retry policies.

use selvedge_traffic::retry::{RateLimitedBackoff, ResetFormat};
use selvedge_traffic::{RetryOn, RetryPolicy};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
    retry_host_predicate, retry_priority,
};
use selvedge_xds_proto::envoy::extensions::retry::host::omit_canary_hosts::v3::OmitCanaryHostsPredicate;
use selvedge_xds_proto::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use selvedge_xds_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use selvedge_xds_proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use super::{duration, matching, metadata};
use crate::any::pack;

pub(super) fn encode(policy: &RetryPolicy) -> proto::RetryPolicy {
    let words: Vec<&str> = RetryOn::NAMES
        .iter()
        .filter(|(condition, _)| policy.on.contains(*condition))
        .map(|(_, word)| *word)
        .collect();
    proto::RetryPolicy {
        retry_on: words.join(","),
        num_retries: Some(policy.retries_max),
        per_try_timeout: policy.per_try_timeout.map(duration::encode),
        per_try_idle_timeout: policy.per_try_idle_timeout.map(duration::encode),
        retry_host_predicate: predicates(policy),
        retry_priority: policy.avoid_priorities_every.map(|every| RetryPriority {
            name: "envoy.retry_priorities.previous_priorities".to_owned(),
            config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&PreviousPrioritiesConfig {
                update_frequency: i32::try_from(every).unwrap_or(i32::MAX),
            }))),
        }),
        retriable_headers: policy.retriable_headers.iter().map(matching::header).collect(),
        retriable_request_headers: policy.retriable_request_headers.iter().map(matching::header).collect(),
        host_selection_retry_max_attempts: policy.host_selection_attempts_max.into(),
        retriable_status_codes: policy.retriable_status_codes.iter().map(|code| u32::from(*code)).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(duration::encode(policy.backoff.base)),
            max_interval: Some(duration::encode(policy.backoff.max)),
        }),
        rate_limited_retry_back_off: policy.rate_limited_backoff.as_ref().map(rate_limited),
    }
}

fn predicates(policy: &RetryPolicy) -> Vec<RetryHostPredicate> {
    let predicate = |name: &str, config| RetryHostPredicate {
        name: format!("envoy.retry_host_predicates.{name}"),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(config)),
    };
    let mut predicates = Vec::new();
    if policy.avoid_previous_hosts {
        predicates.push(predicate("previous_hosts", pack(&PreviousHostsPredicate {})));
    }
    if policy.avoid_canaries {
        predicates.push(predicate("omit_canary_hosts", pack(&OmitCanaryHostsPredicate {})));
    }
    if let Some(metadata_match) = metadata::labels(&policy.avoid_labels) {
        let config = OmitHostMetadataConfig { metadata_match: Some(metadata_match) };
        predicates.push(predicate("omit_host_metadata", pack(&config)));
    }
    predicates
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
