//! How load spreads over priorities, and when a cluster panics.

use std::collections::BTreeMap;

use super::{Candidate, HostHealth};

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
    /// What it could take by itself, before the others are looked at.
    healthy_available: u64,
    degraded_available: u64,
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
    ///
    /// A priority counts as fully available while `overprovisioning_percent` of its hosts would carry the load.
    pub fn new(hosts: &[Candidate], overprovisioning_percent: u32, panic_threshold_percent: u32) -> Self {
        let mut counts: BTreeMap<u32, Count> = BTreeMap::new();
        for host in hosts {
            let count = counts.entry(host.priority).or_default();
            count.all += u64::from(host.health != HostHealth::Excluded);
            count.healthy += u64::from(host.health == HostHealth::Healthy);
            count.degraded += u64::from(host.health == HostHealth::Degraded);
        }
        let factor = u64::from(overprovisioning_percent);
        let available = |part: u64, all: u64| (factor * part).checked_div(all).unwrap_or(0).min(100);
        let total: u64 = counts
            .values()
            .map(|count| available(count.healthy, count.all) + available(count.degraded, count.all))
            .sum::<u64>()
            .min(100);
        let threshold = u64::from(panic_threshold_percent);
        let is_panicked = |count: &Count| {
            total < 100
                && (100 * (count.healthy + count.degraded)).checked_div(count.all).unwrap_or(0) < threshold
        };
        let mut tiers: Vec<TierLoad> = counts
            .iter()
            .map(|(priority, count)| TierLoad {
                priority: *priority,
                healthy_percent: available(count.healthy, count.all),
                degraded_percent: available(count.degraded, count.all),
                healthy_available: available(count.healthy, count.all),
                degraded_available: available(count.degraded, count.all),
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

    /// The priority for a random number (or hash); `None` without hosts. `avoided` are priorities, as bits, that are passed
    /// over if any other has hosts.
    pub fn choose(&self, number: u64, avoided: u64) -> Option<Chosen> {
        if avoided != 0
            && let Some(chosen) = self.choose_without(number, avoided)
        {
            return Some(chosen);
        }
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

impl PriorityLoads {
    fn choose_without(&self, number: u64, avoided: u64) -> Option<Chosen> {
        let kept = |tier: &TierLoad| avoided.checked_shr(tier.priority).is_none_or(|bits| bits & 1 == 0);
        let tiers = || self.tiers.iter().enumerate().filter(|(_, tier)| kept(tier));
        let healthy = || tiers().map(|(at, tier)| (at, false, tier.healthy_available));
        let degraded = || tiers().map(|(at, tier)| (at, true, tier.degraded_available));
        let total = healthy().chain(degraded()).map(|(_, _, available)| available).sum::<u64>().min(100);
        let point = (number % 100).checked_mul(total)? / 100;
        let mut sum = 0;
        healthy().chain(degraded()).find_map(|(tier, degraded, available)| {
            sum += available;
            (point < sum).then_some(Chosen { tier, degraded })
        })
    }
}

/// Everything panics: all hosts of all priorities are equal.
fn spread_by_size(tiers: &mut [TierLoad], sizes: impl Iterator<Item = u64> + Clone) {
    let all: u64 = sizes.clone().sum();
    for (tier, size) in tiers.iter_mut().zip(sizes) {
        tier.healthy_percent = (100 * size).checked_div(all).unwrap_or(0);
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
                hosts.push(Candidate {
                    key: String::new(),
                    weight: 1,
                    warmth: 1.0,
                    priority: priority as u32,
                    locality: 0,
                    health,
                });
            }
        }
        let loads = PriorityLoads::new(&hosts, 140, threshold);
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
            healthy_available: healthy_percent,
            degraded_available: degraded_percent,
            panicked: false,
        };
        let loads = PriorityLoads { tiers: vec![tier(60, 10), tier(30, 0)] };
        for (number, tier, degraded) in
            [(0, 0, false), (59, 0, false), (60, 1, false), (89, 1, false), (190, 0, true)]
        {
            assert_eq!(loads.choose(number, 0), Some(Chosen { tier, degraded }), "{number}");
        }
        assert_eq!(PriorityLoads::default().choose(0, 0), None);
    }
}
