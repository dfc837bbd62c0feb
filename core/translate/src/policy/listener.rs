//! Listeners: what policies say of the connections that come in, and of both sides of a proxy.

use selvedge_model::Key;
use selvedge_model::policy::{self, CallerConnection, ListenerConnection};
use selvedge_traffic::{
    Cluster, ConnectionLimit, FilterChain, Http2Keepalive, HttpConnection, HttpProtocol, Listener, Network,
    NetworkFilter, Transport,
};

use super::{client_address, find, levels_in_mesh, note_proxy, proxy_protocol, tls, tracing};
use crate::context::Context;

/// First part of the names of statistics.
const STATS: &str = "policy";

/// Works policies into a listener where connections come in.
pub(crate) fn govern_inbound(context: &mut Context<'_>, own: &Key, listener: &mut Listener) {
    let snapshot = context.snapshot;
    if snapshot.policies.is_empty() {
        return;
    }
    let levels = levels_in_mesh(context, own);
    if let Some((policy, spec)) = find::<policy::ProxyProtocol>(snapshot, &levels)
        && let Some(accept) = &spec.accept
    {
        listener.proxy_protocol = Some(proxy_protocol::accept(accept));
        note_proxy(context, policy);
    }
    if let Some((policy, spec)) = find::<policy::Tls>(snapshot, &levels)
        && let Some(side) = &spec.listener
    {
        for chain in chains(listener) {
            if let Transport::Tls(own) = &mut chain.transport {
                // The API refuses expressions that cannot be used.
                let _ = tls::listener(side, own);
            }
        }
        note_proxy(context, policy);
    }
    if let Some((policy, spec)) = find::<policy::ClientAddress>(snapshot, &levels) {
        connections(listener).for_each(|connection| client_address::apply(spec, connection));
        note_proxy(context, policy);
    }
    if let Some((policy, spec)) = find::<policy::Connection>(snapshot, &levels)
        && let Some(side) = &spec.listener
    {
        connections(listener).for_each(|connection| life(side, connection));
        if let Some(most) = side.max_connections {
            for chain in chains(listener) {
                let limit = ConnectionLimit {
                    stat_prefix: STATS.to_owned(),
                    connections_max: most.into(),
                    delay: None,
                };
                chain.filters.push(NetworkFilter::ConnectionLimit(limit));
            }
        }
        note_proxy(context, policy);
    }
    trace(context, own, listener);
}

/// Works policies into the listener of calls.
pub(crate) fn govern_outbound(context: &mut Context<'_>, own: &Key, listener: &mut Listener) {
    if !context.snapshot.policies.is_empty() {
        trace(context, own, listener);
    }
}

fn trace(context: &mut Context<'_>, own: &Key, listener: &mut Listener) {
    let levels = levels_in_mesh(context, own);
    if let Some((policy, spec)) = find::<policy::Tracing>(context.snapshot, &levels) {
        let made = tracing::tracing(context, policy, spec);
        connections(listener).for_each(|connection| connection.tracing.clone_from(&made));
        note_proxy(context, policy);
    }
}

fn life(spec: &ListenerConnection, connection: &mut HttpConnection) {
    let said = |span: Option<policy::Span>| span.map(|span| span.0);
    connection.idle_timeout = said(spec.idle_timeout).or(connection.idle_timeout);
    connection.connection_duration_max = said(spec.max_age);
    connection.requests_per_connection_max = spec.max_requests;
    connection.request_headers_timeout = said(spec.request_head_timeout);
    connection.request_timeout = said(spec.request_timeout);
    connection.drain_timeout = said(spec.drain_timeout);
    connection.extended_connect = spec.extended_connect.unwrap_or(false);
    connection.proxy_100_continue = spec.proxy_100_continue.unwrap_or(false);
    connection.http2.keepalive = spec.keep_alive.as_ref().map(keepalive);
}

/// Callers' connections to a node.
pub(super) fn callers(spec: &CallerConnection, cluster: &mut Cluster) {
    if let Some(span) = spec.connect_timeout {
        cluster.connect_timeout = span.0;
    }
    cluster.idle_timeout = spec.idle_timeout.map(|span| span.0);
    cluster.connection_duration_max = spec.max_age.map(|span| span.0);
    cluster.requests_per_connection_max = spec.max_requests;
    if cluster.protocol == HttpProtocol::Http2 {
        cluster.http2.keepalive = spec.keep_alive.as_ref().map(keepalive);
    }
}

fn keepalive(spec: &policy::KeepAlive) -> Http2Keepalive {
    Http2Keepalive::every(spec.interval.0, spec.timeout.0)
}

fn chains(listener: &mut Listener) -> impl Iterator<Item = &mut FilterChain> {
    listener.chains.iter_mut().chain(&mut listener.default_chain)
}

fn connections(listener: &mut Listener) -> impl Iterator<Item = &mut HttpConnection> {
    chains(listener).filter_map(|chain| match &mut chain.network {
        Network::Http(connection) => Some(&mut **connection),
        Network::Tcp(_) => None,
    })
}
