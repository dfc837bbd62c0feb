//! Retry policies: App Mesh's events in Envoy's words, and the policy that App Mesh never showed.

use std::time::Duration;

use selvedge_model::{Duration as ModelDuration, GrpcRetryPolicy, GrpcRetryPolicyEvent, HttpRetryPolicy};
use selvedge_traffic::{RetryOn, RetryPolicy};

use crate::timeout::standard;

/// How often a retry looks for a host that has not been tried.
pub(crate) const HOST_SELECTION_ATTEMPTS_MAX: u32 = 5;

/// What `server-error` stands for.
const SERVER_ERRORS: [u16; 11] = [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511];
/// What `gateway-error` stands for.
const GATEWAY_ERRORS: [u16; 3] = [502, 503, 504];
/// What `client-error` stands for.
const CLIENT_ERRORS: [u16; 1] = [409];

/// The policy of every route without one: two retries of what most likely never reached the application.
pub(crate) fn default_policy() -> RetryPolicy {
    RetryPolicy {
        on: RetryOn::GRPC_UNAVAILABLE
            .with(RetryOn::CONNECT_FAILURE)
            .with(RetryOn::REFUSED_STREAM)
            .with(RetryOn::RESET)
            .with(RetryOn::RETRIABLE_STATUS_CODES),
        retries_max: 2,
        retriable_status_codes: vec![503],
        ..empty()
    }
}

fn empty() -> RetryPolicy {
    RetryPolicy {
        retries_max: 0,
        avoid_previous_hosts: true,
        host_selection_attempts_max: HOST_SELECTION_ATTEMPTS_MAX,
        ..RetryPolicy::default()
    }
}

/// A policy, and the events in it that mean nothing.
pub(crate) fn of_http(policy: &HttpRetryPolicy) -> (RetryPolicy, Vec<String>) {
    let tcp = !policy.tcp_retry_events.is_empty();
    of(&policy.http_retry_events, tcp, &[], policy.max_retries, &policy.per_retry_timeout)
}

/// A policy, and the events in it that mean nothing.
pub(crate) fn of_grpc(policy: &GrpcRetryPolicy) -> (RetryPolicy, Vec<String>) {
    let tcp = !policy.tcp_retry_events.is_empty();
    let grpc = &policy.grpc_retry_events;
    of(&policy.http_retry_events, tcp, grpc, policy.max_retries, &policy.per_retry_timeout)
}

fn of(
    http_events: &[String],
    connection_error: bool,
    grpc_events: &[GrpcRetryPolicyEvent],
    retries_max: u64,
    per_try_timeout: &ModelDuration,
) -> (RetryPolicy, Vec<String>) {
    let mut on = if connection_error { RetryOn::CONNECT_FAILURE } else { RetryOn::default() };
    let mut codes: Vec<u16> = Vec::new();
    let mut unknown = Vec::new();
    for event in http_events {
        match event.as_str() {
            "server-error" => {
                codes.extend(SERVER_ERRORS);
                on = on.with(RetryOn::RESET);
            }
            "gateway-error" => {
                codes.extend(GATEWAY_ERRORS);
                on = on.with(RetryOn::RESET);
            }
            "client-error" => codes.extend(CLIENT_ERRORS),
            "stream-error" => on = on.with(RetryOn::REFUSED_STREAM),
            _ => unknown.push(event.clone()),
        }
    }
    codes.sort_unstable();
    codes.dedup();
    if !codes.is_empty() {
        on = on.with(RetryOn::RETRIABLE_STATUS_CODES);
    }
    on = grpc_events.iter().fold(on, |on, event| on.with(of_grpc_event(*event)));
    let policy = RetryPolicy {
        on,
        retries_max: u32::try_from(retries_max).unwrap_or(u32::MAX),
        per_try_timeout: standard(Some(per_try_timeout)).filter(|timeout| *timeout > Duration::ZERO),
        retriable_status_codes: codes,
        ..empty()
    };
    (policy, unknown)
}

fn of_grpc_event(event: GrpcRetryPolicyEvent) -> RetryOn {
    match event {
        GrpcRetryPolicyEvent::Cancelled => RetryOn::GRPC_CANCELLED,
        GrpcRetryPolicyEvent::DeadlineExceeded => RetryOn::GRPC_DEADLINE_EXCEEDED,
        GrpcRetryPolicyEvent::Internal => RetryOn::GRPC_INTERNAL,
        GrpcRetryPolicyEvent::ResourceExhausted => RetryOn::GRPC_RESOURCE_EXHAUSTED,
        GrpcRetryPolicyEvent::Unavailable => RetryOn::GRPC_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::DurationUnit;

    use super::*;

    #[test]
    fn events_become_conditions() {
        let five = ModelDuration { unit: Some(DurationUnit::Seconds), value: Some(5) };
        for (http, tcp, grpc, words, codes) in [
            (&["server-error"][..], false, &[][..], "reset,retriable-status-codes", &SERVER_ERRORS[..]),
            (
                &["gateway-error", "client-error"],
                false,
                &[],
                "reset,retriable-status-codes",
                &[409, 502, 503, 504],
            ),
            (&["client-error"], false, &[], "retriable-status-codes", &[409]),
            (&["stream-error"], true, &[], "connect-failure,refused-stream", &[]),
            (&["server-error", "gateway-error"], false, &[], "reset,retriable-status-codes", &SERVER_ERRORS),
            (&[], false, &[GrpcRetryPolicyEvent::Cancelled], "cancelled", &[]),
            (&["5xx"], false, &[], "", &[]),
        ] {
            let http: Vec<String> = http.iter().map(|event| (*event).to_owned()).collect();
            let (policy, unknown) = of(&http, tcp, grpc, 3, &five);
            assert_eq!(policy.on.words().collect::<Vec<_>>().join(","), words, "{http:?}");
            assert_eq!(policy.retriable_status_codes, codes, "{http:?}");
            assert_eq!((policy.retries_max, policy.per_try_timeout), (3, Some(Duration::from_secs(5))));
            assert_eq!(unknown.len(), usize::from(http.contains(&"5xx".to_owned())));
        }
    }

    #[test]
    fn the_default_policy_is_the_one_that_app_mesh_never_showed() {
        let policy = default_policy();
        let words: Vec<_> = policy.on.words().collect();
        assert_eq!(
            words,
            ["reset", "connect-failure", "refused-stream", "retriable-status-codes", "unavailable"]
        );
        assert_eq!((policy.retries_max, policy.retriable_status_codes), (2, vec![503]));
        assert!(policy.avoid_previous_hosts);
        assert_eq!(policy.host_selection_attempts_max, 5);
    }
}
