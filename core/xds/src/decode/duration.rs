//! Lengths of time.

use std::time::Duration;

use super::Reason;

/// The longest that Envoy takes: as many nanoseconds as 64 bits can tell, 292 years. A moment that is so far away can still
/// be told; what is much longer has no end that could.
const SECONDS_MAX: u64 = i64::MAX as u64 / 1_000_000_000;

/// A length of time that is not negative.
pub(super) fn decode(field: &'static str, duration: prost_types::Duration) -> Result<Duration, Reason> {
    let decoded = Duration::try_from(duration).ok().filter(|decoded| decoded.as_secs() <= SECONDS_MAX);
    decoded.ok_or_else(|| Reason::Invalid {
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
