//! Keeping a cluster's names resolved.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use selvedge_traffic::{Address, DnsLookupFamily, Endpoint, LoadAssignment};

use crate::cluster::Cluster;
use crate::dns::{DnsError, Resolver};
use crate::found::{Found, HOSTS_MAX, Place, labels};
use crate::random;

/// Names are looked up again no later than this, whatever their time to live: Envoy's `dns_refresh_rate`.
const REFRESH_MAX: Duration = Duration::from_secs(5);
/// … and no sooner than this.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// A name must be denied so many times in a row before its hosts go: name servers have weak moments, too.
const DENIALS_MIN: u32 = 3;

/// What is known about one name.
#[derive(Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    denials: u32,
}

/// Looks all names of `assignment` up, again and again, until the cluster is gone. `logical`: only the first address of
/// each answer is a host.
pub(crate) async fn run(
    cluster: Weak<Cluster>,
    resolver: Resolver,
    assignment: LoadAssignment,
    family: DnsLookupFamily,
    logical: bool,
) {
    let mut names: HashMap<String, Known> = HashMap::new();
    loop {
        let mut refresh = REFRESH_MAX;
        let mut wanted: Vec<&str> =
            assignment.localities.iter().flat_map(|group| &group.endpoints).filter_map(name).collect();
        wanted.sort_unstable();
        wanted.dedup();
        for name in wanted {
            let Some(cluster) = cluster.upgrade() else { return };
            cluster.stats.update_attempt.inc();
            // On the heap for as long as it takes: a lookup's state is large, and every cluster has such a task.
            let answer = Box::pin(resolver.lookup(name, family)).await;
            let known = names.entry(name.to_owned()).or_default();
            match answer {
                Ok(answer) => {
                    cluster.stats.update_success.inc();
                    refresh = refresh.min(answer.ttl);
                    let length = if logical { 1 } else { answer.addresses.len() };
                    *known = Known { addresses: answer.addresses[..length].to_vec(), denials: 0 };
                }
                Err(error) => {
                    cluster.stats.update_failure.inc();
                    tracing::debug!(cluster = &*cluster.name, %error, "failed to resolve");
                    known.denied(&error);
                }
            }
        }
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.update_members(found(&assignment, &names), assignment.overprovisioning_percent);
        drop(cluster);
        tokio::time::sleep(jittered(refresh.max(REFRESH_MIN))).await;
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

fn name(endpoint: &Endpoint) -> Option<&str> {
    match &endpoint.address {
        Address::Name(name, _) => Some(name),
        Address::Socket(_) | Address::Pipe(_) => None,
    }
}

/// All addresses of all endpoints; one address counts once.
fn found(assignment: &LoadAssignment, names: &HashMap<String, Known>) -> Vec<Found> {
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

fn addresses(endpoint: &Endpoint, names: &HashMap<String, Known>) -> Vec<(SocketAddr, Option<Arc<str>>)> {
    match &endpoint.address {
        Address::Socket(address) => vec![(*address, None)],
        Address::Name(name, port) => {
            let known = names.get(name).map(|known| known.addresses.as_slice()).unwrap_or_default();
            let hostname: Arc<str> = name.as_str().into();
            known.iter().map(|ip| (SocketAddr::new(*ip, *port), Some(Arc::clone(&hostname)))).collect()
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
        let names = HashMap::from([
            ("a".to_owned(), known(&["10.0.0.1", "10.0.0.2"])),
            ("b".to_owned(), known(&["10.0.0.2", "::1"])),
        ]);
        let found = found(&assignment, &names);
        let found: Vec<_> =
            found.iter().map(|host| (host.address.to_string(), host.hostname.as_deref())).collect();
        let expected = [("10.0.0.1:80", Some("a")), ("10.0.0.2:80", Some("a")), ("[::1]:80", Some("b"))];
        assert_eq!(found, expected.map(|(address, name)| (address.to_owned(), name)));
    }
}
