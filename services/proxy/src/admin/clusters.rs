//! `/clusters`: every host with its counts and its health.

use std::fmt::Write;

use selvedge_telemetry::Filter;
use selvedge_traffic::circuit::Bounded;
use selvedge_traffic::{Discovery, Thresholds};
use selvedge_upstream::{Cluster, HealthFlag, Member};
use serde_json::{Value, json};

use super::Subject;
use super::config_dump::place;
use super::listeners::socket_address;
use super::query::Query;
use super::reply::Reply;

pub(super) fn show(subject: &Subject, query: &Query) -> Reply {
    let mut clusters = subject.clusters.list();
    if let Some(expression) = query.get("filter").filter(|expression| !expression.is_empty()) {
        let filter = match Filter::default().with_name(expression) {
            Ok(filter) => filter,
            Err(error) => return Reply::bad_request(format!("Invalid re2 regex: {error}\n")),
        };
        clusters.retain(|cluster| filter.matches(&cluster.name));
    }
    if query.wants_json() {
        let statuses: Vec<Value> = clusters.iter().map(|cluster| status(cluster)).collect();
        return Reply::json(&json!({ "cluster_statuses": statuses }));
    }
    let mut text = String::new();
    for cluster in &clusters {
        // Writing to a String cannot fail.
        let _ = write_cluster(cluster, &mut text);
    }
    Reply::text(text)
}

fn write_cluster(cluster: &Cluster, out: &mut String) -> std::fmt::Result {
    let name = &cluster.name;
    writeln!(out, "{name}::observability_name::{name}")?;
    let breakers = &cluster.config.circuit_breakers;
    for (priority, thresholds) in [("default_priority", &breakers.default), ("high_priority", &breakers.high)]
    {
        for (member, bound) in bounds(thresholds) {
            writeln!(out, "{name}::{priority}::{member}::{bound}")?;
        }
    }
    writeln!(out, "{name}::added_via_api::true")?;
    if let Some(state) = cluster.breaker_state() {
        writeln!(out, "{name}::breaker::{}", state.as_str())?;
    }
    if let Discovery::Eds { service_name } = &cluster.config.discovery
        && !service_name.is_empty()
    {
        writeln!(out, "{name}::eds_service_name::{service_name}")?;
    }
    for member in &cluster.hosts().members {
        let host = &member.host;
        let address = host.address;
        for (counter, value) in counters(member) {
            writeln!(out, "{name}::{address}::{counter}::{value}")?;
        }
        for (gauge, value) in gauges(member) {
            writeln!(out, "{name}::{address}::{gauge}::{value}")?;
        }
        writeln!(out, "{name}::{address}::hostname::{}", host.hostname.as_deref().unwrap_or_default())?;
        writeln!(out, "{name}::{address}::health_flags::{}", host.flags_text())?;
        writeln!(out, "{name}::{address}::weight::{}", member.weight)?;
        writeln!(out, "{name}::{address}::region::{}", member.place.locality.region)?;
        writeln!(out, "{name}::{address}::zone::{}", member.place.locality.zone)?;
        writeln!(out, "{name}::{address}::sub_zone::{}", member.place.locality.sub_zone)?;
        writeln!(out, "{name}::{address}::canary::{}", member.is_canary())?;
        writeln!(out, "{name}::{address}::priority::{}", member.priority)?;
        let [external, local] = host.success_rates().map(|rate| rate.unwrap_or(-1.0));
        writeln!(out, "{name}::{address}::success_rate::{external}")?;
        writeln!(out, "{name}::{address}::local_origin_success_rate::{local}")?;
        if let Some(state) = host.breaker_state() {
            writeln!(out, "{name}::{address}::breaker::{}", state.as_str())?;
        }
    }
    Ok(())
}

fn status(cluster: &Cluster) -> Value {
    let breakers = &cluster.config.circuit_breakers;
    // As protobuf has it, what is the default, or nothing, is not shown.
    let thresholds = |priority: Option<&str>, thresholds: &Thresholds| {
        let mut value = json!({});
        if let Some(priority) = priority {
            value["priority"] = priority.into();
        }
        for (member, bound) in bounds(thresholds) {
            value[member] = bound.into();
        }
        value
    };
    let mut status = json!({ "name": &*cluster.name, "added_via_api": true });
    let hosts: Vec<Value> = cluster.hosts().members.iter().map(host_status).collect();
    if !hosts.is_empty() {
        status["host_statuses"] = hosts.into();
    }
    status["circuit_breakers"] = json!({
        "thresholds": [thresholds(None, &breakers.default), thresholds(Some("HIGH"), &breakers.high)],
    });
    status["observability_name"] = (*cluster.name).into();
    if let Discovery::Eds { service_name } = &cluster.config.discovery
        && !service_name.is_empty()
    {
        status["eds_service_name"] = service_name.as_str().into();
    }
    if let Some(state) = cluster.breaker_state() {
        status["selvedge_breaker"] = state.as_str().into();
    }
    status
}

fn host_status(member: &Member) -> Value {
    let host = &member.host;
    let shown = |mut stat: Value, value: String| {
        if value != "0" {
            stat["value"] = value.into();
        }
        stat
    };
    let counters = counters(member).map(|(name, value)| shown(json!({ "name": name }), value.to_string()));
    let gauges = gauges(member)
        .map(|(name, value)| shown(json!({ "type": "GAUGE", "name": name }), value.to_string()));
    let eds = if host.has_flag(HealthFlag::FailedEds) {
        "UNHEALTHY"
    } else if host.has_flag(HealthFlag::DegradedEds) {
        "DEGRADED"
    } else {
        "HEALTHY"
    };
    let mut health = json!({ "eds_health_status": eds });
    for (name, flag) in [
        ("failed_active_health_check", HealthFlag::FailedActiveCheck),
        ("failed_outlier_check", HealthFlag::FailedOutlierCheck),
        ("pending_dynamic_removal", HealthFlag::PendingRemoval),
    ] {
        if host.has_flag(flag) {
            health[name] = true.into();
        }
    }
    let mut status = json!({
        "address": socket_address(host.address),
        "stats": counters.into_iter().chain(gauges).collect::<Vec<_>>(),
        "health_status": health,
        "weight": member.weight,
        "locality": place(&member.place.locality),
    });
    if let Some(hostname) = host.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
        status["hostname"] = hostname.into();
    }
    if member.priority > 0 {
        status["priority"] = member.priority.into();
    }
    let rates = ["success_rate", "local_origin_success_rate"].into_iter().zip(host.success_rates());
    for (name, rate) in rates.filter_map(|(name, rate)| Some((name, rate?))) {
        status[name] = json!({ "value": rate });
    }
    if let Some(state) = host.breaker_state() {
        status["selvedge_breaker"] = state.as_str().into();
    }
    status
}

fn bounds(thresholds: &Thresholds) -> [(&'static str, u32); 4] {
    [
        ("max_connections", thresholds.bound(Bounded::Connections)),
        ("max_pending_requests", thresholds.bound(Bounded::PendingRequests)),
        ("max_requests", thresholds.bound(Bounded::Requests)),
        ("max_retries", thresholds.bound(Bounded::Retries)),
    ]
}

fn counters(member: &Member) -> [(&'static str, u64); 6] {
    let stats = &member.host.stats;
    [
        ("cx_connect_fail", stats.cx_connect_fail.value()),
        ("cx_total", stats.cx_total.value()),
        ("rq_error", stats.rq_error.value()),
        ("rq_success", stats.rq_success.value()),
        ("rq_timeout", stats.rq_timeout.value()),
        ("rq_total", stats.rq_total.value()),
    ]
}

fn gauges(member: &Member) -> [(&'static str, i64); 3] {
    let stats = &member.host.stats;
    [
        ("cx_active", stats.cx_active.value().max(0)),
        ("rq_active", stats.rq_active.value().max(0)),
        ("rq_pending_active", stats.rq_pending_active.value().max(0)),
    ]
}
