//! A proxy that puts things in force as they come, as Envoy does: a cluster once it has its hosts, routes at once.
//!
//! It depends on the control plane's order, where our own proxy would hold back what is not ready.

use super::Wish;
use crate::config::{Config, assignment_of};
use selvedge_traffic::{Cluster, Resource, ResourceKind};
use selvedge_xds::client::Update;
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
pub(super) struct Envoy {
    config: Config,
    /// Clusters that wait for their hosts; an older definition may be in force meanwhile.
    warming: BTreeMap<String, Cluster>,
    is_initialised: bool,
    wishes: VecDeque<Wish>,
}

impl Envoy {
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn update(&mut self, update: Update) {
        for received in update.changed {
            self.accept(received.resource);
        }
        for name in update.removed {
            if update.kind == ResourceKind::Cluster {
                self.warming.remove(&name);
            }
            self.config.remove(update.kind, &name);
        }
        self.config.prune();
        self.config.warm_up(self.warming.keys().cloned());
        self.wishes.push_back(Wish::Answer(update.nonce, Vec::new()));
        // Listeners are asked for when every cluster has its hosts.
        if !self.is_initialised && self.warming.is_empty() {
            self.is_initialised = true;
            self.wishes.push_back(Wish::Listen);
        }
    }

    pub(super) fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    fn accept(&mut self, resource: Resource) {
        match resource {
            Resource::Cluster(cluster) if assignment_of(&cluster).is_some() => {
                self.warming.insert(cluster.name.clone(), cluster);
            }
            Resource::Endpoints(assignment) => {
                let is_awaited = |_: &String, cluster: &mut Cluster| {
                    assignment_of(cluster) == Some(assignment.cluster.as_str())
                };
                for (_, cluster) in self.warming.extract_if(.., is_awaited) {
                    self.config.put(Resource::Cluster(cluster));
                }
                self.config.put(Resource::Endpoints(assignment));
            }
            Resource::Cluster(cluster) => {
                self.warming.remove(&cluster.name);
                self.config.put(Resource::Cluster(cluster));
            }
            other => self.config.put(other),
        }
    }
}
