//! The choice among weighted clusters.

use crate::WeightedCluster;

/// Picks one cluster with a random number, each with the probability of its share, as Envoy does: the number modulo
/// the sum falls into one cluster's range. `None` if all weights are 0 or there is no cluster. Allocates nothing.
pub fn pick(clusters: &[WeightedCluster], random: u64) -> Option<&WeightedCluster> {
    place(clusters, random).map(|place| &clusters[place])
}

/// The place of the cluster that [`pick`] picks.
pub fn place(clusters: &[WeightedCluster], random: u64) -> Option<usize> {
    if let [only] = clusters {
        return (only.weight > 0).then_some(0);
    }
    let mut point = random.checked_rem(total(clusters))?;
    clusters.iter().position(|cluster| match point.checked_sub(u64::from(cluster.weight)) {
        Some(rest) => {
            point = rest;
            false
        }
        None => true,
    })
}

/// The sum of all weights.
pub fn total(clusters: &[WeightedCluster]) -> u64 {
    clusters.iter().map(|cluster| u64::from(cluster.weight)).sum()
}

/// A cluster's share of the traffic in percent; 0 if all weights are 0.
pub fn share_percent(cluster: &WeightedCluster, clusters: &[WeightedCluster]) -> f64 {
    match total(clusters) {
        0 => 0.0,
        total => f64::from(cluster.weight) * 100.0 / total as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(weights: &[u32]) -> Vec<WeightedCluster> {
        let cluster = |(index, weight): (usize, &u32)| WeightedCluster::new(index.to_string(), *weight);
        weights.iter().enumerate().map(cluster).collect()
    }

    #[test]
    fn each_number_falls_into_one_range() {
        for (weights, random, picked) in [
            (&[80, 20][..], 0, Some("0")),
            (&[80, 20], 79, Some("0")),
            (&[80, 20], 80, Some("1")),
            (&[80, 20], 99, Some("1")),
            (&[80, 20], 100, Some("0")),
            (&[0, 5], 0, Some("1")),
            (&[5, 0, 5], 5, Some("2")),
            (&[1], u64::MAX, Some("0")),
            (&[0, 0], 7, None),
            (&[0], 7, None),
            (&[], 7, None),
            (&[u32::MAX, u32::MAX], u64::from(u32::MAX), Some("1")),
        ] {
            let clusters = clusters(weights);
            assert_eq!(
                pick(&clusters, random).map(|cluster| cluster.name.as_str()),
                picked,
                "{weights:?} {random}"
            );
        }
    }

    #[test]
    fn over_a_whole_period_the_counts_are_the_weights() {
        let clusters = clusters(&[3, 0, 7, 90]);
        let mut counts = [0; 4];
        for random in 0..100 {
            let picked = pick(&clusters, random).expect("the sum is not 0");
            counts[picked.name.parse::<usize>().expect("named by position")] += 1;
        }
        assert_eq!(counts, [3, 0, 7, 90]);
    }

    #[test]
    fn shares_are_relative() {
        let clusters = clusters(&[1, 3]);
        assert_eq!(
            clusters.iter().map(|one| share_percent(one, &clusters)).collect::<Vec<_>>(),
            [25.0, 75.0]
        );
    }
}
