//! Which failures a set of conditions retries.

use super::RetryOn;
use crate::matching::{HeaderCondition, HeaderMatch};

/// A borrowed view of a response's head.
pub trait ResponseView {
    fn status(&self) -> u16;

    /// The first line of the header `name` (lower case), if it is text.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Why an attempt ended before a response's head arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The connection was refused or its TLS failed.
    ConnectFailure,
    /// The connection was not up in time.
    ConnectTimeout,
    /// The cluster's circuit breakers left no room; never retried.
    Overflow,
    /// The upstream refused the stream before it did anything.
    RefusedStream,
    /// The connection or the stream broke off. `request_started` tells whether any of the request had been sent.
    Broken { request_started: bool },
    /// The attempt's own time-out; counts as a reset by us.
    PerTryTimeout,
    /// The upstream broke the protocol.
    ProtocolError,
}

impl RetryOn {
    /// Whether a response is retried. `status_codes` are those of `retriable-status-codes`, `headers` those of
    /// `retriable-headers`.
    ///
    /// gRPC conditions look at `grpc-status` among the response's headers, never at trailers. A response with
    /// `x-envoy-ratelimited` is retried only on `envoy-ratelimited`. One with `x-envoy-overloaded` is like any other:
    /// Envoy's documentation says that it is never retried, Envoy 1.40 retries it.
    pub fn takes_response(
        self,
        response: &impl ResponseView,
        status_codes: &[u16],
        headers: &[HeaderMatch],
    ) -> bool {
        if response.header("x-envoy-ratelimited").is_some() {
            return self.contains(Self::ENVOY_RATELIMITED);
        }
        let status = response.status();
        (self.contains(Self::FIVE_XX) && (500..600).contains(&status))
            || (self.contains(Self::GATEWAY_ERROR) && matches!(status, 502..=504))
            || (self.contains(Self::RETRIABLE_4XX) && status == 409)
            || (self.contains(Self::RETRIABLE_STATUS_CODES) && status_codes.contains(&status))
            || (self.contains(Self::RETRIABLE_HEADERS)
                && headers.iter().any(|header| takes_header(header, response)))
            || (self.intersects(GRPC) && self.takes_grpc(response))
    }

    fn takes_grpc(self, response: &impl ResponseView) -> bool {
        let condition = match response.header("grpc-status") {
            Some("1") => Self::GRPC_CANCELLED,
            Some("4") => Self::GRPC_DEADLINE_EXCEEDED,
            Some("8") => Self::GRPC_RESOURCE_EXHAUSTED,
            Some("13") => Self::GRPC_INTERNAL,
            Some("14") => Self::GRPC_UNAVAILABLE,
            _ => return false,
        };
        self.contains(condition)
    }

    /// Whether an attempt that ended without a response is retried.
    pub fn takes_reset(self, reset: Reset) -> bool {
        let any = Self::RESET.with(Self::FIVE_XX).with(Self::GATEWAY_ERROR);
        let conditions = match reset {
            Reset::Overflow => return false,
            Reset::ConnectFailure | Reset::ConnectTimeout => {
                any.with(Self::CONNECT_FAILURE).with(Self::RESET_BEFORE_REQUEST)
            }
            Reset::RefusedStream => any.with(Self::REFUSED_STREAM),
            Reset::Broken { request_started: false } => any.with(Self::RESET_BEFORE_REQUEST),
            Reset::Broken { request_started: true } | Reset::PerTryTimeout | Reset::ProtocolError => any,
        };
        self.intersects(conditions)
    }
}

/// As for requests, with `:status` for the status.
fn takes_header(header: &HeaderMatch, response: &impl ResponseView) -> bool {
    let held = if header.name == ":status" {
        Some(header.condition.holds(response.status().to_string().as_bytes()))
    } else {
        response.header(&header.name).map(|value| header.condition.holds(value.as_bytes()))
    };
    match held {
        Some(held) => held != header.invert,
        None => header.invert && matches!(header.condition, HeaderCondition::Present),
    }
}

const GRPC: RetryOn = RetryOn::GRPC_CANCELLED
    .with(RetryOn::GRPC_DEADLINE_EXCEEDED)
    .with(RetryOn::GRPC_INTERNAL)
    .with(RetryOn::GRPC_RESOURCE_EXHAUSTED)
    .with(RetryOn::GRPC_UNAVAILABLE);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A response as plain data.
    pub(crate) struct Plain<'a> {
        pub(crate) status: u16,
        pub(crate) headers: &'a [(&'a str, &'a str)],
    }

    impl ResponseView for Plain<'_> {
        fn status(&self) -> u16 {
            self.status
        }

        fn header(&self, name: &str) -> Option<&str> {
            self.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
        }
    }

    #[test]
    fn responses_are_retried_by_status_and_grpc_status() {
        let none: &[(&str, &str)] = &[];
        let overloaded: &[(&str, &str)] = &[("x-envoy-overloaded", "true")];
        let limited: &[(&str, &str)] = &[("x-envoy-ratelimited", "true")];
        for (on, status, headers, retried) in [
            ("5xx", 500, none, true),
            ("5xx", 599, none, true),
            ("5xx", 499, none, false),
            ("5xx", 503, overloaded, true),
            ("5xx", 503, limited, false),
            ("envoy-ratelimited", 429, limited, true),
            ("envoy-ratelimited", 429, none, false),
            ("gateway-error", 502, none, true),
            ("gateway-error", 504, none, true),
            ("gateway-error", 501, none, false),
            ("retriable-4xx", 409, none, true),
            ("retriable-4xx", 404, none, false),
            ("retriable-status-codes", 418, none, true),
            ("retriable-status-codes", 419, none, false),
            ("reset,connect-failure,refused-stream", 503, none, false),
            ("cancelled", 200, &[("grpc-status", "1")], true),
            ("deadline-exceeded", 200, &[("grpc-status", "4")], true),
            ("resource-exhausted", 200, &[("grpc-status", "8")], true),
            ("internal", 200, &[("grpc-status", "13")], true),
            ("unavailable", 200, &[("grpc-status", "14")], true),
            ("unavailable", 200, &[("grpc-status", "0")], false),
            ("unavailable", 503, none, false),
        ] {
            let taken = RetryOn::parse(on).takes_response(&Plain { status, headers }, &[418], &[]);
            assert_eq!(taken, retried, "{on}: {status} {headers:?}");
        }
    }

    #[test]
    fn responses_are_retried_by_any_listed_header() {
        let header = |name: &str, condition, invert| HeaderMatch { name: name.to_owned(), condition, invert };
        let headers = [
            header("x-again", HeaderCondition::Exact("yes".into()), false),
            header(":status", HeaderCondition::Range { start: 420, end: 430 }, false),
        ];
        for (status, sent, retried) in [
            (200, &[("x-again", "yes")][..], true),
            (200, &[("x-again", "no")], false),
            (200, &[], false),
            (425, &[], true),
            (430, &[], false),
        ] {
            let response = Plain { status, headers: sent };
            assert_eq!(RetryOn::parse("retriable-headers").takes_response(&response, &[], &headers), retried);
            assert!(!RetryOn::parse("5xx").takes_response(&response, &[], &headers), "not asked for");
        }
    }

    #[test]
    fn resets_are_retried_by_their_cause() {
        let started = Reset::Broken { request_started: true };
        let unstarted = Reset::Broken { request_started: false };
        for (on, reset, retried) in [
            ("5xx,reset,connect-failure,gateway-error", Reset::Overflow, false),
            ("connect-failure", Reset::ConnectFailure, true),
            ("connect-failure", Reset::ConnectTimeout, true),
            ("connect-failure", unstarted, false),
            ("refused-stream", Reset::RefusedStream, true),
            ("refused-stream", Reset::ConnectFailure, false),
            ("reset-before-request", unstarted, true),
            ("reset-before-request", started, false),
            ("reset", started, true),
            ("reset", Reset::PerTryTimeout, true),
            ("reset", Reset::ProtocolError, true),
            ("5xx", Reset::RefusedStream, true),
            ("gateway-error", Reset::ConnectTimeout, true),
            ("retriable-4xx,retriable-status-codes,unavailable", started, false),
        ] {
            assert_eq!(RetryOn::parse(on).takes_reset(reset), retried, "{on}: {reset:?}");
        }
    }
}
