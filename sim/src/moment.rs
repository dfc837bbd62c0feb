//! Virtual time.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

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
