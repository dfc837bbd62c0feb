//! Routes of a virtual service, in the order in which they are tried.

use selvedge_model::{ClientPolicyTls, Key, Listener, PortProtocol, Route, VirtualService};
use selvedge_traffic::matching::RouteMatch;
use selvedge_traffic::{Action, Forward, RetryPolicy, TcpProxy, WeightedCluster};

use crate::cluster;
use crate::context::Context;
use crate::diagnostic::Code;
use crate::matching::{self, HttpConditions, Unusable};
use crate::names;
use crate::order::rank;
use crate::policy;
use crate::retry;
use crate::service::{Rules, ServicePort, ServiceRoute};
use crate::timeout::{PER_REQUEST_DEFAULT, Requests, spoken, standard};

/// A route, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) route: selvedge_traffic::Route,
    pub(crate) from: Key,
    /// The policies that had a part in it.
    pub(crate) policies: Vec<String>,
}

/// The HTTP routes of a port, ordered; their clusters are made along with them.
pub(crate) fn http(
    context: &mut Context<'_>,
    service: &VirtualService,
    port: &ServicePort<'_>,
    client_policy: Option<&ClientPolicyTls>,
) -> Vec<Made> {
    let mut ranked = Vec::new();
    for route in &port.routes {
        let (priority, matches) = match &route.rules {
            Rules::Provider(_) => (None, RouteMatch::any()),
            Rules::Http(own, _) | Rules::Grpc(own, _) => match matches(context, own, &route.rules) {
                Some(matches) => (own.spec.priority, matches),
                None => continue,
            },
            Rules::Tcp(..) => continue,
        };
        let clusters = clusters(context, route, client_policy);
        let levels = policy::levels_of_call(context, service, &route.key);
        let mut forward = forward(context, route, &levels, clusters);
        let (mirrors, mirrored_by) = policy::mirrors(context, &levels, client_policy);
        forward.mirrors = mirrors;
        policy::hash(context, route.targets.iter().map(|target| target.node.key.name.as_str()), &mut forward);
        let rank = rank(priority, &matches, route.name);
        let mut made = selvedge_traffic::Route::new(route.name, matches, Action::Forward(forward));
        let mut policies = policy::govern(context, &levels, &mut made);
        policies.extend(mirrored_by);
        ranked.push((rank, Made { route: made, from: route.key.clone(), policies }));
    }
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    ranked.into_iter().map(|(_, made)| made).collect()
}

fn matches(context: &mut Context<'_>, own: &Route, rules: &Rules<'_>) -> Option<RouteMatch> {
    let made = match rules {
        Rules::Http(_, http) => {
            let matcher = &http.matcher;
            matching::of_http(&HttpConditions {
                prefix: matcher.prefix.as_deref(),
                path: matcher.path.as_ref(),
                headers: &matcher.headers,
                query: &matcher.query_parameters,
                method: matcher.method,
                scheme: matcher.scheme,
                hostname: None,
            })
        }
        Rules::Grpc(_, grpc) => {
            let matcher = &grpc.matcher;
            let (service, method) = (matcher.service_name.as_deref(), matcher.method_name.as_deref());
            matching::of_grpc(service, method, &matcher.metadata, None)
        }
        Rules::Provider(_) | Rules::Tcp(..) => return None,
    };
    match made {
        Ok(matches) => Some(matches),
        Err(Unusable { code, member, reason }) => {
            let path = format!("spec.{}.{member}", own.spec.protocol_member());
            context.error(code, own, path, format!("it is dropped: {reason}"));
            None
        }
    }
}

fn clusters(
    context: &mut Context<'_>,
    route: &ServiceRoute<'_>,
    policy: Option<&ClientPolicyTls>,
) -> Vec<WeightedCluster> {
    let cluster = |target: &crate::service::Target<'_>| {
        WeightedCluster::new(cluster::egress(context, target, policy), target.weight)
    };
    merged(route.targets.iter().map(cluster).collect())
}

/// A node that is named twice has both shares; a proxy accepts each cluster once.
fn merged(clusters: Vec<WeightedCluster>) -> Vec<WeightedCluster> {
    let mut merged: Vec<WeightedCluster> = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        match merged.iter_mut().find(|known| known.name == cluster.name) {
            Some(known) => known.weight = known.weight.saturating_add(cluster.weight),
            None => merged.push(cluster),
        }
    }
    merged
}

fn forward(
    context: &mut Context<'_>,
    route: &ServiceRoute<'_>,
    levels: &[Key],
    clusters: Vec<WeightedCluster>,
) -> Forward {
    let timeouts = policy::timeouts(context, levels, said(route));
    for target in &route.targets {
        check_timeouts(context, route, timeouts, target.listener, &target.node.key.name);
    }
    Forward {
        timeout: Some(timeouts.per_request.unwrap_or(PER_REQUEST_DEFAULT)),
        idle_timeout: timeouts.idle,
        retry: Some(retry_policy(context, route).into()),
        ..Forward::to(clusters)
    }
}

fn retry_policy(context: &mut Context<'_>, route: &ServiceRoute<'_>) -> RetryPolicy {
    let (own, member, made) = match &route.rules {
        Rules::Http(own, http) => {
            (own, own.spec.protocol_member(), http.retry_policy.as_ref().map(retry::of_http))
        }
        Rules::Grpc(own, grpc) => {
            (own, own.spec.protocol_member(), grpc.retry_policy.as_ref().map(retry::of_grpc))
        }
        Rules::Provider(_) | Rules::Tcp(..) => return retry::default_policy(),
    };
    let Some((policy, unknown)) = made else { return retry::default_policy() };
    for event in unknown {
        let path = format!("spec.{member}.retryPolicy.httpRetryEvents");
        context.warn(Code::RetryEventUnknown, *own, path, format!("{event:?} is not a retry event"));
    }
    policy
}

/// The trap of two time-outs: a request must pass the route's and the listener's, each 15 s unless it says otherwise.
fn check_timeouts(
    context: &mut Context<'_>,
    route: &ServiceRoute<'_>,
    timeouts: Requests,
    listener: &Listener,
    node: &str,
) {
    let said_by_listener = Requests::of_listener(listener).per_request.is_some();
    let of_listener = policy::timeouts_of_node(context, node, Requests::of_listener(listener));
    let (ours, theirs) = (timeouts.effective(), of_listener.effective());
    let outlasts = |a: Option<std::time::Duration>, b: Option<std::time::Duration>| match (a, b) {
        (Some(a), Some(b)) => a > b,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let port = listener.port_mapping.port;
    let (ours_text, theirs_text) = (spoken(ours), spoken(theirs));
    if timeouts.per_request.is_some()
        && outlasts(ours, theirs)
        && let Rules::Http(own, _) | Rules::Grpc(own, _) = &route.rules
    {
        let path = format!("spec.{}.timeout.perRequest", own.spec.protocol_member());
        let text = format!(
            "the route allows {ours_text}, but the listener of node {node} on port {port} ends requests after {theirs_text}"
        );
        context.warn(Code::TimeoutShadowed, *own, path, text);
    } else if said_by_listener && outlasts(theirs, ours) {
        let text = format!(
            "the listener of node {node} on port {port} allows {theirs_text}, but callers end after {ours_text}"
        );
        match &route.rules {
            Rules::Http(own, _) | Rules::Grpc(own, _) => {
                let path = format!("spec.{}.timeout.perRequest", own.spec.protocol_member());
                context.warn(Code::TimeoutShadowed, *own, path, text);
            }
            Rules::Provider(node) => {
                let text = format!("{text}: set a time-out on a route of a virtual router");
                context.warn(Code::TimeoutShadowed, *node, "spec.listeners", text);
            }
            Rules::Tcp(..) => {}
        }
    }
}

/// The TCP proxy of a port: the first route's. Targets of weight 0 are left out, since a proxy refuses them here.
pub(crate) fn tcp(
    context: &mut Context<'_>,
    port: &ServicePort<'_>,
    policy: Option<&ClientPolicyTls>,
) -> Option<(TcpProxy, Key)> {
    let order = |route: &&ServiceRoute<'_>| match &route.rules {
        Rules::Tcp(own, _) => (own.spec.priority.unwrap_or(u32::MAX), route.name.to_owned()),
        _ => (u32::MAX, route.name.to_owned()),
    };
    let mut routes: Vec<&ServiceRoute<'_>> = port.routes.iter().collect();
    routes.sort_by_key(order);
    let (first, rest) = routes.split_first()?;
    for route in rest {
        if let Rules::Tcp(own, _) = &route.rules {
            let text = format!("it is never used: the route {} takes every connection", first.name);
            context.warn(Code::RouteShadowed, *own, "spec.tcpRoute", text);
        }
    }
    let mut clusters = clusters(context, first, policy);
    clusters.retain(|cluster| cluster.weight > 0);
    let idle_timeout = match &first.rules {
        Rules::Tcp(_, tcp) => tcp.timeout.as_ref().and_then(|timeout| standard(timeout.idle.as_ref())),
        _ => None,
    };
    let proxy = TcpProxy { idle_timeout, ..TcpProxy::to(names::EGRESS_STAT_PREFIX, clusters) };
    Some((proxy, first.key.clone()))
}

/// The bounds that a route's own specification sets.
fn said(route: &ServiceRoute<'_>) -> Requests {
    match &route.rules {
        Rules::Http(_, http) => Requests::of_http(http.timeout.as_ref()),
        Rules::Grpc(_, grpc) => Requests::of_grpc(grpc.timeout.as_ref()),
        Rules::Provider(_) | Rules::Tcp(..) => Requests::default(),
    }
}

/// How long requests to a port may take, by route; zero is without bound.
pub(crate) fn timeouts(
    context: &Context<'_>,
    service: &VirtualService,
    port: &ServicePort<'_>,
) -> Vec<std::time::Duration> {
    let bound = |route: &ServiceRoute<'_>| {
        let levels = policy::levels_of_call(context, service, &route.key);
        policy::timeouts(context, &levels, said(route)).per_request.unwrap_or(PER_REQUEST_DEFAULT)
    };
    port.routes.iter().map(bound).collect()
}

/// Whether a port is proxied as bytes.
pub(crate) fn is_tcp(port: &ServicePort<'_>) -> bool {
    port.protocol == PortProtocol::Tcp
}
