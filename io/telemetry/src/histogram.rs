//! Log-linear histograms: ninety buckets a decade, as Envoy's circllhist keeps them.
//!
//! A value v with 10^e ≤ v < 10^(e+1) falls into the bucket of its first two digits, so a quantile is off by at most
//! ten per cent, and Envoy's own interpolation gives Envoy's own figures.

pub(crate) mod snapshot;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use snapshot::Snapshot;

/// Two-digit mantissas of one decade: 10 to 99.
pub(crate) const DECADE_BUCKETS: usize = 90;
/// 1 up to just below 10^12; what lies above counts in the last bucket.
pub(crate) const DECADES: usize = 12;

/// Counts of recorded values; nothing is allocated before the first, and then only the decades that occur.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<Buckets>>);

#[derive(Debug, Default)]
struct Buckets {
    zero: AtomicU64,
    decades: [OnceLock<Box<[AtomicU64; DECADE_BUCKETS]>>; DECADES],
}

impl Histogram {
    /// Counts `value`: milliseconds, or a plain number.
    pub fn record(&self, value: u64) {
        let buckets = self.0.get_or_init(Box::default);
        let Some((decade, mantissa)) = bucket(value) else {
            buckets.zero.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let decade =
            buckets.decades[decade].get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        decade[mantissa].fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing was ever recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Adds what is recorded to `snapshot`.
    pub(crate) fn collect(&self, snapshot: &mut Snapshot) {
        let Some(buckets) = self.0.get() else { return };
        snapshot.add_zero(buckets.zero.load(Ordering::Relaxed));
        for (decade, counts) in buckets.decades.iter().enumerate() {
            let Some(counts) = counts.get() else { continue };
            for (mantissa, count) in counts.iter().enumerate() {
                snapshot.add(decade, mantissa, count.load(Ordering::Relaxed));
            }
        }
    }
}

/// Decade and mantissa index of a value; `None` for 0.
fn bucket(value: u64) -> Option<(usize, usize)> {
    let decade = value.checked_ilog10()? as usize;
    if decade >= DECADES {
        return Some((DECADES - 1, DECADE_BUCKETS - 1));
    }
    // The first two digits: 7 is 70, 42 is 42, 1234 is 12.
    let digits = match decade {
        0 => value * 10,
        _ => value / 10_u64.pow(decade as u32 - 1),
    };
    Some((decade, digits as usize - 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_decade_and_first_two_digits() {
        let rows = [
            (0, None),
            (1, Some((0, 0))),
            (7, Some((0, 60))),
            (10, Some((1, 0))),
            (42, Some((1, 32))),
            (99, Some((1, 89))),
            (100, Some((2, 0))),
            (1_234, Some((3, 2))),
            (999_999_999_999, Some((11, 89))),
            (u64::MAX, Some((11, 89))),
        ];
        for (value, expected) in rows {
            assert_eq!(bucket(value), expected, "{value}");
        }
    }
}
