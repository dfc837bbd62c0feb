//! A length of time as App Mesh writes it: `{"unit": "s", "value": 15}`.

use crate::shape::{Bounds, Shape};
use crate::structure::{enumeration, structure};

const DURATION_VALUE: Shape = Shape::long("DurationValue", Bounds::at_least(0));

structure! {
    /// A length of time. The model requires neither member, so either may be absent.
    pub struct Duration {
        /// A unit of time.
        optional unit "unit": DurationUnit,
        /// A number of time units.
        optional value "value": u64 => &DURATION_VALUE,
    }
}

enumeration! {
    /// The unit of a [`Duration`].
    pub enum DurationUnit {
        Seconds "s",
        Milliseconds "ms",
    }
}

impl Duration {
    /// The same length as a standard duration; `None` when a member is absent.
    ///
    /// A length beyond 2⁶⁴ milliseconds saturates.
    pub fn to_std(&self) -> Option<std::time::Duration> {
        let value = self.value?;
        Some(match self.unit? {
            DurationUnit::Seconds => std::time::Duration::from_secs(value),
            DurationUnit::Milliseconds => std::time::Duration::from_millis(value),
        })
    }

    /// The same length in milliseconds; `None` when a member is absent.
    pub fn to_millis(&self) -> Option<u64> {
        self.to_std().map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    }
}
