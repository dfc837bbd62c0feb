//! `/explain`: what would become of a request, told by the code that decides it.

use std::fmt::Write;
use std::sync::Arc;

use selvedge_traffic::circuit::Bounded;
use selvedge_traffic::matching::PlainRequest;
use selvedge_traffic::{
    CompiledRoutes, DecisionResult, Direction, FilterChain, ForwardDecision, Listener, Network, RouteSource,
};
use selvedge_upstream::Cluster;
use serde_json::{Value, json};

use super::Subject;
use super::query::Query;
use super::reply::Reply;
use crate::snapshot::ActiveListener;

const USAGE: &str = "usage: /explain?path=<path>[&host=<authority>][&method=<method>][&header=<name>:<value>]…\n\
    \x20      [&port=<destination port>][&listener=<name>|&direction=(inbound|outbound)][&scheme=https][&format=json]\n";

pub(super) fn show(subject: &Subject, query: &Query) -> Reply {
    let request = match request(query) {
        Ok(request) => request,
        Err(reason) => return Reply::bad_request(format!("{reason}\n{USAGE}")),
    };
    let port = match query.get("port").map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) => Some(port),
        Some(Err(_)) => return Reply::bad_request(format!("port: not a port\n{USAGE}")),
    };
    let snapshot = Arc::clone(subject.discovery().snapshot());
    let listeners: Vec<&Arc<ActiveListener>> =
        snapshot.listeners.iter().filter(|active| is_wanted(&active.config, query)).collect();
    if listeners.is_empty() {
        return Reply::not_found("no listener of that name or direction is active\n");
    }
    let explanations: Vec<Value> =
        listeners.iter().map(|active| listener(subject, active, port, &request)).collect();
    if query.wants_json() {
        return Reply::json(&json!({ "request": request_json(&request), "listeners": explanations }));
    }
    let mut text = format!("{} {}{}\n", request.method, request.authority, request.path);
    explanations.iter().for_each(|explanation| write_text(explanation, 0, &mut text));
    Reply::text(text)
}

fn request(query: &Query) -> Result<PlainRequest, &'static str> {
    let path = query.get("path").filter(|path| path.starts_with('/')).ok_or("path: it must begin with /")?;
    let host = query.get("host").or_else(|| query.get("authority")).unwrap_or_default();
    let mut request = PlainRequest::new(query.get("method").unwrap_or("GET"), host, path);
    if let Some(scheme) = query.get("scheme") {
        request.scheme = scheme.to_owned();
    }
    for (_, header) in query.pairs().filter(|(name, _)| *name == "header") {
        let (name, value) = header.split_once(':').ok_or("header: write name:value")?;
        request = request.with_header(name.trim(), value.trim());
    }
    Ok(request)
}

fn is_wanted(listener: &Listener, query: &Query) -> bool {
    let direction = match query.get("direction") {
        Some("inbound") => listener.direction == Direction::Inbound,
        Some("outbound") => listener.direction == Direction::Outbound,
        _ => true,
    };
    direction && query.get("listener").is_none_or(|name| name == listener.name)
}

fn listener(subject: &Subject, active: &ActiveListener, port: Option<u16>, request: &PlainRequest) -> Value {
    let config = &active.config;
    let mut told = json!({
        "listener": config.name,
        "address": config.address.to_string(),
        "direction": format!("{:?}", config.direction).to_lowercase(),
    });
    let Some((chain, why)) = chain(config, port) else {
        told["result"] = "the connection is closed: no filter chain takes it".into();
        return told;
    };
    told["filter_chain"] = json!({ "name": chain.name, "because": why });
    match &chain.network {
        Network::Tcp(tcp) => {
            let weighted = |cluster: &selvedge_traffic::WeightedCluster| {
                let mut value = json!({ "cluster": cluster.name, "weight": cluster.weight });
                add_cluster(subject, &cluster.name, &mut value);
                value
            };
            told["tcp_proxy"] = json!({
                "stat_prefix": tcp.stat_prefix,
                "targets": tcp.clusters.iter().map(weighted).collect::<Vec<_>>(),
            });
        }
        Network::Http(http) => {
            told["http_connection_manager"] = json!({ "stat_prefix": http.stat_prefix });
            let table = match &http.routes {
                RouteSource::Inline(table) => Some(Arc::new(table.clone())),
                RouteSource::Rds(name) => active.routes.get(name).map(Arc::clone),
            };
            let Some(table) = table else {
                told["result"] = "404, NR: the route table is missing".into();
                return told;
            };
            told["route_table"] = table.name.clone().into();
            match CompiledRoutes::new(table) {
                Ok(routes) => add_decision(subject, &routes, request, &mut told),
                Err(error) => told["result"] = error.to_string().into(),
            }
        }
    }
    told
}

/// The chain for a connection to `port`, and what decided it.
fn chain(listener: &Listener, port: Option<u16>) -> Option<(&FilterChain, String)> {
    let of_port =
        |port: Option<u16>| listener.chains.iter().find(|chain| chain.matches.destination_port == port);
    if let Some(port) = port
        && let Some(chain) = of_port(Some(port))
    {
        return Some((chain, format!("it names the destination port {port}")));
    }
    if let Some(chain) = of_port(None) {
        return Some((chain, "it names no destination port".to_owned()));
    }
    if let Some(chain) = &listener.default_chain {
        return Some((chain, "it is the listener's default".to_owned()));
    }
    match (port, listener.chains.as_slice()) {
        (None, [only]) => Some((only, "it is the only one, and no port was asked about".to_owned())),
        _ => None,
    }
}

fn add_decision(subject: &Subject, routes: &CompiledRoutes, request: &PlainRequest, told: &mut Value) {
    let decision = routes.explain(request);
    told["virtual_host"] = decision.virtual_host.into();
    let tried = decision.tried.iter().map(|tried| match &tried.failed {
        Some(failed) => json!({ "route": tried.route, "not": failed }),
        None => json!({ "route": tried.route, "chosen": true }),
    });
    told["routes_tried"] = tried.collect();
    match decision.result {
        DecisionResult::Forward(forward) => add_forward(subject, &forward, told),
        DecisionResult::Redirect { status, location } => {
            told["result"] = format!("{status}, location: {location}").into();
        }
        DecisionResult::Respond { status } => told["result"] = format!("{status}, answered directly").into(),
        DecisionResult::NoVirtualHost => {
            told["result"] = "404, NR: no virtual host takes the authority".into()
        }
        DecisionResult::NoRoute => told["result"] = "404, NR: the virtual host has no route for it".into(),
    }
}

fn add_forward(subject: &Subject, forward: &ForwardDecision, told: &mut Value) {
    let time = |duration: Option<std::time::Duration>| {
        duration.map_or_else(|| "none".to_owned(), |it| format!("{it:?}"))
    };
    let mut terms = json!({
        "timeout": time(forward.timeout),
        "per_try_timeout": time(forward.per_try_timeout),
    });
    if let Some(idle) = forward.idle_timeout {
        terms["idle_timeout"] = format!("{idle:?}").into();
    }
    if let Some(retry) = &forward.retry {
        terms["retry"] = json!({
            "on": retry.on,
            "status_codes": retry.status_codes,
            "retries_max": retry.retries_max,
            "backoff": format!("{:?} to {:?}", retry.backoff_base, retry.backoff_max),
        });
    }
    for (name, value) in [("path", &forward.path), ("host", &forward.host)] {
        if let Some(value) = value {
            terms[name] = value.clone().into();
        }
    }
    told["result"] = "forwarded".into();
    told["terms"] = terms;
    let target = |share: &selvedge_traffic::explain::Share| {
        let mut value = json!({ "cluster": share.cluster, "weight": share.weight, "percent": share.percent });
        add_cluster(subject, &share.cluster, &mut value);
        value
    };
    told["targets"] = forward.targets.iter().map(target).collect();
}

/// The hosts that would be chosen from, and what limits the choice.
fn add_cluster(subject: &Subject, name: &str, told: &mut Value) {
    let Some(cluster) = subject.clusters.get(name) else {
        told["result"] = "503, NC: the cluster is not known".into();
        return;
    };
    let config = &cluster.config;
    told["balancing"] = serde_json::to_value(config.balancing).unwrap_or_default();
    told["protocol"] = serde_json::to_value(config.protocol).unwrap_or_default();
    told["connect_timeout"] = format!("{:?}", config.connect_timeout).into();
    let bound = |bounded| config.circuit_breakers.default.bound(bounded);
    told["circuit_breakers"] = json!({
        "max_connections": bound(Bounded::Connections),
        "max_pending_requests": bound(Bounded::PendingRequests),
        "max_requests": bound(Bounded::Requests),
        "max_retries": bound(Bounded::Retries),
    });
    if config.outlier_detection.is_some() {
        told["outlier_detection"] = true.into();
    }
    if !config.health_checks.is_empty() {
        told["health_checks"] = config.health_checks.len().into();
    }
    told["hosts"] = hosts(&cluster);
}

fn hosts(cluster: &Cluster) -> Value {
    let one = |member: &selvedge_upstream::Member| {
        json!({
            "address": member.host.address.to_string(),
            "health": member.host.flags_text(),
            "weight": member.weight,
            "priority": member.priority,
        })
    };
    cluster.hosts().members.iter().map(one).collect()
}

fn request_json(request: &PlainRequest) -> Value {
    json!({
        "method": request.method,
        "authority": request.authority,
        "path": request.path,
        "scheme": request.scheme,
        "headers": request.headers,
    })
}

/// The members of an explanation, one a line, indented.
fn write_text(value: &Value, depth: usize, out: &mut String) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        let indent = "  ".repeat(depth);
        // Writing to a String cannot fail.
        match value {
            Value::Object(_) => {
                let _ = writeln!(out, "{indent}{name}:");
                write_text(value, depth + 1, out);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let _ = writeln!(out, "{indent}{name}:");
                for item in items {
                    write_item(item, depth + 1, out);
                }
            }
            Value::String(text) => {
                let _ = writeln!(out, "{indent}{name}: {text}");
            }
            other => {
                let _ = writeln!(out, "{indent}{name}: {other}");
            }
        }
    }
}

fn write_item(item: &Value, depth: usize, out: &mut String) {
    let mut text = String::new();
    write_text(item, depth + 1, &mut text);
    let indent = "  ".repeat(depth);
    // The first line carries the item's mark in place of two blanks.
    out.push_str(&indent);
    out.push_str("- ");
    out.push_str(text.get(indent.len() + 2..).unwrap_or_default());
}
