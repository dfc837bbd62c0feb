//! The listener for incoming connections of a node: each declared port leads to the application.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use selvedge_model::{Listener as NodeListener, PortProtocol, VirtualNode};
use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::matching::RouteMatch;
use selvedge_traffic::{
    AccessLog, Action, Address, ChainMatch, Cluster, Direction, Discovery, FilterChain, Forward, Inspection,
    Listener, Network, Route, RouteTable, TcpProxy, Transport, VirtualHost, WeightedCluster,
};

use crate::cluster;
use crate::context::Context;
use crate::diagnostic::Code;
use crate::egress::{any_address, http_connection, inspection};
use crate::names;
use crate::policy;
use crate::proxy::INGRESS_PORT;
use crate::timeout::{CONNECT_LOCAL, PER_REQUEST_DEFAULT, Requests, tcp_idle};
use crate::tls::{self, Downstream};

/// Makes the ingress listener, its routes and its clusters; nothing for a node that listens nowhere.
pub(crate) fn translate(context: &mut Context<'_>, node: &VirtualNode, access_logs: &[AccessLog]) {
    match context.proxy.direct() {
        None => intercepting(context, node, access_logs),
        Some(_) => direct(context, node, access_logs),
    }
}

fn intercepting(context: &mut Context<'_>, node: &VirtualNode, access_logs: &[AccessLog]) {
    if node.spec.listeners.is_empty() {
        return;
    }
    let mut chains = Vec::new();
    let mut taken = BTreeSet::new();
    for (index, listener) in node.spec.listeners.iter().enumerate() {
        if !taken.insert(listener.port_mapping.port) {
            let text = format!("another listener has port {}", listener.port_mapping.port);
            context.error(Code::PortClash, node, format!("spec.listeners[{index}]"), text);
            continue;
        }
        let port = Some(listener.port_mapping.port);
        chains.extend(chains_of(context, node, listener, port, access_logs));
    }
    let (address, ipv4_compat) = any_address(cluster::preference(context, node));
    let name = names::ingress_listener(IpAddr::V4(Ipv4Addr::UNSPECIFIED), INGRESS_PORT);
    finish(context, node, name, SocketAddr::new(address, INGRESS_PORT), ipv4_compat, true, chains, None);
}

fn direct(context: &mut Context<'_>, node: &VirtualNode, access_logs: &[AccessLog]) {
    let Some(direct) = context.proxy.direct() else { return };
    let Some((listener, rest)) = node.spec.listeners.split_first() else { return };
    for (index, unserved) in rest.iter().enumerate() {
        let text = format!(
            "port {} is not served: without interception the proxy has one port, for the first listener",
            unserved.port_mapping.port
        );
        context.error(Code::DirectUnserved, node, format!("spec.listeners[{}]", index + 1), text);
    }
    let mut chains = chains_of(context, node, listener, None, access_logs);
    // One chain without conditions is the default; permissive encryption needs both, told apart by their first bytes.
    let default =
        if chains.len() == 1 && chains[0].matches == ChainMatch::default() { chains.pop() } else { None };
    let name = names::ingress_listener(direct.bind, direct.ingress_port);
    let address = SocketAddr::new(direct.bind, direct.ingress_port);
    finish(context, node, name, address, false, false, chains, default);
}

#[expect(clippy::too_many_arguments, reason = "the members of one listener")]
fn finish(
    context: &mut Context<'_>,
    node: &VirtualNode,
    name: String,
    address: SocketAddr,
    ipv4_compat: bool,
    original_dst: bool,
    chains: Vec<FilterChain>,
    default_chain: Option<FilterChain>,
) {
    if chains.is_empty() && default_chain.is_none() {
        return;
    }
    context.origin(&name, node);
    let tls_inspector = chains.iter().any(|chain| chain.matches.transport.is_some());
    let mut listener = Listener {
        name,
        address,
        ipv4_compat,
        direction: Direction::Inbound,
        original_dst,
        proxy_protocol: None,
        tls_inspector,
        inspection: if tls_inspector { inspection(&chains) } else { Inspection::default() },
        chains,
        default_chain,
        access_logs: Vec::new(),
    };
    policy::govern_inbound(context, &node.key, &mut listener);
    context.listener(listener);
}

/// The chains of one declared listener: encrypted, plain, both, or none where a certificate cannot be had.
fn chains_of(
    context: &mut Context<'_>,
    node: &VirtualNode,
    listener: &NodeListener,
    destination_port: Option<u16>,
    access_logs: &[AccessLog],
) -> Vec<FilterChain> {
    let (port, protocol) = (listener.port_mapping.port, listener.port_mapping.protocol);
    let secured = tls::downstream(listener.tls.as_ref(), protocol, &mut context.manager());
    if let Some(certificate) = &secured.unavailable {
        let what = if secured.plain { "takes plain connections only" } else { "is closed" };
        let text = format!("port {port} {what}: the certificate {certificate} is not available here");
        context.error(Code::CertificateUnavailable, node, "spec.listeners", text);
    }
    if secured.is_closed() {
        return Vec::new();
    }
    let cluster = application(context, node, listener);
    let network = network(context, node, listener, &cluster, access_logs);
    chains(format!("ingress_{protocol}_{port}"), destination_port, &secured, &network)
}

/// A chain for each way of connecting that is taken.
pub(crate) fn chains(
    name: String,
    destination_port: Option<u16>,
    secured: &Downstream,
    network: &Network,
) -> Vec<FilterChain> {
    let both = secured.plain && secured.tls.is_some();
    let chain = |suffix: &str, detected: DetectedTransport, transport: Transport| FilterChain {
        name: if both { format!("{name}_{suffix}") } else { name.clone() },
        matches: ChainMatch {
            destination_port,
            transport: both.then_some(detected),
            ..ChainMatch::default()
        },
        transport,
        filters: Vec::new(),
        network: network.clone(),
    };
    let encrypted =
        secured.tls.clone().map(|tls| chain("tls", DetectedTransport::Tls, Transport::Tls(Box::new(tls))));
    let plain = secured.plain.then(|| chain("plain", DetectedTransport::Plain, Transport::Plain));
    encrypted.into_iter().chain(plain).collect()
}

/// The cluster of the application behind a declared port.
fn application(context: &mut Context<'_>, node: &VirtualNode, listener: &NodeListener) -> String {
    let (port, protocol) = (listener.port_mapping.port, listener.port_mapping.protocol);
    let name = names::ingress_cluster(context.mesh(), &node.key.name, protocol, port);
    let address = match context.proxy.direct() {
        Some(direct) => SocketAddr::new(direct.app_host, direct.app_port(port)),
        None => SocketAddr::new(cluster::loopback(cluster::preference(context, node)), port),
    };
    let assignment = cluster::one_address(&name, Address::Socket(address), "");
    let cluster = Cluster {
        protocol: cluster::protocol(protocol),
        circuit_breakers: cluster::pool(listener.connection_pool.as_ref()),
        ..cluster::base(name.clone(), Discovery::Static(assignment), CONNECT_LOCAL)
    };
    context.cluster(cluster);
    context.origin(&name, node);
    context.made.origins.clusters.insert(name.clone(), (node.key.name.clone(), port));
    name
}

fn network(
    context: &mut Context<'_>,
    node: &VirtualNode,
    listener: &NodeListener,
    cluster: &str,
    access_logs: &[AccessLog],
) -> Network {
    let (port, protocol) = (listener.port_mapping.port, listener.port_mapping.protocol);
    let stat_prefix = names::ingress_stat_prefix(node.spec.listeners.len(), protocol, port);
    let clusters = vec![WeightedCluster::new(cluster, 1)];
    if protocol == PortProtocol::Tcp {
        return Network::Tcp(TcpProxy {
            idle_timeout: tcp_idle(listener),
            access_logs: policy::of_connections(access_logs),
            ..TcpProxy::to(&stat_prefix, clusters)
        });
    }
    let timeouts = policy::timeouts_of_node(context, &node.key.name, Requests::of_listener(listener));
    let forward = Forward {
        timeout: Some(timeouts.per_request.unwrap_or(PER_REQUEST_DEFAULT)),
        idle_timeout: timeouts.idle,
        ..Forward::to(clusters)
    };
    let mut route = Route::new(&node.key.name, RouteMatch::any(), Action::Forward(forward));
    let policies = policy::govern(context, &policy::levels_of_node(context, &node.key.name), &mut route);
    let host = VirtualHost {
        name: node.key.name.clone(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let table = names::ingress_routes(protocol, port);
    context.origin(&table, node);
    policy::note_route(context, &table, &host.name, 0, policies);
    let place = (table.clone(), host.name.clone(), 0);
    context.made.origins.routes.insert(place, node.key.clone());
    context.table(RouteTable { name: table.clone(), virtual_hosts: vec![host], ..RouteTable::default() });
    let filters = policy::connection_filters(context, &table, Some(&node.key));
    Network::Http(Box::new(http_connection(stat_prefix, table, filters, access_logs.to_vec())))
}
