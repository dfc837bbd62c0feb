//! What a proxy has in force, and whether it hangs together.

use selvedge_traffic::{
    Action, Cluster, Discovery, Listener, LoadAssignment, Network, Resource, ResourceKind, RouteSource,
    RouteTable,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A proxy's resources by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    clusters: BTreeMap<String, Cluster>,
    endpoints: BTreeMap<String, LoadAssignment>,
    listeners: BTreeMap<String, Listener>,
    routes: BTreeMap<String, RouteTable>,
    /// Clusters that have come and do not serve yet.
    warming: BTreeSet<String>,
}

/// A proxy serves a route to a cluster that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{route} leads to {cluster}, which {what}")]
pub struct Gap {
    /// Listener and route, or listener and chain.
    pub route: String,
    /// Where it leads.
    pub cluster: String,
    /// What is missing.
    pub what: Missing,
}

/// What a proxy lacks of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// The cluster itself.
    Cluster,
    /// The cluster has come, but it does not serve before it has its hosts.
    Warmth,
    /// The answer where its hosts are.
    Endpoints,
}

impl Config {
    /// Puts a resource in force, over any of its name.
    pub fn put(&mut self, resource: Resource) {
        let name = resource.name().to_owned();
        match resource {
            Resource::Cluster(it) => drop(self.clusters.insert(name, it)),
            Resource::Endpoints(it) => drop(self.endpoints.insert(name, it)),
            Resource::Listener(it) => drop(self.listeners.insert(name, it)),
            Resource::Routes(it) => drop(self.routes.insert(name, it)),
        }
    }

    /// Notes which clusters have come and do not serve yet.
    pub fn warm_up(&mut self, clusters: impl IntoIterator<Item = String>) {
        self.warming = clusters.into_iter().collect();
    }

    /// Takes a resource out of force.
    pub fn remove(&mut self, kind: ResourceKind, name: &str) {
        match kind {
            ResourceKind::Cluster => drop(self.clusters.remove(name)),
            ResourceKind::Endpoints => drop(self.endpoints.remove(name)),
            ResourceKind::Listener => drop(self.listeners.remove(name)),
            ResourceKind::Routes => drop(self.routes.remove(name)),
        }
    }

    /// Whether there is a resource of that kind and name.
    pub fn contains(&self, kind: ResourceKind, name: &str) -> bool {
        match kind {
            ResourceKind::Cluster => self.clusters.contains_key(name),
            ResourceKind::Endpoints => self.endpoints.contains_key(name),
            ResourceKind::Listener => self.listeners.contains_key(name),
            ResourceKind::Routes => self.routes.contains_key(name),
        }
    }

    /// Drops what nothing refers to: the endpoints of clusters that are gone, the routes of listeners that are.
    pub fn prune(&mut self) {
        let Self { clusters, endpoints, listeners, routes, .. } = self;
        let assignments: BTreeSet<_> = clusters.values().filter_map(assignment_of).collect();
        endpoints.retain(|name, _| assignments.contains(name.as_str()));
        let tables: BTreeSet<_> = listeners.values().flat_map(tables_of).collect();
        routes.retain(|name, _| tables.contains(name.as_str()));
    }

    /// Every served route to a cluster that is not there, in order.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps = BTreeSet::new();
        for (route, cluster) in self.targets() {
            let what = match self.clusters.get(cluster) {
                None if self.warming.contains(cluster) => Missing::Warmth,
                None => Missing::Cluster,
                Some(it) if assignment_of(it).is_some_and(|name| !self.endpoints.contains_key(name)) => {
                    Missing::Endpoints
                }
                Some(_) => continue,
            };
            gaps.insert(Gap { route, cluster: cluster.to_owned(), what });
        }
        gaps.into_iter().collect()
    }

    /// Where the routes lead that listeners serve.
    fn targets(&self) -> Vec<(String, &str)> {
        let mut targets = Vec::new();
        for listener in self.listeners.values() {
            for chain in listener.chains.iter().chain(&listener.default_chain) {
                match &chain.network {
                    Network::Tcp(tcp) => {
                        let at = format!("{} {}", listener.name, chain.name);
                        targets.extend(tcp.clusters.iter().map(|it| (at.clone(), it.name.as_str())));
                    }
                    Network::Http(http) => {
                        let table = match &http.routes {
                            RouteSource::Inline(table) => Some(table),
                            // A listener without its routes serves nothing yet.
                            RouteSource::Rds(name) => self.routes.get(name),
                        };
                        targets.extend(table.into_iter().flat_map(|table| targets_of(&listener.name, table)));
                    }
                }
            }
        }
        targets
    }

    /// A few lines for people: what listens, what is routed where, what clusters there are.
    pub fn outline(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.listeners.keys().map(|name| format!("listener {name}")).collect();
        for (table, it) in &self.routes {
            for host in &it.virtual_hosts {
                for route in &host.routes {
                    lines.push(format!(
                        "route {table} {} {} {}",
                        host.name,
                        route.name,
                        action(&route.action)
                    ));
                }
            }
        }
        for (name, cluster) in &self.clusters {
            let hosts = assignment_of(cluster).and_then(|name| self.endpoints.get(name)).map(|assignment| {
                assignment.localities.iter().map(|locality| locality.endpoints.len()).sum::<usize>()
            });
            lines.push(match hosts {
                Some(count) => format!("cluster {name}, {count} endpoints"),
                None => format!("cluster {name}"),
            });
        }
        lines
    }

    /// What differs from `other`, by kind and name.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = differing("cluster", &self.clusters, &other.clusters);
        found.extend(differing("endpoints", &self.endpoints, &other.endpoints));
        found.extend(differing("listener", &self.listeners, &other.listeners));
        found.extend(differing("routes", &self.routes, &other.routes));
        found
    }
}

fn differing<T: PartialEq>(
    kind: &str,
    ours: &BTreeMap<String, T>,
    theirs: &BTreeMap<String, T>,
) -> Vec<String> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differing = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
    differing
        .map(|name| match (ours.get(name), theirs.get(name)) {
            (Some(_), None) => format!("{kind} {name} is too many"),
            (None, _) => format!("{kind} {name} is missing"),
            _ => format!("{kind} {name} differs"),
        })
        .collect()
}

/// The name under which discovery knows a cluster's hosts.
pub(crate) fn assignment_of(cluster: &Cluster) -> Option<&str> {
    match &cluster.discovery {
        Discovery::Eds { service_name } if service_name.is_empty() => Some(&cluster.name),
        Discovery::Eds { service_name } => Some(service_name),
        _ => None,
    }
}

pub(crate) fn tables_of(listener: &Listener) -> Vec<&str> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains
        .filter_map(|chain| match &chain.network {
            Network::Http(http) => match &http.routes {
                RouteSource::Rds(name) => Some(name.as_str()),
                RouteSource::Inline(_) => None,
            },
            Network::Tcp(_) => None,
        })
        .collect()
}

fn targets_of<'a>(listener: &'a str, table: &'a RouteTable) -> impl Iterator<Item = (String, &'a str)> {
    let routes = table.virtual_hosts.iter().flat_map(|host| &host.routes);
    routes.flat_map(move |route| {
        let clusters = match &route.action {
            Action::Forward(forward) => &forward.clusters[..],
            Action::Redirect(_) | Action::Respond(_) => &[],
        };
        // A cluster without a share gets no request.
        let served = clusters.iter().filter(|cluster| cluster.weight > 0);
        served.map(move |cluster| (format!("{listener} {}", route.name), cluster.name.as_str()))
    })
}

fn action(action: &Action) -> String {
    match action {
        Action::Forward(forward) => {
            let clusters: Vec<_> =
                forward.clusters.iter().map(|it| format!("{}={}", it.name, it.weight)).collect();
            format!("→ {}", clusters.join(" "))
        }
        Action::Redirect(_) => "redirects".to_owned(),
        Action::Respond(_) => "answers".to_owned(),
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "is not there",
            Self::Warmth => "is not warm",
            Self::Endpoints => "has not been told its hosts",
        })
    }
}
