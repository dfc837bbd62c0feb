//! Time and chance, as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the role gets the time and random numbers from. A simulation has its own.
pub trait Surroundings: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// 64 bits of chance that nobody can guess: task tokens are made of them.
    fn draw(&self) -> u64;
}

/// The machine's clock and entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Surroundings for System {
    fn now_ms(&self) -> i64 {
        // A clock before 1970 is a clock that was never set.
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }

    fn draw(&self) -> u64 {
        // 122 of a UUID's 128 bits are the system's chance; folded, each of the 64 has its share.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        high ^ low.rotate_left(23)
    }
}
