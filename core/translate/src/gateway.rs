//! A virtual gateway: requests from outside find their virtual service, and from there go as any node's do.
//!
//! As under App Mesh a request passes twice: the ingress listener's routes choose the virtual service and send the
//! request to the gateway's own egress listener, whose routes choose the node.

mod entry;
mod listener;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use selvedge_model::{ClientPolicyTls, GatewayRoute, PortProtocol, VirtualGateway, VirtualService};
use selvedge_traffic::matching::{HeaderCondition, HeaderMatch};
use selvedge_traffic::{AccessLog, HeaderEdit, Route, VirtualHost};

use crate::access_log::access_logs;
use crate::context::Context;
use crate::diagnostic::Code;
use crate::egress::{self, Reached, any_address};
use crate::names;
use crate::policy;
use crate::proxy::EGRESS_PORT;
use crate::route;
use entry::{Entry, entries};

pub(crate) fn translate(context: &mut Context<'_>) {
    let proxy = context.proxy;
    let Some(gateway) = context.gateway(&proxy.name) else {
        let key = proxy.key(context.mesh());
        return context.error(Code::ProxyUnknown, &key, "", "there is no such virtual gateway");
    };
    let logs = policy::access_logs(context, &gateway.key, access_logs(gateway.spec.logging.as_ref()));
    let defaults =
        gateway.spec.backend_defaults.as_ref().and_then(|defaults| defaults.client_policy.as_ref());
    let policy = defaults.and_then(|policy| policy.tls.as_ref());
    let routes = context.gateway_routes_of(&proxy.name);
    let targets = targets(context, &routes, policy);
    let mut reached = egress::reach(context, targets);
    let entries: Vec<Entry<'_>> =
        routes.iter().flat_map(|route| entries(context, gateway, route, &reached)).collect();
    reached.retain(|one| !route::is_tcp(&one.port));
    let egress_port = proxy.direct().map_or(EGRESS_PORT, |direct| direct.egress_port);
    egress_listener(context, gateway, &reached, &entries, egress_port, &logs);
    let mut taken = BTreeSet::new();
    for (index, listener) in gateway.spec.listeners.iter().enumerate() {
        let port = listener.port_mapping.port;
        let reserved = proxy.direct().is_none() && port == egress_port;
        if reserved || !taken.insert(port) {
            let whose = if reserved { "the proxy's own egress" } else { "another" };
            let text = format!("{whose} listener has port {port}");
            context.error(Code::PortClash, gateway, format!("spec.listeners[{index}]"), text);
            continue;
        }
        listener::ingress(context, gateway, index, listener, &entries, egress_port, &logs);
    }
}

/// The virtual services of a gateway's routes, each once.
fn targets<'a>(
    context: &mut Context<'a>,
    routes: &[&'a GatewayRoute],
    policy: Option<&'a ClientPolicyTls>,
) -> Vec<(&'a VirtualService, Option<&'a ClientPolicyTls>)> {
    let mut found = BTreeMap::new();
    for route in routes {
        let Some(target) = route.spec.target() else { continue };
        let name = target.virtual_service.virtual_service_name.as_str();
        match context.service(name) {
            Some(service) => drop(found.insert(name, (service, policy))),
            None => {
                let path = format!("spec.{}.action.target", route.spec.protocol_member());
                let text = format!("it is dropped: there is no virtual service named {name}");
                context.error(Code::RouteDropped, *route, path, text);
            }
        }
    }
    found.into_values().collect()
}

/// The second half of a request's way: virtual services by name, and, for requests that keep their host, by header.
fn egress_listener(
    context: &mut Context<'_>,
    gateway: &VirtualGateway,
    reached: &[Reached<'_>],
    entries: &[Entry<'_>],
    egress_port: u16,
    logs: &[AccessLog],
) {
    let protocol =
        gateway.spec.listeners.first().map_or(PortProtocol::Http, |first| first.port_mapping.protocol);
    let table = names::egress_routes(protocol, egress_port);
    context.origin(&table, gateway);
    let foreign = default_backend(context, &table, reached, entries);
    let Some(chain) = egress::chain_for_all(context, reached, protocol, egress_port, logs, foreign) else {
        return;
    };
    let (address, ipv4_compat, name_address) = address(context);
    let name = names::egress_listener(name_address, egress_port);
    let mut listener = egress::direct(name, SocketAddr::new(address, egress_port), ipv4_compat, chain);
    policy::govern_outbound(context, &gateway.key, &mut listener);
    context.origin(&listener.name, gateway);
    context.listener(listener);
}

/// Where the listeners listen, and under which address they are named.
fn address(context: &Context<'_>) -> (IpAddr, bool, IpAddr) {
    match context.proxy.direct() {
        Some(direct) => (direct.bind, false, direct.bind),
        None => {
            let (address, ipv4_compat) = any_address(context.ip_preference());
            (address, ipv4_compat, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        }
    }
}

fn default_backend(
    context: &mut Context<'_>,
    table: &str,
    reached: &[Reached<'_>],
    entries: &[Entry<'_>],
) -> Vec<VirtualHost> {
    let mut routes = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.keeps_host) {
        if done.contains(&entry.authority.as_str()) {
            continue;
        }
        done.push(&entry.authority);
        let Some(one) = reached.iter().find(|one| authority_of(reached, one) == entry.authority) else {
            continue;
        };
        for made in route::http(context, one.service, &one.port, one.policy) {
            policy::note_route(context, table, names::DEFAULT_BACKEND, routes.len(), made.policies);
            let place = (table.to_owned(), names::DEFAULT_BACKEND.to_owned(), routes.len());
            context.made.origins.routes.insert(place, made.from);
            routes.push(with_service_header(made.route, &entry.authority));
        }
    }
    if routes.is_empty() {
        return Vec::new();
    }
    vec![VirtualHost {
        name: names::DEFAULT_BACKEND.to_owned(),
        domains: vec!["*".to_owned()],
        routes,
        ..VirtualHost::default()
    }]
}

/// The name that leads to a service's port: `entry` gives it the same.
fn authority_of(reached: &[Reached<'_>], one: &Reached<'_>) -> String {
    let name = &one.service.key.name;
    let mut ports =
        reached.iter().filter(|other| other.service.key.name == *name && !route::is_tcp(&other.port));
    match ports.next() {
        Some(first) if first.port.port == one.port.port => name.clone(),
        _ => format!("{name}:{}", one.port.port),
    }
}

fn with_service_header(mut route: Route, authority: &str) -> Route {
    route.matches.headers.push(HeaderMatch {
        name: names::VIRTUAL_SERVICE_HEADER.to_owned(),
        condition: HeaderCondition::Exact(authority.to_owned()),
        invert: false,
    });
    route.request_headers.push(HeaderEdit::Remove { name: names::VIRTUAL_SERVICE_HEADER.to_owned() });
    route
}
