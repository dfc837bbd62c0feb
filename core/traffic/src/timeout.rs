//! Which time-outs hold for a request.

use std::time::Duration;

use crate::matching::RequestView;
use crate::route::ROUTE_TIMEOUT_DEFAULT;
use crate::{Forward, Hedge, RetryPolicy};

/// The bounds of one forwarded request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the end of the response, over all attempts: 504, flag `UT`.
    pub global: Option<Duration>,
    /// Of each attempt, from the moment the whole request has arrived.
    pub per_try: Option<Duration>,
    /// Of each attempt, without progress; it holds on while the response streams.
    pub per_try_idle: Option<Duration>,
    /// Without progress of the stream; `None` inherits the connection's, zero is none.
    pub idle: Option<Duration>,
    /// From the stream's first byte to its last: 504, details `max_duration_timeout`.
    pub stream: Option<Duration>,
    /// An attempt that exceeds its bound goes on, and the next runs beside it.
    pub hedged: bool,
}

/// Request headers that set time-outs; removed like [`crate::retry::retrier::RETRY_HEADERS`].
pub const TIMEOUT_HEADERS: [&str; 3] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-hedge-on-per-try-timeout",
];

/// What stands around a route's own time-outs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    pub retry: Option<&'a RetryPolicy>,
    pub hedge: Option<&'a Hedge>,
    /// The connection's bound on each stream.
    pub stream_duration_max: Option<Duration>,
}

impl Timeouts {
    /// What the route says, replaced by what the request's headers say. An attempt's bound that is no shorter than the
    /// whole request's is none.
    pub fn resolve(forward: &Forward, around: Around<'_>, request: &impl RequestView) -> Self {
        let retry = around.retry;
        let header = |name: &str| {
            let millis: u64 = request.first_value(name)?.trim_ascii().parse().ok()?;
            Some(Duration::from_millis(millis))
        };
        let set = |timeout: &Duration| !timeout.is_zero();
        // Where the stream's duration is bounded the route's time-out does not count, as in Envoy.
        let of_route = if forward.stream_duration.is_set() {
            Duration::ZERO
        } else {
            forward.timeout.unwrap_or(ROUTE_TIMEOUT_DEFAULT)
        };
        let global = header(TIMEOUT_HEADERS[0]).unwrap_or(of_route);
        let global = Some(global).filter(set);
        let per_try = header(TIMEOUT_HEADERS[1])
            .or_else(|| retry.and_then(|policy| policy.per_try_timeout))
            .filter(set)
            .filter(|per_try| global.is_none_or(|global| *per_try < global));
        let hedged = match request.first_value(TIMEOUT_HEADERS[2]) {
            Some("true") => true,
            Some("false") => false,
            _ => around.hedge.is_some_and(|hedge| hedge.on_per_try_timeout),
        };
        let grpc = forward.stream_duration.grpc_timeout_max.and_then(|max| {
            let asked = grpc_timeout(request.first_value("grpc-timeout")?)?;
            let capped = if max.is_zero() { asked } else { asked.min(max) };
            Some(capped.saturating_sub(forward.stream_duration.grpc_timeout_offset.unwrap_or_default()))
        });
        let stream = grpc.or_else(|| {
            forward.stream_duration.max.or(around.stream_duration_max).filter(|duration| !duration.is_zero())
        });
        Self {
            global,
            per_try,
            per_try_idle: retry.and_then(|policy| policy.per_try_idle_timeout).filter(set),
            idle: forward.idle_timeout,
            stream,
            hedged,
        }
    }

    /// What the upstream is told (`x-envoy-expected-rq-timeout-ms`): the attempt's bound or what is left of the whole
    /// request's, whichever is less, and the latter where attempts are hedged; `None` without any. At least a
    /// millisecond: 0 would be none.
    pub fn expected(&self, elapsed: Duration) -> Option<Duration> {
        const LEAST: Duration = Duration::from_millis(1);
        let left = self.global.map(|global| global.saturating_sub(elapsed).max(LEAST));
        match self.per_try.filter(|_| !self.hedged) {
            Some(per_try) => Some(left.map_or(per_try, |left| left.min(per_try))),
            None => left,
        }
    }
}

/// The time that a `grpc-timeout` header says: at most eight digits and a unit.
pub fn grpc_timeout(value: &str) -> Option<Duration> {
    let unit = value.chars().next_back()?;
    let digits = value.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        // Envoy counts whole milliseconds and rounds up.
        'u' => Duration::from_millis(number.div_ceil(1_000)),
        'n' => Duration::from_millis(number.div_ceil(1_000_000)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamDuration;
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
            let around = Around { retry: policy.as_ref(), ..Around::default() };
            let timeouts = Timeouts::resolve(&forward, around, &request);
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
        let whole = Timeouts { global: Some(3 * second), ..Timeouts::default() };
        assert_eq!(whole.expected(second), Some(2 * second));
        assert_eq!(whole.expected(5 * second), Some(Duration::from_millis(1)), "0 would be none");
        let per_try = Timeouts { per_try: Some(second), ..whole };
        assert_eq!(per_try.expected(second), Some(second));
        assert_eq!(per_try.expected(second * 5 / 2), Some(second / 2), "no more is left");
        assert_eq!(Timeouts { hedged: true, ..per_try }.expected(second), Some(2 * second));
        assert_eq!(Timeouts { global: None, ..whole }.expected(second), None);
    }

    #[test]
    fn streams_are_bounded_by_route_connection_and_grpc() {
        let ms = Duration::from_millis;
        let of = |duration: StreamDuration, connection: Option<u64>, header: Option<&str>| {
            let forward = Forward { stream_duration: duration, ..Forward::to(Vec::new()) };
            let request = PlainRequest::new("POST", "h", "/");
            let request =
                header.iter().fold(request, |request, value| request.with_header("grpc-timeout", value));
            let around = Around { stream_duration_max: connection.map(ms), ..Around::default() };
            let timeouts = Timeouts::resolve(&forward, around, &request);
            (timeouts.stream, timeouts.global.is_some())
        };
        let none = StreamDuration::default();
        let max = StreamDuration { max: Some(ms(500)), ..none };
        let unbounded = StreamDuration { max: Some(Duration::ZERO), ..none };
        let grpc = StreamDuration { grpc_timeout_max: Some(ms(2000)), ..max };
        let early = StreamDuration { grpc_timeout_offset: Some(ms(100)), ..grpc };
        let open = StreamDuration { grpc_timeout_max: Some(Duration::ZERO), ..none };
        for (duration, connection, header, stream, global) in [
            (none, None, Some("1S"), None, true),
            (none, Some(300), None, Some(300), true),
            (max, Some(300), None, Some(500), false),
            (unbounded, Some(300), None, None, false),
            (grpc, None, None, Some(500), false),
            (grpc, None, Some("1S"), Some(1000), false),
            (grpc, None, Some("1H"), Some(2000), false),
            (early, None, Some("1S"), Some(900), false),
            (open, None, Some("1H"), Some(3_600_000), false),
            (grpc, None, Some("soon"), Some(500), false),
        ] {
            let expected = (stream.map(ms), global);
            assert_eq!(of(duration, connection, header), expected, "{duration:?} {connection:?} {header:?}");
        }
    }

    #[test]
    fn grpc_timeouts_are_read() {
        for (text, millis) in [
            ("1S", 1_000),
            ("99999999m", 99_999_999),
            ("100000S", 100_000_000),
            ("1500u", 2),
            ("1n", 1),
            ("2M", 120_000),
            ("1H", 3_600_000),
        ] {
            assert_eq!(grpc_timeout(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "S", "1", "-1S", "123456789S", "1x", "1 S"] {
            assert_eq!(grpc_timeout(text), None, "{text:?}");
        }
    }
}
