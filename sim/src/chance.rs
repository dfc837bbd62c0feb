//! The only source of randomness of a run.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, the same on every machine, and every seed is a good one.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence of its own, so that one part's draws do not shift another's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; `bound` is at least 1. The bias is below 2⁻³² for the bounds used here.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("a usize fits 64 bits");
        usize::try_from(self.bits() % bound).expect("below a usize")
    }

    /// True `per_mille` times in a thousand.
    pub fn hits(&mut self, per_mille: u16) -> bool {
        self.below(1000) < usize::from(per_mille)
    }

    /// One of `choices`, which is not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A time in `least..=most`, in whole microseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros();
        let span = usize::try_from(span).expect("simulated times are short");
        least + Duration::from_micros(self.below(span + 1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            [chance.bits(), chance.bits()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn bounds_hold() {
        let mut chance = Chance::new(7);
        let (least, most) = (Duration::from_millis(1), Duration::from_millis(3));
        for _ in 0..1000 {
            assert!(chance.below(3) < 3);
            assert!((least..=most).contains(&chance.between(least, most)));
            assert!(!chance.hits(0));
            assert!(chance.hits(1000));
        }
    }
}
