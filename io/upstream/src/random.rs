//! Random numbers for balancing and jitter: fast, per thread, not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    /// `RandomState` brings the operating system's entropy.
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u64));
}

/// The next number of the calling thread's SplitMix64 sequence.
pub fn next() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Uniform in `[0, bound)`; 0 for a bound of 0.
pub fn below(bound: u64) -> u64 {
    next().checked_rem(bound).unwrap_or(0)
}
