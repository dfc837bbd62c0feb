//! A mesh as a tree of resources with their conditions.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_model::{Key, Kind, Policy, Resource, Snapshot, Spec, VirtualServiceSpec};
use selvedge_translate::Diagnostic;
use serde_json::{Map, Value, json};

use super::condition::{Assessment, assess};
use super::{ConnectedProxy, Rejection, summary};

/// The tree of a mesh.
pub(super) fn mesh(
    snapshot: &Snapshot,
    diagnostics: &[Diagnostic],
    proxies: &[ConnectedProxy],
    rejections: &[Rejection],
) -> Value {
    Tree::new(snapshot, diagnostics, proxies, rejections).mesh()
}

/// What is shown of a mesh with a document that cannot be read.
pub(super) fn damaged(name: &str, reason: &str) -> Value {
    json!({
        "kind": Kind::Mesh.segment(), "name": name, "condition": "DEGRADED",
        "summary": "cannot be read; its proxies keep what they have",
        "reasons": [{ "severity": "error", "message": reason }],
    })
}

struct Tree<'a> {
    snapshot: &'a Snapshot,
    /// By the path of the resource that they are about.
    diagnostics: BTreeMap<String, Vec<&'a Diagnostic>>,
    rejections: BTreeMap<String, Vec<&'a Rejection>>,
    proxies: BTreeMap<&'a Key, Vec<&'a ConnectedProxy>>,
}

impl<'a> Tree<'a> {
    fn new(
        snapshot: &'a Snapshot,
        diagnostics: &'a [Diagnostic],
        proxies: &'a [ConnectedProxy],
        rejections: &'a [Rejection],
    ) -> Self {
        let mut tree = Self {
            snapshot,
            diagnostics: BTreeMap::new(),
            rejections: BTreeMap::new(),
            proxies: BTreeMap::new(),
        };
        // What is about a resource that does not exist is shown on the mesh, where it can be seen.
        let known = paths(snapshot);
        let own = snapshot.mesh.key.to_string();
        let place = |subject: &str| known.get(path(subject)).unwrap_or(&own).clone();
        for diagnostic in diagnostics {
            tree.diagnostics.entry(place(&diagnostic.subject)).or_default().push(diagnostic);
        }
        for rejection in rejections {
            tree.rejections.entry(place(&rejection.subject)).or_default().push(rejection);
        }
        for proxy in proxies {
            tree.proxies.entry(&proxy.resource).or_default().push(proxy);
        }
        tree
    }

    fn mesh(&self) -> Value {
        let snapshot = self.snapshot;
        let nodes = snapshot.virtual_nodes.values().map(|node| self.node(node)).collect::<Vec<_>>();
        let services =
            snapshot.virtual_services.values().map(|service| self.service(service)).collect::<Vec<_>>();
        let routers = snapshot.virtual_routers.values().map(|router| self.router(router)).collect::<Vec<_>>();
        let gateways =
            snapshot.virtual_gateways.values().map(|gateway| self.gateway(gateway)).collect::<Vec<_>>();
        let policies = snapshot.policies.iter().map(|policy| self.policy(policy)).collect::<Vec<_>>();
        let children = [services, routers, nodes, gateways, policies].concat();
        let summary = format!(
            "{}, {}",
            count(snapshot.virtual_nodes.len(), "virtual node"),
            count(self.proxies.values().map(Vec::len).sum(), "proxy"),
        );
        self.entry(&snapshot.mesh, None, summary, children)
    }

    fn node(&self, node: &Resource<selvedge_model::VirtualNodeSpec>) -> Value {
        let ports = node.spec.listeners.iter().map(|listener| &listener.port_mapping);
        let summary = summary::listeners(ports, Some(self.connected(&node.key)));
        self.entry(node, None, summary, Vec::new())
    }

    fn service(&self, service: &Resource<VirtualServiceSpec>) -> Value {
        let missing = self.missing_provider(&service.spec);
        self.entry(service, missing.as_deref(), summary::service(&service.spec), Vec::new())
    }

    fn router(&self, router: &Resource<selvedge_model::VirtualRouterSpec>) -> Value {
        let routes = self.snapshot.routes_of(&router.key.name);
        let routes = routes.map(|route| self.entry(route, None, summary::route(&route.spec), Vec::new()));
        let ports = router.spec.listeners.iter().map(|listener| &listener.port_mapping);
        self.entry(router, None, summary::listeners(ports, None), routes.collect())
    }

    fn gateway(&self, gateway: &Resource<selvedge_model::VirtualGatewaySpec>) -> Value {
        let routes = self.snapshot.gateway_routes_of(&gateway.key.name);
        let routes =
            routes.map(|route| self.entry(route, None, summary::gateway_route(&route.spec), Vec::new()));
        let ports = gateway.spec.listeners.iter().map(|listener| &listener.port_mapping);
        let summary = summary::listeners(ports, Some(self.connected(&gateway.key)));
        self.entry(gateway, None, summary, routes.collect())
    }

    fn policy(&self, policy: &Policy) -> Value {
        let path = policy.path();
        let diagnostics = self.diagnostics.get(path.as_str()).into_iter().flatten().copied();
        let rejections = self.rejections.get(path.as_str()).into_iter().flatten().copied();
        let Assessment { condition, reasons } = assess(None, diagnostics, rejections);
        let target = &policy.target.key;
        let mut shown = json!({
            "kind": "policy",
            "name": policy.name,
            "version": policy.version,
            "condition": condition.as_str(),
            "summary": format!("{} of {} {}", policy.kind(), summary::words(target.kind.segment()), target.name),
            "target": policy.target.to_string(),
        });
        if !reasons.is_empty() {
            shown["reasons"] = reasons.into();
        }
        shown
    }

    /// What is missing for a virtual service to be answered, in words.
    fn missing_provider(&self, spec: &VirtualServiceSpec) -> Option<String> {
        let Some(provider) = &spec.provider else {
            return Some("it has no provider: nobody answers for it".to_owned());
        };
        let (kind, name) = provider.target();
        let (exists, what) = match kind {
            Kind::VirtualNode => (self.snapshot.virtual_nodes.contains_key(name), "virtual node"),
            _ => (self.snapshot.virtual_routers.contains_key(name), "virtual router"),
        };
        (!exists).then(|| format!("its provider, {what} {name}, does not exist"))
    }

    fn connected(&self, key: &Key) -> &[&'a ConnectedProxy] {
        self.proxies.get(key).map_or(&[], Vec::as_slice)
    }

    fn entry<S: Spec>(
        &self,
        resource: &Resource<S>,
        missing: Option<&str>,
        summary: String,
        children: Vec<Value>,
    ) -> Value {
        let path = resource.key.to_string();
        let diagnostics = self.diagnostics.get(path.as_str()).into_iter().flatten().copied();
        let rejections = self.rejections.get(path.as_str()).into_iter().flatten().copied();
        let Assessment { condition, reasons } = assess(missing, diagnostics, rejections);
        let proxies: Vec<Value> = self.connected(&resource.key).iter().map(|proxy| entry_of(proxy)).collect();
        let members = [
            ("kind", json!(resource.key.kind.segment())),
            ("name", json!(resource.key.name)),
            ("arn", json!(resource.metadata.arn)),
            ("version", json!(resource.metadata.version)),
            ("condition", json!(condition.as_str())),
            ("summary", json!(summary)),
            ("reasons", json!(reasons)),
            ("proxies", json!(proxies)),
            ("children", json!(children)),
        ];
        let is_empty = |value: &Value| value == "" || value.as_array().is_some_and(Vec::is_empty);
        let members = members.into_iter().filter(|(_, value)| !is_empty(value));
        Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }
}

fn entry_of(proxy: &ConnectedProxy) -> Value {
    let ConnectedProxy { id, up_to_date, software, revision, propagation, connected, .. } = proxy;
    let propagation = propagation.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    json!({
        "id": id, "software": software, "revision": revision, "upToDate": up_to_date,
        "propagationMillis": propagation, "connectedSeconds": connected.as_secs(),
    })
}

/// The paths of everything in a mesh.
fn paths(snapshot: &Snapshot) -> BTreeSet<String> {
    let mesh = std::iter::once(&snapshot.mesh.key);
    let nodes = snapshot.virtual_nodes.values().map(|node| &node.key);
    let services = snapshot.virtual_services.values().map(|service| &service.key);
    let routers = snapshot.virtual_routers.values().map(|router| &router.key);
    let routes = snapshot.routes.values().flat_map(BTreeMap::values).map(|route| &route.key);
    let gateways = snapshot.virtual_gateways.values().map(|gateway| &gateway.key);
    let gateway_routes = snapshot.gateway_routes.values().flat_map(BTreeMap::values).map(|route| &route.key);
    let keys =
        mesh.chain(nodes).chain(services).chain(routers).chain(routes).chain(gateways).chain(gateway_routes);
    let policies = snapshot.policies.iter().map(|policy| policy.path());
    keys.map(ToString::to_string).chain(policies).collect()
}

/// The path of a resource: what follows the account in its ARN.
fn path(subject: &str) -> &str {
    match subject.starts_with("arn:") {
        true => subject.splitn(6, ':').nth(5).unwrap_or(subject),
        false => subject,
    }
}

fn count(count: usize, what: &str) -> String {
    match (count, what) {
        (1, what) => format!("1 {what}"),
        (count, "proxy") => format!("{count} proxies"),
        (count, what) => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Metadata, Status, Timestamp};
    use selvedge_translate::{Code, Interception, Severity};

    use super::*;

    fn document(key: &Key, spec: Value) -> Value {
        let metadata = Metadata {
            arn: format!("arn:aws:appmesh:us-east-1:123456789012:{key}"),
            created_at: Timestamp(0),
            last_updated_at: Timestamp(0),
            mesh_owner: "123456789012".into(),
            resource_owner: "123456789012".into(),
            uid: "u".into(),
            version: 1,
        };
        let mut document = json!({
            "meshName": key.mesh, "metadata": metadata.to_wire(), "spec": spec, "status": {"status": Status::Active.as_str()},
        });
        if key.kind != Kind::Mesh {
            document[format!("{}Name", key.kind.segment())] = key.name.as_str().into();
        }
        document
    }

    fn snapshot() -> Snapshot {
        let mesh = Resource::from_wire(&document(&Key::mesh("m"), json!({}))).expect("a mesh");
        let mut snapshot = Snapshot::new(7, mesh);
        let listener = json!({"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]});
        for (kind, name, spec) in [
            (Kind::VirtualNode, "n", listener.clone()),
            (Kind::VirtualRouter, "r", listener),
            (
                Kind::VirtualService,
                "good",
                json!({"provider": {"virtualRouter": {"virtualRouterName": "r"}}}),
            ),
            (
                Kind::VirtualService,
                "early",
                json!({"provider": {"virtualRouter": {"virtualRouterName": "later"}}}),
            ),
        ] {
            let document = document(&Key::in_mesh("m", kind, name), spec);
            snapshot.put(kind, &document).expect("a resource");
        }
        snapshot
    }

    fn found<'a>(tree: &'a Value, name: &str) -> &'a Value {
        tree["children"].as_array().expect("children").iter().find(|child| child["name"] == name).expect(name)
    }

    #[test]
    fn each_resource_has_its_condition_and_the_reasons() {
        let key = Key::in_mesh("m", Kind::VirtualNode, "n");
        let node = format!("arn:aws:appmesh:us-east-1:123456789012:{key}");
        let diagnostic = |subject: &str, code| Diagnostic {
            severity: Severity::Error,
            code,
            subject: subject.to_owned(),
            path: "spec".into(),
            text: "why".into(),
        };
        let diagnostics = [
            diagnostic(&node, Code::PortClash),
            diagnostic("mesh/m/virtualService/gone", Code::BackendMissing),
        ];
        let proxies = [ConnectedProxy {
            resource: key,
            interception: Interception::Redirect,
            id: "1".into(),
            up_to_date: false,
            software: "envoy 1".into(),
            revision: Some(6),
            propagation: None,
            connected: std::time::Duration::ZERO,
        }];
        let rejections = [Rejection { subject: node, proxy: "1".into(), message: "no".into() }];
        let tree = mesh(&snapshot(), &diagnostics, &proxies, &rejections);
        assert_eq!(found(&tree, "n")["condition"], "REJECTED");
        assert_eq!(found(&tree, "n")["reasons"].as_array().map(Vec::len), Some(2));
        assert_eq!(found(&tree, "n")["summary"], "http 8080; 1 proxy; 1 not up to date");
        assert_eq!(found(&tree, "good")["condition"], "ACTIVE");
        assert_eq!(found(&tree, "early")["condition"], "INACTIVE");
        assert_eq!(
            found(&tree, "early")["reasons"][0]["message"],
            "its provider, virtual router later, does not exist"
        );
        assert_eq!(
            tree["reasons"][0]["code"], "BACKEND_MISSING",
            "what is about nothing known is shown on the mesh"
        );
        assert_eq!(tree["summary"], "1 virtual node, 1 proxy");
    }
}
