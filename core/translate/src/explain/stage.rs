//! One table's decision about a request, joined with where its parts come from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use selvedge_model::policy::{PolicyKind, PolicySpec};
use selvedge_model::{DnsResponseType, Key, Kind, RouteSpec, ServiceDiscovery, Snapshot, VirtualNode};
use selvedge_traffic::explain::{ForwardDecision, Share};
use selvedge_traffic::matching::PlainRequest;
use selvedge_traffic::{CompiledRoutes, Decision, DecisionResult, RouteTable, WeightedCluster, weights};
use serde::Serialize;

use super::Outcome;
use crate::names;
use crate::timeout::IDLE_DEFAULT;
use crate::translation::{Governed, Translation};

/// A resource of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    pub kind: &'static str,
    pub name: String,
    /// Its path (`mesh/M/…`) where it does not exist.
    pub arn: String,
}

/// One decision on a request's way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// The proxy's route table, under App Mesh's name; the listener's chain for TCP.
    pub table: String,
    /// The virtual service that the host name stands for, and the port that it answers on.
    pub virtual_service: Option<Named>,
    pub port: Option<u16>,
    /// The router or node behind the virtual service, or the gateway.
    pub provider: Option<Named>,
    /// The routes looked at, in order.
    pub tried: Vec<TriedRoute>,
    /// The chosen route, gateway route, or node that answers without one.
    pub route: Option<Named>,
    pub targets: Vec<TargetShare>,
    pub timeout: Option<Timeout>,
    pub per_try_timeout: Option<Timeout>,
    pub idle_timeout: Option<Timeout>,
    pub retries: Option<Retries>,
    /// The path that is sent on, if it changes.
    pub path: Option<String>,
    /// The host name that is sent on, if it changes.
    pub host: Option<String>,
    /// The policies that had a part in it.
    pub policies: Vec<AppliedPolicy>,
    /// The answer's status, where the proxy answers or redirects by itself.
    pub status: Option<u16>,
    pub result: StageResult,
}

/// A policy that had a part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppliedPolicy {
    pub name: String,
    pub kind: &'static str,
    /// What it is attached to.
    pub target: Named,
}

/// How a stage ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageResult {
    Forwarded,
    /// A policy redirects the client.
    Redirected,
    /// A policy answers at once.
    Answered,
    /// No virtual service has this host name.
    UnknownHost,
    /// No route takes the request.
    NoRoute,
}

/// A route that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TriedRoute {
    pub route: Named,
    pub priority: Option<u32>,
    /// The first condition that did not hold; none for the chosen route.
    pub failed: Option<String>,
}

/// A node's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetShare {
    pub node: Named,
    pub port: u16,
    pub weight: u32,
    pub percent: f64,
    /// Under App Mesh's name.
    pub cluster: String,
    /// How the node's instances are found.
    pub found_by: String,
}

/// A bound on time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timeout {
    /// Milliseconds; none is without bound.
    pub millis: Option<u64>,
    pub source: Source,
}

/// Who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Specification,
    /// A policy, which overrides it.
    Policy,
    /// App Mesh's, which its API never showed.
    Default,
}

/// The retries of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retries {
    pub max: u32,
    /// Envoy's words.
    pub on: Vec<&'static str>,
    pub status_codes: Vec<u16>,
    pub source: Source,
}

impl Stage {
    pub(super) fn outcome(&self) -> Outcome {
        match self.result {
            StageResult::Forwarded => Outcome::Forwarded,
            StageResult::Redirected => Outcome::Redirected,
            StageResult::Answered => Outcome::Answered,
            StageResult::UnknownHost | StageResult::NoRoute => Outcome::NoRoute,
        }
    }

    fn empty(table: &str, result: StageResult) -> Self {
        Self {
            table: table.to_owned(),
            virtual_service: None,
            port: None,
            provider: None,
            tried: Vec::new(),
            route: None,
            targets: Vec::new(),
            timeout: None,
            per_try_timeout: None,
            idle_timeout: None,
            retries: None,
            path: None,
            host: None,
            policies: Vec::new(),
            status: None,
            result,
        }
    }
}

pub(super) fn compiled(table: &RouteTable) -> Option<CompiledRoutes> {
    CompiledRoutes::new(Arc::new(table.clone())).ok()
}

/// Whether a table knows the host name.
pub(super) fn has_host(table: &RouteTable, authority: &str) -> bool {
    compiled(table).is_some_and(|compiled| compiled.virtual_host(authority).is_some())
}

/// A table's decision. A table that cannot be compiled decides nothing; the translation makes none such.
pub(super) fn stage(
    snapshot: &Snapshot,
    translation: &Translation,
    table: &RouteTable,
    request: &PlainRequest,
) -> Stage {
    let Some(compiled) = compiled(table) else { return Stage::empty(&table.name, StageResult::NoRoute) };
    let decision = compiled.explain(request);
    let Some(host) = decision.virtual_host.clone() else {
        return Stage::empty(&table.name, StageResult::UnknownHost);
    };
    let join = Join { snapshot, translation, table: &table.name, host: &host };
    let mut stage = Stage::empty(&table.name, StageResult::NoRoute);
    if let Some((service, port)) = translation.origins.services.get(&(table.name.clone(), host.clone())) {
        join.service(&mut stage, service, *port);
    } else if host == names::SELF_REDIRECT {
        stage.provider = join.provider_of_first();
    }
    stage.tried = join.tried(&decision);
    let index = stage.tried.len().checked_sub(1);
    let chosen = index.and_then(|index| join.origin(index));
    let governed = index.map(|index| Governed::Route(table.name.clone(), host.clone(), index));
    let forward = match decision.result {
        DecisionResult::Forward(forward) => forward,
        DecisionResult::Redirect { status, location } => {
            stage.result = StageResult::Redirected;
            stage.status = Some(status);
            stage.path = Some(location);
            stage.route = chosen.as_ref().map(|key| named(snapshot, key));
            stage.policies = join.policies(governed);
            return stage;
        }
        DecisionResult::Respond { status } => {
            stage.result = StageResult::Answered;
            stage.status = Some(status);
            stage.route = chosen.as_ref().map(|key| named(snapshot, key));
            stage.policies = join.policies(governed);
            return stage;
        }
        DecisionResult::NoVirtualHost | DecisionResult::NoRoute => return stage,
    };
    stage.result = StageResult::Forwarded;
    let clusters = forward.targets.iter().map(|share| Governed::Cluster(share.cluster.clone()));
    stage.policies = join.policies(governed.into_iter().chain(clusters));
    join.terms(&mut stage, chosen.as_ref(), &forward);
    stage.targets = forward.targets.iter().filter_map(|share| join.target(share)).collect();
    stage.path = forward.path;
    stage.host = forward.host;
    stage
}

/// The decision of a TCP chain.
pub(super) fn tcp(
    snapshot: &Snapshot,
    translation: &Translation,
    port: u16,
    clusters: &[WeightedCluster],
) -> Stage {
    let table = format!("egress_{port}");
    let join = Join { snapshot, translation, table: &table, host: "" };
    let share = |cluster: &WeightedCluster| Share {
        cluster: cluster.name.clone(),
        weight: cluster.weight,
        percent: weights::share_percent(cluster, clusters),
    };
    let targets = clusters.iter().map(share).filter_map(|share| join.target(&share)).collect();
    Stage { port: Some(port), targets, ..Stage::empty(&table, StageResult::Forwarded) }
}

/// A resource by its key.
pub(super) fn named(snapshot: &Snapshot, key: &Key) -> Named {
    let arn = snapshot.arn(key).map_or_else(|| key.to_string(), str::to_owned);
    Named { kind: key.kind.as_str(), name: key.name.clone(), arn }
}

struct Join<'a> {
    snapshot: &'a Snapshot,
    translation: &'a Translation,
    table: &'a str,
    host: &'a str,
}

impl Join<'_> {
    fn origin(&self, index: usize) -> Option<Key> {
        let place = (self.table.to_owned(), self.host.to_owned(), index);
        self.translation.origins.routes.get(&place).cloned()
    }

    fn service(&self, stage: &mut Stage, service: &str, port: u16) {
        let mesh = self.snapshot.name();
        stage.virtual_service =
            Some(named(self.snapshot, &Key::in_mesh(mesh, Kind::VirtualService, service)));
        stage.port = Some(port);
        let provider =
            self.snapshot.virtual_services.get(service).and_then(|service| service.spec.provider.as_ref());
        stage.provider = provider.map(|provider| {
            let (kind, name) = provider.target();
            named(self.snapshot, &Key::in_mesh(mesh, kind, name))
        });
    }

    /// The gateway that the routes of this table belong to.
    fn provider_of_first(&self) -> Option<Named> {
        self.origin(0).and_then(|key| key.parent_key()).map(|key| named(self.snapshot, &key))
    }

    fn tried(&self, decision: &Decision) -> Vec<TriedRoute> {
        let tried = |(index, one): (usize, &selvedge_traffic::explain::Tried)| {
            let key = self.origin(index)?;
            let route = named(self.snapshot, &key);
            Some(TriedRoute { route, priority: self.priority(&key), failed: one.failed.clone() })
        };
        decision.tried.iter().enumerate().filter_map(tried).collect()
    }

    fn route_spec(&self, key: &Key) -> Option<&RouteSpec> {
        let routes = self.snapshot.routes.get(key.parent.as_deref()?)?;
        (key.kind == Kind::Route).then(|| routes.get(&key.name).map(|route| &route.spec))?
    }

    fn priority(&self, key: &Key) -> Option<u32> {
        match key.kind {
            Kind::GatewayRoute => {
                self.snapshot.gateway_routes.get(key.parent.as_deref()?)?.get(&key.name)?.spec.priority
            }
            _ => self.route_spec(key)?.priority,
        }
    }

    fn terms(&self, stage: &mut Stage, chosen: Option<&Key>, forward: &ForwardDecision) {
        stage.route = chosen.map(|key| named(self.snapshot, key));
        let spec = chosen.and_then(|key| self.route_spec(key));
        let set = spec.map_or((false, false, false), said);
        let by_policy = |kind: PolicyKind| {
            let mut applied = stage.policies.iter().filter(|one| one.kind == kind.as_str());
            applied.find_map(|one| self.snapshot.policies.get(&one.name)).map(|policy| &policy.spec)
        };
        let (request, idle) = match by_policy(PolicyKind::Timeout) {
            Some(PolicySpec::Timeout(spec)) => (spec.request.is_some(), spec.idle.is_some()),
            _ => (false, false),
        };
        let retry = by_policy(PolicyKind::Retry).is_some();
        let source = |set: bool, policy: bool| match (policy, set) {
            (true, _) => Source::Policy,
            (false, true) => Source::Specification,
            (false, false) => Source::Default,
        };
        let timeout = |bound: Option<Duration>, source: Source| Timeout {
            millis: bound
                .filter(|bound| !bound.is_zero())
                .map(|bound| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
            source,
        };
        stage.timeout = Some(timeout(forward.timeout, source(set.0, request)));
        stage.idle_timeout = Some(timeout(forward.idle_timeout.or(Some(IDLE_DEFAULT)), source(set.1, idle)));
        stage.per_try_timeout =
            forward.per_try_timeout.map(|bound| timeout(Some(bound), source(set.2, retry)));
        stage.retries = forward.retry.as_ref().map(|made| Retries {
            max: made.retries_max,
            on: made.on.clone(),
            status_codes: made.status_codes.clone(),
            source: source(set.2, retry),
        });
    }

    /// The policies that had a part in any of these.
    fn policies(&self, governed: impl IntoIterator<Item = Governed>) -> Vec<AppliedPolicy> {
        let of = |governed: Governed| self.translation.origins.policies.get(&governed);
        let names: BTreeSet<&String> = governed.into_iter().filter_map(of).flatten().collect();
        let applied = |name: &String| {
            let policy = self.snapshot.policies.get(name)?;
            let (kind, target) = (policy.kind().as_str(), named(self.snapshot, &policy.target.key));
            Some(AppliedPolicy { name: name.clone(), kind, target })
        };
        names.into_iter().filter_map(applied).collect()
    }

    fn target(&self, share: &Share) -> Option<TargetShare> {
        let (node, port) = self.translation.origins.clusters.get(&share.cluster)?;
        let key = Key::in_mesh(self.snapshot.name(), Kind::VirtualNode, node);
        Some(TargetShare {
            node: named(self.snapshot, &key),
            port: *port,
            weight: share.weight,
            percent: share.percent,
            cluster: share.cluster.clone(),
            found_by: self.snapshot.virtual_nodes.get(node).map_or_else(String::new, |node| found_by(node)),
        })
    }
}

/// Whether a route itself sets its time-out, its idle time-out, its retries.
fn said(spec: &RouteSpec) -> (bool, bool, bool) {
    match (&spec.http_route, &spec.http2_route, &spec.grpc_route) {
        (Some(http), ..) | (_, Some(http), _) => {
            let timeout = http.timeout.as_ref();
            let set = |of: fn(&selvedge_model::HttpTimeout) -> bool| timeout.is_some_and(of);
            (
                set(|timeout| timeout.per_request.is_some()),
                set(|timeout| timeout.idle.is_some()),
                http.retry_policy.is_some(),
            )
        }
        (_, _, Some(grpc)) => {
            let timeout = grpc.timeout.as_ref();
            let set = |of: fn(&selvedge_model::GrpcTimeout) -> bool| timeout.is_some_and(of);
            (
                set(|timeout| timeout.per_request.is_some()),
                set(|timeout| timeout.idle.is_some()),
                grpc.retry_policy.is_some(),
            )
        }
        _ => (false, false, false),
    }
}

fn found_by(node: &VirtualNode) -> String {
    match &node.spec.service_discovery {
        None => format!("the sidecars connected as {}", node.key.name),
        Some(ServiceDiscovery::Dns(dns)) => match dns.response_type {
            Some(DnsResponseType::Endpoints) => format!("DNS, every address of {}", dns.hostname),
            Some(DnsResponseType::LoadBalancer) | None => format!("DNS, {}", dns.hostname),
        },
        Some(ServiceDiscovery::AwsCloudMap(map)) => {
            format!("Cloud Map, {}.{}", map.service_name, map.namespace_name)
        }
    }
}
