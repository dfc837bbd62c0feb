//! Which host of a cluster takes a request.
//!
//! A [`Balancer`] is built from the hosts and their health, and rebuilt when either changes; picking from it takes no
//! lock and, but for hosts at their bound under `hash_balance_percent`, allocates nothing. Hosts are named by their
//! position in the list that it was built from.

pub mod bounded;
pub mod least_request;
pub mod locality;
pub mod maglev;
pub mod mersenne;
pub mod murmur;
pub mod priority;
pub mod random;
pub mod ring_hash;
pub mod round_robin;

use crate::endpoint::OVERPROVISIONING_PERCENT_DEFAULT;
use crate::{LoadBalancing, LocalityRouting, Placement};
use bounded::Bounds;
use least_request::LeastRequest;
use locality::{Drawn, WeightedLocalities, ZoneRouting, Zones};
use maglev::Maglev;
use priority::PriorityLoads;
use ring_hash::RingHash;
use round_robin::RoundRobin;

/// A host, as the balancer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What consistent hashing knows it by: `ip:port` (or its name, or its label), the same in every proxy.
    pub key: String,
    /// Relative share; 0 counts as 1.
    pub weight: u32,
    /// The part of its share that it has during slow start, in `(0, 1]`.
    pub warmth: f64,
    /// 0 is tried first.
    pub priority: u32,
    /// Where it stands: its position in [`Choice::localities`].
    pub locality: usize,
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
    /// Not known yet, and until then left out of all arithmetic.
    Excluded,
}

/// How the choice is made.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    pub policy: LoadBalancing,
    pub placement: Placement,
    pub overprovisioning_percent: u32,
    /// The weight of each locality that candidates name; 0 is none.
    pub localities: &'a [u32],
    /// For zone-aware routing: what is known of the proxy's own cluster.
    pub zones: Option<Zones<'a>>,
    /// Random: where rotations start.
    pub seed: u64,
}

impl Choice<'_> {
    /// A choice by `policy` with all else at its default.
    pub fn by(policy: LoadBalancing, seed: u64) -> Self {
        Self {
            policy,
            placement: Placement::default(),
            overprovisioning_percent: OVERPROVISIONING_PERCENT_DEFAULT,
            localities: &[],
            zones: None,
            seed,
        }
    }
}

/// What one pick is given besides the hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick {
    /// The request's hash, for the policies that hash; without one a random number takes its place.
    pub hash: Option<u64>,
    /// 0 for a request's first draw; hashing policies move on with each draw that was rejected.
    pub draw: u32,
    /// Priorities to pass over if any other has hosts, as bits: those that earlier tries were sent to.
    pub priorities_avoided: u64,
}

/// A pick's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Position in the list that the balancer was built from.
    pub host: usize,
    /// Too few hosts are available, so that all were drawn from (`lb_healthy_panic`).
    pub panicked: bool,
    /// How zone-aware routing decided, where it did.
    pub zone: Option<Drawn>,
}

/// Why there is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHost {
    /// There is none that may be used.
    None,
    /// Too few are available, and the cluster is set not to ask anybody then.
    Panicked,
}

/// The choice among the hosts of one cluster.
#[derive(Debug)]
pub struct Balancer {
    loads: PriorityLoads,
    /// One a priority that carries load.
    tiers: Vec<Tier>,
    fails_on_panic: bool,
    /// Whether the request's hash decides.
    hashes: bool,
    hosts: usize,
    /// Hosts that must not get much more than the average.
    bounds: Option<u32>,
    zone_problem: Option<ZoneProblem>,
}

/// Why zone-aware routing is off although it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneProblem {
    /// `lb_zone_cluster_too_small`
    TooSmall,
    /// The clusters do not have hosts in the same zones.
    NoZones,
}

#[derive(Debug, Default)]
struct Tier {
    /// Healthy hosts, or all hosts in panic.
    healthy: Option<Group>,
    degraded: Option<Group>,
    panicked: bool,
}

/// Hosts of one priority and standing.
#[derive(Debug)]
enum Group {
    Whole(Selector),
    Weighted(WeightedLocalities<Selector>),
    Zones(Box<ZoneRouting<Selector>>),
}

/// One strategy over one list of hosts.
#[derive(Debug)]
enum Selector {
    RoundRobin(RoundRobin),
    LeastRequest(LeastRequest),
    Random(Vec<usize>),
    RingHash(RingHash, Option<Bounds>),
    Maglev(Maglev, Option<Bounds>),
}

/// A host with its share of a list, all shares of a list adding up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub host: usize,
    pub share: f64,
}

impl Balancer {
    /// Prepares the choice.
    pub fn new(hosts: &[Candidate], choice: &Choice<'_>) -> Self {
        let placement = &choice.placement;
        let loads = PriorityLoads::new(
            hosts,
            choice.overprovisioning_percent,
            placement.panic_threshold_percent.max(0.0) as u32,
        );
        let (enabled_percent, hosts_min, fails_on_panic) = match placement.locality {
            LocalityRouting::ZoneAware { enabled_percent, hosts_min, fail_on_panic } => {
                (enabled_percent, hosts_min, fail_on_panic)
            }
            _ => (0.0, 0, false),
        };
        let group = |wanted: &dyn Fn(&Candidate) -> bool, panicked: bool| {
            let list: Vec<usize> = (0..hosts.len()).filter(|index| wanted(&hosts[*index])).collect();
            (!list.is_empty()).then(|| Group::new(hosts, choice, list, panicked))
        };
        let mut zone_problem = None;
        let tiers = (0..loads.len()).map(|tier| {
            let priority = loads.priority(tier);
            if loads.is_panicked(tier) {
                let healthy = group(&|host| host.priority == priority, true);
                return Tier { healthy, degraded: None, panicked: true };
            }
            let with =
                |health| group(&|host: &Candidate| host.priority == priority && host.health == health, false);
            let (mut healthy, degraded) = (with(HostHealth::Healthy), with(HostHealth::Degraded));
            // Zones are a matter of the first priority's healthy hosts, as in Envoy.
            if priority == 0
                && !choice.policy.hashes()
                && let Some(zones) = &choice.zones
            {
                let list: Vec<usize> = (0..hosts.len())
                    .filter(|at| hosts[*at].priority == 0 && hosts[*at].health == HostHealth::Healthy)
                    .collect();
                match zones.problem(hosts, &list, hosts_min) {
                    None => {
                        let select = |list: Vec<usize>| Selector::new(hosts, choice, list);
                        let routing = ZoneRouting::new(hosts, &list, zones, enabled_percent, select);
                        healthy = Some(Group::Zones(Box::new(routing)));
                    }
                    problem => zone_problem = problem,
                }
            }
            Tier { healthy, degraded, panicked: false }
        });
        Self {
            tiers: tiers.collect(),
            loads,
            fails_on_panic,
            hashes: choice.policy.hashes(),
            hosts: hosts.len(),
            bounds: placement.hash_balance_percent.filter(|_| choice.policy.hashes()),
            zone_problem,
        }
    }

    /// Picks a host.
    ///
    /// `active` tells the requests in flight at a host; `random` draws numbers, as many as the policy needs.
    ///
    /// # Errors
    /// There is none (503, flag `UH`).
    pub fn pick(
        &self,
        pick: Pick,
        active: impl Fn(usize) -> u32,
        mut random: impl FnMut() -> u64,
    ) -> Result<Picked, NoHost> {
        let hash = pick.hash.filter(|_| self.hashes).unwrap_or_else(&mut random);
        let chosen = self.loads.choose(hash, pick.priorities_avoided).ok_or(NoHost::None)?;
        let tier = self.tiers.get(chosen.tier).ok_or(NoHost::None)?;
        if tier.panicked && self.fails_on_panic {
            return Err(NoHost::Panicked);
        }
        let group = if chosen.degraded { tier.degraded.as_ref() } else { tier.healthy.as_ref() };
        let (selector, zone) = match group.ok_or(NoHost::None)? {
            Group::Whole(selector) => (selector, None),
            Group::Weighted(localities) => (localities.draw(random()).ok_or(NoHost::None)?, None),
            Group::Zones(zones) => {
                let (selector, drawn) = zones.draw(&mut random).ok_or(NoHost::None)?;
                (selector, Some(drawn))
            }
        };
        let all_active = || (0..self.hosts).map(|host| u64::from(active(host))).sum::<u64>();
        let host = match selector {
            Selector::RoundRobin(rotation) => rotation.pick(),
            Selector::LeastRequest(least) => least.pick(&active, random),
            Selector::Random(list) => random::pick(list, random()),
            Selector::RingHash(ring, bounds) => {
                let found = ring.pick(hash, pick.draw);
                self.bounded(found, bounds.as_ref(), hash, &active, all_active)
            }
            Selector::Maglev(table, bounds) => {
                let found = table.pick(hash, pick.draw);
                self.bounded(found, bounds.as_ref(), hash, &active, all_active)
            }
        };
        let host = host.ok_or(NoHost::None)?;
        Ok(Picked { host, panicked: tier.panicked, zone })
    }

    fn bounded(
        &self,
        found: Option<usize>,
        bounds: Option<&Bounds>,
        hash: u64,
        active: impl Fn(usize) -> u32,
        all_active: impl FnOnce() -> u64,
    ) -> Option<usize> {
        let found = found?;
        Some(match (bounds, self.bounds) {
            (Some(bounds), Some(percent)) => bounds.settle(found, hash, percent, active, all_active()),
            _ => found,
        })
    }

    /// Whether any priority draws from all its hosts.
    pub fn is_panicked(&self) -> bool {
        self.tiers.iter().any(|tier| tier.panicked)
    }

    /// Why zones do not count although they should.
    pub fn zone_problem(&self) -> Option<ZoneProblem> {
        self.zone_problem
    }

    /// Whether the request's hash decides.
    pub fn hashes(&self) -> bool {
        self.hashes
    }
}

impl LoadBalancing {
    /// Whether the request's hash decides.
    pub const fn hashes(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
}

impl Group {
    fn new(hosts: &[Candidate], choice: &Choice<'_>, list: Vec<usize>, panicked: bool) -> Self {
        let weighted = choice.placement.locality == LocalityRouting::Weighted;
        // In panic localities do not count, except to the policies that hash, which lay one table for all.
        if weighted && !panicked && !choice.policy.hashes() {
            let select = |list: Vec<usize>| Selector::new(hosts, choice, list);
            let localities = WeightedLocalities::new(
                hosts,
                &list,
                choice.localities,
                choice.overprovisioning_percent,
                select,
            );
            if let Some(localities) = localities {
                return Self::Weighted(localities);
            }
        }
        Self::Whole(Selector::new(hosts, choice, list))
    }
}

impl Selector {
    fn new(hosts: &[Candidate], choice: &Choice<'_>, list: Vec<usize>) -> Self {
        let shares = || {
            let weighted = choice.placement.locality == LocalityRouting::Weighted;
            locality::shares(hosts, &list, if weighted { choice.localities } else { &[] })
        };
        let bounds =
            |shares: &[Share]| choice.placement.hash_balance_percent.map(|_| Bounds::new(shares.to_vec()));
        match choice.policy {
            LoadBalancing::RoundRobin | LoadBalancing::ClusterProvided => {
                Self::RoundRobin(RoundRobin::new(hosts, list, choice.seed))
            }
            LoadBalancing::LeastRequest { choice_count, active_request_bias, full_scan } => {
                Self::LeastRequest(LeastRequest::new(
                    hosts,
                    list,
                    choice_count,
                    active_request_bias,
                    full_scan,
                ))
            }
            LoadBalancing::Random => Self::Random(list),
            LoadBalancing::RingHash { ring_size_min, ring_size_max, hash } => {
                let shares = shares();
                let bounds = bounds(&shares);
                Self::RingHash(RingHash::new(hosts, &shares, ring_size_min, ring_size_max, hash), bounds)
            }
            LoadBalancing::Maglev { table_size } => {
                let shares = shares();
                let bounds = bounds(&shares);
                Self::Maglev(Maglev::new(hosts, &shares, table_size), bounds)
            }
        }
    }
}

/// Draws until a host is not rejected (it has not been tried), at most `reselect_max` times again; then the last draw
/// stands: Envoy's `retry_host_predicate` with `host_selection_retry_max_attempts`. Each draw is told its number.
///
/// # Errors
/// The draw's own.
pub fn pick_avoiding<T, E>(
    mut draw: impl FnMut(u32) -> Result<T, E>,
    rejected: impl Fn(&T) -> bool,
    reselect_max: u32,
) -> Result<T, E> {
    let mut picked = draw(0)?;
    for number in 1..=reselect_max {
        if !rejected(&picked) {
            break;
        }
        picked = draw(number)?;
    }
    Ok(picked)
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
            warmth: 1.0,
            priority: 0,
            locality: 0,
            health: HostHealth::Healthy,
        };
        weights.iter().enumerate().map(host).collect()
    }

    const POLICIES: [LoadBalancing; 5] = [
        LoadBalancing::RoundRobin,
        LoadBalancing::LEAST_REQUEST,
        LoadBalancing::Random,
        LoadBalancing::RING_HASH,
        LoadBalancing::Maglev { table_size: 251 },
    ];

    fn balancer(policy: LoadBalancing, hosts: &[Candidate], panic_threshold_percent: f64) -> Balancer {
        let placement = Placement { panic_threshold_percent, ..Placement::default() };
        Balancer::new(hosts, &Choice { placement, ..Choice::by(policy, 7) })
    }

    fn counts(balancer: &Balancer, hosts: usize, draws: u64) -> Vec<u64> {
        let mut counts = vec![0; hosts];
        let mut number = 0_u64;
        for _ in 0..draws {
            let random = || {
                number += 1;
                xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0)
            };
            if let Ok(picked) = balancer.pick(Pick::default(), |_| 0, random) {
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
            let balancer = balancer(policy, &hosts, 50.0);
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
            let balancer = balancer(policy, &hosts, 50.0);
            assert!(balancer.is_panicked());
            assert!(counts(&balancer, 5, 2_000).iter().all(|count| *count > 0), "{policy:?}");
        }
        let fails = balancer(LoadBalancing::RoundRobin, &hosts, 0.0);
        assert!(!fails.is_panicked(), "a threshold of 0 switches panic off");
        assert_eq!(counts(&fails, 5, 100)[..3], [0, 0, 0]);
    }

    #[test]
    fn without_hosts_there_is_no_pick() {
        for policy in POLICIES {
            assert_eq!(balancer(policy, &[], 50.0).pick(Pick::default(), |_| 0, || 3), Err(NoHost::None));
        }
        let mut dead = hosts(&[1]);
        dead[0].health = HostHealth::Unhealthy;
        let balancer = balancer(LoadBalancing::Random, &dead, 0.0);
        assert_eq!(balancer.pick(Pick::default(), |_| 0, || 3), Err(NoHost::None));
    }

    #[test]
    fn a_degraded_host_takes_what_the_healthy_cannot() {
        let mut hosts = hosts(&[1, 1, 1, 1]);
        hosts[1..].iter_mut().for_each(|host| host.health = HostHealth::Degraded);
        let balancer = balancer(LoadBalancing::Random, &hosts, 50.0);
        let counts = counts(&balancer, 4, 10_000);
        assert!((3_000..4_000).contains(&counts[0]), "140 % of a quarter: {counts:?}");
    }

    #[test]
    fn hosts_already_tried_are_avoided_while_draws_last() {
        for (draws, reselect_max, picked) in
            [([1, 1, 2], 5, Ok(2)), ([1, 1, 2], 1, Ok(1)), ([2, 1, 1], 5, Ok(2)), ([1, 1, 1], 0, Ok(1))]
        {
            let draw = |number: u32| draws.get(number as usize).copied().ok_or(());
            assert_eq!(pick_avoiding(draw, |host| *host == 1, reselect_max), picked);
        }
        assert_eq!(pick_avoiding(|_| Err::<usize, _>(NoHost::None), |_| false, 5), Err(NoHost::None));
    }

    #[test]
    fn a_hash_always_finds_its_host_and_a_rejected_one_the_next() {
        let hosts = hosts(&[1; 9]);
        for policy in [LoadBalancing::RING_HASH, LoadBalancing::MAGLEV] {
            let balancer = balancer(policy, &hosts, 50.0);
            let pick = |hash, draw| {
                let pick = Pick { hash: Some(hash), draw, ..Pick::default() };
                balancer.pick(pick, |_| 0, || 3).expect("hosts").host
            };
            for hash in 0..100_u64 {
                let hash = xxhash_rust::xxh64::xxh64(&hash.to_le_bytes(), 0);
                assert_eq!(pick(hash, 0), pick(hash, 0), "{policy:?}");
                assert!((1..20).any(|draw| pick(hash, draw) != pick(hash, 0)), "{policy:?}");
            }
        }
    }

    #[test]
    fn a_hash_does_not_choose_where_the_policy_does_not_hash() {
        let mut hosts = hosts(&[1; 4]);
        hosts[2].priority = 1;
        hosts[3].priority = 1;
        hosts[0].health = HostHealth::Unhealthy;
        let balancer = balancer(LoadBalancing::Random, &hosts, 0.0);
        let pick = |hash, random| {
            let pick = Pick { hash: Some(hash), ..Pick::default() };
            balancer.pick(pick, |_| 0, || random).map(|picked| hosts[picked.host].priority)
        };
        assert_eq!(pick(99, 0), Ok(0), "the random number chose the priority");
        assert_eq!(pick(0, 99), Ok(1));
    }

    #[test]
    fn hosts_that_are_not_known_yet_count_for_nothing() {
        let mut hosts = hosts(&[1; 10]);
        hosts[1..].iter_mut().for_each(|host| host.health = HostHealth::Excluded);
        let balancer = balancer(LoadBalancing::Random, &hosts, 50.0);
        assert!(!balancer.is_panicked(), "one of one is there");
        assert_eq!(counts(&balancer, 10, 100)[0], 100);
    }

    #[test]
    fn priorities_tried_before_are_passed_over() {
        let mut hosts = hosts(&[1; 3]);
        hosts[1].priority = 1;
        hosts[2].priority = 2;
        let balancer = balancer(LoadBalancing::Random, &hosts, 50.0);
        for (avoided, picked) in [(0, 0), (0b1, 1), (0b11, 2), (0b101, 1), (0b111, 0)] {
            let pick = Pick { priorities_avoided: avoided, ..Pick::default() };
            assert_eq!(balancer.pick(pick, |_| 0, || 5).map(|picked| picked.host), Ok(picked), "{avoided:b}");
        }
    }
}
