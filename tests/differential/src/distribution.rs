//! Whether observed shares are the configured ones, within what chance allows.

use std::collections::BTreeMap;

use indexmap::IndexMap;

/// The chi-square value that chance exceeds once in a million runs, by degrees of freedom from 1.
const CRITICAL: &[f64] = &[23.93, 27.63, 30.66, 33.38, 35.89, 38.26, 40.52, 42.70, 44.81];

/// Why `counts` do not come from `weights`, if they do not.
pub fn refute(counts: &BTreeMap<String, usize>, weights: &IndexMap<String, u32>) -> Option<String> {
    let total: usize = counts.values().sum();
    let weight_sum: u32 = weights.values().sum();
    if total == 0 || weight_sum == 0 {
        return Some("no answers, or no weights".into());
    }
    if let Some(stranger) = counts.keys().find(|body| weights.get(*body).copied().unwrap_or_default() == 0) {
        return Some(format!("{} answers were {stranger:?}, which has no share", counts[stranger]));
    }
    let mut statistic = 0.0;
    let mut classes = 0_usize;
    for (body, weight) in weights.iter().filter(|(_, weight)| **weight > 0) {
        let expected = total as f64 * f64::from(*weight) / f64::from(weight_sum);
        let seen = counts.get(body).copied().unwrap_or_default() as f64;
        statistic += (seen - expected).powi(2) / expected;
        classes += 1;
    }
    let critical = if classes < 2 { f64::EPSILON } else { CRITICAL[(classes - 2).min(CRITICAL.len() - 1)] };
    (statistic > critical)
        .then(|| format!("{counts:?} does not fit {weights:?}: chi-square {statistic:.1} > {critical:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_accepted_and_refuted() {
        type Row<'a> = (&'a [(&'a str, usize)], &'a [(&'a str, u32)], bool);
        let rows: &[Row<'_>] = &[
            (&[("a", 800), ("b", 200)], &[("a", 80), ("b", 20)], true),
            (&[("a", 830), ("b", 170)], &[("a", 80), ("b", 20)], true),
            (&[("a", 900), ("b", 100)], &[("a", 80), ("b", 20)], false),
            (&[("a", 1000)], &[("a", 1), ("b", 0)], true),
            (&[("a", 999), ("b", 1)], &[("a", 1), ("b", 0)], false),
            (&[("a", 500), ("b", 250), ("c", 250)], &[("a", 2), ("b", 1), ("c", 1)], true),
            (&[("a", 400), ("b", 300), ("c", 300)], &[("a", 2), ("b", 1), ("c", 1)], false),
            (&[], &[("a", 1)], false),
        ];
        for (counts, weights, fits) in rows {
            let counts = counts.iter().map(|(body, count)| ((*body).to_owned(), *count)).collect();
            let weights = weights.iter().map(|(body, weight)| ((*body).to_owned(), *weight)).collect();
            assert_eq!(refute(&counts, &weights).is_none(), *fits, "{counts:?} {weights:?}");
        }
    }
}
