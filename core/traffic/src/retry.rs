//! When a request is tried again, how often and after which wait.

pub mod backoff;
pub mod condition;
pub mod retrier;

pub use condition::{Reset, ResponseView};
pub use retrier::{Refusal, Retrier, Verdict, Wait};

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::endpoint::Labels;
use crate::matching::HeaderMatch;

/// Envoy's `config.route.v3.RetryPolicy`, the parts that are spoken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetryPolicy {
    pub on: RetryOn,
    /// Tries after the first.
    pub retries_max: u32,
    /// Bound of each try; `None` leaves the route's time-out alone.
    pub per_try_timeout: Option<Duration>,
    /// … as long as nothing comes; it holds on while the response streams.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub per_try_idle_timeout: Option<Duration>,
    pub retriable_status_codes: Vec<u16>,
    /// Any of these in a response, with [`RetryOn::RETRIABLE_HEADERS`].
    #[serde(skip_serializing_if = "crate::is_default")]
    pub retriable_headers: Vec<HeaderMatch>,
    /// Only requests with one of these are retried; empty is every request.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub retriable_request_headers: Vec<HeaderMatch>,
    pub backoff: RetryBackoff,
    /// An answer may say how long to wait; it then replaces the exponential wait.
    pub rate_limited_backoff: Option<RateLimitedBackoff>,
    /// A retry avoids the hosts already tried …
    pub avoid_previous_hosts: bool,
    /// … drawing at most this many times for a fresh one.
    pub host_selection_attempts_max: u32,
    /// A retry avoids canaries.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub avoid_canaries: bool,
    /// A retry avoids hosts with all of these labels; empty is none.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub avoid_labels: Labels,
    /// A retry avoids priorities that were tried, looked at anew after so many tries; `None` draws as for the first.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub avoid_priorities_every: Option<u32>,
}

impl Default for RetryPolicy {
    /// What a policy means that says nothing: one retry of nothing (`config.route.v3.RetryPolicy`).
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            retries_max: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            retriable_status_codes: Vec::new(),
            retriable_headers: Vec::new(),
            retriable_request_headers: Vec::new(),
            backoff: RetryBackoff::default(),
            rate_limited_backoff: None,
            avoid_previous_hosts: false,
            host_selection_attempts_max: 1,
            avoid_canaries: false,
            avoid_labels: Labels::default(),
            avoid_priorities_every: None,
        }
    }
}

/// Exponential back-off: the n-th wait is uniform in `[0, min(base * 2^(n-1), max))`, as measured on Envoy 1.40.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetryBackoff {
    pub base: Duration,
    pub max: Duration,
}

impl Default for RetryBackoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

/// Waiting as long as the upstream asks: Envoy's `RateLimitedRetryBackOff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimitedBackoff {
    /// Response headers to look at, in order; names in lower case.
    pub reset_headers: Vec<ResetHeader>,
    /// A longer wait is ignored and the next header tried; Envoy's default is 300 s.
    pub interval_max: Duration,
}

/// A response header that tells when to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResetHeader {
    pub name: String,
    pub format: ResetFormat,
}

/// What a reset header's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ResetFormat {
    /// Seconds from now (`retry-after`).
    Seconds,
    /// Seconds since 1970 (`x-ratelimit-reset`).
    UnixTimestamp,
}

/// The conditions of `retry_on`, as a set; written as Envoy's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RetryOn(pub u32);

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.words())
    }
}

impl RetryOn {
    pub const FIVE_XX: Self = Self(1);
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    pub const RESET: Self = Self(1 << 2);
    pub const CONNECT_FAILURE: Self = Self(1 << 3);
    pub const RETRIABLE_4XX: Self = Self(1 << 4);
    pub const REFUSED_STREAM: Self = Self(1 << 5);
    pub const RETRIABLE_STATUS_CODES: Self = Self(1 << 6);
    pub const ENVOY_RATELIMITED: Self = Self(1 << 7);
    pub const GRPC_CANCELLED: Self = Self(1 << 8);
    pub const GRPC_DEADLINE_EXCEEDED: Self = Self(1 << 9);
    pub const GRPC_INTERNAL: Self = Self(1 << 10);
    pub const GRPC_RESOURCE_EXHAUSTED: Self = Self(1 << 11);
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 12);
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 13);
    pub const RETRIABLE_HEADERS: Self = Self(1 << 14);

    /// Every condition with Envoy's word for it.
    pub const NAMES: [(Self, &'static str); 15] = [
        (Self::FIVE_XX, "5xx"),
        (Self::GATEWAY_ERROR, "gateway-error"),
        (Self::RESET, "reset"),
        (Self::CONNECT_FAILURE, "connect-failure"),
        (Self::RETRIABLE_4XX, "retriable-4xx"),
        (Self::REFUSED_STREAM, "refused-stream"),
        (Self::RETRIABLE_STATUS_CODES, "retriable-status-codes"),
        (Self::ENVOY_RATELIMITED, "envoy-ratelimited"),
        (Self::GRPC_CANCELLED, "cancelled"),
        (Self::GRPC_DEADLINE_EXCEEDED, "deadline-exceeded"),
        (Self::GRPC_INTERNAL, "internal"),
        (Self::GRPC_RESOURCE_EXHAUSTED, "resource-exhausted"),
        (Self::GRPC_UNAVAILABLE, "unavailable"),
        (Self::RESET_BEFORE_REQUEST, "reset-before-request"),
        (Self::RETRIABLE_HEADERS, "retriable-headers"),
    ];

    /// The conditions of a comma-separated list; words that are no condition
    /// (`http3-post-connect-failure`, typing errors) are left out, as Envoy leaves them out of its headers.
    pub fn parse(list: &str) -> Self {
        let known = |word: &str| Self::NAMES.iter().find(|(_, name)| *name == word).map(|(one, _)| *one);
        list.split(',').filter_map(|word| known(word.trim())).fold(Self::default(), Self::with)
    }

    /// The words of this set, in the order of [`Self::NAMES`].
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(one, _)| self.contains(*one)).map(|(_, word)| word)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_sets_are_two_sides() {
        let all = RetryOn::NAMES.into_iter().fold(RetryOn::default(), |all, (one, _)| all.with(one));
        assert_eq!(RetryOn::parse(&all.words().collect::<Vec<_>>().join(",")), all);
        assert_eq!(RetryOn::parse("5xx, reset,nonsense,"), RetryOn::FIVE_XX.with(RetryOn::RESET));
        assert!(RetryOn::parse("").is_empty());
    }
}
