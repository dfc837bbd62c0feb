//! What discovery knows, copied out for whoever wants to look.

use std::sync::Arc;
use std::time::Instant;

use selvedge_traffic::tls::SecretRef;
use selvedge_traffic::{Cluster, Listener, LoadAssignment, RouteTable};

use super::{Failure, ProxyState};

/// One version of a resource.
#[derive(Clone, Debug)]
pub struct Dumped<T> {
    pub resource: Arc<T>,
    pub version: String,
    pub since: Instant,
}

/// All resources of a kind.
#[derive(Clone, Debug)]
pub struct Kind<T> {
    pub active: Vec<Dumped<T>>,
    /// Accepted, not in force yet.
    pub warming: Vec<Dumped<T>>,
    /// The latest version was rejected.
    pub failures: Vec<(String, Failure)>,
}

/// A secret that is asked for; nothing of what is in it.
#[derive(Clone, Debug)]
pub struct DumpedSecret {
    pub name: SecretRef,
    /// `None` while it is awaited, and if whoever was asked knows no such secret.
    pub in_force: Option<(String, Instant)>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Dump {
    pub clusters: Kind<Cluster>,
    pub listeners: Kind<Listener>,
    pub routes: Kind<RouteTable>,
    /// With their versions.
    pub endpoints: Vec<(String, Arc<LoadAssignment>)>,
    pub secrets: Vec<DumpedSecret>,
    /// Secrets whose latest version cannot be used.
    pub secret_failures: Vec<(String, Failure)>,
}

impl ProxyState {
    /// A copy of what is known; resources are shared, not cloned.
    pub fn dump(&self) -> Dump {
        let clusters = &self.clusters.entries;
        let cluster = |it: &super::Instance| dumped(&it.config, &it.version, it.since);
        let listeners = &self.listeners.entries;
        let listener = |it: &super::listeners::Version| dumped(&it.config, &it.version, it.since);
        let routes = &self.routes.entries;
        let table = |it: &super::routes::Version| dumped(&it.table, &it.version, it.since);
        let assignments = self.clusters.assignments.values();
        Dump {
            clusters: Kind {
                active: clusters.values().filter_map(|entry| entry.active.as_ref()).map(cluster).collect(),
                warming: clusters.values().filter_map(|entry| entry.warming.as_ref()).map(cluster).collect(),
                failures: self.clusters.failures.to_vec(),
            },
            listeners: Kind {
                active: listeners.values().filter_map(|entry| entry.active.as_ref()).map(listener).collect(),
                warming: listeners
                    .values()
                    .filter_map(|entry| entry.pending.as_ref())
                    .map(listener)
                    .collect(),
                failures: self.listeners.failures.to_vec(),
            },
            routes: Kind {
                active: routes.values().filter_map(|entry| entry.current.as_ref()).map(table).collect(),
                warming: routes.values().filter_map(|entry| entry.pending.as_ref()).map(table).collect(),
                failures: self.routes.failures.to_vec(),
            },
            secrets: self
                .secrets
                .wanted
                .iter()
                .map(|name| DumpedSecret {
                    name: name.clone(),
                    in_force: self
                        .secrets
                        .answered
                        .get(name)
                        .filter(|answered| answered.exists)
                        .map(|answered| (answered.version.clone(), answered.since)),
                })
                .collect(),
            secret_failures: self.secrets.failures.to_vec(),
            endpoints: assignments.map(|it| (it.version.clone(), Arc::clone(&it.endpoints))).collect(),
        }
    }
}

fn dumped<T>(resource: &Arc<T>, version: &str, since: Instant) -> Dumped<T> {
    Dumped { resource: Arc::clone(resource), version: version.to_owned(), since }
}
