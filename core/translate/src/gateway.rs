//! A virtual gateway: requests from outside find their virtual service, and from there go as any node's do.
//!
//! As under App Mesh a request passes twice: the ingress listener's routes choose the virtual service and send the
//! request to the gateway's own egress listener, whose routes choose the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use selvedge_model::{
    ClientPolicyTls, DefaultRewrite, GatewayRoute, GatewayRouteHostnameRewrite, GatewayRouteTarget,
    HttpGatewayRoute, PortProtocol, VirtualGateway, VirtualGatewayListener, VirtualService,
};
use selvedge_traffic::matching::{HeaderCondition, HeaderMatch, PathMatch, RouteMatch};
use selvedge_traffic::{
    AccessLog, Action, Address, Cluster, Direction, Discovery, Forward, HeaderEdit, HostRewrite, Listener,
    Network, PathRewrite, Route, RouteTable, VirtualHost, WeightedCluster,
};

use crate::access_log::access_logs;
use crate::cluster;
use crate::context::Context;
use crate::diagnostic::{Code, Severity};
use crate::egress::{self, Reached, any_address, http_connection};
use crate::ingress::chains;
use crate::matching::{self, HttpConditions, Unusable};
use crate::names;
use crate::order::rank;
use crate::proxy::EGRESS_PORT;
use crate::route;
use crate::timeout::{CONNECT_LOCAL, PER_REQUEST_DEFAULT};
use crate::tls;

/// A gateway route with its virtual service, ready to be placed in a table.
struct Entry<'a> {
    own: &'a GatewayRoute,
    matches: RouteMatch,
    rewrite: Option<PathRewrite>,
    /// The virtual service's name, with a port where it answers on several.
    authority: String,
    keeps_host: bool,
    timeout: Duration,
}

pub(crate) fn translate(context: &mut Context<'_>) {
    let proxy = context.proxy;
    let Some(gateway) = context.gateway(&proxy.name) else {
        let key = proxy.key(context.mesh());
        return context.error(Code::ProxyUnknown, &key, "", "there is no such virtual gateway");
    };
    let logs = access_logs(gateway.spec.logging.as_ref());
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
        ingress_listener(context, gateway, index, listener, &entries, egress_port, &logs);
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

/// What becomes of one gateway route: nothing if it leads nowhere, two routes if it rewrites a prefix.
fn entries<'a>(
    context: &mut Context<'_>,
    gateway: &VirtualGateway,
    own: &'a GatewayRoute,
    reached: &[Reached<'_>],
) -> Vec<Entry<'a>> {
    let Some(target) = own.spec.target() else {
        context.error(Code::RouteDropped, own, "spec", "it is a gateway route of no protocol");
        return Vec::new();
    };
    check_port(context, gateway, own);
    let Some((authority, timeout)) = destination(context, own, target, reached) else { return Vec::new() };
    let member = format!("spec.{}", own.spec.protocol_member());
    let (paths, keeps_host) = match (&own.spec.http_route, &own.spec.http2_route, &own.spec.grpc_route) {
        (Some(http), ..) | (_, Some(http), _) => (
            http_paths(context, own, http),
            keeps_host(http.action.rewrite.as_ref().and_then(|rewrite| rewrite.hostname.as_ref())),
        ),
        (_, _, Some(grpc)) => {
            let matcher = &grpc.matcher;
            let made = matching::of_grpc(
                matcher.service_name.as_deref(),
                None,
                &matcher.metadata,
                matcher.hostname.as_ref(),
            );
            (
                made.map(|matches| vec![(matches, None)]),
                keeps_host(grpc.action.rewrite.as_ref().and_then(|rewrite| rewrite.hostname.as_ref())),
            )
        }
        _ => return Vec::new(),
    };
    let paths = match paths {
        Ok(paths) => paths,
        Err(Unusable { member: at, source }) => {
            let text = format!("it is dropped: {source}");
            context.error(Code::RegexInvalid, own, format!("{member}.match.{at}"), text);
            return Vec::new();
        }
    };
    let entry = |(matches, rewrite)| Entry {
        own,
        matches,
        rewrite,
        authority: authority.clone(),
        keeps_host,
        timeout,
    };
    paths.into_iter().map(entry).collect()
}

fn check_port(context: &mut Context<'_>, gateway: &VirtualGateway, own: &GatewayRoute) {
    let path = format!("spec.{}.match.port", own.spec.protocol_member());
    let listeners = &gateway.spec.listeners;
    match own.spec.match_port() {
        Some(port) if !listeners.iter().any(|listener| listener.port_mapping.port == port) => {
            let text = format!("it is dropped: the gateway does not listen on port {port}");
            context.error(Code::RouteDropped, own, path, text);
        }
        wanted
            if own.spec.protocol() == Some(PortProtocol::Grpc)
                && !listeners.iter().any(|one| speaks_http2(one, wanted)) =>
        {
            let member = format!("spec.{}", own.spec.protocol_member());
            let text = "gRPC needs HTTP/2, and the gateway listens for http there";
            context.error(Code::ProtocolMismatch, own, member, text);
        }
        None if listeners.len() > 1 => {
            context.warn(
                Code::PortAmbiguous,
                own,
                path,
                "it holds on every listener, since it names no port",
            );
        }
        _ => {}
    }
}

fn speaks_http2(listener: &VirtualGatewayListener, port: Option<u16>) -> bool {
    let mapping = &listener.port_mapping;
    mapping.protocol != PortProtocol::Http && port.is_none_or(|port| port == mapping.port)
}

/// The name that the request goes on with, and how long it may take: as long as the longest of the routes behind it,
/// but at least the 15 s that App Mesh gave every gateway route.
fn destination(
    context: &mut Context<'_>,
    own: &GatewayRoute,
    target: &GatewayRouteTarget,
    reached: &[Reached<'_>],
) -> Option<(String, Duration)> {
    let name = &target.virtual_service.virtual_service_name;
    let path = format!("spec.{}.action.target", own.spec.protocol_member());
    let ports: Vec<&Reached<'_>> = reached.iter().filter(|one| one.service.key.name == *name).collect();
    let http: Vec<&Reached<'_>> = ports.iter().copied().filter(|one| !route::is_tcp(&one.port)).collect();
    let Some(first) = http.first() else {
        if !ports.is_empty() {
            let text = format!("it is dropped: {name} speaks tcp only");
            context.error(Code::ProtocolMismatch, own, path, text);
        } else if context.snapshot.virtual_services.contains_key(name) {
            let text = format!("it is dropped: nobody answers for {name}");
            context.error(Code::RouteDropped, own, path, text);
        }
        return None;
    };
    let chosen = match target.port {
        Some(port) => match http.iter().find(|one| one.port.port == port) {
            Some(chosen) => *chosen,
            None => {
                let text = format!("it is dropped: {name} does not answer on port {port}");
                context.error(Code::RouteDropped, own, format!("{path}.port"), text);
                return None;
            }
        },
        None => {
            if http.len() > 1 {
                let text = format!("{name} answers on several ports; port {} is taken", first.port.port);
                context.warn(Code::PortAmbiguous, own, format!("{path}.port"), text);
            }
            *first
        }
    };
    // The first port of a service answers to its bare name, the others only with the port.
    let authority = if chosen.port.port == first.port.port {
        name.clone()
    } else {
        format!("{name}:{}", chosen.port.port)
    };
    let timeouts = route::timeouts(&chosen.port);
    let longest = timeouts.iter().copied().max().unwrap_or(PER_REQUEST_DEFAULT).max(PER_REQUEST_DEFAULT);
    let timeout = if timeouts.iter().any(Duration::is_zero) { Duration::ZERO } else { longest };
    Some((authority, timeout))
}

fn keeps_host(rewrite: Option<&GatewayRouteHostnameRewrite>) -> bool {
    rewrite.and_then(|rewrite| rewrite.default_target_hostname) == Some(DefaultRewrite::Disabled)
}

/// The conditions of an HTTP gateway route with the path that each leads to.
fn http_paths(
    context: &mut Context<'_>,
    own: &GatewayRoute,
    http: &HttpGatewayRoute,
) -> Result<Vec<(RouteMatch, Option<PathRewrite>)>, Unusable> {
    let matcher = &http.matcher;
    let base = matching::of_http(&HttpConditions {
        prefix: matcher.prefix.as_deref(),
        path: matcher.path.as_ref(),
        headers: &matcher.headers,
        query: &matcher.query_parameters,
        method: matcher.method,
        scheme: None,
        hostname: matcher.hostname.as_ref(),
    })?;
    let rewrite = http.action.rewrite.as_ref();
    if let Some(path) = rewrite.and_then(|rewrite| rewrite.path.as_ref()).and_then(|path| path.exact.clone())
    {
        let rewrite = match &base.path {
            PathMatch::Exact(_) => PathRewrite::Prefix(path),
            PathMatch::Prefix(_) | PathMatch::Regex(_) => PathRewrite::Full(path),
        };
        return Ok(vec![(base, Some(rewrite))]);
    }
    let PathMatch::Prefix(prefix) = &base.path else { return Ok(vec![(base, None)]) };
    if !prefix.starts_with('/') {
        let path = format!("spec.{}.match.prefix", own.spec.protocol_member());
        let text = format!("no path begins with {prefix:?}: a prefix begins with /");
        context.warn(Code::PrefixUnreachable, own, path, text);
    }
    let prefix_rewrite = rewrite.and_then(|rewrite| rewrite.prefix.as_ref());
    let kept = prefix_rewrite.is_some_and(|rewrite| rewrite.default_prefix == Some(DefaultRewrite::Disabled));
    let value = prefix_rewrite.and_then(|rewrite| rewrite.value.as_deref()).unwrap_or("/");
    let stem = prefix.trim_end_matches('/');
    if kept || (stem.is_empty() && value == "/") {
        return Ok(vec![(base, None)]);
    }
    let below = if value.ends_with('/') { value.to_owned() } else { format!("{value}/") };
    let at = |path: String| RouteMatch { path: PathMatch::Prefix(path), ..base.clone() };
    let mut paths = vec![(at(format!("{stem}/")), Some(PathRewrite::Prefix(below)))];
    if !stem.is_empty() {
        paths.push((at(stem.to_owned()), Some(PathRewrite::Prefix(value.to_owned()))));
    }
    Ok(paths)
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
    let listener = egress::direct(name, SocketAddr::new(address, egress_port), ipv4_compat, chain);
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
        for made in route::http(context, &one.port, one.policy) {
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

/// The name that leads to a service's port: see [`destination`].
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

fn ingress_listener(
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
    let secured = tls::downstream(listener.tls.as_ref(), protocol);
    if let Some(certificate) = &secured.unavailable {
        let what = if secured.plain { "takes plain connections only" } else { "is closed" };
        let text = format!("port {port} {what}: the certificate {certificate} is not available here");
        context.error(Code::CertificateUnavailable, gateway, format!("{at}.tls.certificate"), text);
    }
    let several = gateway.spec.listeners.len() > 1;
    let self_redirect = self_redirect(context, gateway, listener, several.then_some(port), egress_port);
    let table = ingress_table(context, gateway, port, protocol, entries, &self_redirect);
    let stat_prefix = names::ingress_stat_prefix(gateway.spec.listeners.len(), protocol, port);
    let network = Network::Http(Box::new(http_connection(stat_prefix, table, logs.to_vec())));
    let mut chains = chains(format!("ingress_{protocol}_{port}"), None, &secured, &network);
    if chains.is_empty() {
        return;
    }
    let tls_inspector = chains.len() > 1;
    let default_chain = if tls_inspector { None } else { chains.pop() };
    let (address, ipv4_compat, name_address) = address(context);
    let port = direct.map_or(port, |direct| direct.ingress_port);
    let name = names::ingress_listener(name_address, port);
    context.origin(&name, gateway);
    context.listener(Listener {
        name,
        address: SocketAddr::new(address, port),
        ipv4_compat,
        direction: Direction::Inbound,
        original_dst: false,
        tls_inspector,
        chains,
        default_chain,
        access_logs: Vec::new(),
    });
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
        routes.push(ingress_route(entry, cluster));
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

fn ingress_route(entry: &Entry<'_>, cluster: &str) -> Route {
    let header = HeaderEdit::Overwrite {
        name: names::VIRTUAL_SERVICE_HEADER.to_owned(),
        value: entry.authority.clone(),
    };
    let forward = Forward {
        timeout: Some(entry.timeout),
        path_rewrite: entry.rewrite.clone(),
        host_rewrite: (!entry.keeps_host).then(|| HostRewrite::Literal(entry.authority.clone())),
        ..Forward::to(vec![WeightedCluster { name: cluster.to_owned(), weight: 1 }])
    };
    Route {
        request_headers: if entry.keeps_host { vec![header] } else { Vec::new() },
        ..Route::new(&entry.own.key.name, entry.matches.clone(), Action::Forward(forward))
    }
}
