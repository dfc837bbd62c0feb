//! `/config_dump` and `/init_dump`: what is in force, what is on its way, what was rejected and why, in the very JSON of
//! Envoy's: each resource as the protobuf message that the control plane speaks of, so that Envoy's tools read it.
//!
//! A resource is encoded anew when somebody asks: a proxy with thousands of clusters does not keep their messages.

mod endpoints;
mod mask;
mod secrets;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use http::StatusCode;
use selvedge_telemetry::Filter;
use selvedge_traffic::{Cluster, Listener, Network, Resource, RouteSource, RouteTable};
use selvedge_xds::{encode, json};
use serde_json::{Map, Value, json};

use super::Subject;
use super::query::Query;
use super::reply::Reply;
use crate::discovery::{Dump, Dumped, Failure};
pub(super) use endpoints::place;
use mask::Mask;

type Object = Map<String, Value>;

/// The members that a `resource` may name, with the type of what is in them.
const MEMBERS: &[(&str, &str)] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs"),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
];

pub(super) fn show(subject: &Subject, query: &Query) -> Reply {
    let names = match query.get("name_regex").filter(|expression| !expression.is_empty()) {
        None => None,
        Some(expression) => match Filter::default().with_name(&format!("^(?:{expression})$")) {
            Ok(filter) => Some(filter),
            Err(error) => {
                return Reply::bad_request(format!(
                    "Error while parsing name_regex from {expression}: {error}\n"
                ));
            }
        },
    };
    let is_wanted = |name: &str| names.as_ref().is_none_or(|names| names.matches(name));
    let dump = subject.discovery().dump();
    let mut configs = vec![bootstrap(subject), clusters(&dump, is_wanted)];
    if query.has("include_eds") {
        configs.push(endpoints::show(&subject.clusters.list(), is_wanted));
    }
    configs.push(listeners(&dump, is_wanted));
    configs.push(typed("ScopedRoutesConfigDump", Object::new()));
    configs.push(routes(&dump, is_wanted));
    configs.push(secrets::show(subject, &dump, is_wanted));
    let mask = query.get("mask").filter(|mask| !mask.is_empty()).map(Mask::parse);
    let shown = match query.get("resource").filter(|resource| !resource.is_empty()) {
        None => whole(configs, mask.as_ref()),
        Some(resource) => one(&configs, resource, mask.as_ref()),
    };
    shown.unwrap_or_else(|reply| reply)
}

fn whole(configs: Vec<Value>, mask: Option<&Mask>) -> Result<Reply, Reply> {
    let Some(mask) = mask else { return Ok(Reply::json(&json!({ "configs": configs }))) };
    let configs: Vec<Value> = configs.iter().filter_map(|config| mask.trim(config)).collect();
    if configs.is_empty() {
        let text = format!("FieldMask {mask} could not be successfully applied to any configs.");
        return Err(Reply::bad_request(text));
    }
    Ok(Reply::json(&json!({ "configs": configs })))
}

/// Each item of a repeated member as a message of its own.
fn one(configs: &[Value], resource: &str, mask: Option<&Mask>) -> Result<Reply, Reply> {
    let Some((_, type_name)) = MEMBERS.iter().find(|(member, _)| *member == resource) else {
        if ["bootstrap", "last_updated", "version_info"].contains(&resource) {
            return Err(Reply::bad_request(format!(
                "{resource} is not a repeated field. Use ?mask={resource} to get only this field\n"
            )));
        }
        return Err(Reply::status(StatusCode::NOT_FOUND, format!("{resource} not found in config dump\n")));
    };
    let items = configs.iter().find_map(|config| config.get(resource)).and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    let items = items.iter().filter_map(|item| item.as_object().cloned());
    let mut shown = Vec::new();
    for item in items.map(|item| typed(type_name, item)) {
        match mask {
            None => shown.push(item),
            Some(mask) => match mask.trim(&item) {
                Some(item) => shown.push(item),
                None => {
                    let text = format!("FieldMask {mask} could not be successfully used.");
                    return Err(Reply::bad_request(text));
                }
            },
        }
    }
    Ok(Reply::json(&if shown.is_empty() { json!({}) } else { json!({ "configs": shown }) }))
}

pub(super) fn init_dump(subject: &Subject, _: &Query) -> Reply {
    let dump = subject.discovery().dump();
    let mut dumps = Vec::new();
    let mut targets = |name: &str, warming: Vec<&str>| {
        if !warming.is_empty() {
            dumps.push(json!({ "name": name, "target_names": warming }));
        }
    };
    targets("cluster_manager", dump.clusters.warming.iter().map(|it| it.resource.name.as_str()).collect());
    targets("listener_manager", dump.listeners.warming.iter().map(|it| it.resource.name.as_str()).collect());
    targets("rds", dump.routes.warming.iter().map(|it| it.resource.name.as_str()).collect());
    Reply::json(&if dumps.is_empty() { json!({}) } else { json!({ "unready_targets_dumps": dumps }) })
}

fn bootstrap(subject: &Subject) -> Value {
    let bootstrap = crate::bootstrap::envoy_bootstrap(&subject.bootstrap);
    let mut members = object([("bootstrap", bootstrap)]);
    members.insert("last_updated".to_owned(), time(subject.lifecycle.started).into());
    typed("BootstrapConfigDump", members)
}

/// A definition whose latest version was rejected has the reason beside it, whether another one serves or none.
fn clusters(dump: &Dump, is_wanted: impl Fn(&str) -> bool) -> Value {
    let failure = |name: &str| dump.clusters.failures.iter().find(|(failed, _)| failed == name);
    let item = |it: &Dumped<Cluster>| {
        let mut members = dumped("cluster", it, Resource::Cluster);
        if let Some((_, failure)) = failure(&it.resource.name) {
            members.insert("error_state".to_owned(), error_state(failure));
        }
        Value::Object(members)
    };
    let wanted = |all: &[Dumped<Cluster>]| -> Vec<Value> {
        all.iter().filter(|it| is_wanted(&it.resource.name)).map(item).collect()
    };
    let active = wanted(&dump.clusters.active);
    let mut warming = wanted(&dump.clusters.warming);
    let known = |name: &str| {
        let mut known = dump.clusters.active.iter().chain(&dump.clusters.warming);
        known.any(|it| it.resource.name == name)
    };
    let unknown = dump.clusters.failures.iter().filter(|(name, _)| is_wanted(name) && !known(name));
    warming.extend(unknown.map(|(name, failure)| {
        let cluster = json!({ "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name });
        json!({ "cluster": cluster, "error_state": error_state(failure) })
    }));
    let members = [("dynamic_active_clusters", active), ("dynamic_warming_clusters", warming)];
    typed("ClustersConfigDump", lists(members))
}

/// Envoy keeps a listener's states together under its name.
fn listeners(dump: &Dump, is_wanted: impl Fn(&str) -> bool) -> Value {
    let mut by_name: BTreeMap<&str, Object> = BTreeMap::new();
    let state = |it: &Dumped<Listener>| Value::Object(dumped("listener", it, Resource::Listener));
    for it in &dump.listeners.active {
        by_name.entry(&it.resource.name).or_default().insert("active_state".to_owned(), state(it));
    }
    for it in &dump.listeners.warming {
        by_name.entry(&it.resource.name).or_default().insert("warming_state".to_owned(), state(it));
    }
    for (name, failure) in &dump.listeners.failures {
        by_name.entry(name).or_default().insert("error_state".to_owned(), error_state(failure));
    }
    let listeners = by_name.into_iter().filter(|(name, _)| is_wanted(name)).map(|(name, states)| {
        let mut listener = object([("name", name.into())]);
        listener.extend(states);
        Value::Object(listener)
    });
    typed("ListenersConfigDump", lists([("dynamic_listeners", listeners.collect())]))
}

/// Tables within listeners count as static, whoever brought the listener. What waits for its clusters is only asked for.
fn routes(dump: &Dump, is_wanted: impl Fn(&str) -> bool) -> Value {
    let mut fixed = Vec::new();
    for it in &dump.listeners.active {
        for table in inline_tables(&it.resource).filter(|table| is_wanted(&table.name)) {
            let config = resource(Resource::Routes(table.clone()));
            fixed.push(json!({ "route_config": config, "last_updated": time(it.since) }));
        }
    }
    let failure = |name: &str| dump.routes.failures.iter().find(|(failed, _)| failed == name);
    let item = |it: &Dumped<RouteTable>, is_warming: bool| {
        let mut members = dumped("route_config", it, Resource::Routes);
        if let Some((_, failure)) = failure(&it.resource.name) {
            members.insert("error_state".to_owned(), error_state(failure));
        }
        if is_warming {
            members.insert("client_status".to_owned(), "REQUESTED".into());
        }
        Value::Object(members)
    };
    let active = dump.routes.active.iter().map(|it| (it, false));
    let all = active.chain(dump.routes.warming.iter().map(|it| (it, true)));
    let dynamic = all.filter(|(it, _)| is_wanted(&it.resource.name)).map(|(it, warms)| item(it, warms));
    let mut dynamic: Vec<Value> = dynamic.collect();
    let known = |name: &str| {
        let mut known = dump.routes.active.iter().chain(&dump.routes.warming);
        known.any(|it| it.resource.name == name)
    };
    let unknown = dump.routes.failures.iter().filter(|(name, _)| is_wanted(name) && !known(name));
    dynamic.extend(unknown.map(|(name, failure)| {
        let type_name = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
        json!({ "route_config": { "@type": type_name, "name": name }, "error_state": error_state(failure) })
    }));
    let members = [("static_route_configs", fixed), ("dynamic_route_configs", dynamic)];
    typed("RoutesConfigDump", lists(members))
}

fn inline_tables(listener: &Listener) -> impl Iterator<Item = &RouteTable> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains.filter_map(|chain| match &chain.network {
        Network::Http(http) => match &http.routes {
            RouteSource::Inline(table) => Some(table),
            RouteSource::Rds(_) => None,
        },
        Network::Tcp(_) => None,
    })
}

/// Version, resource, time: in Envoy's order.
fn dumped<T: Clone>(member: &str, it: &Dumped<T>, of: impl Fn(T) -> Resource) -> Object {
    let mut members = Object::new();
    if !it.version.is_empty() {
        members.insert("version_info".to_owned(), it.version.clone().into());
    }
    members.insert(member.to_owned(), resource(of((*it.resource).clone())));
    members.insert("last_updated".to_owned(), time(it.since).into());
    members
}

fn resource(resource: Resource) -> Value {
    let encoded = encode(&resource);
    json::render(encoded.type_url(), &encoded.value)
}

fn error_state(failure: &Failure) -> Value {
    let mut state = Object::new();
    if let Some(rejected) = &failure.rejected {
        state.insert("failed_configuration".to_owned(), json::render(rejected.type_url, &rejected.value));
    }
    state.insert("last_update_attempt".to_owned(), time(failure.at).into());
    state.insert("details".to_owned(), failure.details.clone().into());
    state.into()
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Object {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Lists with nothing in them are not shown.
fn lists<const N: usize>(lists: [(&str, Vec<Value>); N]) -> Object {
    let lists = lists.into_iter().filter(|(_, values)| !values.is_empty());
    lists.map(|(name, values)| (name.to_owned(), values.into())).collect()
}

fn typed(name: &str, members: Object) -> Value {
    let mut typed = object([("@type", format!("type.googleapis.com/envoy.admin.v3.{name}").into())]);
    typed.extend(members);
    typed.into()
}

/// A moment of this process as a time of day.
fn time(at: Instant) -> String {
    selvedge_telemetry::iso_time(SystemTime::now() - at.elapsed())
}
