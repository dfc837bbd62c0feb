//! The decisions of one request about its next attempt.

use std::time::Duration;

use super::{Reset, ResponseView, RetryOn, RetryPolicy};
use crate::matching::{HeaderCondition, HeaderMatch, RequestView};

/// The retries of one request.
///
/// For each failed attempt, in this order: would the conditions retry it, are retries left, is there room in the
/// circuit breaker. A retry that found no room is spent all the same, as in Envoy.
#[derive(Clone, Debug)]
pub struct Retrier<'a> {
    policy: Option<&'a RetryPolicy>,
    on: RetryOn,
    header_status_codes: Vec<u16>,
    /// Those of `x-envoy-retriable-header-names`.
    header_names: Vec<HeaderMatch>,
    remaining: u32,
    /// Retries so far: the exponent of the back-off.
    retries: u32,
}

/// What to do after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<G> {
    /// Try again after the wait, holding the breaker's guard.
    Retry { wait: Wait, guard: G },
    /// Answer with what there is.
    Stop(Refusal),
}

/// A wait, by the rule that set it (each has its own statistic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Exponential(Duration),
    RateLimited(Duration),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The outcome is none that is retried.
    NotRetriable,
    /// Retries are used up: flag `URX`, `upstream_rq_retry_limit_exceeded`.
    LimitExceeded,
    /// The circuit breaker for retries is full: `upstream_rq_retry_overflow`.
    Overflow,
}

impl Wait {
    pub fn duration(self) -> Duration {
        match self {
            Self::Exponential(wait) | Self::RateLimited(wait) => wait,
        }
    }
}

/// Request headers that ask for retries. Whoever forwards the request removes them; for a request that is not
/// internal they are removed before they are read.
pub const RETRY_HEADERS: [&str; 5] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
];

/// How many codes `x-envoy-retriable-status-codes` may add.
pub const HEADER_STATUS_CODES_MAX: usize = 64;
/// How many names `x-envoy-retriable-header-names` may add.
pub const HEADER_NAMES_MAX: usize = 16;

impl<'a> Retrier<'a> {
    /// The retries of a request under a policy, together with what its headers ask for: conditions and codes are
    /// added, `x-envoy-max-retries` replaces the count. `None` if nothing is ever retried.
    pub fn new(policy: Option<&'a RetryPolicy>, request: &impl RequestView) -> Option<Self> {
        let header_conditions =
            |name| request.first_value(name).map_or_else(RetryOn::default, RetryOn::parse);
        let on = policy
            .map_or_else(RetryOn::default, |policy| policy.on)
            .with(header_conditions("x-envoy-retry-on"))
            .with(header_conditions("x-envoy-retry-grpc-on"));
        let limited = policy.map_or(&[][..], |policy| &policy.retriable_request_headers);
        if on.is_empty() || !(limited.is_empty() || limited.iter().any(|header| header.takes(request))) {
            return None;
        }
        let names = |list: &str| {
            let names = list.split(',').map(|name| name.trim_ascii().to_ascii_lowercase());
            let named = names.filter(|name| !name.is_empty()).take(HEADER_NAMES_MAX);
            named
                .map(|name| HeaderMatch { name, condition: HeaderCondition::Present, invert: false })
                .collect()
        };
        let number = |text: &str| text.trim_ascii().parse::<u32>().ok();
        let codes = |list: &str| {
            list.split(',')
                .filter_map(|code| code.trim_ascii().parse().ok())
                .take(HEADER_STATUS_CODES_MAX)
                .collect()
        };
        Some(Self {
            policy,
            on,
            header_status_codes: request
                .first_value("x-envoy-retriable-status-codes")
                .map_or_else(Vec::new, codes),
            header_names: request.first_value("x-envoy-retriable-header-names").map_or_else(Vec::new, names),
            remaining: request
                .first_value("x-envoy-max-retries")
                .and_then(number)
                .unwrap_or_else(|| policy.map_or(1, |policy| policy.retries_max)),
            retries: 0,
        })
    }

    /// Retries made so far.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Whether the request's body need be kept: another attempt is still possible.
    pub fn may_retry(&self) -> bool {
        self.remaining > 0
    }

    /// Whether the conditions take a response, retries left or not.
    pub fn takes(&self, response: &impl ResponseView) -> bool {
        let (codes, headers) = self
            .policy
            .map_or((&[][..], &[][..]), |policy| (&policy.retriable_status_codes, &policy.retriable_headers));
        self.on.takes_response(response, codes, headers)
            || ((!self.header_status_codes.is_empty() || !self.header_names.is_empty())
                && self.on.takes_response(response, &self.header_status_codes, &self.header_names))
    }

    /// Judges a response whose head has arrived and has not been passed on. `breaker` takes a place among the
    /// cluster's retries in flight; `now` is the time since 1970.
    pub fn handle_response<G>(
        &mut self,
        response: &impl ResponseView,
        breaker: impl FnOnce() -> Option<G>,
        now: Duration,
        random: u64,
    ) -> Verdict<G> {
        let taken = self.takes(response);
        let asked = self
            .policy
            .and_then(|policy| policy.rate_limited_backoff.as_ref())
            .and_then(|backoff| backoff.wait(response, now, random));
        self.decide(taken, asked, breaker, random)
    }

    /// Judges an attempt that ended without a response.
    pub fn handle_reset<G>(
        &mut self,
        reset: Reset,
        breaker: impl FnOnce() -> Option<G>,
        random: u64,
    ) -> Verdict<G> {
        self.decide(self.on.takes_reset(reset), None, breaker, random)
    }

    /// A try took too long and goes on; the next is to run beside it. The conditions are not asked, as in Envoy.
    pub fn handle_hedge<G>(&mut self, breaker: impl FnOnce() -> Option<G>, random: u64) -> Verdict<G> {
        self.decide(true, None, breaker, random)
    }

    fn decide<G>(
        &mut self,
        taken: bool,
        asked: Option<Duration>,
        breaker: impl FnOnce() -> Option<G>,
        random: u64,
    ) -> Verdict<G> {
        if !taken {
            return Verdict::Stop(Refusal::NotRetriable);
        }
        let Some(remaining) = self.remaining.checked_sub(1) else {
            return Verdict::Stop(Refusal::LimitExceeded);
        };
        self.remaining = remaining;
        let Some(guard) = breaker() else { return Verdict::Stop(Refusal::Overflow) };
        self.retries += 1;
        let backoff = self.policy.map(|policy| policy.backoff).unwrap_or_default();
        let wait =
            asked.map_or_else(|| Wait::Exponential(backoff.wait(self.retries, random)), Wait::RateLimited);
        Verdict::Retry { wait, guard }
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::tests::Plain;
    use super::super::{RateLimitedBackoff, ResetFormat, ResetHeader};
    use super::*;
    use crate::matching::PlainRequest;

    const ROOM: fn() -> Option<()> = || Some(());
    const FULL: fn() -> Option<()> = || None;
    const UNAVAILABLE: Plain<'_> = Plain { status: 503, headers: &[] };

    fn policy(on: &str, retries_max: u32) -> RetryPolicy {
        RetryPolicy { on: RetryOn::parse(on), retries_max, ..RetryPolicy::default() }
    }

    fn get() -> PlainRequest {
        PlainRequest::new("GET", "h", "/")
    }

    #[test]
    fn retries_end_with_the_limit() {
        let policy = policy("5xx", 2);
        let mut retrier = Retrier::new(Some(&policy), &get()).expect("it retries");
        for (n, wait) in [(1, 24), (2, 49)] {
            let wait = Wait::Exponential(Duration::from_millis(wait));
            assert_eq!(
                retrier.handle_response(&UNAVAILABLE, ROOM, Duration::ZERO, 49),
                Verdict::Retry { wait, guard: () }
            );
            assert_eq!(retrier.retries(), n);
        }
        assert!(!retrier.may_retry());
        let verdict = retrier.handle_response(&UNAVAILABLE, ROOM, Duration::ZERO, 0);
        assert_eq!(verdict, Verdict::Stop(Refusal::LimitExceeded));
    }

    #[test]
    fn an_outcome_that_is_not_retriable_is_no_used_up_limit() {
        let policy = policy("5xx", 0);
        let mut retrier = Retrier::new(Some(&policy), &get()).expect("it retries");
        let fine = Plain { status: 200, headers: &[] };
        let verdict = retrier.handle_response(&fine, ROOM, Duration::ZERO, 0);
        assert_eq!(verdict, Verdict::Stop(Refusal::NotRetriable));
        assert_eq!(retrier.handle_reset(Reset::Overflow, ROOM, 0), Verdict::Stop(Refusal::NotRetriable));
        assert_eq!(
            retrier.handle_reset(Reset::PerTryTimeout, ROOM, 0),
            Verdict::Stop(Refusal::LimitExceeded)
        );
    }

    #[test]
    fn an_overflow_spends_the_retry() {
        let policy = policy("reset", 1);
        let mut retrier = Retrier::new(Some(&policy), &get()).expect("it retries");
        let broken = Reset::Broken { request_started: true };
        assert_eq!(retrier.handle_reset(broken, FULL, 0), Verdict::Stop(Refusal::Overflow));
        assert_eq!(retrier.handle_reset(broken, ROOM, 0), Verdict::Stop(Refusal::LimitExceeded));
    }

    #[test]
    fn headers_add_conditions_and_replace_the_count() {
        let policy = policy("reset", 1);
        let request = get()
            .with_header("x-envoy-retry-on", "retriable-status-codes")
            .with_header("x-envoy-retriable-status-codes", "418, 503")
            .with_header("x-envoy-max-retries", "3");
        let mut retrier = Retrier::new(Some(&policy), &request).expect("it retries");
        for _ in 0..3 {
            let verdict = retrier.handle_response(&UNAVAILABLE, ROOM, Duration::ZERO, 0);
            assert!(matches!(verdict, Verdict::Retry { .. }));
        }
        assert!(!retrier.may_retry());
        assert!(Retrier::new(None, &get()).is_none());
        assert!(Retrier::new(None, &get().with_header("x-envoy-retry-grpc-on", "unavailable")).is_some());
    }

    #[test]
    fn only_requests_with_a_listed_header_are_retried() {
        let safe = HeaderMatch { name: "x-safe".into(), condition: HeaderCondition::Present, invert: false };
        let policy = RetryPolicy { retriable_request_headers: vec![safe], ..policy("5xx", 1) };
        assert!(Retrier::new(Some(&policy), &get()).is_none());
        assert!(Retrier::new(Some(&policy), &get().with_header("x-safe", "1")).is_some());
    }

    #[test]
    fn a_request_may_name_headers_that_ask_for_another_try() {
        let request = get()
            .with_header("x-envoy-retry-on", "retriable-headers")
            .with_header("x-envoy-retriable-header-names", "X-Again, x-more");
        let mut retrier = Retrier::new(None, &request).expect("it retries");
        let again = Plain { status: 200, headers: &[("x-again", "1")] };
        let verdict = retrier.handle_response(&again, ROOM, Duration::ZERO, 0);
        assert!(matches!(verdict, Verdict::Retry { .. }));
    }

    #[test]
    fn a_hedge_asks_for_retries_left_alone() {
        let policy = policy("connect-failure", 1);
        let mut retrier = Retrier::new(Some(&policy), &get()).expect("it retries");
        assert!(matches!(retrier.handle_hedge(ROOM, 0), Verdict::Retry { .. }));
        assert_eq!(retrier.handle_hedge(ROOM, 0), Verdict::Stop(Refusal::LimitExceeded));
    }

    #[test]
    fn a_limited_upstream_sets_the_wait() {
        let rate_limited_backoff = Some(RateLimitedBackoff {
            reset_headers: vec![ResetHeader { name: "retry-after".into(), format: ResetFormat::Seconds }],
            interval_max: Duration::from_secs(300),
        });
        let policy = RetryPolicy { rate_limited_backoff, ..policy("5xx", 9) };
        let mut retrier = Retrier::new(Some(&policy), &get()).expect("it retries");
        let asked = Plain { status: 503, headers: &[("retry-after", "7")] };
        let wait = Wait::RateLimited(Duration::from_secs(7));
        assert_eq!(
            retrier.handle_response(&asked, ROOM, Duration::ZERO, 0),
            Verdict::Retry { wait, guard: () }
        );
        let wait = Wait::Exponential(Duration::from_millis(1));
        let verdict = retrier.handle_response(&UNAVAILABLE, ROOM, Duration::ZERO, 1);
        assert_eq!(verdict, Verdict::Retry { wait, guard: () });
    }
}
