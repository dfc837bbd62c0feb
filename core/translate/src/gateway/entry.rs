//! A gateway route: its conditions, the virtual service that it leads to, and what it rewrites.

use std::time::Duration;

use selvedge_model::{
    DefaultRewrite, GatewayRoute, GatewayRouteHostnameRewrite, GatewayRouteTarget, HttpGatewayRoute,
    HttpGatewayRouteRewrite, PortProtocol, VirtualGateway, VirtualGatewayListener,
};
use selvedge_traffic::PathRewrite;
use selvedge_traffic::matching::{PathMatch, RouteMatch};

use crate::context::Context;
use crate::diagnostic::Code;
use crate::egress::Reached;
use crate::matching::{self, HttpConditions, Unusable};
use crate::route;
use crate::timeout::PER_REQUEST_DEFAULT;

/// A gateway route with its virtual service, ready to be placed in a table.
pub(super) struct Entry<'a> {
    pub(super) own: &'a GatewayRoute,
    pub(super) matches: RouteMatch,
    pub(super) rewrite: Option<PathRewrite>,
    /// The virtual service's name, with a port where it answers on several.
    pub(super) authority: String,
    pub(super) keeps_host: bool,
    pub(super) timeout: Duration,
}

/// What becomes of one gateway route: nothing if it leads nowhere, two routes if it rewrites a prefix.
pub(super) fn entries<'a>(
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
        Err(Unusable { code, member: at, reason }) => {
            let text = format!("it is dropped: {reason}");
            context.error(code, own, format!("{member}.{at}"), text);
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
    let timeouts = route::timeouts(context, chosen.service, &chosen.port);
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
    check_rewrite(rewrite)?;
    if let Some(path) = rewrite.and_then(|rewrite| rewrite.path.as_ref()).and_then(|path| path.exact.clone())
    {
        let rewrite = match &base.path {
            PathMatch::Exact(_) => PathRewrite::Prefix(path),
            PathMatch::Prefix(_) | PathMatch::Regex(_) | PathMatch::Connect => PathRewrite::Full(path),
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

/// A new path becomes part of a request's head, so it may hold nothing that ends a line.
fn check_rewrite(rewrite: Option<&HttpGatewayRouteRewrite>) -> Result<(), Unusable> {
    let Some(rewrite) = rewrite else { return Ok(()) };
    let path = rewrite.path.as_ref().and_then(|path| path.exact.as_deref());
    let prefix = rewrite.prefix.as_ref().and_then(|prefix| prefix.value.as_deref());
    for (member, text) in [("path.exact", path), ("prefix.value", prefix)] {
        if let Some(text) = text.filter(|text| text.chars().any(char::is_control)) {
            let reason = format!("{text:?} cannot be a path");
            return Err(Unusable {
                code: Code::NameUnusable,
                member: format!("action.rewrite.{member}"),
                reason,
            });
        }
    }
    Ok(())
}
