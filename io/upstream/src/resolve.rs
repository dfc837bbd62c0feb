//! Keeping a cluster's names resolved.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use selvedge_traffic::{Address, Discovery, Endpoint, LoadAssignment};

use crate::cluster::Cluster;
use crate::dns::{DnsError, Resolver};
use crate::found::{Found, HOSTS_MAX, Place, labels};
use crate::random;

/// A name must be denied so many times in a row before its hosts go: name servers have weak moments, too.
const DENIALS_MIN: u32 = 3;

/// What is known about one name.
#[derive(Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    denials: u32,
}

/// The names of an assignment, in their order, and what is known about each.
#[derive(Debug)]
struct Names(Box<[(Arc<str>, Known)]>);

/// Looks all names of a cluster up, again and again, until it is gone. Every cluster with names has such a task: what it
/// keeps is little.
pub(crate) async fn run(cluster: Weak<Cluster>, resolver: Resolver, config: Arc<selvedge_traffic::Cluster>) {
    // Of a logical host only the first address of each answer counts.
    let (assignment, family, refresh, logical) = match &config.discovery {
        Discovery::StrictDns { assignment, family, refresh } => (assignment, *family, *refresh, false),
        Discovery::LogicalDns { assignment, family, refresh } => (assignment, *family, *refresh, true),
        Discovery::Static(_) | Discovery::Eds { .. } | Discovery::OriginalDst => return,
    };
    let mut names = Names::of(assignment);
    loop {
        // The shortest life of all answers.
        let mut ttl: Option<Duration> = None;
        for (name, known) in &mut names.0 {
            let Some(cluster) = cluster.upgrade() else { return };
            cluster.upkeep.update_attempt.inc();
            // On the heap for as long as it takes: a lookup's state is large, and every cluster has such a task.
            let answer = Box::pin(resolver.lookup(name, family)).await;
            match answer {
                Ok(answer) => {
                    cluster.upkeep.update_success.inc();
                    ttl = Some(ttl.unwrap_or(answer.ttl).min(answer.ttl));
                    let length = if logical { 1 } else { answer.addresses.len() };
                    *known = Known { addresses: answer.addresses[..length].to_vec(), denials: 0 };
                }
                Err(error) => {
                    cluster.upkeep.update_failure.inc();
                    tracing::debug!(cluster = &*cluster.name, %error, "failed to resolve");
                    known.denied(&error);
                }
            }
        }
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.update_members(found(assignment, &names), assignment.overprovisioning_percent);
        drop(cluster);
        tokio::time::sleep(jittered(refresh.wait(ttl))).await;
    }
}

impl Known {
    /// A failure changes nothing: the last good answer stays. Only repeated denials take it away.
    fn denied(&mut self, error: &DnsError) {
        match error {
            DnsError::NotFound(_) => {
                self.denials += 1;
                if self.denials >= DENIALS_MIN {
                    self.addresses.clear();
                }
            }
            DnsError::Failed { .. } => self.denials = 0,
        }
    }
}

impl Names {
    fn of(assignment: &LoadAssignment) -> Self {
        let endpoints = assignment.localities.iter().flat_map(|group| &group.endpoints);
        let mut names: Vec<&str> = endpoints.filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        Self(names.into_iter().map(|name| (name.into(), Known::default())).collect())
    }

    fn find(&self, name: &str) -> Option<&(Arc<str>, Known)> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        Some(&self.0[at])
    }
}

fn name(endpoint: &Endpoint) -> Option<&str> {
    match &endpoint.address {
        Address::Name(name, _) => Some(name),
        Address::Socket(_) | Address::Pipe(_) => None,
    }
}

/// All addresses of all endpoints; one address counts once.
fn found(assignment: &LoadAssignment, names: &Names) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for group in &assignment.localities {
        let place = Place::of(group);
        for endpoint in &group.endpoints {
            for (address, hostname) in addresses(endpoint, names) {
                let duplicate = found.iter().any(|other| other.address == address);
                if duplicate || found.len() >= HOSTS_MAX {
                    continue;
                }
                found.push(Found {
                    address,
                    hostname,
                    weight: endpoint.weight,
                    priority: group.priority,
                    health: endpoint.health,
                    place: Arc::clone(&place),
                    labels: labels(endpoint),
                });
            }
        }
    }
    found
}

fn addresses(endpoint: &Endpoint, names: &Names) -> Vec<(SocketAddr, Option<Arc<str>>)> {
    match &endpoint.address {
        Address::Socket(address) => vec![(*address, None)],
        Address::Name(name, port) => {
            let Some((hostname, known)) = names.find(name) else { return Vec::new() };
            let named = |ip: &IpAddr| (SocketAddr::new(*ip, *port), Some(Arc::clone(hostname)));
            known.addresses.iter().map(named).collect()
        }
        Address::Pipe(_) => Vec::new(),
    }
}

/// Up to a tenth sooner, so that clusters with the same name servers do not march in step.
fn jittered(interval: Duration) -> Duration {
    let tenth = u64::try_from(interval.as_millis() / 10).unwrap_or(u64::MAX);
    interval - Duration::from_millis(random::below(tenth))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(addresses: &[&str]) -> Known {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        Known { addresses, denials: 0 }
    }

    #[test]
    fn hosts_outlive_failures_and_single_denials_but_not_three_in_a_row() {
        let failed = DnsError::Failed { name: "a".to_owned(), reason: "SERVFAIL".to_owned() };
        let denied = DnsError::NotFound("a".to_owned());
        let rows = [
            (vec![&failed; 9], true),
            (vec![&denied, &denied], true),
            (vec![&denied, &denied, &failed, &denied, &denied], true),
            (vec![&denied, &denied, &denied], false),
        ];
        for (errors, kept) in rows {
            let mut known = known(&["10.0.0.1"]);
            errors.iter().for_each(|error| known.denied(error));
            assert_eq!(!known.addresses.is_empty(), kept, "{errors:?}");
        }
    }

    #[test]
    fn every_address_of_every_name_is_a_host_once() {
        let endpoint = |name: &str| Endpoint::new(Address::Name(name.to_owned(), 80));
        let group = selvedge_traffic::LocalityEndpoints {
            endpoints: vec![endpoint("a"), endpoint("b"), endpoint("unknown")],
            ..Default::default()
        };
        let assignment =
            LoadAssignment { cluster: "c".to_owned(), localities: vec![group], ..Default::default() };
        let mut names = Names::of(&assignment);
        let answers = [known(&["10.0.0.1", "10.0.0.2"]), known(&["10.0.0.2", "::1"])];
        names.0.iter_mut().zip(answers).for_each(|((_, known), answer)| *known = answer);
        let found = found(&assignment, &names);
        let found: Vec<_> =
            found.iter().map(|host| (host.address.to_string(), host.hostname.as_deref())).collect();
        let expected = [("10.0.0.1:80", Some("a")), ("10.0.0.2:80", Some("a")), ("[::1]:80", Some("b"))];
        assert_eq!(found, expected.map(|(address, name)| (address.to_owned(), name)));
    }
}
