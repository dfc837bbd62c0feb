//! How long to wait before a retry.

use std::time::Duration;

use super::{RateLimitedBackoff, ResetFormat, ResponseView, RetryBackoff};

/// An interval below this is rounded up to it.
pub const INTERVAL_MIN: Duration = Duration::from_millis(1);

impl RetryBackoff {
    /// The wait before the `n`-th retry (from 1): uniform in `[0, min(base * 2^(n-1), max))`, in whole milliseconds.
    pub fn wait(&self, n: u32, random: u64) -> Duration {
        let base = millis(self.base.max(INTERVAL_MIN));
        let max = millis(self.max.max(INTERVAL_MIN)).max(base);
        let doubled = base.saturating_mul(1_u64.checked_shl(n.saturating_sub(1)).unwrap_or(u64::MAX));
        Duration::from_millis(random % doubled.min(max))
    }
}

impl RateLimitedBackoff {
    /// The wait that the response asks for, drawn from `[interval, 1.5 * interval)`; `None` where no header names a
    /// usable one. `now` is the time since 1970.
    pub fn wait(&self, response: &impl ResponseView, now: Duration, random: u64) -> Option<Duration> {
        let interval = self.reset_headers.iter().find_map(|header| {
            let number: u64 = response.header(&header.name)?.trim_ascii().parse().ok()?;
            let interval = match header.format {
                ResetFormat::Seconds => Duration::from_secs(number),
                ResetFormat::UnixTimestamp => Duration::from_secs(number).checked_sub(now)?,
            };
            (!interval.is_zero() && interval <= self.interval_max).then_some(interval)
        })?;
        let half = (millis(interval) / 2).max(1);
        Some(interval + Duration::from_millis(random % half))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::ResetHeader;
    use super::super::condition::tests::Plain;
    use super::*;

    #[test]
    fn the_nth_wait_stays_below_its_bound() {
        let backoff = RetryBackoff { base: Duration::from_millis(100), max: Duration::from_secs(1) };
        for (n, bound_ms) in
            [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (6, 1000), (64, 1000), (u32::MAX, 1000)]
        {
            assert_eq!(backoff.wait(n, bound_ms - 1), Duration::from_millis(bound_ms - 1), "{n}");
            assert_eq!(backoff.wait(n, bound_ms), Duration::ZERO, "{n}");
        }
    }

    #[test]
    fn odd_intervals_are_put_right() {
        let nothing = RetryBackoff { base: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(nothing.wait(1, 12345), Duration::ZERO);
        let upside_down = RetryBackoff { base: Duration::from_millis(50), max: Duration::from_millis(1) };
        assert_eq!(upside_down.wait(9, 49), Duration::from_millis(49));
        let huge = RetryBackoff { base: Duration::MAX, max: Duration::MAX };
        assert!(huge.wait(3, u64::MAX) < Duration::MAX);
    }

    #[test]
    fn a_limited_upstream_is_given_the_time_it_asks_for() {
        let header = |name: &str, format| ResetHeader { name: name.to_owned(), format };
        let backoff = RateLimitedBackoff {
            reset_headers: vec![
                header("retry-after", ResetFormat::Seconds),
                header("x-ratelimit-reset", ResetFormat::UnixTimestamp),
            ],
            interval_max: Duration::from_secs(300),
        };
        let now = Duration::from_secs(1_000);
        for (headers, random, wait_ms) in [
            (&[("retry-after", "2")][..], 0, Some(2_000)),
            (&[("retry-after", "2")], 999, Some(2_999)),
            (&[("retry-after", "2")], 1_000, Some(2_000)),
            (&[("retry-after", "301"), ("x-ratelimit-reset", "1010")], 0, Some(10_000)),
            (&[("retry-after", "soon"), ("x-ratelimit-reset", "999")], 0, None),
            (&[("retry-after", "0")], 0, None),
            (&[], 0, None),
        ] {
            let response = Plain { status: 429, headers };
            assert_eq!(
                backoff.wait(&response, now, random),
                wait_ms.map(Duration::from_millis),
                "{headers:?}"
            );
        }
    }
}
