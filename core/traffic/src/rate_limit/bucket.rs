//! A token bucket that many threads take from without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// The shortest time between fills (Envoy's bound).
pub const FILL_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// How a bucket fills: `tokens_per_fill` every `fill_interval`, spread evenly over it, up to `tokens_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TokenBucket {
    /// At least 1.
    pub tokens_max: u32,
    /// At least 1.
    pub tokens_per_fill: u32,
    /// At least [`FILL_INTERVAL_MIN`].
    pub fill_interval: Duration,
}

impl TokenBucket {
    /// Tokens in a second.
    pub fn rate(&self) -> f64 {
        f64::from(self.tokens_per_fill) / self.fill_interval.as_secs_f64()
    }
}

/// A bucket in use. It starts full.
///
/// It holds one number: the moment at which it would have been empty, had nothing been taken since. What is in it is the
/// time since then, at the fill rate; taking tokens moves the moment on (Envoy's `AtomicTokenBucketImpl`).
#[derive(Debug)]
pub struct Bucket {
    config: TokenBucket,
    /// In seconds since whatever the caller counts from; the bits of an `f64`.
    empty_at: AtomicU64,
}

impl Bucket {
    /// A full bucket. `now` counts from a moment that all calls share.
    pub fn new(config: TokenBucket, now: Duration) -> Self {
        let full_since = now.as_secs_f64() - f64::from(config.tokens_max) / config.rate();
        Self { config, empty_at: AtomicU64::new(full_since.to_bits()) }
    }

    pub fn config(&self) -> &TokenBucket {
        &self.config
    }

    /// Takes `tokens` if there are as many.
    pub fn take(&self, tokens: u32, now: Duration) -> bool {
        let now = now.as_secs_f64();
        let taken = f64::from(tokens) / self.config.rate();
        let update = self.empty_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
            let empty_at = self.at_most_full(f64::from_bits(bits), now);
            // Rounding in the sum of many small steps must not cost a token.
            let enough = (now - empty_at) * self.config.rate() + 1e-9 >= f64::from(tokens);
            enough.then(|| (empty_at + taken).to_bits())
        });
        update.is_ok()
    }

    /// The tokens that are left, whole ones only.
    pub fn remaining(&self, now: Duration) -> u32 {
        // The number is between 0 and tokens_max.
        self.level(now) as u32
    }

    /// Until the next whole token; zero if there is one.
    pub fn next_token(&self, now: Duration) -> Duration {
        let missing = (1.0 - self.level(now)).max(0.0);
        Duration::from_secs_f64(missing / self.config.rate())
    }

    fn level(&self, now: Duration) -> f64 {
        let now = now.as_secs_f64();
        let empty_at = self.at_most_full(f64::from_bits(self.empty_at.load(Ordering::Acquire)), now);
        ((now - empty_at) * self.config.rate() + 1e-9).max(0.0)
    }

    fn at_most_full(&self, empty_at: f64, now: f64) -> f64 {
        empty_at.max(now - f64::from(self.config.tokens_max) / self.config.rate())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(tokens_max: u32, tokens_per_fill: u32, millis: u64) -> Bucket {
        let fill_interval = Duration::from_millis(millis);
        Bucket::new(TokenBucket { tokens_max, tokens_per_fill, fill_interval }, Duration::from_secs(1000))
    }

    #[test]
    fn it_starts_full_and_fills_evenly() {
        let bucket = bucket(3, 2, 1000);
        let at = |millis| Duration::from_secs(1000) + Duration::from_millis(millis);
        assert_eq!(bucket.remaining(at(0)), 3);
        assert!((0..3).all(|_| bucket.take(1, at(0))));
        assert!(!bucket.take(1, at(0)));
        assert_eq!(bucket.next_token(at(0)), Duration::from_millis(500));
        assert!(!bucket.take(1, at(499)));
        assert!(bucket.take(1, at(500)));
        assert_eq!(bucket.remaining(at(60_000)), 3, "never more than its size");
        assert!(bucket.take(3, at(60_000)) && !bucket.take(1, at(60_000)));
    }

    #[test]
    fn threads_share_it_and_take_no_token_twice() {
        let bucket = bucket(1000, 1, 3_600_000);
        let now = Duration::from_secs(1000);
        let taken: usize = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| bucket.take(1, now)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    proptest! {
        /// Over any time no more is given than a full bucket and what flowed in.
        #[test]
        fn it_never_gives_more_than_it_got(
            tokens_max in 1u32..50,
            per_fill in 1u32..50,
            millis in 50u64..5000,
            steps in prop::collection::vec((0u64..2000, 1u32..4), 1..200),
        ) {
            let bucket = bucket(tokens_max, per_fill, millis);
            let (mut now, mut given) = (0, 0u64);
            for (step, tokens) in steps {
                now += step;
                if bucket.take(tokens, Duration::from_secs(1000) + Duration::from_millis(now)) {
                    given += u64::from(tokens);
                }
            }
            let inflow = now as f64 * f64::from(per_fill) / millis as f64;
            prop_assert!(given as f64 <= f64::from(tokens_max) + inflow + 1e-3, "{given} {inflow}");
        }
    }
}
