//! Policies, worked into what the specifications made.
//!
//! Everything that is made – a route, a cluster, a listener's log – has *levels*: the resources that may say something
//! about it, the nearest first. Of each kind the first policy that is found holds, wholly.

mod access_log;
mod authentication;
mod breaker;
mod circuit_breaking;
mod client_address;
mod conditions;
mod descriptors;
mod ext_authz;
mod filters;
mod global_rate_limit;
mod headers;
mod limits;
mod listener;
mod load_balancing;
mod mirror;
mod proxy_protocol;
mod retry;
mod rewrite;
mod service;
mod tls;
mod tracing;

use std::collections::BTreeMap;

use selvedge_model::policy::{self, Governing};
use selvedge_model::{Key, Kind, Policy, Snapshot, VirtualService};
use selvedge_traffic::{
    Action, Cluster, DirectResponse, FilterEntry, Forward, Redirect, Route, SplitBy, StreamDuration,
    UpstreamTransport,
};

use crate::context::Context;
use crate::diagnostic::Code;
use crate::names;
use crate::timeout::Requests;
use crate::translation::Governed;

pub(crate) use access_log::{access_logs, of_connections};
pub use conditions::{check, conditions};
pub use limits::limits;
pub(crate) use listener::{govern_inbound, govern_outbound};
pub(crate) use mirror::mirrors;

/// The policy of a kind that holds at a place.
pub(crate) fn find<'a, K: Governing>(snapshot: &'a Snapshot, levels: &[Key]) -> Option<(&'a Policy, &'a K)> {
    if snapshot.policies.is_empty() {
        return None;
    }
    levels.iter().find_map(|level| {
        let arn = snapshot.arn(level)?;
        snapshot.policies.of(level).find_map(|policy| {
            let spec = K::of(&policy.spec)?;
            (policy.target.to_string() == arn).then_some((&**policy, spec))
        })
    })
}

// === levels ===

/// Of a call to a virtual service: its route and router, if there are any, the service, the mesh.
pub(crate) fn levels_of_call(context: &Context<'_>, service: &VirtualService, route: &Key) -> Vec<Key> {
    if context.snapshot.policies.is_empty() {
        return Vec::new();
    }
    let routed = (route.kind == Kind::Route).then(|| route.clone());
    let router = route.parent_key();
    let above = [service.key.clone(), context.snapshot.mesh.key.clone()];
    routed.into_iter().chain(router).chain(above).collect()
}

/// Of a gateway route: it and its gateway.
pub(crate) fn levels_of_gateway(route: &Key) -> Vec<Key> {
    std::iter::once(route.clone()).chain(route.parent_key()).collect()
}

/// Of what arrives at a node: the node alone.
pub(crate) fn levels_of_node(context: &Context<'_>, node: &str) -> Vec<Key> {
    vec![Key::in_mesh(context.mesh(), Kind::VirtualNode, node)]
}

/// Of what is set up for a node or a gateway as a whole: it, and the mesh.
fn levels_in_mesh(context: &Context<'_>, own: &Key) -> Vec<Key> {
    vec![own.clone(), context.snapshot.mesh.key.clone()]
}

// === what is governed ===

/// Works policies into a route that forwards; the names of those that had a part in it.
pub(crate) fn govern(context: &mut Context<'_>, levels: &[Key], route: &mut Route) -> Vec<String> {
    let snapshot = context.snapshot;
    let mut used = Vec::new();
    if snapshot.policies.is_empty() {
        return used;
    }
    let mut note = |policy: &Policy| used.push(policy.name.clone());
    if let Some((policy, spec)) = find::<policy::Timeout>(snapshot, levels) {
        if let (Some(stream), Action::Forward(forward)) = (spec.stream, &mut route.action) {
            forward.stream_duration = StreamDuration { max: Some(stream.0), ..StreamDuration::default() };
        }
        note(policy);
    }
    if let Some((policy, headers)) = find::<policy::Headers>(snapshot, levels) {
        headers::apply(headers, route);
        note(policy);
    }
    if let Some((policy, spec)) = find::<policy::Cors>(snapshot, levels) {
        filters::cors(spec, route);
        note(policy);
    }
    if let Some((policy, spec)) = find::<policy::Fault>(snapshot, levels) {
        filters::fault(spec, route);
        note(policy);
    }
    let redirect = find::<policy::Redirect>(snapshot, levels);
    let response = find::<policy::DirectResponse>(snapshot, levels);
    if let Some((policy, spec)) = redirect {
        route.action = Action::Redirect(redirection(spec));
        note(policy);
    } else if let Some((policy, spec)) = response {
        let body = spec.body.clone().unwrap_or_default();
        route.action = Action::Respond(DirectResponse { status: spec.status, body });
        note(policy);
    } else if let Action::Forward(forward) = &mut route.action {
        if let Some((policy, spec)) = find::<policy::Retry>(snapshot, levels) {
            forward.retry = Some(retry::policy(spec).into());
            forward.hedge =
                (spec.hedge == Some(true)).then_some(selvedge_traffic::Hedge { on_per_try_timeout: true });
            note(policy);
        }
        if let Some((policy, spec)) = find::<policy::Rewrite>(snapshot, levels) {
            let at_gateway = levels.first().is_some_and(|level| level.kind == Kind::GatewayRoute);
            rewrite::apply(context, policy, spec, at_gateway, forward);
            note(policy);
        }
        if let Some((policy, spec)) = find::<policy::Split>(snapshot, levels) {
            split(spec, forward);
            note(policy);
        }
    }
    if let (Some((redirect, _)), Some((response, _))) = (redirect, response) {
        let text = format!("the redirect of {} is given where it would answer", redirect.name);
        context.warn(Code::PolicyShadowed, response, "", text);
    }
    used
}

/// What decides between targets. The hash is the route's one: it also chooses the instance, where a hash does.
fn split(spec: &policy::Split, forward: &mut Forward) {
    match &spec.number_header {
        Some(header) => forward.split_by = SplitBy::Header(header.to_ascii_lowercase()),
        None => {
            forward.split_by = SplitBy::Hash;
            forward.hash = load_balancing::keys(&spec.by);
        }
    }
}

fn redirection(spec: &policy::Redirect) -> Redirect {
    Redirect {
        scheme: spec.scheme.clone(),
        host: spec.host.clone(),
        port: spec.port,
        path: spec.path.clone(),
        path_rewrite: spec.path_rewrite.as_ref().map(rewrite::of_path),
        status: spec.status.unwrap_or(301),
        strip_query: spec.strip_query.unwrap_or(false),
    }
}

/// Notes which policies had a part in a route; a proxy that refuses its table is shown on them.
pub(crate) fn note_route(
    context: &mut Context<'_>,
    table: &str,
    host: &str,
    index: usize,
    names: Vec<String>,
) {
    if !names.is_empty() {
        let governed = Governed::Route(table.to_owned(), host.to_owned(), index);
        note(context, governed, table, names);
    }
}

fn note(context: &mut Context<'_>, governed: Governed, resource: &str, names: Vec<String>) {
    let snapshot = context.snapshot;
    let paths = names.iter().filter_map(|name| snapshot.policies.get(name)).map(|policy| policy.path());
    let origins = &mut context.made.origins;
    origins.resources.entry(resource.to_owned()).or_default().extend(paths);
    origins.policies.entry(governed).or_default().extend(names);
}

/// Notes that a policy had a part in the proxy as a whole.
fn note_proxy(context: &mut Context<'_>, policy: &Policy) {
    let governed = Governed::Proxy(policy.kind().as_str());
    context.made.origins.policies.entry(governed).or_default().insert(policy.name.clone());
}

/// The filters of a connection manager: those that its routes speak of, and, where requests come in, those that govern
/// the whole of it.
pub(crate) fn connection_filters(
    context: &mut Context<'_>,
    table: &str,
    inbound: Option<&Key>,
) -> Vec<FilterEntry> {
    let mut entries = context.made_table(table).map(filters::of_table).unwrap_or_default();
    if let Some(own) = inbound.filter(|_| !context.snapshot.policies.is_empty()) {
        let levels = levels_in_mesh(context, own);
        // Who may not ask is not counted, and who is refused does not wait for a fault.
        let at = entries.iter().take_while(|entry| filters::is_before_access(&entry.name)).count();
        let guards = guards(context, &levels, table);
        entries.splice(at..at, guards);
        if let Some((policy, spec)) = find::<policy::Compression>(context.snapshot, &levels) {
            entries.extend(filters::compressors(spec));
            note_proxy(context, policy);
        }
    }
    entries
}

/// Who may pass where requests come in, in the order in which they are asked: what costs least, and what others need,
/// comes first.
fn guards(context: &mut Context<'_>, levels: &[Key], table: &str) -> Vec<FilterEntry> {
    let snapshot = context.snapshot;
    let mut guards = Vec::new();
    let connection = find::<policy::Connection>(snapshot, levels);
    let listener = connection.and_then(|(policy, spec)| Some((policy, spec.listener.as_ref()?)));
    if let Some((_, spec)) = listener {
        guards.extend((spec.grpc_web == Some(true)).then(filters::grpc_web));
    }
    if let Some((policy, spec)) = find::<policy::Authentication>(snapshot, levels) {
        guards.push(authentication::filter(context, policy, spec));
        note_proxy(context, policy);
    }
    if let Some((policy, spec)) = find::<policy::Access>(snapshot, levels) {
        guards.extend(filters::access(spec).ok());
        note_proxy(context, policy);
    }
    if let Some((policy, spec)) = find::<policy::RateLimit>(snapshot, levels) {
        guards.extend(filters::rate_limit(spec).ok());
        note_proxy(context, policy);
    }
    if let Some((policy, spec)) = find::<policy::GlobalRateLimit>(snapshot, levels) {
        guards.extend(global_rate_limit::filter(context, policy, spec, table));
        note_proxy(context, policy);
    }
    if let Some((policy, spec)) = find::<policy::ExtAuthz>(snapshot, levels) {
        guards.extend(ext_authz::filter(context, policy, spec));
        note_proxy(context, policy);
    }
    if let Some((_, spec)) = listener {
        guards.extend(spec.buffer_bytes.map(filters::buffer));
    }
    guards
}

/// Bounds with those that a policy sets.
pub(crate) fn timeouts(context: &Context<'_>, levels: &[Key], said: Requests) -> Requests {
    let Some((_, spec)) = find::<policy::Timeout>(context.snapshot, levels) else { return said };
    Requests {
        per_request: spec.request.map(|span| span.0).or(said.per_request),
        idle: spec.idle.map(|span| span.0).or(said.idle),
    }
}

/// The bounds of a node's listener: a time-out of the whole mesh holds there too, lest the listener cut short what the
/// callers are allowed.
pub(crate) fn timeouts_of_node(context: &Context<'_>, node: &str, said: Requests) -> Requests {
    if context.snapshot.policies.is_empty() {
        return said;
    }
    let node = Key::in_mesh(context.mesh(), Kind::VirtualNode, node);
    timeouts(context, &levels_in_mesh(context, &node), said)
}

/// What of a request decides which instance of these nodes it goes to: the first that says so.
pub(crate) fn hash<'a>(context: &Context<'_>, nodes: impl Iterator<Item = &'a str>, forward: &mut Forward) {
    let snapshot = context.snapshot;
    if snapshot.policies.is_empty() {
        return;
    }
    let mut nodes = nodes.map(|node| Key::in_mesh(snapshot.name(), Kind::VirtualNode, node));
    let found = nodes.find_map(|node| {
        let (_, spec) = find::<policy::LoadBalancing>(snapshot, &levels_in_mesh(context, &node))?;
        spec.algorithm.hashes().then(|| load_balancing::hash(spec))
    });
    forward.hash = found.unwrap_or_default();
}

/// Works policies into how a node is spoken to.
pub(crate) fn refine_transport(context: &Context<'_>, node: &str, transport: &mut UpstreamTransport) {
    let snapshot = context.snapshot;
    let UpstreamTransport::Tls(own) = transport else { return };
    let levels = levels_in_mesh(context, &Key::in_mesh(snapshot.name(), Kind::VirtualNode, node));
    if let Some((_, policy::Tls { callers: Some(callers), .. })) = find::<policy::Tls>(snapshot, &levels) {
        // The API refuses expressions that cannot be used.
        let _ = tls::callers(callers, own);
    }
}

/// Works policies into the cluster by which a node is called.
pub(crate) fn govern_cluster(context: &mut Context<'_>, node: &str, cluster: &mut Cluster) {
    let snapshot = context.snapshot;
    if snapshot.policies.is_empty() {
        return;
    }
    let levels = levels_in_mesh(context, &Key::in_mesh(snapshot.name(), Kind::VirtualNode, node));
    let mut used = Vec::new();
    if let Some((policy, spec)) = find::<policy::LoadBalancing>(snapshot, &levels) {
        load_balancing::apply(spec, cluster);
        if let Some(source) = context.made.endpoints.get_mut(&cluster.name) {
            source.priorities = load_balancing::priorities(spec);
        }
        used.push(policy.name.clone());
    }
    if let Some((policy, spec)) = find::<policy::CircuitBreaking>(snapshot, &levels) {
        circuit_breaking::apply(spec, cluster);
        used.push(policy.name.clone());
    }
    if let Some((policy, spec)) = find::<policy::Breaker>(snapshot, &levels) {
        cluster.breaker = Some(breaker::policy(spec));
        used.push(policy.name.clone());
    }
    if let Some((policy, spec)) = find::<policy::Connection>(snapshot, &levels)
        && let Some(callers) = &spec.callers
    {
        listener::callers(callers, cluster);
        used.push(policy.name.clone());
    }
    if let Some((policy, spec)) = find::<policy::ProxyProtocol>(snapshot, &levels)
        && let Some(version) = spec.send
    {
        cluster.proxy_protocol = Some(proxy_protocol::version(version));
        used.push(policy.name.clone());
    }
    if let Some((policy, spec)) = find::<policy::Tls>(snapshot, &levels)
        && spec.callers.is_some()
        && matches!(cluster.transport, UpstreamTransport::Tls(_))
    {
        used.push(policy.name.clone());
    }
    if !used.is_empty() {
        note(context, Governed::Cluster(cluster.name.clone()), &cluster.name, used);
    }
}

/// By port, the names that a node may call beside its backends. AWS's own are allowed already.
pub(crate) fn egress_destinations(context: &mut Context<'_>) -> BTreeMap<u16, Vec<String>> {
    let mut by_port: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    if context.snapshot.policies.is_empty() {
        return by_port;
    }
    let levels = levels_in_mesh(context, &context.proxy.key(context.mesh()));
    let Some((policy, spec)) = find::<policy::Egress>(context.snapshot, &levels) else { return by_port };
    note_proxy(context, policy);
    for destination in &spec.allow {
        let (host, port) = (destination.host.to_ascii_lowercase(), destination.port.unwrap_or(443));
        if (host.as_str(), port) != (names::AMAZONAWS, 443) {
            by_port.entry(port).or_default().push(host);
        }
    }
    by_port
}

/// Without interception a proxy sees only what is sent to it, which an egress policy cannot widen.
pub(crate) fn tell_egress_unserved(context: &mut Context<'_>) {
    let levels = levels_in_mesh(context, &context.proxy.key(context.mesh()));
    if let Some((policy, _)) = find::<policy::Egress>(context.snapshot, &levels) {
        let name = &context.proxy.name;
        let text = format!("a sidecar of {name} without interception passes nothing through");
        context.warn(Code::PolicyMisfit, policy, "spec.allow", text);
    }
}
