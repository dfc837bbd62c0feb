//! A histogram at one moment: quantiles, differences, sums.

use std::collections::BTreeMap;

/// The quantiles that Envoy prints.
pub(crate) const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

/// The upper bounds of Envoy's Prometheus buckets.
pub(crate) const PROMETHEUS_BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300000.0,
    600000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Occupied buckets in rising order; the key is 0 for the value 0, else 1 + decade * 90 + mantissa.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    buckets: BTreeMap<u16, u64>,
}

impl Snapshot {
    pub(super) fn add_zero(&mut self, count: u64) {
        self.add_key(0, count);
    }

    pub(super) fn add(&mut self, decade: usize, mantissa: usize, count: u64) {
        // At most 1 + 12 * 90.
        self.add_key((1 + decade * super::DECADE_BUCKETS + mantissa) as u16, count);
    }

    fn add_key(&mut self, key: u16, count: u64) {
        if count > 0 {
            *self.buckets.entry(key).or_default() += count;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The sum by bucket middles, as circllhist approximates it.
    pub(crate) fn sum(&self) -> f64 {
        self.buckets
            .iter()
            .map(|(&key, &count)| {
                let (left, width) = span(key);
                // circllhist's midpoint leans to the lower end.
                let right = left + width;
                let middle = if left == 0.0 { 0.0 } else { left + width * left / (left + right) };
                middle * count as f64
            })
            .sum()
    }

    /// Lower end, width and count of each occupied bucket, rising.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.buckets.iter().map(|(&key, &count)| {
            let (left, width) = span(key);
            (left, width, count)
        })
    }

    /// What was recorded since `earlier`.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let buckets = self
            .buckets
            .iter()
            .filter_map(|(key, &count)| {
                let before = earlier.buckets.get(key).copied().unwrap_or(0);
                (count > before).then(|| (*key, count - before))
            })
            .collect();
        Self { buckets }
    }

    /// Values at [`QUANTILES`]; `None` when nothing is recorded.
    pub(crate) fn quantiles(&self) -> Option<[f64; QUANTILES.len()]> {
        let total = self.count();
        (total > 0).then(|| QUANTILES.map(|quantile| self.quantile(quantile, total)))
    }

    /// The value of the k-th sample, k = ⌈q·n⌉ but at least 1; the m samples of a bucket are taken to lie at its
    /// m equally spaced inner points, as measured on Envoy 1.40.
    fn quantile(&self, quantile: f64, total: u64) -> f64 {
        let rank = (quantile * total as f64).ceil().max(1.0);
        let mut below = 0.0;
        let mut value = 0.0;
        for (&key, &count) in &self.buckets {
            let (left, width) = span(key);
            let count = count as f64;
            value = left + width * ((rank - below).min(count) / (count + 1.0));
            if rank <= below + count {
                return value;
            }
            below += count;
        }
        value
    }

    /// How many recorded values count as at most `bound`: those of every bucket that begins at or below it, as measured
    /// on Envoy 1.40 with values that are bounds themselves.
    pub(crate) fn count_below(&self, bound: f64) -> u64 {
        self.buckets.iter().filter(|(key, _)| span(**key).0 <= bound).map(|(_, count)| count).sum()
    }
}

/// Lower end and width of a bucket.
fn span(key: u16) -> (f64, f64) {
    let Some(index) = key.checked_sub(1) else { return (0.0, 0.0) };
    let decade = i32::from(index) / super::DECADE_BUCKETS as i32;
    let digits = f64::from(i32::from(index) % super::DECADE_BUCKETS as i32 + 10);
    // Exact powers first, so that 1.0 is 1.0: 10^(decade-1) is a fraction for the first decade only.
    if decade == 0 {
        (digits / 10.0, 0.1)
    } else {
        (digits * 10_f64.powi(decade - 1), 10_f64.powi(decade - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;

    fn snapshot(values: &[u64]) -> Snapshot {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        let mut snapshot = Snapshot::default();
        histogram.collect(&mut snapshot);
        snapshot
    }

    #[test]
    fn samples_lie_where_envoy_1_40_prints_them() {
        let close =
            |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        for value in snapshot(&[39]).quantiles().expect("a value is recorded") {
            close(value, 39.5);
        }
        let ones = snapshot(&[1; 21]).quantiles().expect("values are recorded");
        let ranks = [1.0, 6.0, 11.0, 16.0, 19.0, 20.0, 21.0, 21.0, 21.0, 21.0];
        for (value, rank) in ones.iter().zip(ranks) {
            close(*value, 1.0 + 0.1 * rank / 22.0);
        }
    }

    #[test]
    fn the_sum_takes_circllhists_midpoints() {
        assert_eq!(snapshot(&[39]).sum(), 39.0 + 39.0 / 79.0);
        assert_eq!(snapshot(&[0, 0]).sum(), 0.0);
    }

    #[test]
    fn zeros_are_exact() {
        assert_eq!(snapshot(&[0, 0]).quantiles(), Some([0.0; 10]));
    }

    #[test]
    fn quantiles_cross_buckets() {
        let quantiles = snapshot(&[10, 20, 30, 40]).quantiles().expect("values are recorded");
        assert_eq!(quantiles[0], 10.5);
        assert_eq!(quantiles[2], 20.5);
        assert_eq!(quantiles[9], 40.5);
    }

    #[test]
    fn an_interval_holds_only_what_came_since() {
        let before = snapshot(&[5, 7]);
        assert_eq!(snapshot(&[5, 7, 9]).since(&before), snapshot(&[9]));
        assert!(before.since(&before).is_empty());
    }

    #[test]
    fn a_value_that_is_a_bound_counts_below_it() {
        let snapshot = snapshot(&[0, 1, 9, 10, 99, 250]);
        let rows = [(0.5, 1), (1.0, 2), (5.0, 2), (10.0, 4), (25.0, 4), (100.0, 5), (250.0, 6), (500.0, 6)];
        for (bound, expected) in rows {
            assert_eq!(snapshot.count_below(bound), expected, "{bound}");
        }
    }
}
