//! An API in memory, whose time moves when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use selvedge_control::api::{Api, Hosts, Readiness, Surroundings};
use selvedge_control::operations::Settings;
use selvedge_model::Timestamp;
use selvedge_store::Store;
use selvedge_store::memory::Memory;
use serde_json::{Value, json};

/// Time moves when a test says so; identifiers count up.
#[derive(Default)]
pub(crate) struct Still {
    pub(crate) millis: AtomicU64,
    pub(crate) uuids: AtomicU64,
}

impl Surroundings for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_250 + self.millis.load(Ordering::Relaxed))
    }

    fn uuid(&self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.uuids.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) store: Arc<Memory>,
    pub(crate) time: Arc<Still>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        let (store, time) = (Arc::new(Memory::new()), Arc::new(Still::default()));
        let shared: Arc<dyn Store> = store.clone();
        let api = Api::new(shared, settings, time.clone(), Readiness::default(), Hosts::default());
        Self { api, store, time }
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        self.api.handle(&request.body(Bytes::copy_from_slice(body.as_bytes())).expect("a request"))
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let path = format!("/v20190125/{path}");
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.send(method, &path, &text);
        let document = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        (response.status().as_u16(), document)
    }

    /// A call that has to succeed.
    pub(crate) fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, document) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {document}");
        document
    }

    /// A call that has to fail: the exception and its message.
    pub(crate) fn fails(&self, method: &str, path: &str, body: Value) -> (u16, String, String) {
        let (status, document) = self.call(method, path, body);
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        (status, text("__type"), text("message"))
    }

    pub(crate) fn with_mesh() -> Self {
        let world = Self::new(Settings::default());
        world.ok("PUT", "meshes", json!({"meshName": "m"}));
        world
    }

    pub(crate) fn node(&self, name: &str, ports: &[u16]) {
        let listeners: Vec<_> =
            ports.iter().map(|port| json!({"portMapping": {"port": port, "protocol": "http"}})).collect();
        let spec = json!({"listeners": listeners});
        self.ok("PUT", "meshes/m/virtualNodes", json!({"virtualNodeName": name, "spec": spec}));
    }

    pub(crate) fn router(&self, name: &str, ports: &[u16]) {
        let listeners: Vec<_> =
            ports.iter().map(|port| json!({"portMapping": {"port": port, "protocol": "http"}})).collect();
        let spec = json!({"listeners": listeners});
        self.ok("PUT", "meshes/m/virtualRouters", json!({"virtualRouterName": name, "spec": spec}));
    }

    pub(crate) fn service(&self, name: &str, provider: Value) -> Value {
        let spec = json!({"provider": provider});
        self.ok("PUT", "meshes/m/virtualServices", json!({"virtualServiceName": name, "spec": spec}))
    }
}

pub(crate) fn http_route(target: &str) -> Value {
    json!({"httpRoute": {
        "match": {"prefix": "/"},
        "action": {"weightedTargets": [{"virtualNode": target, "weight": 1}]},
    }})
}
