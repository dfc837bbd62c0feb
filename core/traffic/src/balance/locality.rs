//! Where hosts stand: localities by weight, and the proxy's own zone first.

use super::{Candidate, HostHealth, Share, ZoneProblem, weight};

/// The shares of `list`, adding up to 1. With locality weights a host has its part of its locality's part; localities of
/// weight 0 have none. Without any weight hosts share by their own.
pub fn shares(hosts: &[Candidate], list: &[usize], locality_weights: &[u32]) -> Vec<Share> {
    let locality_weight = |host: usize| locality_weights.get(hosts[host].locality).copied().unwrap_or(0);
    let localities = localities(hosts, list);
    let sum: u64 = localities.iter().map(|(_, members)| u64::from(locality_weight(members[0]))).sum();
    if sum == 0 {
        let sum: u64 = list.iter().map(|host| u64::from(weight(&hosts[*host]))).sum();
        let share = |host: &usize| f64::from(weight(&hosts[*host])) / sum as f64;
        return list.iter().map(|host| Share { host: *host, share: share(host) }).collect();
    }
    let mut shares = Vec::with_capacity(list.len());
    for (_, members) in localities {
        let part = f64::from(locality_weight(members[0])) / sum as f64;
        if part == 0.0 {
            continue;
        }
        let sum: u64 = members.iter().map(|host| u64::from(weight(&hosts[*host]))).sum();
        shares.extend(members.into_iter().map(|host| {
            let share = f64::from(weight(&hosts[host])) * part / sum as f64;
            Share { host, share }
        }));
    }
    shares
}

/// The members of each locality, in the order in which the list names them first.
fn localities(hosts: &[Candidate], list: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let mut localities: Vec<(usize, Vec<usize>)> = Vec::new();
    for host in list {
        let locality = hosts[*host].locality;
        match localities.iter_mut().find(|(known, _)| *known == locality) {
            Some((_, members)) => members.push(*host),
            None => localities.push((locality, vec![*host])),
        }
    }
    localities
}

/// Localities drawn by weight, each with a choice of its own. A locality whose hosts are not all there has less than its
/// weight: `weight * min(1, overprovisioning * available / all)`.
#[derive(Debug)]
pub struct WeightedLocalities<S> {
    /// Running sums of the weights.
    sums: Vec<f64>,
    choices: Vec<S>,
}

impl<S> WeightedLocalities<S> {
    /// `list` are hosts of one priority and one standing. `None` where no locality of theirs has a weight.
    pub fn new(
        hosts: &[Candidate],
        list: &[usize],
        weights: &[u32],
        overprovisioning_percent: u32,
        select: impl Fn(Vec<usize>) -> S,
    ) -> Option<Self> {
        let (mut sums, mut choices) = (Vec::new(), Vec::new());
        let mut sum = 0.0;
        for (locality, members) in localities(hosts, list) {
            let weight = f64::from(weights.get(locality).copied().unwrap_or(0));
            let priority = hosts[members[0]].priority;
            let here = |host: &&Candidate| host.locality == locality && host.priority == priority;
            let all = hosts.iter().filter(here).filter(|host| host.health != HostHealth::Excluded).count();
            let available = members.len() as f64 / all.max(1) as f64;
            let effective = weight * (f64::from(overprovisioning_percent) / 100.0 * available).min(1.0);
            if effective > 0.0 {
                sum += effective;
                sums.push(sum);
                choices.push(select(members));
            }
        }
        (!choices.is_empty()).then_some(Self { sums, choices })
    }

    /// The choice for a random number.
    pub fn draw(&self, random: u64) -> Option<&S> {
        let point = (random >> 11) as f64 / (1_u64 << 53) as f64 * self.sums.last()?;
        let at = self.sums.partition_point(|sum| *sum <= point);
        self.choices.get(at).or_else(|| self.choices.last())
    }
}

/// What zone-aware routing knows of the proxy's own cluster.
#[derive(Clone, Copy, Debug)]
pub struct Zones<'a> {
    /// The position of the proxy's own locality among those that candidates name; `None` where no candidate stands there.
    pub own: Option<usize>,
    /// How many healthy hosts the proxy's own cluster has in each locality that candidates name.
    pub local_hosts: &'a [u64],
    /// … and in all localities together.
    pub local_hosts_all: u64,
}

impl Zones<'_> {
    /// Why zones cannot count for these hosts.
    pub(super) fn problem(&self, hosts: &[Candidate], list: &[usize], hosts_min: u64) -> Option<ZoneProblem> {
        let localities = localities(hosts, list);
        let is_own = |locality: usize| Some(locality) == self.own;
        let no_zones = localities.len() < 2
            || !localities.iter().any(|(locality, _)| is_own(*locality))
            || self.own.and_then(|own| self.local_hosts.get(own)).is_none_or(|hosts| *hosts == 0);
        if no_zones {
            return Some(ZoneProblem::NoZones);
        }
        ((list.len() as u64) < hosts_min).then_some(ZoneProblem::TooSmall)
    }
}

/// How one request was routed by zone; each has its statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// Not considered: the request is outside the enabled share.
    Outside,
    /// All requests stay in the zone (`lb_zone_routing_all_directly`).
    Directly,
    /// This one does (`lb_zone_routing_sampled`).
    Sampled,
    /// This one goes to another zone (`lb_zone_routing_cross_zone`).
    CrossZone,
    /// … and no zone has room to spare (`lb_zone_no_capacity_left`).
    NoCapacityLeft,
}

/// The proxy's own zone first: as much stays there as the zone has, relative to its callers, and the rest is spread over
/// zones that have more than their own callers need. Shares are in ten-thousandths, as in Envoy.
#[derive(Debug)]
pub struct ZoneRouting<S> {
    enabled_percent: f64,
    /// Everybody, where zones do not count.
    whole: S,
    /// The own zone first.
    choices: Vec<S>,
    /// `None`: everything stays.
    stays: Option<u64>,
    /// Running sums of what the zones have to spare.
    residual: Vec<u64>,
}

const WHOLE: u64 = 10_000;

impl<S> ZoneRouting<S> {
    pub(super) fn new(
        hosts: &[Candidate],
        list: &[usize],
        zones: &Zones<'_>,
        enabled_percent: f64,
        select: impl Fn(Vec<usize>) -> S,
    ) -> Self {
        let mut localities = localities(hosts, list);
        localities.sort_by_key(|(locality, _)| Some(*locality) != zones.own);
        let of = |part: u64, all: u64| (WHOLE * part).checked_div(all).unwrap_or(0);
        let upstream = |members: &[usize]| of(members.len() as u64, list.len() as u64);
        let local = |locality: usize| {
            of(zones.local_hosts.get(locality).copied().unwrap_or(0), zones.local_hosts_all)
        };
        let (own, own_members) = &localities[0];
        let stays = (upstream(own_members) < local(*own)).then(|| of(upstream(own_members), local(*own)));
        let mut residual = vec![0];
        for (locality, members) in &localities[1..] {
            let spare = upstream(members).saturating_sub(local(*locality));
            residual.push(residual.last().copied().unwrap_or(0) + spare);
        }
        Self {
            enabled_percent,
            whole: select(list.to_vec()),
            choices: localities.into_iter().map(|(_, members)| select(members)).collect(),
            stays,
            residual,
        }
    }

    /// Draws a zone.
    pub fn draw(&self, mut random: impl FnMut() -> u64) -> Option<(&S, Drawn)> {
        if self.enabled_percent < 100.0 && (random() % WHOLE) as f64 >= self.enabled_percent * 100.0 {
            return Some((&self.whole, Drawn::Outside));
        }
        let Some(stays) = self.stays else { return Some((self.choices.first()?, Drawn::Directly)) };
        if random() % WHOLE < stays {
            return Some((self.choices.first()?, Drawn::Sampled));
        }
        let spare = *self.residual.last()?;
        let Some(point) = random().checked_rem(spare) else {
            let at = random().checked_rem(self.choices.len() as u64)?;
            return Some((self.choices.get(at as usize)?, Drawn::NoCapacityLeft));
        };
        let at = self.residual.partition_point(|sum| *sum <= point);
        Some((self.choices.get(at)?, Drawn::CrossZone))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hosts;
    use super::*;

    fn placed(places: &[usize]) -> Vec<Candidate> {
        let mut hosts = hosts(&vec![1; places.len()]);
        hosts.iter_mut().zip(places).for_each(|(host, place)| host.locality = *place);
        hosts
    }

    fn numbers() -> impl FnMut() -> u64 {
        let mut number = 0_u64;
        move || {
            number += 1;
            xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0)
        }
    }

    #[test]
    fn a_host_has_its_part_of_its_localitys_part() {
        let mut hosts = placed(&[0, 0, 1, 2]);
        hosts[1].weight = 3;
        let of = |weights: &[u32]| {
            let shares = shares(&hosts, &[0, 1, 2, 3], weights);
            shares.iter().map(|one| (one.host, one.share)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[1, 3, 0]), [(0, 0.0625), (1, 0.1875), (2, 0.75)]);
        assert_eq!(of(&[])[1], (1, 0.5), "by their own weights: three of six");
        assert_eq!(of(&[0, 0, 0]), of(&[]));
    }

    #[test]
    fn localities_are_drawn_by_weight_and_availability() {
        let mut hosts = placed(&[0, 0, 1, 1]);
        let drawn = |hosts: &[Candidate]| {
            let list: Vec<usize> =
                (0..hosts.len()).filter(|at| hosts[*at].health == HostHealth::Healthy).collect();
            let localities =
                WeightedLocalities::new(hosts, &list, &[1, 3], 140, |list| list).expect("weights");
            let mut random = numbers();
            let first =
                (0..20_000).filter(|_| localities.draw(random()).expect("hosts").contains(&0)).count();
            first as f64 / 20_000.0
        };
        assert!((drawn(&hosts) - 0.25).abs() < 0.02);
        hosts[3].health = HostHealth::Unhealthy;
        let expected = 1.0 / (1.0 + 3.0 * 1.4 * 0.5);
        assert!((drawn(&hosts) - expected).abs() < 0.02, "half of the heavier is gone");
        assert!(WeightedLocalities::new(&hosts, &[0], &[0, 3], 140, |list| list).is_none());
    }

    /// For each zone: hosts of the upstream, hosts of the proxy's own cluster; the proxy stands in zone 0.
    fn routing(counts: &[(usize, u64)]) -> Result<ZoneRouting<usize>, ZoneProblem> {
        let places: Vec<usize> =
            counts.iter().enumerate().flat_map(|(zone, (hosts, _))| vec![zone; *hosts]).collect();
        let hosts = placed(&places);
        let list: Vec<usize> = (0..hosts.len()).collect();
        let local: Vec<u64> = counts.iter().map(|(_, local)| *local).collect();
        let zones = Zones { own: Some(0), local_hosts: &local, local_hosts_all: local.iter().sum() };
        match zones.problem(&hosts, &list, 6) {
            Some(problem) => Err(problem),
            None => Ok(ZoneRouting::new(&hosts, &list, &zones, 100.0, |list| hosts[list[0]].locality)),
        }
    }

    #[test]
    fn the_own_zone_takes_what_it_has_and_others_what_they_can_spare() {
        for (counts, stays, residual) in [
            (&[(3, 1), (3, 1)][..], None, &[0, 0][..]),
            (&[(4, 1), (2, 1)], None, &[0, 0]),
            (&[(2, 1), (4, 1)], Some(6666), &[0, 1666]),
            (&[(2, 2), (3, 1), (5, 1)], Some(4000), &[0, 500, 3000]),
        ] {
            let routing = routing(counts).expect("zones count");
            assert_eq!((routing.stays, routing.residual.as_slice()), (stays, residual), "{counts:?}");
        }
    }

    #[test]
    fn zones_are_drawn_in_these_shares() {
        let routing = routing(&[(2, 2), (3, 1), (5, 1)]).expect("zones count");
        let mut random = numbers();
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            counts[*routing.draw(&mut random).expect("hosts").0] += 1;
        }
        for (zone, expected) in [4_000, 1_000, 5_000].into_iter().enumerate() {
            assert!(counts[zone].abs_diff(expected) < 250, "{counts:?}");
        }
    }

    #[test]
    fn small_or_one_sided_clusters_are_not_routed_by_zone() {
        assert_eq!(routing(&[(2, 1), (3, 1)]).err(), Some(ZoneProblem::TooSmall));
        assert_eq!(routing(&[(9, 1)]).err(), Some(ZoneProblem::NoZones));
        assert_eq!(routing(&[(0, 1), (5, 1), (5, 1)]).err(), Some(ZoneProblem::NoZones));
        assert_eq!(routing(&[(5, 0), (5, 1)]).err(), Some(ZoneProblem::NoZones));
    }
}
