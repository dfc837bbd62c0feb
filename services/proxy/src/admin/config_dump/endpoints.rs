//! Endpoints as they are known, wherever they come from: as with Envoy, those of a cluster that was discovered are dynamic.

use std::sync::Arc;

use selvedge_traffic::{Discovery, Locality};
use selvedge_upstream::{Cluster, HealthFlag, Member};
use serde_json::{Value, json};

use super::{lists, typed};
use crate::admin::listeners::socket_address;

/// Envoy's, where none is told.
const OVERPROVISIONING_DEFAULT: u32 = 140;

pub(super) fn show(clusters: &[Arc<Cluster>], is_wanted: impl Fn(&str) -> bool) -> Value {
    let mut dynamic = Vec::new();
    for cluster in clusters {
        let name = match &cluster.config.discovery {
            Discovery::Eds { service_name } if !service_name.is_empty() => service_name,
            _ => &cluster.config.name,
        };
        if is_wanted(name) {
            dynamic.push(json!({ "endpoint_config": assignment(cluster, name) }));
        }
    }
    typed("EndpointsConfigDump", lists([("dynamic_endpoint_configs", dynamic)]))
}

fn assignment(cluster: &Cluster, name: &str) -> Value {
    let mut groups: Vec<(&Locality, u32, u32, Vec<Value>)> = Vec::new();
    let hosts = cluster.hosts();
    for member in &hosts.members {
        let (locality, priority) = (&member.place.locality, member.priority);
        match groups.iter_mut().find(|group| (group.0, group.1) == (locality, priority)) {
            Some(group) => group.3.push(endpoint(member)),
            None => groups.push((locality, priority, member.place.weight, vec![endpoint(member)])),
        }
    }
    let groups = groups.into_iter().map(|(locality, priority, weight, endpoints)| {
        let mut group =
            json!({ "locality": place(locality), "lb_endpoints": endpoints, "load_balancing_weight": weight });
        if priority > 0 {
            group["priority"] = priority.into();
        }
        group
    });
    json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": groups.collect::<Vec<_>>(),
        "policy": { "overprovisioning_factor": OVERPROVISIONING_DEFAULT },
    })
}

/// Parts that are empty are not shown.
pub(in crate::admin) fn place(locality: &Locality) -> Value {
    let parts = [("region", &locality.region), ("zone", &locality.zone), ("sub_zone", &locality.sub_zone)];
    let parts = parts.into_iter().filter(|(_, part)| !part.is_empty());
    Value::Object(parts.map(|(name, part)| (name.to_owned(), part.clone().into())).collect())
}

fn endpoint(member: &Member) -> Value {
    let host = &member.host;
    let mut endpoint = json!({ "address": socket_address(host.address), "health_check_config": {} });
    if let Some(hostname) = host.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
        endpoint["hostname"] = hostname.into();
    }
    let flags = [
        HealthFlag::FailedEds,
        HealthFlag::FailedActiveCheck,
        HealthFlag::FailedOutlierCheck,
        HealthFlag::PendingRemoval,
    ];
    let health = if flags.into_iter().any(|flag| host.has_flag(flag)) {
        "UNHEALTHY"
    } else if host.has_flag(HealthFlag::DegradedEds) {
        "DEGRADED"
    } else {
        "HEALTHY"
    };
    json!({ "endpoint": endpoint, "health_status": health, "load_balancing_weight": member.weight })
}
