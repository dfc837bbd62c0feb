//! Retry policies.

use std::time::Duration;

use selvedge_traffic::retry::{RateLimitedBackoff, ResetFormat, ResetHeader};
use selvedge_traffic::{Labels, RetryBackoff, RetryOn, RetryPolicy};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeaderFormat, RetryHostPredicate, RetryPriority, retry_host_predicate,
    retry_priority,
};
use selvedge_xds_proto::envoy::extensions::retry::host::omit_canary_hosts::v3::OmitCanaryHostsPredicate;
use selvedge_xds_proto::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use selvedge_xds_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use selvedge_xds_proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use super::bounds::{expect, known, not_empty, status, unpack};
use super::{Reason, duration, matching, metadata};
use crate::any::holds;

/// Envoy's `RateLimitedRetryBackOff.max_interval` when none is set.
const RATE_LIMITED_INTERVAL_MAX: Duration = Duration::from_secs(300);

/// Words of `retry_on` that are not known are passed over, as Envoy does.
pub(super) fn decode(message: proto::RetryPolicy) -> Result<RetryPolicy, Reason> {
    let on = message
        .retry_on
        .split(',')
        .filter_map(|word| RetryOn::NAMES.iter().find(|(_, name)| *name == word.trim()))
        .fold(RetryOn::default(), |all, (condition, _)| all.with(*condition));
    let (mut avoid_previous_hosts, mut avoid_canaries) = (false, false);
    let mut avoid_labels = Labels::default();
    for predicate in message.retry_host_predicate {
        let RetryHostPredicate { name, config_type } = predicate;
        let any = config_type.map(|retry_host_predicate::ConfigType::TypedConfig(any)| any);
        match any {
            Some(any) if holds::<OmitCanaryHostsPredicate>(&any) => avoid_canaries = true,
            Some(any) if holds::<OmitHostMetadataConfig>(&any) => {
                let config: OmitHostMetadataConfig = unpack(&any)?;
                avoid_labels.extend(metadata::labels(config.metadata_match.as_ref()));
            }
            any => {
                let _: PreviousHostsPredicate = expect(&name, any.as_ref())?;
                avoid_previous_hosts = true;
            }
        }
    }
    let avoid_priorities_every = match message.retry_priority {
        None => None,
        Some(RetryPriority { name, config_type }) => {
            let any = config_type.map(|retry_priority::ConfigType::TypedConfig(any)| any);
            let config: PreviousPrioritiesConfig = expect(&name, any.as_ref())?;
            match u32::try_from(config.update_frequency) {
                Ok(every @ 1..) => Some(every),
                _ => {
                    return Err(Reason::Invalid {
                        field: "retry_priority.update_frequency",
                        value: config.update_frequency.to_string(),
                        expected: "is not above 0",
                    });
                }
            }
        }
    };
    let headers = |headers: Vec<proto::HeaderMatcher>| {
        headers.into_iter().map(matching::header).collect::<Result<Vec<_>, _>>()
    };
    let backoff = match message.retry_back_off {
        None => RetryBackoff::default(),
        Some(backoff) => {
            let base = duration::optional("retry_back_off.base_interval", backoff.base_interval)?
                .ok_or(Reason::Missing("retry_back_off.base_interval"))?;
            let max =
                duration::or("retry_back_off.max_interval", backoff.max_interval, base.saturating_mul(10))?;
            if base.is_zero() || max < base {
                return Err(Reason::Invalid {
                    field: "retry_back_off",
                    value: format!("{base:?} to {max:?}"),
                    expected: "does not go from some time to as much or more",
                });
            }
            RetryBackoff { base, max }
        }
    };
    Ok(RetryPolicy {
        on,
        retries_max: message.num_retries.unwrap_or(1),
        per_try_timeout: duration::optional("retry_policy.per_try_timeout", message.per_try_timeout)?,
        per_try_idle_timeout: duration::optional(
            "retry_policy.per_try_idle_timeout",
            message.per_try_idle_timeout,
        )?,
        retriable_headers: headers(message.retriable_headers)?,
        retriable_request_headers: headers(message.retriable_request_headers)?,
        avoid_canaries,
        avoid_labels,
        avoid_priorities_every,
        retriable_status_codes: message
            .retriable_status_codes
            .into_iter()
            .map(|code| status("retry_policy.retriable_status_codes", code))
            .collect::<Result<_, _>>()?,
        backoff,
        rate_limited_backoff: message.rate_limited_retry_back_off.map(rate_limited).transpose()?,
        avoid_previous_hosts,
        host_selection_attempts_max: u32::try_from(message.host_selection_retry_max_attempts).unwrap_or(1),
    })
}

fn rate_limited(message: RateLimitedRetryBackOff) -> Result<RateLimitedBackoff, Reason> {
    if message.reset_headers.is_empty() {
        return Err(Reason::Missing("rate_limited_retry_back_off.reset_headers"));
    }
    let reset_headers = message
        .reset_headers
        .into_iter()
        .map(|header| {
            Ok(ResetHeader {
                name: not_empty("reset_headers.name", header.name)?.to_ascii_lowercase(),
                format: match known("reset_headers.format", header.format)? {
                    ResetHeaderFormat::Seconds => ResetFormat::Seconds,
                    ResetHeaderFormat::UnixTimestamp => ResetFormat::UnixTimestamp,
                },
            })
        })
        .collect::<Result<_, Reason>>()?;
    let interval_max = duration::or(
        "rate_limited_retry_back_off.max_interval",
        message.max_interval,
        RATE_LIMITED_INTERVAL_MAX,
    )?;
    Ok(RateLimitedBackoff { reset_headers, interval_max })
}
