//! `/config_dump` and `/init_dump`: what is in force, what is on its way, what was rejected and why.
//!
//! The frame is Envoy's; inside, a resource is shown as this proxy understands it.

use std::time::{Instant, SystemTime};

use selvedge_traffic::tls::SecretRef;
use selvedge_wire::tls::Secret;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Subject;
use super::query::Query;
use super::reply::Reply;
use crate::discovery::{Dump, Dumped, Failure};

/// What stands in a key's place, as in Envoy's dump.
const REDACTED: &str = "[redacted]";

pub(super) fn show(subject: &Subject, query: &Query) -> Reply {
    let dump = subject.discovery().dump();
    let mut configs = vec![bootstrap(subject), clusters(&dump)];
    if query.has("include_eds") {
        configs.push(endpoints(&dump));
    }
    configs.extend([listeners(&dump), typed("ScopedRoutesConfigDump", json!({})), routes(&dump)]);
    configs.push(secrets(subject, &dump));
    match query.get("resource") {
        None => Reply::json(&json!({ "configs": configs })),
        Some(resource) => {
            let found = configs.iter().find_map(|config| config.get(resource)).and_then(Value::as_array);
            match found {
                Some(items) => Reply::json(&json!({ "configs": items })),
                None => Reply::status(
                    http::StatusCode::NOT_FOUND,
                    format!("{resource} not found in config dump\n"),
                ),
            }
        }
    }
}

pub(super) fn init_dump(subject: &Subject, _: &Query) -> Reply {
    let dump = subject.discovery().dump();
    let targets = |name: &str, warming: &mut dyn Iterator<Item = String>| json!({ "name": name, "target_names": warming.collect::<Vec<_>>() });
    let clusters =
        targets("cluster_manager", &mut dump.clusters.warming.iter().map(|it| it.resource.name.clone()));
    let listeners =
        targets("listener_manager", &mut dump.listeners.warming.iter().map(|it| it.resource.name.clone()));
    let routes = targets("rds", &mut dump.routes.warming.iter().map(|it| it.resource.name.clone()));
    Reply::json(&json!({ "unready_targets_dumps": [clusters, listeners, routes] }))
}

fn bootstrap(subject: &Subject) -> Value {
    typed(
        "BootstrapConfigDump",
        json!({
            "bootstrap": crate::bootstrap::envoy_bootstrap(&subject.bootstrap),
            "last_updated": time(subject.lifecycle.started),
        }),
    )
}

fn clusters(dump: &Dump) -> Value {
    let body = |it| item("cluster", "envoy.config.cluster.v3.Cluster", it);
    let mut value = json!({
        "dynamic_active_clusters": dump.clusters.active.iter().map(body).collect::<Vec<_>>(),
        "dynamic_warming_clusters": dump.clusters.warming.iter().map(body).collect::<Vec<_>>(),
    });
    add_errors(&mut value, &dump.clusters.failures);
    typed("ClustersConfigDump", value)
}

fn endpoints(dump: &Dump) -> Value {
    let assignments = dump.endpoints.iter().map(|(version, endpoints)| {
        let config = resource("envoy.config.endpoint.v3.ClusterLoadAssignment", &**endpoints);
        json!({ "version_info": version, "endpoint_config": config })
    });
    typed("EndpointsConfigDump", json!({ "dynamic_endpoint_configs": assignments.collect::<Vec<_>>() }))
}

/// Envoy keeps a listener's states together under its name.
fn listeners(dump: &Dump) -> Value {
    let mut by_name: std::collections::BTreeMap<&str, Map<String, Value>> = std::collections::BTreeMap::new();
    let body = |it| item("listener", "envoy.config.listener.v3.Listener", it);
    for it in &dump.listeners.active {
        by_name.entry(&it.resource.name).or_default().insert("active_state".to_owned(), body(it));
    }
    for it in &dump.listeners.warming {
        by_name.entry(&it.resource.name).or_default().insert("warming_state".to_owned(), body(it));
    }
    for (name, failure) in &dump.listeners.failures {
        by_name.entry(name).or_default().insert("error_state".to_owned(), error_state(failure));
    }
    let listeners: Vec<Value> = by_name
        .into_iter()
        .map(|(name, states)| {
            let mut listener = Map::from_iter([("name".to_owned(), name.into())]);
            listener.extend(states);
            listener.into()
        })
        .collect();
    typed("ListenersConfigDump", json!({ "dynamic_listeners": listeners }))
}

fn routes(dump: &Dump) -> Value {
    let body = |it| item("route_config", "envoy.config.route.v3.RouteConfiguration", it);
    let mut value = json!({
        "dynamic_route_configs": dump.routes.active.iter().map(body).collect::<Vec<_>>(),
        "dynamic_warming_route_configs": dump.routes.warming.iter().map(body).collect::<Vec<_>>(),
    });
    add_errors(&mut value, &dump.routes.failures);
    typed("RoutesConfigDump", value)
}

/// Certificates are shown, keys are not: they are no part of what is at hand here.
fn secrets(subject: &Subject, dump: &Dump) -> Value {
    let known = subject.clusters.secrets();
    let content = |name: &SecretRef| match known.secret(name) {
        Some(Secret::Certificate(material)) => json!({ "tls_certificate": {
            "certificate_chain": { "inline_string": material.chain_pem() },
            "private_key": { "inline_string": REDACTED },
        }}),
        Some(Secret::Files { chain, key }) => json!({ "tls_certificate": {
            "certificate_chain": { "filename": chain },
            "private_key": { "filename": key },
        }}),
        Some(Secret::Validation(validation)) => json!({ "validation_context": validation }),
        None => json!({}),
    };
    let shown = |name: &SecretRef| {
        let mut members = content(name);
        members["name"] = name.name.clone().into();
        resource("envoy.extensions.transport_sockets.tls.v3.Secret", &members)
    };
    let active = dump.secrets.iter().filter_map(|secret| {
        let (version, since) = secret.in_force.as_ref()?;
        Some(json!({
            "name": secret.name.name,
            "version_info": version,
            "last_updated": time(*since),
            "secret": shown(&secret.name),
        }))
    });
    let warming = dump.secrets.iter().filter(|secret| secret.in_force.is_none());
    let warming = warming.map(|secret| {
        json!({ "name": secret.name.name, "version_info": "uninitialized", "secret": shown(&secret.name) })
    });
    let mut value = json!({
        "dynamic_active_secrets": active.collect::<Vec<_>>(),
        "dynamic_warming_secrets": warming.collect::<Vec<_>>(),
    });
    add_errors(&mut value, &dump.secret_failures);
    typed("SecretsConfigDump", value)
}

fn item<T: Serialize>(member: &str, type_name: &str, dumped: &Dumped<T>) -> Value {
    let mut value = json!({ "version_info": dumped.version, "last_updated": time(dumped.since) });
    value[member] = resource(type_name, &*dumped.resource);
    value
}

/// A resource with its type; every one of them is an object.
fn resource<T: Serialize>(type_name: &str, resource: &T) -> Value {
    let mut members =
        Map::from_iter([("@type".to_owned(), format!("type.googleapis.com/{type_name}").into())]);
    if let Ok(Value::Object(own)) = serde_json::to_value(resource) {
        members.extend(own);
    }
    members.into()
}

fn add_errors(value: &mut Value, failures: &[(String, Failure)]) {
    let each =
        failures.iter().map(|(name, failure)| json!({ "name": name, "error_state": error_state(failure) }));
    let each: Vec<Value> = each.collect();
    if !each.is_empty() {
        value["rejected"] = each.into();
    }
}

fn error_state(failure: &Failure) -> Value {
    json!({ "last_update_attempt": time(failure.at), "details": failure.details })
}

fn typed(name: &str, mut value: Value) -> Value {
    let mut members =
        Map::from_iter([("@type".to_owned(), format!("type.googleapis.com/envoy.admin.v3.{name}").into())]);
    members.extend(value.as_object_mut().map(std::mem::take).unwrap_or_default());
    members.into()
}

/// A moment of this process as a time of day.
fn time(at: Instant) -> String {
    selvedge_telemetry::iso_time(SystemTime::now() - at.elapsed())
}
