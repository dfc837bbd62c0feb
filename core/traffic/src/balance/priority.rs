//! How load spreads over priorities, and when a cluster panics.

use std::collections::BTreeMap;

use super::{Candidate, HostHealth};

/// A priority counts as fully available while this many percent of its hosts would carry the load: with 140, up to
/// 28 % of the hosts may be missing before the next priority is asked.
const OVERPROVISIONING_PERCENT: u64 = 140;

/// The percentages that each priority takes, healthy and degraded hosts apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriorityLoads {
    tiers: Vec<TierLoad>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TierLoad {
    priority: u32,
    healthy_percent: u64,
    degraded_percent: u64,
    panicked: bool,
}

/// What a random number chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub tier: usize,
    pub degraded: bool,
}

#[derive(Clone, Copy, Default)]
struct Count {
    all: u64,
    healthy: u64,
    degraded: u64,
}

impl PriorityLoads {
    /// Spreads 100 % over the priorities in their order: healthy hosts of all priorities first, then degraded ones.
    pub fn new(hosts: &[Candidate], panic_threshold_percent: u32) -> Self {
        let mut counts: BTreeMap<u32, Count> = BTreeMap::new();
        for host in hosts {
            let count = counts.entry(host.priority).or_default();
            count.all += 1;
            count.healthy += u64::from(host.health == HostHealth::Healthy);
            count.degraded += u64::from(host.health == HostHealth::Degraded);
        }
        let available = |part: u64, all: u64| (OVERPROVISIONING_PERCENT * part / all).min(100);
        let total: u64 = counts
            .values()
            .map(|count| available(count.healthy, count.all) + available(count.degraded, count.all))
            .sum::<u64>()
            .min(100);
        let threshold = u64::from(panic_threshold_percent);
        let is_panicked =
            |count: &Count| total < 100 && 100 * (count.healthy + count.degraded) / count.all < threshold;
        let mut tiers: Vec<TierLoad> = counts
            .iter()
            .map(|(priority, count)| TierLoad {
                priority: *priority,
                healthy_percent: available(count.healthy, count.all),
                degraded_percent: available(count.degraded, count.all),
                panicked: is_panicked(count),
            })
            .collect();
        if !tiers.is_empty() && tiers.iter().all(|tier| tier.panicked) {
            spread_by_size(&mut tiers, counts.values().map(|count| count.all));
        } else {
            normalise(&mut tiers, total);
        }
        Self { tiers }
    }

    /// How many priorities there are.
    pub fn len(&self) -> usize {
        self.tiers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty()
    }

    pub fn priority(&self, tier: usize) -> u32 {
        self.tiers[tier].priority
    }

    /// Whether this priority draws from all its hosts.
    pub fn is_panicked(&self, tier: usize) -> bool {
        self.tiers[tier].panicked
    }

    /// The priority for a random number (or hash); `None` without hosts.
    pub fn choose(&self, number: u64) -> Option<Chosen> {
        let mut point = number % 100;
        let healthy = self.tiers.iter().enumerate().map(|(tier, load)| (tier, false, load.healthy_percent));
        let degraded = self.tiers.iter().enumerate().map(|(tier, load)| (tier, true, load.degraded_percent));
        for (tier, degraded, percent) in healthy.chain(degraded) {
            match point.checked_sub(percent) {
                Some(rest) => point = rest,
                None => return Some(Chosen { tier, degraded }),
            }
        }
        None
    }
}

/// Everything panics: all hosts of all priorities are equal.
fn spread_by_size(tiers: &mut [TierLoad], sizes: impl Iterator<Item = u64> + Clone) {
    let all: u64 = sizes.clone().sum();
    for (tier, size) in tiers.iter_mut().zip(sizes) {
        tier.healthy_percent = 100 * size / all;
        tier.degraded_percent = 0;
    }
    give_remainder_to_first(tiers);
}

/// Each takes what it can of the 100 % that those before it left; shares grow where the whole has too little.
fn normalise(tiers: &mut [TierLoad], total: u64) {
    if total == 0 {
        tiers.iter_mut().take(1).for_each(|tier| tier.healthy_percent = 100);
        return;
    }
    let mut left = 100;
    let mut take = |percent: &mut u64| {
        *percent = (*percent * 100 / total).min(left);
        left -= *percent;
    };
    tiers.iter_mut().for_each(|tier| take(&mut tier.healthy_percent));
    tiers.iter_mut().for_each(|tier| take(&mut tier.degraded_percent));
    give_remainder_to_first(tiers);
}

/// Rounding must not lose a request.
fn give_remainder_to_first(tiers: &mut [TierLoad]) {
    let given: u64 = tiers.iter().map(|tier| tier.healthy_percent + tier.degraded_percent).sum();
    if let Some(first) = tiers.iter_mut().find(|tier| tier.healthy_percent > 0) {
        first.healthy_percent += 100 - given;
    } else if let Some(first) = tiers.iter_mut().find(|tier| tier.degraded_percent > 0) {
        first.degraded_percent += 100 - given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each priority: hosts, of them healthy, of them degraded.
    fn loads(counts: &[(usize, usize, usize)], threshold: u32) -> Vec<(u64, u64, bool)> {
        let mut hosts = Vec::new();
        for (priority, (all, healthy, degraded)) in counts.iter().enumerate() {
            for number in 0..*all {
                let health = match number {
                    number if number < *healthy => HostHealth::Healthy,
                    number if number < healthy + degraded => HostHealth::Degraded,
                    _ => HostHealth::Unhealthy,
                };
                hosts.push(Candidate { key: String::new(), weight: 1, priority: priority as u32, health });
            }
        }
        let loads = PriorityLoads::new(&hosts, threshold);
        loads.tiers.iter().map(|tier| (tier.healthy_percent, tier.degraded_percent, tier.panicked)).collect()
    }

    /// The first rows are the table of Envoy's documentation on priority levels.
    #[test]
    fn load_spills_over_as_envoy_documents() {
        for (counts, expected) in [
            (&[(100, 100, 0), (100, 100, 0)][..], &[(100, 0, false), (0, 0, false)][..]),
            (&[(100, 72, 0), (100, 72, 0)], &[(100, 0, false), (0, 0, false)]),
            (&[(100, 71, 0), (100, 71, 0)], &[(99, 0, false), (1, 0, false)]),
            (&[(100, 50, 0), (100, 60, 0)], &[(70, 0, false), (30, 0, false)]),
            (&[(100, 25, 0), (100, 100, 0)], &[(35, 0, false), (65, 0, false)]),
            (&[(100, 0, 0), (100, 100, 0)], &[(0, 0, false), (100, 0, false)]),
            (&[(4, 1, 3)], &[(35, 65, false)]),
            (&[(10, 4, 0)], &[(100, 0, true)]),
            (&[(10, 0, 0)], &[(100, 0, true)]),
            (&[(10, 6, 0)], &[(100, 0, false)]),
            (&[(10, 2, 0), (30, 3, 0)], &[(25, 0, true), (75, 0, true)]),
            (&[], &[]),
        ] {
            assert_eq!(loads(counts, 50), expected, "{counts:?}");
        }
    }

    #[test]
    fn a_number_chooses_by_percent() {
        let tier = |healthy_percent, degraded_percent| TierLoad {
            priority: 0,
            healthy_percent,
            degraded_percent,
            panicked: false,
        };
        let loads = PriorityLoads { tiers: vec![tier(60, 10), tier(30, 0)] };
        for (number, tier, degraded) in
            [(0, 0, false), (59, 0, false), (60, 1, false), (89, 1, false), (190, 0, true)]
        {
            assert_eq!(loads.choose(number), Some(Chosen { tier, degraded }), "{number}");
        }
        assert_eq!(PriorityLoads::default().choose(0), None);
    }
}
