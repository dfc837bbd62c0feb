//! Retries.

use std::time::Duration;

use selvedge_model::policy::{self, Retry, RetryCondition};
use selvedge_traffic::matching::HeaderMatch;
use selvedge_traffic::{RateLimitedBackoff, ResetFormat, ResetHeader, RetryBackoff, RetryOn, RetryPolicy};

use super::filters;
use crate::retry::HOST_SELECTION_ATTEMPTS_MAX;

/// The longest wait that an answer may ask for, unless told otherwise (Envoy's default).
const ASKED_WAIT_MAX: Duration = Duration::from_secs(300);

pub(super) fn policy(spec: &Retry) -> RetryPolicy {
    RetryPolicy {
        on: spec.on.iter().fold(RetryOn::default(), |on, one| on.with(condition(*one))),
        retries_max: spec.max_retries,
        per_try_timeout: spec.per_try_timeout.map(|span| span.0).filter(|bound| !bound.is_zero()),
        per_try_idle_timeout: spec.per_try_idle_timeout.map(|span| span.0).filter(|bound| !bound.is_zero()),
        retriable_status_codes: spec.status_codes.clone(),
        retriable_headers: headers(&spec.response_headers),
        retriable_request_headers: headers(&spec.request_headers),
        backoff: spec.back_off.as_ref().map_or_else(RetryBackoff::default, |back_off| RetryBackoff {
            base: back_off.base.0,
            max: back_off.max.map_or(back_off.base.0 * 10, |max| max.0),
        }),
        rate_limited_backoff: spec.rate_limited_back_off.as_ref().map(asked),
        avoid_previous_hosts: spec.avoid_previous_hosts.unwrap_or(true),
        host_selection_attempts_max: spec.host_selection_attempts.unwrap_or(HOST_SELECTION_ATTEMPTS_MAX),
        ..RetryPolicy::default()
    }
}

/// The API refuses expressions that cannot be used; what was stored before it did is passed over.
fn headers(conditions: &[policy::HeaderCondition]) -> Vec<HeaderMatch> {
    conditions.iter().filter_map(|condition| filters::header(condition).ok()).collect()
}

fn asked(spec: &policy::RateLimitedBackOff) -> RateLimitedBackoff {
    let header = |header: &policy::ResetHeader| ResetHeader {
        name: header.name.to_ascii_lowercase(),
        format: match header.format {
            policy::ResetFormat::Seconds => ResetFormat::Seconds,
            policy::ResetFormat::UnixTimestamp => ResetFormat::UnixTimestamp,
        },
    };
    RateLimitedBackoff {
        reset_headers: spec.reset_headers.iter().map(header).collect(),
        interval_max: spec.max.map_or(ASKED_WAIT_MAX, |span| span.0),
    }
}

fn condition(condition: RetryCondition) -> RetryOn {
    match condition {
        RetryCondition::FiveXx => RetryOn::FIVE_XX,
        RetryCondition::GatewayError => RetryOn::GATEWAY_ERROR,
        RetryCondition::Reset => RetryOn::RESET,
        RetryCondition::ResetBeforeRequest => RetryOn::RESET_BEFORE_REQUEST,
        RetryCondition::ConnectFailure => RetryOn::CONNECT_FAILURE,
        RetryCondition::EnvoyRatelimited => RetryOn::ENVOY_RATELIMITED,
        RetryCondition::Retriable4xx => RetryOn::RETRIABLE_4XX,
        RetryCondition::RefusedStream => RetryOn::REFUSED_STREAM,
        RetryCondition::RetriableStatusCodes => RetryOn::RETRIABLE_STATUS_CODES,
        RetryCondition::RetriableHeaders => RetryOn::RETRIABLE_HEADERS,
        RetryCondition::GrpcCancelled => RetryOn::GRPC_CANCELLED,
        RetryCondition::GrpcDeadlineExceeded => RetryOn::GRPC_DEADLINE_EXCEEDED,
        RetryCondition::GrpcInternal => RetryOn::GRPC_INTERNAL,
        RetryCondition::GrpcResourceExhausted => RetryOn::GRPC_RESOURCE_EXHAUSTED,
        RetryCondition::GrpcUnavailable => RetryOn::GRPC_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::RetryOn;

    use super::*;

    #[test]
    fn the_words_are_envoys() {
        for one in RetryCondition::ALL {
            assert_eq!(RetryOn::parse(one.as_str()), condition(*one), "{one}");
        }
    }
}
