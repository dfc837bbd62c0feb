//! `/listeners`.

use serde_json::{Value, json};

use super::Subject;
use super::query::Query;
use super::reply::Reply;

pub(super) fn show(subject: &Subject, query: &Query) -> Reply {
    let snapshot = subject.discovery().snapshot().clone();
    let listeners = snapshot.listeners.iter().map(|listener| &listener.config);
    if query.wants_json() {
        let status = |listener: &std::sync::Arc<selvedge_traffic::Listener>| json!({ "name": listener.name, "local_address": socket_address(listener.address) });
        return Reply::json(&json!({ "listener_statuses": listeners.map(status).collect::<Vec<_>>() }));
    }
    Reply::text(
        listeners.map(|listener| format!("{}::{}\n", listener.name, listener.address)).collect::<String>(),
    )
}

/// An address in Envoy's shape.
pub(super) fn socket_address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
