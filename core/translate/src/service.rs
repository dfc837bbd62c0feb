//! Who answers for a virtual service, on which ports, by which routes.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_model::{
    GrpcRoute, HttpRoute, Key, Kind, Listener, PortProtocol, Route, TcpRoute, VirtualNode, VirtualRouter,
    VirtualService, VirtualServiceProvider, WeightedTarget,
};

use crate::context::Context;
use crate::diagnostic::Code;

/// One port on which a virtual service answers.
#[derive(Clone, Debug)]
pub(crate) struct ServicePort<'a> {
    pub(crate) port: u16,
    pub(crate) protocol: PortProtocol,
    pub(crate) routes: Vec<ServiceRoute<'a>>,
}

/// One way from a port to nodes; routes are in no order yet.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRoute<'a> {
    pub(crate) name: &'a str,
    /// The route, or the node that answers without one.
    pub(crate) key: Key,
    pub(crate) rules: Rules<'a>,
    pub(crate) targets: Vec<Target<'a>>,
}

/// What a route says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rules<'a> {
    /// The provider is a node: every request, with every default.
    Provider(&'a VirtualNode),
    Http(&'a Route, &'a HttpRoute),
    Grpc(&'a Route, &'a GrpcRoute),
    Tcp(&'a Route, &'a TcpRoute),
}

/// A node's listener with its share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) node: &'a VirtualNode,
    pub(crate) listener: &'a Listener,
    pub(crate) weight: u32,
}

impl Target<'_> {
    pub(crate) fn port(&self) -> u16 {
        self.listener.port_mapping.port
    }

    pub(crate) fn protocol(&self) -> PortProtocol {
        self.listener.port_mapping.protocol
    }
}

/// Whether two protocols are spoken by the same kind of proxying: TCP, or one of HTTP's.
pub(crate) fn is_same_family(a: PortProtocol, b: PortProtocol) -> bool {
    (a == PortProtocol::Tcp) == (b == PortProtocol::Tcp)
}

/// The ports of a virtual service, each with at least one route, by port.
pub(crate) fn ports<'a>(context: &mut Context<'a>, service: &'a VirtualService) -> Vec<ServicePort<'a>> {
    match &service.spec.provider {
        None => {
            context.warn(
                Code::ProviderMissing,
                service,
                "spec.provider",
                "nobody answers: it has no provider",
            );
            Vec::new()
        }
        Some(VirtualServiceProvider::VirtualNode(provider)) => {
            match context.node(&provider.virtual_node_name) {
                Some(node) => of_node(context, service, node),
                None => missing(context, service, Kind::VirtualNode, &provider.virtual_node_name),
            }
        }
        Some(VirtualServiceProvider::VirtualRouter(provider)) => {
            match context.router(&provider.virtual_router_name) {
                Some(router) => of_router(context, service, router),
                None => missing(context, service, Kind::VirtualRouter, &provider.virtual_router_name),
            }
        }
    }
}

fn missing<'a>(
    context: &mut Context<'a>,
    service: &VirtualService,
    kind: Kind,
    name: &str,
) -> Vec<ServicePort<'a>> {
    let text = format!("nobody answers: there is no {kind} named {name}");
    context.error(Code::ProviderMissing, service, "spec.provider", text);
    Vec::new()
}

fn of_node<'a>(
    context: &mut Context<'a>,
    service: &VirtualService,
    node: &'a VirtualNode,
) -> Vec<ServicePort<'a>> {
    if node.spec.listeners.is_empty() {
        let text = format!("nobody answers: the node {} has no listener", node.key.name);
        context.error(Code::ProviderMissing, service, "spec.provider", text);
    }
    let port = |listener: &'a Listener| ServicePort {
        port: listener.port_mapping.port,
        protocol: listener.port_mapping.protocol,
        routes: vec![ServiceRoute {
            name: &node.key.name,
            key: node.key.clone(),
            rules: Rules::Provider(node),
            targets: vec![Target { node, listener, weight: 1 }],
        }],
    };
    let mut ports: Vec<ServicePort<'a>> = node.spec.listeners.iter().map(port).collect();
    keep_first(&mut ports);
    ports
}

/// A port stands once; the API refuses others.
fn keep_first(ports: &mut Vec<ServicePort<'_>>) {
    let mut taken = BTreeSet::new();
    ports.retain(|port| taken.insert(port.port));
}

fn of_router<'a>(
    context: &mut Context<'a>,
    service: &VirtualService,
    router: &'a VirtualRouter,
) -> Vec<ServicePort<'a>> {
    let routes = context.routes_of(&router.key.name);
    if routes.is_empty() {
        let text = format!("nobody answers: the router {} has no routes", router.key.name);
        context.error(Code::ProviderMissing, service, "spec.provider", text);
    }
    if router.spec.listeners.is_empty() {
        inherited(context, &routes)
    } else {
        listed(context, router, &routes)
    }
}

/// Each listener with the routes of its protocol.
fn listed<'a>(
    context: &mut Context<'a>,
    router: &'a VirtualRouter,
    routes: &[&'a Route],
) -> Vec<ServicePort<'a>> {
    let mut ports = Vec::new();
    for listener in &router.spec.listeners {
        let (port, protocol) = (listener.port_mapping.port, listener.port_mapping.protocol);
        let takes = |route: &&&'a Route| {
            route.spec.protocol() == Some(protocol)
                && route.spec.match_port().is_none_or(|wanted| wanted == port)
        };
        let routes: Vec<_> =
            routes.iter().filter(takes).filter_map(|route| of_route(context, route, Some(port))).collect();
        if !routes.is_empty() {
            ports.push(ServicePort { port, protocol, routes });
        }
    }
    for route in routes {
        check_listener(context, router, route);
    }
    keep_first(&mut ports);
    ports
}

/// A route that no listener of its router takes does nothing.
fn check_listener(context: &mut Context<'_>, router: &VirtualRouter, route: &Route) {
    let Some(protocol) = route.spec.protocol() else {
        return context.error(Code::RouteDropped, route, "spec", "it is a route of no protocol");
    };
    let spoken =
        |listener: &&selvedge_model::VirtualRouterListener| listener.port_mapping.protocol == protocol;
    let listeners = || router.spec.listeners.iter();
    let member = format!("spec.{}", route.spec.protocol_member());
    match route.spec.match_port() {
        Some(port) if !listeners().any(|listener| listener.port_mapping.port == port) => {
            let text = format!("it is dropped: the router does not listen on port {port}");
            context.error(Code::RouteDropped, route, format!("{member}.match.port"), text);
        }
        Some(port) if !listeners().filter(spoken).any(|listener| listener.port_mapping.port == port) => {
            let text = format!("it is dropped: port {port} of the router does not speak {protocol}");
            context.error(Code::ProtocolMismatch, route, member, text);
        }
        None if !listeners().any(|listener| spoken(&listener)) => {
            let text = format!("it is dropped: no listener of the router speaks {protocol}");
            context.error(Code::ProtocolMismatch, route, member, text);
        }
        None if listeners().count() > 1 => {
            let text = format!("it takes every {protocol} port of the router, since it names none");
            context.warn(Code::PortAmbiguous, route, format!("{member}.match.port"), text);
        }
        _ => {}
    }
}

/// A router without listeners answers where its routes' targets listen.
fn inherited<'a>(context: &mut Context<'a>, routes: &[&'a Route]) -> Vec<ServicePort<'a>> {
    let mut ports: BTreeMap<u16, ServicePort<'a>> = BTreeMap::new();
    for route in routes {
        let Some(protocol) = route.spec.protocol() else {
            context.error(Code::RouteDropped, *route, "spec", "it is a route of no protocol");
            continue;
        };
        let Some(made) = of_route(context, route, route.spec.match_port()) else { continue };
        let Some(port) = made.targets.first().map(Target::port) else { continue };
        let member = format!("spec.{}", route.spec.protocol_member());
        if made.targets.iter().any(|target| target.port() != port) {
            let text = "it is dropped: its targets listen on different ports and the router has no listener";
            context.error(Code::PortAmbiguous, *route, format!("{member}.action"), text);
            continue;
        }
        let known = ports.entry(port).or_insert_with(|| ServicePort { port, protocol, routes: Vec::new() });
        if is_same_family(known.protocol, protocol) {
            known.routes.push(made);
        } else {
            let text = format!("it is dropped: port {port} already has a {} route", known.protocol);
            context.error(Code::ProtocolMismatch, *route, member, text);
        }
    }
    ports.into_values().filter(|port| !port.routes.is_empty()).collect()
}

/// A route with its usable targets; `None`, with the reason told, if it can do nothing.
fn of_route<'a>(context: &mut Context<'a>, route: &'a Route, port: Option<u16>) -> Option<ServiceRoute<'a>> {
    let spec = &route.spec;
    let rules = match (&spec.http_route, &spec.http2_route, &spec.grpc_route, &spec.tcp_route) {
        (Some(http), ..) | (_, Some(http), ..) => Rules::Http(route, http),
        (_, _, Some(grpc), _) => Rules::Grpc(route, grpc),
        (_, _, _, Some(tcp)) => Rules::Tcp(route, tcp),
        _ => return None,
    };
    let targets: Vec<Target<'a>> = spec
        .targets()
        .iter()
        .enumerate()
        .filter_map(|(index, wanted)| of_target(context, route, index, wanted, port))
        .collect();
    let member = format!("spec.{}.action.weightedTargets", spec.protocol_member());
    if targets.is_empty() {
        context.error(Code::RouteDropped, route, member, "it is dropped: none of its targets can be reached");
        return None;
    }
    if targets.iter().all(|target| target.weight == 0) {
        context.error(
            Code::WeightsZero,
            route,
            member,
            "it is dropped: the weights of its targets sum up to 0",
        );
        return None;
    }
    Some(ServiceRoute { name: &route.key.name, key: route.key.clone(), rules, targets })
}

fn of_target<'a>(
    context: &mut Context<'a>,
    route: &'a Route,
    index: usize,
    wanted: &'a WeightedTarget,
    port: Option<u16>,
) -> Option<Target<'a>> {
    let path = format!("spec.{}.action.weightedTargets[{index}]", route.spec.protocol_member());
    let name = &wanted.virtual_node;
    let Some(node) = context.node(name) else {
        context.error(
            Code::TargetMissing,
            route,
            path,
            format!("it is left out: there is no node named {name}"),
        );
        return None;
    };
    let by_port = |port: u16| node.spec.listeners.iter().find(|listener| listener.port_mapping.port == port);
    let listener = match (wanted.port, node.spec.listeners.as_slice()) {
        (Some(wanted), _) => match by_port(wanted) {
            Some(listener) => listener,
            None => {
                let text = format!("it is left out: the node {name} does not listen on port {wanted}");
                context.error(Code::TargetMissing, route, format!("{path}.port"), text);
                return None;
            }
        },
        (None, []) => {
            let text = format!("it is left out: the node {name} has no listener");
            context.error(Code::TargetMissing, route, path, text);
            return None;
        }
        (None, [only]) => only,
        (None, several) => {
            let text = format!("the node {name} has {} listeners and no port is named", several.len());
            match port.and_then(by_port) {
                Some(listener) => {
                    let text = format!("{text}; the one on the router's port is taken");
                    context.warn(Code::PortAmbiguous, route, format!("{path}.port"), text);
                    listener
                }
                None => {
                    let text = format!("it is left out: {text}");
                    context.error(Code::PortAmbiguous, route, format!("{path}.port"), text);
                    return None;
                }
            }
        }
    };
    let (ours, theirs) = (route.spec.protocol()?, listener.port_mapping.protocol);
    if !is_same_family(ours, theirs) {
        let text = format!("it is left out: the route speaks {ours}, the node {name} speaks {theirs}");
        context.error(Code::ProtocolMismatch, route, path, text);
        return None;
    }
    if ours != theirs {
        let text = format!("the route speaks {ours}, the node {name} speaks {theirs}");
        context.warn(Code::ProtocolMismatch, route, path, text);
    }
    Some(Target { node, listener, weight: wanted.weight })
}
