//! Time and chance, as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use selvedge_model::Timestamp;

/// Where the API gets the time and fresh identifiers from. A simulation has its own.
pub trait Surroundings: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// A UUID that nobody has seen.
    fn uuid(&self) -> String;
}

/// The machine's clock and entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Surroundings for System {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is a clock that was never set.
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn uuid(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}
