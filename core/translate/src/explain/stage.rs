//! One table's decision about a request, joined with where its parts come from.

use std::sync::Arc;
use std::time::Duration;

use selvedge_model::{DnsResponseType, Key, Kind, RouteSpec, ServiceDiscovery, Snapshot, VirtualNode};
use selvedge_traffic::explain::{ForwardDecision, Share};
use selvedge_traffic::matching::PlainRequest;
use selvedge_traffic::{CompiledRoutes, Decision, DecisionResult, RouteTable, WeightedCluster, weights};
use serde::Serialize;

use super::Outcome;
use crate::names;
use crate::timeout::IDLE_DEFAULT;
use crate::translation::Translation;

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
    pub result: StageResult,
}

/// How a stage ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageResult {
    Forwarded,
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
    let Decision { result: DecisionResult::Forward(forward), .. } = decision else { return stage };
    stage.result = StageResult::Forwarded;
    let chosen = stage.tried.len().checked_sub(1).and_then(|index| join.origin(index));
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
    let parent = key.parent.as_deref().unwrap_or_default();
    let arn = match key.kind {
        Kind::Mesh => Some(&snapshot.mesh.metadata.arn),
        Kind::VirtualNode => snapshot.virtual_nodes.get(&key.name).map(|one| &one.metadata.arn),
        Kind::VirtualService => snapshot.virtual_services.get(&key.name).map(|one| &one.metadata.arn),
        Kind::VirtualRouter => snapshot.virtual_routers.get(&key.name).map(|one| &one.metadata.arn),
        Kind::VirtualGateway => snapshot.virtual_gateways.get(&key.name).map(|one| &one.metadata.arn),
        Kind::Route => {
            snapshot.routes.get(parent).and_then(|all| all.get(&key.name)).map(|one| &one.metadata.arn)
        }
        Kind::GatewayRoute => snapshot
            .gateway_routes
            .get(parent)
            .and_then(|all| all.get(&key.name))
            .map(|one| &one.metadata.arn),
    };
    let arn = arn.cloned().unwrap_or_else(|| key.to_string());
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
        let timeout = |bound: Option<Duration>, set: bool| Timeout {
            millis: bound
                .filter(|bound| !bound.is_zero())
                .map(|bound| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
            source: source(set),
        };
        stage.timeout = Some(timeout(forward.timeout, set.0));
        stage.idle_timeout = Some(timeout(forward.idle_timeout.or(Some(IDLE_DEFAULT)), set.1));
        stage.per_try_timeout = forward.per_try_timeout.map(|bound| timeout(Some(bound), set.2));
        stage.retries = forward.retry.as_ref().map(|retry| Retries {
            max: retry.retries_max,
            on: retry.on.clone(),
            status_codes: retry.status_codes.clone(),
            source: source(set.2),
        });
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

fn source(set: bool) -> Source {
    if set { Source::Specification } else { Source::Default }
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
