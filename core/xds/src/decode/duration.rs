//! Lengths of time.

use std::time::Duration;

use super::Reason;

/// A length of time that is not negative.
pub(super) fn decode(field: &'static str, duration: prost_types::Duration) -> Result<Duration, Reason> {
    Duration::try_from(duration).map_err(|_| Reason::Invalid {
        field,
        value: format!("{} s {} ns", duration.seconds, duration.nanos),
        expected: "is negative or too long",
    })
}

pub(super) fn optional(
    field: &'static str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Reason> {
    duration.map(|duration| decode(field, duration)).transpose()
}

pub(super) fn or(
    field: &'static str,
    duration: Option<prost_types::Duration>,
    default: Duration,
) -> Result<Duration, Reason> {
    Ok(optional(field, duration)?.unwrap_or(default))
}
