//! What would become of one request, in App Mesh's nouns.
//!
//! The proxy's own decision (`selvedge_traffic::explain`) is taken on the proxy's own translation, and joined with
//! where each part comes from: which route, which virtual node with which share, which time-outs and retries, and
//! whether a specification or a default set them.

mod lines;
mod stage;

use selvedge_model::{EgressFilterType, Snapshot};
use selvedge_traffic::matching::host::without_port;
use selvedge_traffic::matching::{PlainRequest, RequestView};
use selvedge_traffic::{HeaderEdit, Network, Resource, RouteTable};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::proxy::{Proxy, ProxyKind};
use crate::translation::{Translation, translate};
pub use stage::{
    AppliedPolicy, Named, Retries, Source, Stage, StageResult, TargetShare, Timeout, TriedRoute,
};

/// The way of one request through a proxy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    pub mesh: String,
    /// The virtual node or gateway whose proxy takes the request.
    pub from: Named,
    pub method: String,
    /// Host and, if it was given, port.
    pub authority: String,
    pub path: String,
    /// One for a node; for a gateway first the gateway routes, then the routes of the virtual service.
    pub stages: Vec<Stage>,
    /// Where the request ends.
    pub outcome: Outcome,
    /// What there is to know besides.
    pub notes: Vec<String>,
    /// Diagnostics about the resources on the way.
    pub diagnostics: Vec<Diagnostic>,
    /// All of this for a person, line by line.
    pub lines: Vec<String>,
}

/// Where a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At the targets of the last stage.
    Forwarded,
    /// At the proxy, which redirects the client by a policy.
    Redirected,
    /// At the proxy, which answers by a policy.
    Answered,
    /// Nowhere: 404 from the proxy.
    NoRoute,
    /// Its own destination, past the mesh's routes: the mesh lets everything out.
    PassedThrough,
    /// The connection is closed: nothing listens for its port, and the mesh lets nothing else out.
    Closed,
    /// The node or gateway does not exist.
    ProxyUnknown,
}

/// Explains what the proxy `from` would do with a request. A request without a port in its authority is looked up by
/// host name on every port, and the answer tells which.
pub fn explain(snapshot: &Snapshot, from: &Proxy, request: &PlainRequest) -> Explanation {
    let translation = translate(snapshot, from);
    let mut way = Way { snapshot, proxy: from, translation: &translation, notes: Vec::new() };
    let (stages, outcome) = match from.kind {
        ProxyKind::VirtualNode => way.through_node(request),
        ProxyKind::VirtualGateway => way.through_gateway(request),
    };
    let key = from.key(snapshot.name());
    let mut explanation = Explanation {
        mesh: snapshot.name().to_owned(),
        from: stage::named(snapshot, &key),
        method: request.method.clone(),
        authority: request.authority.clone(),
        path: request.path.clone(),
        diagnostics: concerned(snapshot.name(), &translation, &stage::named(snapshot, &key), &stages),
        stages,
        outcome,
        notes: way.notes,
        lines: Vec::new(),
    };
    explanation.lines = lines::lines(&explanation);
    explanation
}

struct Way<'a> {
    snapshot: &'a Snapshot,
    proxy: &'a Proxy,
    translation: &'a Translation,
    notes: Vec<String>,
}

impl<'a> Way<'a> {
    fn tables(&self, prefix: &'static str) -> impl Iterator<Item = &'a RouteTable> + use<'a> {
        self.translation.resources.iter().filter_map(move |resource| match resource {
            Resource::Routes(table) if table.name.starts_with(prefix) => Some(table),
            _ => None,
        })
    }

    fn through_node(&mut self, request: &PlainRequest) -> (Vec<Stage>, Outcome) {
        if !self.snapshot.virtual_nodes.contains_key(&self.proxy.name) {
            return (Vec::new(), Outcome::ProxyUnknown);
        }
        let asked = port_of(request.authority());
        let intercepting = self.proxy.direct().is_none();
        if intercepting && let Some(stage) = asked.and_then(|port| self.tcp(port)) {
            return (vec![stage], Outcome::Forwarded);
        }
        let takes = |table: &&RouteTable| match asked {
            Some(port) if intercepting => port_of_table(table) == Some(port),
            _ => stage::has_host(table, request.authority()),
        };
        let Some(table) = self.tables("rds_egress_").find(takes) else { return self.unrouted(asked) };
        if asked.is_none()
            && intercepting
            && let Some(port) = port_of_table(table).filter(|port| *port != 80)
        {
            let text = format!("the application must call port {port}: {}:{port}", request.authority());
            self.notes.push(text);
        }
        let stage = stage::stage(self.snapshot, self.translation, table, request);
        let outcome = stage.outcome();
        (vec![stage], outcome)
    }

    /// The TCP backend on a port.
    fn tcp(&self, port: u16) -> Option<Stage> {
        self.translation.resources.iter().find_map(|resource| {
            let Resource::Listener(listener) = resource else { return None };
            let chain = listener.chains.iter().find(|chain| {
                chain.matches.destination_port == Some(port) && chain.matches.server_names.is_empty()
            })?;
            match &chain.network {
                Network::Tcp(tcp) if listener.name.starts_with("lds_egress_") => {
                    Some(stage::tcp(self.snapshot, self.translation, port, &tcp.clusters))
                }
                _ => None,
            }
        })
    }

    fn unrouted(&mut self, asked: Option<u16>) -> (Vec<Stage>, Outcome) {
        let filter = self.snapshot.mesh.spec.egress_filter.as_ref();
        let allow_all = filter.is_some_and(|filter| filter.kind == EgressFilterType::AllowAll);
        let what = asked.map_or_else(|| "the host name".to_owned(), |port| format!("port {port}"));
        self.notes.push(format!("no backend of {} answers for {what}", self.proxy.name));
        let outcome = match (self.proxy.direct().is_some(), allow_all) {
            (true, _) => Outcome::NoRoute,
            (false, true) => Outcome::PassedThrough,
            (false, false) => Outcome::Closed,
        };
        (Vec::new(), outcome)
    }

    fn through_gateway(&mut self, request: &PlainRequest) -> (Vec<Stage>, Outcome) {
        if !self.snapshot.virtual_gateways.contains_key(&self.proxy.name) {
            return (Vec::new(), Outcome::ProxyUnknown);
        }
        let asked = port_of(request.authority());
        let by_port =
            self.tables("rds_ingress_").find(|table| asked.is_some() && port_of_table(table) == asked);
        let Some(ingress) = by_port.or_else(|| self.tables("rds_ingress_").next()) else {
            return (Vec::new(), Outcome::NoRoute);
        };
        let first = stage::stage(self.snapshot, self.translation, ingress, request);
        let Some(inner) = redirected(ingress, request) else {
            let outcome = first.outcome();
            return (vec![first], outcome);
        };
        let Some(egress) = self.tables("rds_egress_").next() else { return (vec![first], Outcome::NoRoute) };
        let second = stage::stage(self.snapshot, self.translation, egress, &inner);
        let outcome = second.outcome();
        (vec![first, second], outcome)
    }
}

/// The request as a gateway's ingress routes send it on.
fn redirected(table: &RouteTable, request: &PlainRequest) -> Option<PlainRequest> {
    let compiled = stage::compiled(table)?;
    let matched = compiled.find(request).ok()?;
    let selvedge_traffic::Action::Forward(forward) = &matched.route.action else { return None };
    let mut inner = request.clone();
    if let Some(path) = matched.rewritten_path(request) {
        inner.path = path;
    }
    if let Some(host) = forward.host_rewrite.as_ref().and_then(|rewrite| rewrite.apply(None)) {
        inner.authority = host.to_owned();
    }
    for edit in &matched.route.request_headers {
        if let HeaderEdit::Overwrite { name, value } = edit {
            inner.headers.retain(|(known, _)| known != name);
            inner.headers.push((name.clone(), value.clone()));
        }
    }
    Some(inner)
}

fn port_of(authority: &str) -> Option<u16> {
    let host = without_port(authority);
    authority.get(host.len() + 1..)?.parse().ok()
}

/// Route tables end with their port.
fn port_of_table(table: &RouteTable) -> Option<u16> {
    table.name.rsplit('_').next()?.parse().ok()
}

/// The diagnostics about what a request meets.
fn concerned(mesh: &str, translation: &Translation, from: &Named, stages: &[Stage]) -> Vec<Diagnostic> {
    let mut met: Vec<&str> = vec![&from.arn];
    for stage in stages {
        met.extend(
            stage
                .virtual_service
                .iter()
                .chain(&stage.provider)
                .chain(&stage.route)
                .map(|one| one.arn.as_str()),
        );
        met.extend(stage.tried.iter().map(|one| one.route.arn.as_str()));
        met.extend(stage.targets.iter().map(|one| one.node.arn.as_str()));
    }
    let policies: Vec<String> = stages
        .iter()
        .flat_map(|stage| &stage.policies)
        .map(|one| format!("mesh/{mesh}/policy/{}", one.name))
        .collect();
    met.extend(policies.iter().map(String::as_str));
    // A route that was dropped was not looked at, but it is why another was chosen: children count as met.
    let is_met = |subject: &str| {
        let below = |arn: &&str| {
            subject.strip_prefix(*arn).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        met.iter().any(below)
    };
    translation.diagnostics.iter().filter(|diagnostic| is_met(&diagnostic.subject)).cloned().collect()
}
