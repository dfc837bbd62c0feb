//! The hosts of a cluster at one moment, ready to be picked from.

use std::sync::Arc;

use selvedge_traffic::balance::{Balancer, Candidate, HostHealth, PANIC_THRESHOLD_PERCENT_DEFAULT};
use selvedge_traffic::{LoadBalancing, Locality};

use crate::host::Host;
use crate::random;

/// A host with what the latest discovery says of it.
#[derive(Clone, Debug)]
pub struct Member {
    pub host: Arc<Host>,
    pub weight: u32,
    pub priority: u32,
    pub locality: Arc<Locality>,
}

/// Members and the choice among them; immutable, swapped whole.
#[derive(Debug)]
pub struct HostSet {
    pub members: Vec<Member>,
    pub(crate) balancer: Balancer,
}

impl PartialEq for Member {
    /// The very same host with the same standing.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.host, &other.host)
            && (self.weight, self.priority) == (other.weight, other.priority)
            && self.locality == other.locality
    }
}

impl HostSet {
    pub(crate) fn new(members: Vec<Member>, policy: LoadBalancing) -> Self {
        let candidates: Vec<Candidate> = members
            .iter()
            .map(|member| Candidate {
                key: member.host.address.to_string(),
                weight: member.weight,
                priority: member.priority,
                health: member.host.health(),
            })
            .collect();
        let balancer = Balancer::new(policy, &candidates, PANIC_THRESHOLD_PERCENT_DEFAULT, random::next());
        Self { members, balancer }
    }

    pub fn count(&self, health: HostHealth) -> usize {
        self.members.iter().filter(|member| member.host.health() == health).count()
    }
}
