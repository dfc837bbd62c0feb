//! Counters from one process to its successor, so that a restart is no step in a graph.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codes::Code;
use crate::registry::Registry;
use crate::scrape::{Name, Scope, Value};
use crate::stats::{ClusterUpkeep, Group};

/// The counters of a process that are not 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters(Vec<Counted>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Counted {
    scope: Place,
    /// For a code: what stands in front of its name.
    name: String,
    code: Option<Coded>,
    value: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Place {
    Server,
    Cluster(String),
    Http(String),
    Tcp(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Coded {
    Completed,
    Class(u8),
    Status(u16),
}

/// What has been taken over so far; it keeps the groups alive until the configuration holds them itself.
#[derive(Default)]
pub struct Heir {
    seen: BTreeMap<(Place, String, Option<Coded>), u64>,
    /// By address, as there may be thousands.
    held: BTreeMap<usize, Arc<dyn Any + Send + Sync>>,
}

impl Registry {
    /// What a successor takes over: the counters of the server, of clusters and of managers.
    pub fn counters(&self) -> Counters {
        let mut counters = Vec::new();
        self.visit_all(false, &mut |scope, name, value| {
            let Value::Counter(value @ 1..) = value else { return };
            let place = match scope {
                Scope::Server => Place::Server,
                Scope::Cluster(name) => Place::Cluster(name.clone()),
                Scope::Http(prefix) => Place::Http(prefix.clone()),
                Scope::Tcp(prefix) => Place::Tcp(prefix.clone()),
                _ => return,
            };
            let (name, code) = match name {
                Name::Plain(name) => (name, None),
                Name::Code(prefix, Code::Completed) => (prefix, Some(Coded::Completed)),
                Name::Code(prefix, Code::Class(class)) => (prefix, Some(Coded::Class(class))),
                Name::Code(prefix, Code::Status(status)) => (prefix, Some(Coded::Status(status))),
            };
            counters.push(Counted { scope: place, name: name.to_owned(), code, value });
        });
        Counters(counters)
    }

    /// Adds what the predecessor has counted since the last time.
    pub fn take_over(&self, counters: Counters, heir: &mut Heir) {
        let upkeep = names_of::<ClusterUpkeep>();
        for Counted { scope, name, code, value } in counters.0 {
            let before = heir.seen.insert((scope.clone(), name.clone(), code), value).unwrap_or(0);
            let amount = value.saturating_sub(before);
            if amount == 0 {
                continue;
            }
            match scope {
                Place::Server => add(&**self.server(), &name, code, amount),
                Place::Cluster(cluster) if code.is_none() && upkeep.contains(name.as_str()) => {
                    let group = self.upkeep(&cluster);
                    add(&**group, &name, code, amount);
                    if name == "health_check.attempt" {
                        group.tell();
                    }
                    heir.hold(group);
                }
                Place::Cluster(cluster) => {
                    let group = self.cluster(&cluster);
                    add(&**group, &name, code, amount);
                    heir.hold(group);
                }
                Place::Http(prefix) => {
                    let group = self.http(&prefix);
                    add(&**group, &name, code, amount);
                    heir.hold(group);
                }
                Place::Tcp(prefix) => {
                    let group = self.tcp(&prefix);
                    add(&**group, &name, code, amount);
                    heir.hold(group);
                }
            }
        }
    }
}

impl Heir {
    fn hold(&mut self, group: Arc<dyn Any + Send + Sync>) {
        self.held.entry(Arc::as_ptr(&group).addr()).or_insert(group);
    }
}

/// The names of a group's statistics.
fn names_of<T: Group>() -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    T::default().visit(&mut |name, _| {
        names.insert(name);
    });
    names
}

fn add<T: Group>(group: &T, name: &str, code: Option<Coded>, amount: u64) {
    match code {
        None => group.add(name, amount),
        Some(code) => {
            let Some(codes) = group.codes(name) else { return };
            codes.add(
                match code {
                    Coded::Completed => Code::Completed,
                    Coded::Class(class) => Code::Class(class),
                    Coded::Status(status) => Code::Status(status),
                },
                amount,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Buckets, Filter};

    #[test]
    fn a_successor_goes_on_counting_where_its_predecessor_stands() {
        let (old, new) = (Registry::new(1), Registry::new(1));
        let cluster = old.cluster("up");
        cluster.rq.record(503);
        cluster.upstream_rq_total.add(7);
        let upkeep = old.upkeep("up");
        upkeep.membership_change.add(4);
        old.http("in").downstream_cx_total.add(2);
        let http = old.http("held");
        http.downstream_cx_total.add(3);
        let mut heir = Heir::default();
        let text = serde_json::to_string(&old.counters()).expect("JSON");
        new.take_over(serde_json::from_str(&text).expect("JSON"), &mut heir);
        cluster.upstream_rq_total.inc();
        new.cluster("up").upstream_rq_total.inc();
        new.take_over(old.counters(), &mut heir);
        let shown = new.text(&Filter { used_only: true, ..Filter::default() }, Buckets::default());
        for line in [
            "cluster.up.upstream_rq_total: 9",
            "cluster.up.membership_change: 4",
            "cluster.up.upstream_rq_503: 1",
            "cluster.up.upstream_rq_5xx: 1",
            "cluster.up.upstream_rq_completed: 1",
            "http.held.downstream_cx_total: 3",
        ] {
            assert!(shown.lines().any(|found| found == line), "{line}\nin\n{shown}");
        }
    }

    #[test]
    fn each_group_is_held_once_and_kept_alive() {
        let (old, new) = (Registry::new(1), Registry::new(1));
        let upkeep: Vec<_> = (0..100).map(|n| old.upkeep(&format!("c{n}"))).collect();
        let clusters: Vec<_> = (0..100).map(|n| old.cluster(&format!("c{n}"))).collect();
        let mut heir = Heir::default();
        for _ in 0..2 {
            upkeep.iter().for_each(|group| group.update_success.inc());
            clusters.iter().for_each(|group| group.upstream_rq_total.inc());
            new.take_over(old.counters(), &mut heir);
        }
        assert_eq!(heir.held.len(), 200);
        assert_eq!(new.upkeep("c7").update_success.value(), 2, "it was forgotten between the two");
    }
}
