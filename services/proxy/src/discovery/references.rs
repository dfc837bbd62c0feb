//! What a listener or a route table needs.

use std::collections::BTreeSet;

use selvedge_traffic::tls::{Certificate, SecretRef, Trust, Validation};
use selvedge_traffic::{
    Action, Cluster, FilterChain, Listener, Network, RouteSource, RouteTable, Transport, UpstreamTransport,
};

/// The names of route tables that a listener asks for.
pub(super) fn route_tables(listener: &Listener) -> BTreeSet<&str> {
    chains(listener)
        .filter_map(|chain| match &chain.network {
            Network::Http(connection) => match &connection.routes {
                RouteSource::Rds(name) => Some(name.as_str()),
                RouteSource::Inline(_) => None,
            },
            Network::Tcp(_) => None,
        })
        .collect()
}

/// The clusters that a listener itself names: in TCP proxies and inline tables.
pub(super) fn listener_clusters(listener: &Listener) -> BTreeSet<&str> {
    let mut clusters = BTreeSet::new();
    for chain in chains(listener) {
        match &chain.network {
            Network::Http(connection) => {
                if let RouteSource::Inline(table) = &connection.routes {
                    clusters.extend(table_clusters(table));
                }
            }
            Network::Tcp(proxy) => {
                clusters.extend(proxy.clusters.iter().map(|cluster| cluster.name.as_str()))
            }
        }
    }
    clusters
}

/// The clusters that a table's routes lead to.
pub(super) fn table_clusters(table: &RouteTable) -> BTreeSet<&str> {
    table
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.routes)
        .filter_map(|route| match &route.action {
            Action::Forward(forward) => Some(forward.clusters.iter().map(|cluster| cluster.name.as_str())),
            Action::Redirect(_) | Action::Respond(_) => None,
        })
        .flatten()
        .collect()
}

/// The secrets that a listener asks for.
pub(super) fn listener_secrets(listener: &Listener) -> impl Iterator<Item = &SecretRef> {
    chains(listener).flat_map(|chain| match &chain.transport {
        Transport::Plain => [None, None].into_iter().flatten(),
        Transport::Tls(tls) => secrets(Some(&tls.certificate), tls.validation.as_ref()),
    })
}

/// The secrets that a cluster asks for.
pub(super) fn cluster_secrets(cluster: &Cluster) -> impl Iterator<Item = &SecretRef> {
    match &cluster.transport {
        UpstreamTransport::Plain => [None, None].into_iter().flatten(),
        UpstreamTransport::Tls(tls) => secrets(tls.certificate.as_ref(), tls.validation.as_ref()),
    }
}

fn secrets<'a>(
    certificate: Option<&'a Certificate>,
    validation: Option<&'a Validation>,
) -> std::iter::Flatten<std::array::IntoIter<Option<&'a SecretRef>, 2>> {
    let certificate = match certificate {
        Some(Certificate::Sds(secret)) => Some(secret),
        Some(Certificate::Files { .. }) | None => None,
    };
    let trust = match validation.map(|validation| &validation.trust) {
        Some(Trust::Sds(secret)) => Some(secret),
        _ => None,
    };
    [certificate, trust].into_iter().flatten()
}

pub(super) fn chains(listener: &Listener) -> impl Iterator<Item = &FilterChain> {
    listener.chains.iter().chain(&listener.default_chain)
}
