//! The control plane, with a socket.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use selvedge_control::api::{Api, Hosts, Readiness, Surroundings as _, System};
use selvedge_control::operations::Settings;
use selvedge_control::server::Server;
use selvedge_control::{publish, xds};
use selvedge_store::Store;
use selvedge_store::sqlite::Sqlite;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    api: Arc<Api>,
    drain: watch::Sender<bool>,
    server: JoinHandle<()>,
    publisher: publish::run::Running,
    /// Deleted with it.
    _folder: tempfile::TempDir,
}

/// The services that a node calls, as numbers: some of its own and the last, which is everybody's.
pub(crate) fn backends(node: usize, services: usize, count: usize) -> BTreeSet<usize> {
    let own = (0..count).map(|at| (node * 7 + at * 13) % (services - 1));
    own.chain([services - 1]).collect()
}

impl Plane {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(folder.path()).expect("a store"));
        let settings = publish::Settings::new(System.uuid());
        let publisher = publish::run::start(store.clone(), settings).expect("a thread");
        let (drain, draining) = watch::channel(false);
        let routes = xds::routes(&publisher.handle(), &draining);
        let api =
            Api::new(store, Settings::default(), Arc::new(System), Readiness::default(), Hosts::default());
        let api = Arc::new(api);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Server::new(api.clone(), Some(routes));
        let server = tokio::spawn(server.run(listener, draining, Duration::from_secs(5)));
        Self { address, api, drain, server, publisher, _folder: folder }
    }

    pub(crate) async fn stop(self) {
        self.drain.send_replace(true);
        self.server.await.expect("it ends");
        tokio::task::spawn_blocking(move || self.publisher.stop()).await.expect("it ends");
    }

    /// Nodes that all call one service, whose instances are registered with Cloud Map; its identifier.
    pub(crate) async fn create_registered(&self, nodes: usize) -> Value {
        self.registry("CreateHttpNamespace", json!({ "Name": "bench" })).await;
        let space = self.registry("ListNamespaces", json!({})).await["Namespaces"][0]["Id"].clone();
        let made = self.registry("CreateService", json!({ "Name": "web", "NamespaceId": space })).await;
        self.put("meshes", json!({ "meshName": "m" })).await;
        let listener = json!({ "portMapping": { "protocol": "http", "port": 8080 } });
        let map = json!({ "awsCloudMap": { "namespaceName": "bench", "serviceName": "web" } });
        let spec = json!({ "listeners": [listener], "serviceDiscovery": map });
        self.put("meshes/m/virtualNodes", json!({ "virtualNodeName": "web", "spec": spec })).await;
        let spec = json!({ "provider": { "virtualNode": { "virtualNodeName": "web" } } });
        self.put("meshes/m/virtualServices", json!({ "virtualServiceName": "web.local", "spec": spec }))
            .await;
        for node in 0..nodes {
            let spec = json!({ "backends": [{ "virtualService": { "virtualServiceName": "web.local" } }] });
            self.put("meshes/m/virtualNodes", json!({ "virtualNodeName": format!("n{node}"), "spec": spec }))
                .await;
        }
        made["Service"]["Id"].clone()
    }

    pub(crate) async fn register(&self, service: &Value, number: usize) {
        let attributes =
            json!({ "AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": (1000 + number).to_string() });
        let input =
            json!({ "ServiceId": service, "InstanceId": format!("i-{number}"), "Attributes": attributes });
        self.registry("RegisterInstance", input).await;
    }

    pub(crate) async fn deregister(&self, service: &Value, number: usize) {
        let input = json!({ "ServiceId": service, "InstanceId": format!("i-{number}") });
        self.registry("DeregisterInstance", input).await;
    }

    /// Calls an operation of Cloud Map.
    async fn registry(&self, operation: &str, input: Value) -> Value {
        let target = format!("Route53AutoNaming_v20170314.{operation}");
        let request = Request::post("/").header("host", "localhost").header("x-amz-target", target);
        let request = request.body(Bytes::from(input.to_string())).expect("a request");
        let api = Arc::clone(&self.api);
        let answer = tokio::task::spawn_blocking(move || api.handle(&request)).await.expect("it answers");
        assert_eq!(answer.status(), 200, "{operation}: {:?}", answer.body());
        serde_json::from_slice(answer.body()).expect("JSON")
    }

    /// Nodes that each call a few services; each service has a router with one route to two nodes.
    pub(crate) async fn create_mesh(&self, nodes: usize, services: usize, count: usize) {
        self.put("meshes", json!({ "meshName": "m" })).await;
        let listener = json!({ "portMapping": { "protocol": "http", "port": 8080 } });
        for node in 0..nodes {
            let backends: Vec<Value> = backends(node, services, count)
                .into_iter()
                .map(|service| json!({ "virtualService": { "virtualServiceName": format!("s{service}.local") } }))
                .collect();
            let spec = json!({
                "listeners": [listener], "backends": backends,
                "serviceDiscovery": { "dns": { "hostname": format!("n{node}.local") } },
            });
            self.put("meshes/m/virtualNodes", json!({ "virtualNodeName": format!("n{node}"), "spec": spec }))
                .await;
        }
        for service in 0..services {
            let router =
                json!({ "virtualRouterName": format!("r{service}"), "spec": { "listeners": [listener] } });
            self.put("meshes/m/virtualRouters", router).await;
            let route = json!({ "routeName": "route", "spec": route(service, nodes, 50) });
            self.put(&format!("meshes/m/virtualRouter/r{service}/routes"), route).await;
            let provider = json!({ "virtualRouter": { "virtualRouterName": format!("r{service}") } });
            let service = json!({ "virtualServiceName": format!("s{service}.local"), "spec": { "provider": provider } });
            self.put("meshes/m/virtualServices", service).await;
        }
    }

    /// Changes the weights of a service's route.
    pub(crate) async fn shift(&self, service: usize, round: usize) {
        let weight = if round.is_multiple_of(2) { 10 + round % 30 } else { 60 + round % 30 };
        let path = format!("meshes/m/virtualRouter/r{service}/routes/route");
        self.put(&path, json!({ "spec": route(service, 2, weight) })).await;
    }

    async fn put(&self, path: &str, body: Value) {
        let request =
            Request::builder().method("PUT").uri(format!("/v20190125/{path}")).header("host", "localhost");
        let request = request.body(Bytes::from(body.to_string())).expect("a request");
        let api = self.api.clone();
        let response = tokio::task::spawn_blocking(move || api.handle(&request)).await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}: {:?}", response.body());
    }
}

fn route(service: usize, nodes: usize, weight: usize) -> Value {
    let (one, other) = (service % nodes.min(2), (service + 1) % nodes.min(2));
    json!({ "httpRoute": {
        "match": { "prefix": "/" },
        "action": { "weightedTargets": [
            { "virtualNode": format!("n{one}"), "weight": weight },
            { "virtualNode": format!("n{other}"), "weight": 100 - weight },
        ] },
    } })
}
