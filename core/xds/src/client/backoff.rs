//! When to connect again.

use std::time::Duration;

/// Envoy's `DEFAULT_BASE_INTERVAL` of a discovery stream.
const BASE: Duration = Duration::from_millis(500);

/// Its longest wait.
const MAX: Duration = Duration::from_secs(30);

/// Exponential back-off with full jitter: the n-th wait is uniform in `[0, min(500 ms * 2^n, 30 s))`, so that a fleet
/// that lost its control plane does not return in one wave.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    state: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, state: seed }
    }

    /// The stream worked: the next failure starts from the beginning.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(super) fn next(&mut self) -> Duration {
        let bound = BASE.saturating_mul(1 << self.failures.min(16)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random() % nanos)
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_within_their_doubling_bounds() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            for failures in 0..12 {
                let bound = (BASE * (1 << failures)).min(MAX);
                assert!(backoff.next() < bound, "seed {seed}, failure {failures}");
            }
            backoff.reset();
            assert!(backoff.next() < BASE, "a success starts over, seed {seed}");
        }
    }

    #[test]
    fn two_seeds_wait_differently() {
        assert_ne!(Backoff::new(1).next(), Backoff::new(2).next());
    }
}
