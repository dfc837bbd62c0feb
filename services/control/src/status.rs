//! `GET /selvedge/v1/status[?mesh=NAME]`: each mesh as a tree, each resource with its condition and the reasons for it.
//!
//! ```json
//! {"revision": 12, "meshes": [{
//!   "kind": "mesh", "name": "shop", "arn": "…", "version": 1, "condition": "ACTIVE", "summary": "2 virtual nodes",
//!   "reasons": [{"severity": "warning", "code": "ROUTE_SHADOWED", "path": "spec.httpRoute", "message": "…"}],
//!   "proxies": [{"id": "127.0.0.1:15000", "software": "envoy 1.40.0", "revision": 12, "upToDate": true,
//!                "propagationMillis": 31, "connectedSeconds": 60}],
//!   "children": []
//! }]}
//! ```
//! Members that would be empty are left out.

mod condition;
mod summary;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use selvedge_model::{Key, Snapshot};
use selvedge_store::{Error as StoreError, Store};
use selvedge_translate::{Diagnostic, Interception, Proxy, policy, translate};
use serde_json::{Value, json};

use crate::api::{self, Extension};
use crate::operations;

pub use condition::Condition;
pub(crate) use condition::judge;

/// What is known of the proxies that are connected.
pub trait Sessions: Send + Sync {
    /// The proxies of a mesh that are connected.
    fn connected(&self, mesh: &str) -> Vec<ConnectedProxy>;

    /// What proxies of a mesh refused and still do without.
    fn rejections(&self, mesh: &str) -> Vec<Rejection>;

    /// What the translations for connected proxies reported; those that no connected proxy needs are found here.
    fn diagnostics(&self, mesh: &str) -> Vec<Diagnostic>;
}

/// A proxy with an open stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedProxy {
    /// The virtual node or gateway that it stands for.
    pub resource: Key,
    /// How connections reach it.
    pub interception: Interception,
    /// Tells it from its replicas: the address that it connects from.
    pub id: String,
    /// Whether it has acknowledged everything that it was sent.
    pub up_to_date: bool,
    /// What it is: `envoy 1.40.0`; empty if it does not say.
    pub software: String,
    /// The last revision of the mesh that it has wholly taken.
    pub revision: Option<u64>,
    /// How long its last change took, from the control plane's noticing it to the proxy's last acknowledgement.
    pub propagation: Option<Duration>,
    /// For how long it has been connected.
    pub connected: Duration,
}

/// A refusal by a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource of the mesh that caused it: an ARN, or what follows its last colon.
    pub subject: String,
    /// The proxy that refused.
    pub proxy: String,
    /// The proxy's own words.
    pub message: String,
}

/// A control plane without proxies.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSessions;

impl Sessions for NoSessions {
    fn connected(&self, _: &str) -> Vec<ConnectedProxy> {
        Vec::new()
    }

    fn rejections(&self, _: &str) -> Vec<Rejection> {
        Vec::new()
    }

    fn diagnostics(&self, _: &str) -> Vec<Diagnostic> {
        Vec::new()
    }
}

/// The route.
pub struct StatusRoute {
    store: Arc<dyn Store>,
    sessions: Arc<dyn Sessions>,
}

impl StatusRoute {
    pub fn new(store: Arc<dyn Store>, sessions: Arc<dyn Sessions>) -> Self {
        Self { store, sessions }
    }

    fn document(&self, wanted: Option<&str>) -> Result<Option<Value>, StoreError> {
        let view = self.store.snapshot()?;
        let names = match wanted {
            Some(mesh) => vec![mesh.to_owned()],
            None => operations::mesh_names(&*view)?,
        };
        let mut meshes = Vec::new();
        for name in names {
            match operations::load_mesh(&*view, &name) {
                Ok(Some(snapshot)) => meshes.push(self.mesh(&snapshot)),
                Ok(None) => return Ok(None),
                // The other meshes are shown none the less.
                Err(StoreError::Corrupt(reason)) => meshes.push(tree::damaged(&name, &reason)),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(json!({ "revision": view.revision().number(), "meshes": meshes })))
    }

    fn mesh(&self, snapshot: &Snapshot) -> Value {
        let mesh = snapshot.name();
        let mut diagnostics = self.sessions.diagnostics(mesh);
        diagnostics.extend(offline_diagnostics(snapshot));
        diagnostics.extend(policy::conditions(snapshot));
        diagnostics.sort();
        diagnostics.dedup();
        tree::mesh(snapshot, &diagnostics, &self.sessions.connected(mesh), &self.sessions.rejections(mesh))
    }
}

impl Extension for StatusRoute {
    fn path(&self) -> &str {
        "status"
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        if let Some(unknown) = unknown_parameter(query, &["mesh"]) {
            let message = format!("{unknown}: no such parameter; there is: mesh");
            return refuse(StatusCode::BAD_REQUEST, "BadRequestException", &message);
        }
        let mesh = parameter(query, "mesh");
        match self.document(mesh.as_deref()) {
            Ok(Some(document)) => api::json(StatusCode::OK, &document),
            Ok(None) => {
                let mesh = mesh.unwrap_or_default();
                refuse(
                    StatusCode::NOT_FOUND,
                    "NotFoundException",
                    &format!("Mesh with name {mesh} is not present"),
                )
            }
            Err(error) => {
                tracing::error!(%error, "the store failed");
                refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailableException",
                    "the store cannot be read",
                )
            }
        }
    }
}

/// What translation has to say about every node and gateway, whether or not a proxy is connected for it.
fn offline_diagnostics(snapshot: &Snapshot) -> impl Iterator<Item = Diagnostic> {
    let nodes = snapshot.virtual_nodes.keys().map(|name| Proxy::node(name));
    let gateways = snapshot.virtual_gateways.keys().map(|name| Proxy::gateway(name));
    nodes.chain(gateways).flat_map(|proxy| translate(snapshot, &proxy).diagnostics)
}

/// The decoded value of a parameter of a query string.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(&pair.replace('+', " ")).decode_utf8_lossy().into_owned())
}

/// The first parameter of a query string that is not among those known: most likely a slip of the finger.
pub(crate) fn unknown_parameter<'a>(query: &'a str, known: &[&str]) -> Option<&'a str> {
    let names =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(pair));
    names.into_iter().find(|name| !known.contains(name))
}

/// An error in the shape that AWS clients read.
pub(crate) fn refuse(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    api::json(status, &json!({ "__type": code, "message": message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_that_cannot_be_read_hides_no_other() {
        let store = selvedge_store::memory::Memory::new();
        let good = json!({
            "meshName": "good", "spec": {}, "status": { "status": "ACTIVE" },
            "metadata": {
                "arn": "arn:aws:appmesh:eu-west-1:123456789012:mesh/good", "createdAt": 1.5, "lastUpdatedAt": 1.5,
                "meshOwner": "123456789012", "resourceOwner": "123456789012", "uid": "u", "version": 1,
            },
        });
        let documents = [("bad", "{".to_owned()), ("good", good.to_string())];
        let written = store.transact(&mut |transaction| {
            for (name, document) in &documents {
                transaction.put(&format!("appmesh/mesh/{name}"), Bytes::from(document.clone()))?;
            }
            Ok(())
        });
        written.expect("the store works");
        let route = StatusRoute::new(Arc::new(store), Arc::new(NoSessions));
        let document = route.document(None).expect("an answer").expect("all meshes");
        let conditions: Vec<_> = [0, 1].map(|mesh| document["meshes"][mesh]["condition"].clone()).into();
        assert_eq!(conditions, ["DEGRADED", "ACTIVE"]);
        let reason = document["meshes"][0]["reasons"][0]["message"].as_str().expect("a reason");
        assert!(reason.starts_with("appmesh/mesh/bad: "), "{reason}");
    }

    #[test]
    fn parameters_are_found_and_decoded() {
        for (query, expected) in [
            ("mesh=a", Some("a")),
            ("x=1&mesh=a%2Fb+c", Some("a/b c")),
            ("mesh2=a", None),
            ("", None),
            ("mesh=", Some("")),
        ] {
            assert_eq!(parameter(query, "mesh").as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn a_parameter_that_does_not_exist_is_named() {
        for (query, expected) in
            [("", None), ("mesh=a", None), ("mesh=a&msh=b", Some("msh")), ("x", Some("x"))]
        {
            assert_eq!(unknown_parameter(query, &["mesh"]), expected, "{query}");
        }
    }
}
