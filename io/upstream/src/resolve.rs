//! From what is known about names to the hosts of a cluster.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use selvedge_traffic::{Address, Discovery, DnsLookupFamily, DnsRefresh, Endpoint, LoadAssignment};

use crate::dns::{Answer, DnsError};
use crate::found::{Found, HOSTS_MAX, Place, labels};

/// A name must be denied so many times in a row before its hosts go: name servers have weak moments, too.
const DENIALS_MIN: u32 = 3;

/// What is asked, and how often: the same for all clusters that would ask it alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: Arc<str>,
    pub(crate) family: DnsLookupFamily,
    pub(crate) refresh: DnsRefresh,
}

/// What is known about one name.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) addresses: Box<[IpAddr]>,
    denials: u32,
}

/// The part of a cluster's definition that is about names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    assignment: &'a LoadAssignment,
    family: DnsLookupFamily,
    refresh: DnsRefresh,
    /// Of each answer only the first address counts.
    logical: bool,
}

impl Known {
    /// Takes an answer; tells whether there are other addresses than before.
    pub(crate) fn answered(&mut self, answer: &Answer) -> bool {
        self.denials = 0;
        self.replace(&answer.addresses)
    }

    /// A failure changes nothing: the last good answer stays. Only repeated denials take it away. Tells whether they did.
    pub(crate) fn denied(&mut self, error: &DnsError) -> bool {
        match error {
            DnsError::NotFound(_) => {
                self.denials += 1;
                self.denials >= DENIALS_MIN && self.replace(&[])
            }
            DnsError::Failed { .. } => {
                self.denials = 0;
                false
            }
        }
    }

    fn replace(&mut self, addresses: &[IpAddr]) -> bool {
        let changed = *self.addresses != *addresses;
        if changed {
            self.addresses = addresses.into();
        }
        changed
    }
}

impl<'a> Named<'a> {
    /// Of a cluster whose hosts are named; `None` of any other.
    pub(crate) fn of(config: &'a selvedge_traffic::Cluster) -> Option<Self> {
        let (assignment, family, refresh, logical) = match &config.discovery {
            Discovery::StrictDns { assignment, family, refresh } => (assignment, *family, *refresh, false),
            Discovery::LogicalDns { assignment, family, refresh } => (assignment, *family, *refresh, true),
            Discovery::Static(_) | Discovery::Eds { .. } | Discovery::OriginalDst => return None,
        };
        Some(Self { assignment, family, refresh, logical })
    }

    pub(crate) fn overprovisioning_percent(&self) -> Option<u32> {
        self.assignment.overprovisioning_percent
    }

    /// What has to be asked: each name once.
    pub(crate) fn questions(&self) -> Vec<Question> {
        let endpoints = self.assignment.localities.iter().flat_map(|group| &group.endpoints);
        let mut names: Vec<&str> = endpoints.filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| self.question(name)).collect()
    }

    fn question(&self, name: &str) -> Question {
        Question { name: name.into(), family: self.family, refresh: self.refresh }
    }

    /// All addresses of all endpoints, each once; `None` while `known` has not heard of one of the names.
    pub(crate) fn found<'k>(
        &self,
        known: impl Fn(&Question) -> Option<(&'k Question, &'k Known)>,
    ) -> Option<Vec<Found>> {
        let mut found: Vec<Found> = Vec::new();
        for group in &self.assignment.localities {
            let place = Place::of(group);
            for endpoint in &group.endpoints {
                for (address, hostname) in self.addresses(endpoint, &known)? {
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
        Some(found)
    }

    fn addresses<'k>(
        &self,
        endpoint: &Endpoint,
        known: impl Fn(&Question) -> Option<(&'k Question, &'k Known)>,
    ) -> Option<Vec<(SocketAddr, Option<Arc<str>>)>> {
        match &endpoint.address {
            Address::Socket(address) => Some(vec![(*address, None)]),
            Address::Name(name, port) => {
                let (question, known) = known(&self.question(name))?;
                let count = if self.logical { 1 } else { known.addresses.len() };
                let named = |ip: &IpAddr| (SocketAddr::new(*ip, *port), Some(Arc::clone(&question.name)));
                Some(known.addresses.iter().take(count).map(named).collect())
            }
            Address::Pipe(_) => Some(Vec::new()),
        }
    }
}

fn name(endpoint: &Endpoint) -> Option<&str> {
    match &endpoint.address {
        Address::Name(name, _) => Some(name),
        Address::Socket(_) | Address::Pipe(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(addresses: &[&str]) -> Answer {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        Answer { addresses, ttl: Duration::from_secs(1) }
    }

    fn known(addresses: &[&str]) -> Known {
        let mut known = Known::default();
        known.answered(&answer(addresses));
        known
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
            let changed = errors.iter().any(|error| known.denied(error));
            assert_eq!((changed, !known.addresses.is_empty()), (!kept, kept), "{errors:?}");
        }
    }

    #[test]
    fn only_other_addresses_are_a_change() {
        let mut known = known(&["10.0.0.1"]);
        assert!(!known.answered(&answer(&["10.0.0.1"])));
        assert!(known.answered(&answer(&["10.0.0.1", "10.0.0.2"])));
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
        let (family, refresh) = (DnsLookupFamily::All, DnsRefresh::default());
        let mut named = Named { assignment: &assignment, family, refresh, logical: false };
        let questions = named.questions();
        let answers = [known(&["10.0.0.1", "10.0.0.2"]), known(&["10.0.0.2", "::1"]), known(&[])];
        let table: Vec<(&Question, &Known)> = questions.iter().zip(&answers).collect();
        let look = |count: usize| {
            let table = &table[..count];
            move |wanted: &Question| table.iter().copied().find(|(question, _)| *question == wanted)
        };
        assert!(named.found(look(2)).is_none(), "one name has no answer yet");
        let show = |found: Vec<Found>| -> Vec<(String, Option<String>)> {
            found
                .iter()
                .map(|host| (host.address.to_string(), host.hostname.as_deref().map(str::to_owned)))
                .collect()
        };
        let host = |address: &str, name: &str| (address.to_owned(), Some(name.to_owned()));
        let found = show(named.found(look(3)).expect("all are known"));
        assert_eq!(found, [host("10.0.0.1:80", "a"), host("10.0.0.2:80", "a"), host("[::1]:80", "b")]);
        named.logical = true;
        let found = show(named.found(look(3)).expect("all are known"));
        assert_eq!(found, [host("10.0.0.1:80", "a"), host("10.0.0.2:80", "b")]);
    }
}
