//! Virtual time.

use std::fmt;
use std::ops::Add;
use std::time::{Duration, Instant};

/// Time since the beginning of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The beginning.
    pub const START: Self = Self(Duration::ZERO);

    /// The time passed since the beginning.
    pub const fn since_start(self) -> Duration {
        self.0
    }
}

/// Tells code that wants an [`Instant`] what time it is. The instants' values depend on the machine, so they are
/// only ever compared with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock for one run.
    pub fn new() -> Self {
        Self { epoch: Instant::now() }
    }

    /// The instant that stands for `moment`.
    pub fn instant(self, moment: Moment) -> Instant {
        self.epoch + moment.0
    }

    /// The moment that `instant` stands for.
    pub fn moment(self, instant: Instant) -> Moment {
        Moment(instant.saturating_duration_since(self.epoch))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0 + later)
    }
}

impl fmt::Display for Moment {
    /// Seconds with three decimals, as in `12.345`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0.as_secs(), self.0.subsec_millis());
        f.pad(&text)
    }
}
