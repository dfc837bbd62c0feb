//! What a policy has a part in.

use std::collections::BTreeSet;

use selvedge_model::{Snapshot, Value};
use selvedge_translate::{Governed, Origins, Proxy, ProxyKind, translate};
use serde_json::json;

/// Places that an answer names.
const PLACES_MAX: usize = 1_000;

/// Everything that a policy of a mesh has a part in, by proxy.
pub(super) fn of(snapshot: &Snapshot, name: &str) -> Value {
    let nodes = snapshot.virtual_nodes.keys().map(|node| Proxy::node(node));
    let gateways = snapshot.virtual_gateways.keys().map(|gateway| Proxy::gateway(gateway));
    let mut places = Vec::new();
    for proxy in nodes.chain(gateways) {
        let origins = translate(snapshot, &proxy).origins;
        // A route stands in several tables or under several ports; who reads this wants it once.
        let mut seen = BTreeSet::new();
        for (governed, names) in &origins.policies {
            if names.contains(name) {
                let (what, which) = place(&origins, governed);
                if seen.insert((what, which.clone())) {
                    places.push(json!({ "proxy": spoken(&proxy), "what": what, "which": which }));
                }
            }
        }
        if places.len() >= PLACES_MAX {
            places.truncate(PLACES_MAX);
            break;
        }
    }
    places.into()
}

fn spoken(proxy: &Proxy) -> String {
    match proxy.kind {
        ProxyKind::VirtualNode => format!("virtual node {}", proxy.name),
        ProxyKind::VirtualGateway => format!("virtual gateway {}", proxy.name),
    }
}

fn place(origins: &Origins, governed: &Governed) -> (&'static str, String) {
    match governed {
        Governed::Route(table, host, index) => {
            let key = origins.routes.get(&(table.clone(), host.clone(), *index));
            let from = key.map(ToString::to_string).unwrap_or_default();
            match origins.services.get(&(table.clone(), host.clone())) {
                Some((service, _)) => ("calls", format!("{from} for {service}")),
                None => ("requests", from),
            }
        }
        Governed::Cluster(cluster) => match origins.clusters.get(cluster) {
            Some((node, port)) => ("calls", format!("virtual node {node}, port {port}")),
            None => ("calls", cluster.clone()),
        },
        Governed::Proxy(side) => ("proxy", (*side).to_owned()),
    }
}
