//! The hosts of a cluster at one moment, ready to be picked from.

use std::sync::Arc;
use std::time::Instant;

use selvedge_traffic::balance::locality::Zones;
use selvedge_traffic::balance::{Balancer, Candidate, Choice, HostHealth};
use selvedge_traffic::endpoint::{CANARY, HASH_KEY, OVERPROVISIONING_PERCENT_DEFAULT};
use selvedge_traffic::{Cluster, Label, Labels, LocalityRouting};

use crate::found::Place;
use crate::host::Host;
use crate::random;
use crate::subsets::SubsetBalancers;
use crate::zones::LocalZones;

/// A host with what the latest discovery says of it.
#[derive(Clone, Debug)]
pub struct Member {
    pub host: Arc<Host>,
    pub weight: u32,
    pub priority: u32,
    pub place: Arc<Place>,
    /// `None` where there are none.
    pub labels: Option<Arc<Labels>>,
}

/// Members and the choice among them; immutable, swapped whole.
#[derive(Debug)]
pub struct HostSet {
    pub members: Vec<Member>,
    pub(crate) overprovisioning_percent: Option<u32>,
    pub(crate) balancer: Balancer,
    pub(crate) subsets: Option<SubsetBalancers>,
    /// Some host has less than its share as yet.
    pub(crate) is_warming: bool,
}

impl PartialEq for Member {
    /// The very same host with the same standing.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.host, &other.host)
            && (self.weight, self.priority) == (other.weight, other.priority)
            && self.place == other.place
            && self.labels == other.labels
    }
}

impl Member {
    /// Whether discovery calls it a canary.
    pub fn is_canary(&self) -> bool {
        self.label(CANARY) == Some(&Label::Flag(true))
    }

    /// Whether it has all of these labels.
    pub fn has_labels(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| self.label(key) == Some(value))
    }

    fn label(&self, key: &str) -> Option<&Label> {
        self.labels.as_ref()?.get(key)
    }

    /// What consistent hashing knows it by.
    fn hash_key(&self, by_hostname: bool) -> String {
        match (self.label(HASH_KEY), &self.host.hostname) {
            (Some(Label::Text(key)), _) => key.clone(),
            (_, Some(name)) if by_hostname => name.to_string(),
            _ => self.host.address.to_string(),
        }
    }
}

impl HostSet {
    /// Without hosts.
    pub(crate) fn empty(config: &Cluster) -> Self {
        Self::new(Vec::new(), config, None, &LocalZones::default(), None)
    }

    pub(crate) fn new(
        members: Vec<Member>,
        config: &Cluster,
        overprovisioning_percent: Option<u32>,
        zones: &LocalZones,
        now: Option<Instant>,
    ) -> Self {
        let places = places(&members);
        let slow_start = config.placement.slow_start.zip(now);
        let hashes = config.balancing.hashes();
        let candidate = |member: &Member| {
            let health = match member.host.health() {
                HostHealth::Unhealthy if member.host.is_unchecked() => {
                    if config.placement.ignore_new_hosts_until_first_check {
                        HostHealth::Excluded
                    } else {
                        HostHealth::Unhealthy
                    }
                }
                health => health,
            };
            let warmth = match slow_start {
                Some((start, now)) if health == HostHealth::Healthy => start.factor(member.host.age(now)),
                _ => 1.0,
            };
            Candidate {
                key: if hashes { member.hash_key(config.placement.hash_by_hostname) } else { String::new() },
                weight: member.weight,
                warmth,
                priority: member.priority,
                locality: places.iter().position(|place| Arc::ptr_eq(place, &member.place)).unwrap_or(0),
                health,
            }
        };
        let candidates: Vec<Candidate> = members.iter().map(candidate).collect();
        let weights: Vec<u32> = places.iter().map(|place| place.weight).collect();
        let zone_aware = matches!(config.placement.locality, LocalityRouting::ZoneAware { .. });
        let local_hosts: Vec<u64> = places.iter().map(|place| zones.hosts(&place.locality)).collect();
        let choice = Choice {
            policy: config.balancing,
            placement: config.placement,
            overprovisioning_percent: overprovisioning_percent.unwrap_or(OVERPROVISIONING_PERCENT_DEFAULT),
            localities: &weights,
            zones: (zone_aware && zones.are_known()).then(|| Zones {
                own: places.iter().position(|place| zones.is_own(&place.locality)),
                local_hosts: &local_hosts,
                local_hosts_all: zones.hosts_all(),
            }),
            seed: random::next(),
        };
        let balancer = Balancer::new(&candidates, &choice);
        let subsets = config
            .subsets
            .as_ref()
            .map(|subsets| SubsetBalancers::new(subsets, &members, &candidates, &choice));
        let is_warming = candidates.iter().any(|candidate| candidate.warmth < 1.0);
        Self { members, overprovisioning_percent, balancer, subsets, is_warming }
    }

    pub fn count(&self, health: HostHealth) -> usize {
        self.members.iter().filter(|member| member.host.health() == health).count()
    }
}

/// The places of the members, each once. Members of one group share theirs.
fn places(members: &[Member]) -> Vec<Arc<Place>> {
    let mut places: Vec<Arc<Place>> = Vec::new();
    for member in members {
        if places.last().is_none_or(|last| !Arc::ptr_eq(last, &member.place))
            && !places.iter().any(|place| Arc::ptr_eq(place, &member.place))
        {
            places.push(Arc::clone(&member.place));
        }
    }
    places
}
