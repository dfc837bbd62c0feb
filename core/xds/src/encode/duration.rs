//! Lengths of time.

use std::time::Duration;

/// As protobuf has it. Seconds beyond its range (ten thousand years) become its largest value.
pub(super) fn encode(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}
