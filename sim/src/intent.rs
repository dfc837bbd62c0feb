//! What a client wants of the API, and the workload that keeps wanting.
//!
//! The names are few, so that writes meet: routes come to name nodes that are being deleted, services change
//! their provider under a proxy's feet, a create follows the delete of the same name. Many of these calls are
//! refused by the rules of references and use, and rightly so.

use crate::chance::Chance;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// The mesh in which everything happens.
pub const MESH: &str = "m";
const NODES: [&str; 5] = ["web", "api-1", "api-2", "api-3", "store"];
const ROUTERS: [&str; 2] = ["api", "store"];
const ROUTES: [&str; 3] = ["first", "second", "third"];
const SERVICES: [&str; 2] = ["api.local", "store.local"];
const GATEWAY: &str = "edge";
const GATEWAY_ROUTES: [&str; 2] = ["all", "some"];

/// One call of the API that writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The operation's name, as in `CreateRoute`.
    pub operation: &'static str,
    /// Every member of its input.
    pub input: Value,
    /// The resource it writes.
    pub subject: Subject,
    /// The spec that stands afterwards; `None` when it is deleted.
    pub wish: Option<Value>,
}

/// A resource of [`MESH`], in the terms of the API's paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    kind: Kind,
    parent: Option<String>,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Mesh,
    VirtualNode,
    VirtualRouter,
    Route,
    VirtualService,
    VirtualGateway,
    GatewayRoute,
}

/// What is wanted of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Its first spec.
    Create,
    /// Another spec.
    Update,
    /// Its end.
    Delete,
}

// === impl Intent ===

impl Intent {
    /// Wants `spec` to stand for `subject`; a delete has no use for one.
    pub fn new(verb: Verb, subject: Subject, spec: Value) -> Self {
        let mut input = subject.identity();
        let wish = match verb {
            Verb::Create | Verb::Update => {
                input["spec"] = spec.clone();
                Some(spec)
            }
            Verb::Delete => None,
        };
        Self { operation: subject.kind.operation(verb), input, subject, wish }
    }

    /// The calls that make a small mesh: the ones a tutorial begins with.
    pub fn first_mesh() -> Vec<Self> {
        let create = |subject, spec| Self::new(Verb::Create, subject, spec);
        vec![
            create(Subject::mesh(), json!({"egressFilter": {"type": "DROP_ALL"}})),
            create(Subject::node("web"), node_spec("web", &["api.local"])),
            create(Subject::node("api-1"), node_spec("api-1", &[])),
            create(Subject::node("api-2"), node_spec("api-2", &[])),
            create(Subject::router("api"), router_spec()),
            create(Subject::route("api", "first"), route_spec("/", &[("api-1", 80), ("api-2", 20)])),
            create(Subject::service("api.local"), provider("api")),
            create(Subject::gateway(), gateway_spec()),
            create(Subject::gateway_route("all"), gateway_route_spec("/", "api.local")),
        ]
    }

    /// The next wish of somebody who never rests and believes that `there` is what there is.
    pub fn random(chance: &mut Chance, there: &BTreeSet<Subject>) -> Self {
        let (subject, spec) = match chance.below(12) {
            0..=2 => (Subject::node(chance.pick(&NODES)), random_node(chance)),
            3..=6 => (Subject::route(chance.pick(&ROUTERS), chance.pick(&ROUTES)), random_route(chance)),
            7 => (Subject::router(chance.pick(&ROUTERS)), router_spec()),
            8 | 9 => (Subject::service(chance.pick(&SERVICES)), random_provider(chance)),
            10 => {
                let prefix = chance.pick(&["/", "/some"]);
                let spec = gateway_route_spec(prefix, chance.pick(&SERVICES));
                (Subject::gateway_route(chance.pick(&GATEWAY_ROUTES)), spec)
            }
            _ => {
                let filter = chance.pick(&["ALLOW_ALL", "DROP_ALL"]);
                (Subject::mesh(), json!({"egressFilter": {"type": filter}}))
            }
        };
        // Now and then against all reason.
        let is_there = there.contains(&subject) != chance.hits(50);
        let verb = match is_there {
            false => Verb::Create,
            true if subject.kind != Kind::Mesh && chance.hits(300) => Verb::Delete,
            true => Verb::Update,
        };
        Self::new(verb, subject, spec)
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.operation.split(char::is_uppercase).nth(1).map_or(0, |verb| verb.len() + 1);
        write!(f, "{} {}", &self.operation[..verb], self.subject)?;
        self.wish.as_ref().map_or(Ok(()), |spec| f.write_str(&outline(spec)))
    }
}

/// What tells one spec from another, in the words of a scenario.
fn outline(spec: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words = Vec::new();
    if let Some(route) = spec.get("httpRoute") {
        words.push(text(&route["match"]["prefix"]));
        for target in route["action"]["weightedTargets"].as_array().into_iter().flatten() {
            words.push(format!("{}={}", text(&target["virtualNode"]), target["weight"]));
        }
        words.extend(route.pointer("/action/target/virtualService/virtualServiceName").map(text));
    }
    if let Some(backends) = spec.get("backends").and_then(Value::as_array) {
        let names = backends.iter().map(|backend| text(&backend["virtualService"]["virtualServiceName"]));
        words.extend(names.map(|name| format!("calls {name}")));
        if spec.get("serviceDiscovery").is_none() {
            words.push("without discovery".to_owned());
        }
    }
    if let Some(provider) = spec.get("provider") {
        let router = provider
            .pointer("/virtualRouter/virtualRouterName")
            .map(|name| format!("by router {}", text(name)));
        let node =
            provider.pointer("/virtualNode/virtualNodeName").map(|name| format!("by node {}", text(name)));
        words.extend(router.or(node));
    }
    words.extend(spec.pointer("/egressFilter/type").map(text));
    words.into_iter().fold(String::new(), |line, word| line + " " + &word)
}

// === impl Subject ===

impl Subject {
    /// The mesh itself.
    pub fn mesh() -> Self {
        Self::flat(Kind::Mesh, MESH)
    }

    pub(crate) fn node(name: &str) -> Self {
        Self::flat(Kind::VirtualNode, name)
    }

    pub(crate) fn router(name: &str) -> Self {
        Self::flat(Kind::VirtualRouter, name)
    }

    pub(crate) fn route(router: &str, name: &str) -> Self {
        Self { kind: Kind::Route, parent: Some(router.to_owned()), name: name.to_owned() }
    }

    pub(crate) fn service(name: &str) -> Self {
        Self::flat(Kind::VirtualService, name)
    }

    pub(crate) fn gateway() -> Self {
        Self::flat(Kind::VirtualGateway, GATEWAY)
    }

    pub(crate) fn gateway_route(name: &str) -> Self {
        Self { kind: Kind::GatewayRoute, parent: Some(GATEWAY.to_owned()), name: name.to_owned() }
    }

    fn flat(kind: Kind, name: &str) -> Self {
        Self { kind, parent: None, name: name.to_owned() }
    }

    /// The operation that reads it, and its input.
    pub fn describe(&self) -> (&'static str, Value) {
        (self.kind.describe(), self.identity())
    }

    /// The members of an input that say which resource is meant.
    fn identity(&self) -> Value {
        let mut input = json!({"meshName": MESH});
        if let Some(parent) = &self.parent {
            let member = if self.kind == Kind::Route { "virtualRouterName" } else { "virtualGatewayName" };
            input[member] = parent.as_str().into();
        }
        input[self.kind.member()] = self.name.as_str().into();
        input
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.kind)?;
        if let Some(parent) = &self.parent {
            write!(f, "{parent}/")?;
        }
        f.write_str(&self.name)
    }
}

// === impl Kind ===

impl Kind {
    const fn member(self) -> &'static str {
        match self {
            Self::Mesh => "meshName",
            Self::VirtualNode => "virtualNodeName",
            Self::VirtualRouter => "virtualRouterName",
            Self::Route => "routeName",
            Self::VirtualService => "virtualServiceName",
            Self::VirtualGateway => "virtualGatewayName",
            Self::GatewayRoute => "gatewayRouteName",
        }
    }

    const fn operation(self, verb: Verb) -> &'static str {
        match (verb, self) {
            (Verb::Create, Self::Mesh) => "CreateMesh",
            (Verb::Create, Self::VirtualNode) => "CreateVirtualNode",
            (Verb::Create, Self::VirtualRouter) => "CreateVirtualRouter",
            (Verb::Create, Self::Route) => "CreateRoute",
            (Verb::Create, Self::VirtualService) => "CreateVirtualService",
            (Verb::Create, Self::VirtualGateway) => "CreateVirtualGateway",
            (Verb::Create, Self::GatewayRoute) => "CreateGatewayRoute",
            (Verb::Update, Self::Mesh) => "UpdateMesh",
            (Verb::Update, Self::VirtualNode) => "UpdateVirtualNode",
            (Verb::Update, Self::VirtualRouter) => "UpdateVirtualRouter",
            (Verb::Update, Self::Route) => "UpdateRoute",
            (Verb::Update, Self::VirtualService) => "UpdateVirtualService",
            (Verb::Update, Self::VirtualGateway) => "UpdateVirtualGateway",
            (Verb::Update, Self::GatewayRoute) => "UpdateGatewayRoute",
            (Verb::Delete, Self::Mesh) => "DeleteMesh",
            (Verb::Delete, Self::VirtualNode) => "DeleteVirtualNode",
            (Verb::Delete, Self::VirtualRouter) => "DeleteVirtualRouter",
            (Verb::Delete, Self::Route) => "DeleteRoute",
            (Verb::Delete, Self::VirtualService) => "DeleteVirtualService",
            (Verb::Delete, Self::VirtualGateway) => "DeleteVirtualGateway",
            (Verb::Delete, Self::GatewayRoute) => "DeleteGatewayRoute",
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::Mesh => "DescribeMesh",
            Self::VirtualNode => "DescribeVirtualNode",
            Self::VirtualRouter => "DescribeVirtualRouter",
            Self::Route => "DescribeRoute",
            Self::VirtualService => "DescribeVirtualService",
            Self::VirtualGateway => "DescribeVirtualGateway",
            Self::GatewayRoute => "DescribeGatewayRoute",
        }
    }
}

// === specs ===

/// A node that listens; its endpoints come from DNS under `host`, and it calls `backends`.
pub(crate) fn node_spec(host: &str, backends: &[&str]) -> Value {
    let backends: Vec<_> =
        backends.iter().map(|name| json!({"virtualService": {"virtualServiceName": name}})).collect();
    json!({
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": format!("{host}.internal")}},
        "backends": backends,
    })
}

fn random_node(chance: &mut Chance) -> Value {
    let backends = [&[][..], &SERVICES[..1], &SERVICES[1..], &SERVICES[..]];
    let mut spec = node_spec(chance.pick(&NODES), chance.pick(&backends));
    match chance.below(3) {
        // Endpoints from the sidecars that connect as this node.
        0 => drop(spec.as_object_mut().and_then(|members| members.remove("serviceDiscovery"))),
        1 => spec["listeners"][0]["timeout"] = json!({"http": {"perRequest": {"unit": "s", "value": 5}}}),
        _ => {}
    }
    spec
}

pub(crate) fn router_spec() -> Value {
    json!({"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]})
}

pub(crate) fn route_spec(prefix: &str, targets: &[(&str, usize)]) -> Value {
    let targets: Vec<_> =
        targets.iter().map(|(node, weight)| json!({"virtualNode": node, "weight": weight})).collect();
    json!({"httpRoute": {"match": {"prefix": prefix}, "action": {"weightedTargets": targets}}})
}

fn random_route(chance: &mut Chance) -> Value {
    let first = chance.pick(&NODES);
    let second = chance.pick(&NODES);
    let weight = chance.below(101);
    let prefix = chance.pick(&["/", "/deep"]);
    if first == second {
        return route_spec(prefix, &[(first, 100)]);
    }
    route_spec(prefix, &[(first, weight), (second, 100 - weight)])
}

pub(crate) fn provider(router: &str) -> Value {
    json!({"provider": {"virtualRouter": {"virtualRouterName": router}}})
}

fn random_provider(chance: &mut Chance) -> Value {
    match chance.below(3) {
        0 => json!({}),
        1 => json!({"provider": {"virtualNode": {"virtualNodeName": chance.pick(&NODES)}}}),
        _ => provider(chance.pick(&ROUTERS)),
    }
}

pub(crate) fn gateway_spec() -> Value {
    json!({"listeners": [{"portMapping": {"port": 9080, "protocol": "http"}}]})
}

pub(crate) fn gateway_route_spec(prefix: &str, service: &str) -> Value {
    json!({"httpRoute": {
        "match": {"prefix": prefix},
        "action": {"target": {"virtualService": {"virtualServiceName": service}}},
    }})
}
