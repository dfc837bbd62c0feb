//! A gateway's own listeners: the first half of a request's way, to its virtual service.

use std::net::SocketAddr;

use selvedge_model::{PortProtocol, VirtualGateway, VirtualGatewayListener};
use selvedge_traffic::{
    AccessLog, Action, Address, Cluster, Direction, Discovery, Forward, HeaderEdit, HostRewrite, Listener,
    Network, Route, RouteTable, VirtualHost, WeightedCluster,
};

use super::address;
use super::entry::Entry;
use crate::cluster;
use crate::context::Context;
use crate::diagnostic::{Code, Severity};
use crate::egress::http_connection;
use crate::ingress::chains;
use crate::names;
use crate::order::rank;
use crate::policy;
use crate::timeout::{CONNECT_LOCAL, Requests};
use crate::tls;

/// Makes the listener, its routes, and its way into the egress listener.
pub(super) fn ingress(
    context: &mut Context<'_>,
    gateway: &VirtualGateway,
    index: usize,
    listener: &VirtualGatewayListener,
    entries: &[Entry<'_>],
    egress_port: u16,
    logs: &[AccessLog],
) {
    let (port, protocol) = (listener.port_mapping.port, listener.port_mapping.protocol);
    let at = format!("spec.listeners[{index}]");
    let direct = context.proxy.direct();
    if direct.is_some() && index > 0 {
        let text = format!("port {port} is not served: without interception the proxy has one port");
        return context.error(Code::DirectUnserved, gateway, at, text);
    }
    if listener.health_check.is_some() {
        let text = "it is run by nobody: no member of a mesh calls a gateway";
        context.report(Severity::Note, Code::HealthCheckInert, gateway, format!("{at}.healthCheck"), text);
    }
    let secured = tls::downstream(listener.tls.as_ref(), protocol, &mut context.manager());
    if let Some(certificate) = &secured.unavailable {
        let what = if secured.plain { "takes plain connections only" } else { "is closed" };
        let text = format!("port {port} {what}: the certificate {certificate} is not available here");
        context.error(Code::CertificateUnavailable, gateway, format!("{at}.tls.certificate"), text);
    }
    if secured.is_closed() {
        return;
    }
    let several = gateway.spec.listeners.len() > 1;
    let self_redirect = self_redirect(context, gateway, listener, several.then_some(port), egress_port);
    let table = ingress_table(context, gateway, port, protocol, entries, &self_redirect);
    let stat_prefix = names::ingress_stat_prefix(gateway.spec.listeners.len(), protocol, port);
    let filters = policy::connection_filters(context, &table, Some(&gateway.key));
    let network = Network::Http(Box::new(http_connection(stat_prefix, table, filters, logs.to_vec())));
    let mut chains = chains(format!("ingress_{protocol}_{port}"), None, &secured, &network);
    let tls_inspector = chains.len() > 1;
    let default_chain = if tls_inspector { None } else { chains.pop() };
    let (address, ipv4_compat, name_address) = address(context);
    let port = direct.map_or(port, |direct| direct.ingress_port);
    let name = names::ingress_listener(name_address, port);
    context.origin(&name, gateway);
    let mut listener = Listener {
        name,
        address: SocketAddr::new(address, port),
        ipv4_compat,
        direction: Direction::Inbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector,
        inspection: selvedge_traffic::Inspection::default(),
        chains,
        default_chain,
        access_logs: Vec::new(),
    };
    policy::govern_inbound(context, &gateway.key, &mut listener);
    context.listener(listener);
}

/// The cluster that leads a request into the egress listener of the same proxy.
fn self_redirect(
    context: &mut Context<'_>,
    gateway: &VirtualGateway,
    listener: &VirtualGatewayListener,
    listener_port: Option<u16>,
    egress_port: u16,
) -> String {
    let protocol = listener.port_mapping.protocol;
    let name =
        names::self_redirect_cluster(context.mesh(), &gateway.key.name, protocol, listener_port, egress_port);
    let loopback = cluster::loopback(context.ip_preference());
    let bound = context.proxy.direct().map(|direct| direct.bind).filter(|bind| !bind.is_unspecified());
    let address = Address::Socket(SocketAddr::new(bound.unwrap_or(loopback), egress_port));
    let cluster = Cluster {
        protocol: cluster::protocol(protocol),
        circuit_breakers: cluster::pool(listener.connection_pool.as_ref()),
        ..cluster::base(
            name.clone(),
            Discovery::Static(cluster::one_address(&name, address, "")),
            CONNECT_LOCAL,
        )
    };
    context.cluster(cluster);
    context.origin(&name, gateway);
    name
}

fn ingress_table(
    context: &mut Context<'_>,
    gateway: &VirtualGateway,
    port: u16,
    protocol: PortProtocol,
    entries: &[Entry<'_>],
    cluster: &str,
) -> String {
    let table = names::ingress_routes(protocol, port);
    let mut here: Vec<&Entry<'_>> = entries
        .iter()
        .filter(|entry| entry.own.spec.match_port().is_none_or(|wanted| wanted == port))
        .collect();
    here.sort_by_cached_key(|entry| rank(entry.own.spec.priority, &entry.matches, &entry.own.key.name));
    let mut routes = Vec::with_capacity(here.len());
    for (index, entry) in here.into_iter().enumerate() {
        context.origin(&table, entry.own);
        let place = (table.clone(), names::SELF_REDIRECT.to_owned(), index);
        context.made.origins.routes.insert(place, entry.own.key.clone());
        let (route, policies) = ingress_route(context, entry, cluster);
        policy::note_route(context, &table, names::SELF_REDIRECT, index, policies);
        routes.push(route);
    }
    context.origin(&table, gateway);
    let host = VirtualHost {
        name: names::SELF_REDIRECT.to_owned(),
        domains: vec!["*".to_owned()],
        routes,
        ..VirtualHost::default()
    };
    context.table(RouteTable { name: table.clone(), virtual_hosts: vec![host], ..RouteTable::default() });
    table
}

/// The route with the policies that had a part in it. The header that leads on to the virtual service has the last word.
fn ingress_route(context: &mut Context<'_>, entry: &Entry<'_>, cluster: &str) -> (Route, Vec<String>) {
    let levels = policy::levels_of_gateway(&entry.own.key);
    let said = Requests { per_request: Some(entry.timeout), idle: None };
    let timeouts = policy::timeouts(context, &levels, said);
    let forward = Forward {
        timeout: timeouts.per_request,
        idle_timeout: timeouts.idle,
        path_rewrite: entry.rewrite.clone(),
        host_rewrite: (!entry.keeps_host).then(|| HostRewrite::Literal(entry.authority.clone())),
        ..Forward::to(vec![WeightedCluster::new(cluster, 1)])
    };
    let mut route = Route::new(&entry.own.key.name, entry.matches.clone(), Action::Forward(forward));
    let policies = policy::govern(context, &levels, &mut route);
    if entry.keeps_host {
        route.request_headers.push(HeaderEdit::Overwrite {
            name: names::VIRTUAL_SERVICE_HEADER.to_owned(),
            value: entry.authority.clone(),
        });
    }
    (route, policies)
}
