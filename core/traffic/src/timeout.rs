//! Which time-outs hold for a request.

use std::time::Duration;

use crate::matching::RequestView;
use crate::route::ROUTE_TIMEOUT_DEFAULT;
use crate::{Forward, RetryPolicy};

/// The bounds of one forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the end of the response, over all attempts: 504, flag `UT`.
    pub global: Option<Duration>,
    /// Of each attempt, from the moment the whole request has arrived.
    pub per_try: Option<Duration>,
    /// Without progress of the stream; `None` inherits the connection's, zero is none.
    pub idle: Option<Duration>,
}

/// Request headers that set time-outs; removed like [`crate::retry::retrier::RETRY_HEADERS`].
pub const TIMEOUT_HEADERS: [&str; 2] =
    ["x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms"];

impl Timeouts {
    /// What the route says, replaced by what the request's headers say. An attempt's bound that is no shorter than the
    /// whole request's is none.
    pub fn resolve(forward: &Forward, retry: Option<&RetryPolicy>, request: &impl RequestView) -> Self {
        let header = |name: &str| {
            let millis: u64 = request.first_value(name)?.trim_ascii().parse().ok()?;
            Some(Duration::from_millis(millis))
        };
        let set = |timeout: &Duration| !timeout.is_zero();
        let global =
            header(TIMEOUT_HEADERS[0]).unwrap_or_else(|| forward.timeout.unwrap_or(ROUTE_TIMEOUT_DEFAULT));
        let global = Some(global).filter(set);
        let per_try = header(TIMEOUT_HEADERS[1])
            .or_else(|| retry.and_then(|policy| policy.per_try_timeout))
            .filter(set)
            .filter(|per_try| global.is_none_or(|global| *per_try < global));
        Self { global, per_try, idle: forward.idle_timeout }
    }

    /// What the upstream is told (`x-envoy-expected-rq-timeout-ms`): the attempt's bound, else what is left of the
    /// whole request's; `None` without any.
    pub fn expected(&self, elapsed: Duration) -> Option<Duration> {
        self.per_try.or_else(|| self.global.map(|global| global.saturating_sub(elapsed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::PlainRequest;

    #[test]
    fn headers_win_over_routes_and_short_over_long() {
        let ms = |millis: u64| Some(Duration::from_millis(millis));
        for (route, retry, headers, global, per_try) in [
            (None, None, [None, None], ms(15_000), None),
            (ms(0), ms(300), [None, None], None, ms(300)),
            (ms(1000), ms(300), [None, None], ms(1000), ms(300)),
            (ms(1000), ms(1000), [None, None], ms(1000), None),
            (ms(1000), ms(0), [None, None], ms(1000), None),
            (ms(1000), ms(300), [Some("200"), None], ms(200), None),
            (ms(1000), ms(300), [Some("0"), Some("50")], None, ms(50)),
            (ms(1000), ms(300), [Some("x"), Some("-1")], ms(1000), ms(300)),
        ] {
            let forward = Forward { timeout: route, ..Forward::to(Vec::new()) };
            let policy =
                retry.map(|timeout| RetryPolicy { per_try_timeout: Some(timeout), ..RetryPolicy::default() });
            let mut request = PlainRequest::new("GET", "h", "/");
            for (name, value) in TIMEOUT_HEADERS.into_iter().zip(headers) {
                request = value.iter().fold(request, |request, value| request.with_header(name, value));
            }
            let timeouts = Timeouts::resolve(&forward, policy.as_ref(), &request);
            assert_eq!(
                (timeouts.global, timeouts.per_try),
                (global, per_try),
                "{route:?} {retry:?} {headers:?}"
            );
        }
    }

    #[test]
    fn the_upstream_is_told_the_attempts_bound_or_what_is_left() {
        let second = Duration::from_secs(1);
        let whole = Timeouts { global: Some(3 * second), per_try: None, idle: None };
        assert_eq!(whole.expected(second), Some(2 * second));
        assert_eq!(whole.expected(5 * second), Some(Duration::ZERO));
        assert_eq!(Timeouts { per_try: Some(second), ..whole }.expected(second), Some(second));
        assert_eq!(Timeouts { global: None, ..whole }.expected(second), None);
    }
}
