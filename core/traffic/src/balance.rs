//! Which host of a cluster takes a request.
//!
//! A [`Balancer`] is built from the hosts and their health, and rebuilt when either changes; picking from it takes no
//! lock and allocates nothing. Hosts are named by their position in the list that it was built from.

pub mod least_request;
pub mod maglev;
pub mod priority;
pub mod random;
pub mod ring_hash;
pub mod round_robin;

use crate::LoadBalancing;
use least_request::LeastRequest;
use maglev::Maglev;
use priority::PriorityLoads;
use ring_hash::RingHash;
use round_robin::RoundRobin;

/// A host, as the balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What consistent hashing knows it by: `ip:port`, the same in every proxy.
    pub key: String,
    /// Relative share; 0 counts as 1.
    pub weight: u32,
    /// 0 is tried first.
    pub priority: u32,
    pub health: HostHealth,
}

/// What discovery, health checks and outlier detection say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostHealth {
    #[default]
    Healthy,
    /// Second choice.
    Degraded,
    Unhealthy,
}

/// Below this share of available hosts all hosts are used, healthy or not (Envoy's `healthy_panic_threshold`).
pub const PANIC_THRESHOLD_PERCENT_DEFAULT: u32 = 50;

/// What one pick is given besides the hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick {
    /// The request's hash, for the policies that hash; without one a random number takes its place.
    pub hash: Option<u64>,
    /// 0 for the first attempt; hashing policies move on with each retry.
    pub attempt: u32,
}

/// A pick's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Position in the list that the balancer was built from.
    pub host: usize,
    /// Too few hosts are available, so that all were drawn from (`lb_healthy_panic`).
    pub panicked: bool,
}

/// The choice among the hosts of one cluster.
#[derive(Debug)]
pub struct Balancer {
    loads: PriorityLoads,
    /// One a priority that carries load.
    tiers: Vec<Tier>,
}

#[derive(Debug, Default)]
struct Tier {
    /// Healthy hosts, or all hosts in panic.
    healthy: Option<Selector>,
    degraded: Option<Selector>,
    panicked: bool,
}

/// One strategy over one list of hosts.
#[derive(Debug)]
enum Selector {
    RoundRobin(RoundRobin),
    LeastRequest(LeastRequest),
    Random(Vec<usize>),
    RingHash(RingHash),
    Maglev(Maglev),
}

impl Balancer {
    /// Prepares the choice. `seed` is random: where the rotation starts.
    pub fn new(policy: LoadBalancing, hosts: &[Candidate], panic_threshold_percent: u32, seed: u64) -> Self {
        let loads = PriorityLoads::new(hosts, panic_threshold_percent);
        let select = |wanted: &dyn Fn(&Candidate) -> bool| {
            let list: Vec<usize> = (0..hosts.len()).filter(|index| wanted(&hosts[*index])).collect();
            (!list.is_empty()).then(|| Selector::new(policy, hosts, list, seed))
        };
        let tiers = (0..loads.len()).map(|tier| {
            let priority = loads.priority(tier);
            if loads.is_panicked(tier) {
                let healthy = select(&|host| host.priority == priority);
                return Tier { healthy, degraded: None, panicked: true };
            }
            let with =
                |health| select(&|host: &Candidate| host.priority == priority && host.health == health);
            Tier { healthy: with(HostHealth::Healthy), degraded: with(HostHealth::Degraded), panicked: false }
        });
        Self { tiers: tiers.collect(), loads }
    }

    /// Picks a host; `None` where there is none (503, flag `UH`).
    ///
    /// `active` tells the requests in flight at a host; `random` draws numbers, as many as the policy needs.
    pub fn pick(
        &self,
        pick: Pick,
        active: impl Fn(usize) -> u32,
        mut random: impl FnMut() -> u64,
    ) -> Option<Picked> {
        let point = pick.hash.unwrap_or_else(&mut random);
        let chosen = self.loads.choose(point)?;
        let tier = self.tiers.get(chosen.tier)?;
        let selector = if chosen.degraded { tier.degraded.as_ref() } else { tier.healthy.as_ref() }?;
        let host = match selector {
            Selector::RoundRobin(rotation) => rotation.pick(),
            Selector::LeastRequest(least) => least.pick(active, random),
            Selector::Random(list) => random::pick(list, random()),
            Selector::RingHash(ring) => ring.pick(pick.hash.unwrap_or_else(random), pick.attempt),
            Selector::Maglev(table) => table.pick(pick.hash.unwrap_or_else(random), pick.attempt),
        }?;
        Some(Picked { host, panicked: tier.panicked })
    }

    /// Whether any priority draws from all its hosts.
    pub fn is_panicked(&self) -> bool {
        self.tiers.iter().any(|tier| tier.panicked)
    }
}

impl Selector {
    fn new(policy: LoadBalancing, hosts: &[Candidate], list: Vec<usize>, seed: u64) -> Self {
        match policy {
            LoadBalancing::RoundRobin | LoadBalancing::ClusterProvided => {
                Self::RoundRobin(RoundRobin::new(hosts, list, seed))
            }
            LoadBalancing::LeastRequest { choice_count } => {
                Self::LeastRequest(LeastRequest::new(hosts, list, choice_count))
            }
            LoadBalancing::Random => Self::Random(list),
            LoadBalancing::RingHash { ring_size_min, ring_size_max } => {
                Self::RingHash(RingHash::new(hosts, &list, ring_size_min, ring_size_max))
            }
            LoadBalancing::Maglev { table_size } => Self::Maglev(Maglev::new(hosts, &list, table_size)),
        }
    }
}

/// Draws until a host is not rejected (it has not been tried), at most `reselect_max` times again; then the last draw
/// stands: Envoy's `retry_host_predicate` with `host_selection_retry_max_attempts`.
pub fn pick_avoiding<T>(
    mut draw: impl FnMut() -> Option<T>,
    rejected: impl Fn(&T) -> bool,
    reselect_max: u32,
) -> Option<T> {
    let mut picked = draw()?;
    for _ in 0..reselect_max {
        if !rejected(&picked) {
            break;
        }
        picked = draw()?;
    }
    Some(picked)
}

/// The weight that counts.
fn weight(host: &Candidate) -> u32 {
    host.weight.max(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hosts(weights: &[u32]) -> Vec<Candidate> {
        let host = |(index, weight): (usize, &u32)| Candidate {
            key: format!("10.0.0.{index}:80"),
            weight: *weight,
            priority: 0,
            health: HostHealth::Healthy,
        };
        weights.iter().enumerate().map(host).collect()
    }

    const POLICIES: [LoadBalancing; 5] = [
        LoadBalancing::RoundRobin,
        LoadBalancing::LeastRequest { choice_count: 2 },
        LoadBalancing::Random,
        LoadBalancing::RingHash { ring_size_min: 1024, ring_size_max: 8_388_608 },
        LoadBalancing::Maglev { table_size: 251 },
    ];

    fn counts(balancer: &Balancer, hosts: usize, draws: u64) -> Vec<u64> {
        let mut counts = vec![0; hosts];
        let mut number = 0_u64;
        for _ in 0..draws {
            let random = || {
                number += 1;
                xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0)
            };
            if let Some(picked) = balancer.pick(Pick::default(), |_| 0, random) {
                counts[picked.host] += 1;
            }
        }
        counts
    }

    #[test]
    fn every_policy_gives_every_healthy_host_its_part_and_no_other_any() {
        let mut hosts = hosts(&[1, 1, 1, 1]);
        hosts[2].health = HostHealth::Unhealthy;
        for policy in POLICIES {
            let balancer = Balancer::new(policy, &hosts, 50, 7);
            let counts = counts(&balancer, 4, 3_000);
            assert_eq!(counts[2], 0, "{policy:?}");
            for healthy in [0, 1, 3] {
                assert!((500..2_000).contains(&counts[healthy]), "{policy:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn in_panic_every_host_is_drawn_from() {
        let mut hosts = hosts(&[1, 1, 1, 1, 1]);
        hosts[..3].iter_mut().for_each(|host| host.health = HostHealth::Unhealthy);
        for policy in POLICIES {
            let balancer = Balancer::new(policy, &hosts, 50, 7);
            assert!(balancer.is_panicked());
            assert!(counts(&balancer, 5, 2_000).iter().all(|count| *count > 0), "{policy:?}");
        }
        let fails = Balancer::new(LoadBalancing::RoundRobin, &hosts, 0, 7);
        assert!(!fails.is_panicked(), "a threshold of 0 switches panic off");
        assert_eq!(counts(&fails, 5, 100)[..3], [0, 0, 0]);
    }

    #[test]
    fn without_hosts_there_is_no_pick() {
        for policy in POLICIES {
            assert_eq!(Balancer::new(policy, &[], 50, 7).pick(Pick::default(), |_| 0, || 3), None);
        }
        let mut dead = hosts(&[1]);
        dead[0].health = HostHealth::Unhealthy;
        let balancer = Balancer::new(LoadBalancing::Random, &dead, 0, 7);
        assert_eq!(balancer.pick(Pick::default(), |_| 0, || 3), None);
    }

    #[test]
    fn a_degraded_host_takes_what_the_healthy_cannot() {
        let mut hosts = hosts(&[1, 1, 1, 1]);
        hosts[1..].iter_mut().for_each(|host| host.health = HostHealth::Degraded);
        let balancer = Balancer::new(LoadBalancing::Random, &hosts, 50, 7);
        let counts = counts(&balancer, 4, 10_000);
        assert!((3_000..4_000).contains(&counts[0]), "140 % of a quarter: {counts:?}");
    }

    #[test]
    fn hosts_already_tried_are_avoided_while_draws_last() {
        for (draws, reselect_max, picked) in [
            ([1, 1, 2], 5, Some(2)),
            ([1, 1, 2], 1, Some(1)),
            ([2, 1, 1], 5, Some(2)),
            ([1, 1, 1], 0, Some(1)),
        ] {
            let mut draws = draws.into_iter();
            assert_eq!(pick_avoiding(|| draws.next(), |host| *host == 1, reselect_max), picked);
        }
        assert_eq!(pick_avoiding(|| None::<usize>, |_| false, 5), None);
    }
}
