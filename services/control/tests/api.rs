//! The API, called without a socket: what App Mesh's users rely on, and what its errors say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use selvedge_control::api::{Api, Hosts, Readiness, Surroundings};
use selvedge_control::operations::{CLIENT_TOKEN_RETENTION_MILLIS, Settings};
use selvedge_model::{Strictness, Timestamp};
use selvedge_store::Store;
use selvedge_store::memory::Memory;
use serde_json::{Value, json};

/// Time moves when a test says so; identifiers count up.
#[derive(Default)]
struct Still {
    millis: AtomicU64,
    uuids: AtomicU64,
}

impl Surroundings for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_250 + self.millis.load(Ordering::Relaxed))
    }

    fn uuid(&self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.uuids.fetch_add(1, Ordering::Relaxed))
    }
}

struct World {
    api: Api,
    store: Arc<Memory>,
    time: Arc<Still>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let (store, time) = (Arc::new(Memory::new()), Arc::new(Still::default()));
        let shared: Arc<dyn Store> = store.clone();
        let api = Api::new(shared, settings, time.clone(), Readiness::default(), Hosts::default());
        Self { api, store, time }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        self.api.handle(&request.body(Bytes::copy_from_slice(body.as_bytes())).expect("a request"))
    }

    fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let path = format!("/v20190125/{path}");
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.send(method, &path, &text);
        let document = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        (response.status().as_u16(), document)
    }

    /// A call that has to succeed.
    fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, document) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {document}");
        document
    }

    /// A call that has to fail: the exception and its message.
    fn fails(&self, method: &str, path: &str, body: Value) -> (u16, String, String) {
        let (status, document) = self.call(method, path, body);
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        (status, text("__type"), text("message"))
    }

    fn with_mesh() -> Self {
        let world = Self::new(Settings::default());
        world.ok("PUT", "meshes", json!({"meshName": "m"}));
        world
    }

    fn node(&self, name: &str, ports: &[u16]) {
        let listeners: Vec<_> =
            ports.iter().map(|port| json!({"portMapping": {"port": port, "protocol": "http"}})).collect();
        let spec = json!({"listeners": listeners});
        self.ok("PUT", "meshes/m/virtualNodes", json!({"virtualNodeName": name, "spec": spec}));
    }

    fn router(&self, name: &str, ports: &[u16]) {
        let listeners: Vec<_> =
            ports.iter().map(|port| json!({"portMapping": {"port": port, "protocol": "http"}})).collect();
        let spec = json!({"listeners": listeners});
        self.ok("PUT", "meshes/m/virtualRouters", json!({"virtualRouterName": name, "spec": spec}));
    }

    fn service(&self, name: &str, provider: Value) -> Value {
        let spec = json!({"provider": provider});
        self.ok("PUT", "meshes/m/virtualServices", json!({"virtualServiceName": name, "spec": spec}))
    }
}

fn http_route(target: &str) -> Value {
    json!({"httpRoute": {
        "match": {"prefix": "/"},
        "action": {"weightedTargets": [{"virtualNode": target, "weight": 1}]},
    }})
}

#[test]
fn a_resource_lives_from_create_to_delete() {
    let world = World::with_mesh();
    let created = world.ok("PUT", "meshes/m/virtualNodes", json!({"virtualNodeName": "n", "spec": {}}));
    assert_eq!(created["spec"], json!({}));
    assert_eq!(created["status"], json!({"status": "ACTIVE"}));
    assert_eq!(created["metadata"]["version"], 1);
    assert_eq!(created["metadata"]["createdAt"].to_string(), "1700000000.250");
    assert_eq!(created["metadata"]["arn"], "arn:aws:appmesh:us-east-1:123456789012:mesh/m/virtualNode/n");

    world.time.millis.store(1_750, Ordering::Relaxed);
    let spec = json!({"logging": {"accessLog": {"file": {"path": "/dev/stdout"}}}});
    let updated = world.ok("PUT", "meshes/m/virtualNodes/n", json!({"spec": spec}));
    assert_eq!(updated["metadata"]["version"], 2);
    assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);
    assert_eq!(updated["metadata"]["lastUpdatedAt"].to_string(), "1700000002.000");
    assert_eq!(updated["spec"], spec);

    // Describe and delete show backends that were not sent; create and update do not.
    let described = world.ok("GET", "meshes/m/virtualNodes/n", Value::Null);
    assert_eq!(described["spec"]["backends"], json!([]));
    let deleted = world.ok("DELETE", "meshes/m/virtualNodes/n", Value::Null);
    assert_eq!(deleted["status"], json!({"status": "DELETED"}));
    assert_eq!(deleted["metadata"]["version"], 2);
    let (status, code, message) = world.fails("GET", "meshes/m/virtualNodes/n", Value::Null);
    assert_eq!((status, code.as_str()), (404, "NotFoundException"));
    assert_eq!(message, "VirtualNode with name n is not present under mesh m for account 123456789012");
}

#[test]
fn a_spec_is_echoed_as_it_was_sent() {
    let world = World::with_mesh();
    // The order of members and the digits of numbers are the sender's.
    let spec = r#"{"listeners":[{"timeout":{"http":{"perRequest":{"value":2000,"unit":"ms"}}},"portMapping":{"protocol":"http","port":80}}]}"#;
    let body = format!(r#"{{"virtualNodeName":"n","spec":{spec},"clientToken":null}}"#);
    let response = world.send("PUT", "/v20190125/meshes/m/virtualNodes", &body);
    let text = String::from_utf8(response.body().to_vec()).expect("JSON is text");
    assert!(text.contains(&format!(r#""spec":{spec}"#)), "{text}");
}

#[test]
fn only_the_health_checks_port_is_filled_in() {
    let world = World::with_mesh();
    let check = json!({
        "protocol": "http", "healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5000,
        "timeoutMillis": 2000,
    });
    let mut spec =
        json!({"listeners": [{"portMapping": {"port": 80, "protocol": "http"}, "healthCheck": check}]});
    let created = world.ok("PUT", "meshes/m/virtualNodes", json!({"virtualNodeName": "n", "spec": spec}));
    spec["listeners"][0]["healthCheck"]["port"] = json!(80);
    assert_eq!(created["spec"], spec);
}

#[test]
fn metadata_names_of_grpc_come_back_in_lower_case() {
    let world = World::with_mesh();
    world.node("n", &[80]);
    world.ok("PUT", "meshes/m/virtualRouters", json!({"virtualRouterName": "r", "spec": {}}));
    let spec = json!({"grpcRoute": {
        "match": {"metadata": [{"name": "myMetadata"}]},
        "action": {"weightedTargets": [{"virtualNode": "n", "weight": 100}]},
    }});
    let route = world.ok("PUT", "meshes/m/virtualRouter/r/routes", json!({"routeName": "x", "spec": spec}));
    assert_eq!(route["spec"]["grpcRoute"]["match"]["metadata"][0]["name"], "mymetadata");
}

#[test]
fn what_is_missing_or_taken_is_said_in_app_meshs_words() {
    let world = World::with_mesh();
    world.node("n", &[80]);
    world.router("r", &[80]);
    for (method, path, body, code, message) in [
        (
            "PUT",
            "meshes/m/virtualRouter/r/routes",
            json!({"routeName": "x", "spec": http_route("absent")}),
            "NotFoundException",
            "VirtualNode with name absent is missing",
        ),
        (
            "PUT",
            "meshes/m/virtualRouter/absent/routes",
            json!({"routeName": "x", "spec": http_route("n")}),
            "NotFoundException",
            "VirtualRouter with name absent is missing",
        ),
        (
            "PUT",
            "meshes/absent/virtualNodes",
            json!({"virtualNodeName": "x", "spec": {}}),
            "NotFoundException",
            "Mesh with name absent is missing",
        ),
        (
            "GET",
            "meshes/absent",
            Value::Null,
            "NotFoundException",
            "Mesh with name absent is not present for account 123456789012",
        ),
        ("PUT", "meshes", json!({"meshName": "m"}), "ConflictException", "Mesh with name m already exists"),
        (
            "PUT",
            "meshes/m/virtualNodes",
            json!({"virtualNodeName": "x", "spec": {"serviceDiscovery": {"dns": {"hostname": "h"}}}}),
            "BadRequestException",
            "Service Discovery can't be set without a listener.",
        ),
        (
            "GET",
            "meshes/m/virtualNodes/n?meshOwner=210987654321",
            Value::Null,
            "NotFoundException",
            "Mesh with name m is not present for account 210987654321",
        ),
    ] {
        let (_, got_code, got_message) = world.fails(method, path, body);
        assert_eq!((got_code.as_str(), got_message.as_str()), (code, message), "{method} {path}");
    }
}

#[test]
fn violations_name_the_field_and_store_nothing() {
    let world = World::with_mesh();
    let before = world.store.snapshot().expect("a view").revision();
    let listener = |member: Value| {
        let mut listener = json!({"portMapping": {"port": 80, "protocol": "http"}});
        if let (Value::Object(listener), Value::Object(member)) = (&mut listener, member) {
            listener.extend(member);
        }
        json!({"listeners": [listener]})
    };
    for (spec, path) in [
        (
            json!({"listeners": [{"portMapping": {"port": 0, "protocol": "http"}}]}),
            "spec.listeners[0].portMapping.port",
        ),
        (
            json!({"listeners": [{"portMapping": {"port": 1.5, "protocol": "http"}}]}),
            "spec.listeners[0].portMapping.port",
        ),
        (
            json!({"listeners": [{"portMapping": {"port": "80", "protocol": "http"}}]}),
            "spec.listeners[0].portMapping.port",
        ),
        (
            json!({"listeners": [{"portMapping": {"port": 80, "protocol": "udp"}}]}),
            "spec.listeners[0].portMapping.protocol",
        ),
        (json!({"listeners": [{"portMapping": {"protocol": "http"}}]}), "spec.listeners[0].portMapping.port"),
        (json!({"listeners": [{}]}), "spec.listeners[0].portMapping"),
        (json!({"listeners": {}}), "spec.listeners"),
        (json!({"egress": {}}), "spec.egress"),
        (listener(json!({"timeout": {"http": {}, "tcp": {}}})), "spec.listeners[0].timeout"),
        (listener(json!({"timeout": {"tcp": {}}})), "spec.listeners[0].timeout.tcp"),
        (
            listener(json!({"connectionPool": {"grpc": {"maxRequests": 1}}})),
            "spec.listeners[0].connectionPool.grpc",
        ),
        (
            json!({"backends": [{"virtualService": {"virtualServiceName": "a"}}, {"virtualService": {"virtualServiceName": "a"}}]}),
            "spec.backends[1].virtualService.virtualServiceName",
        ),
        (json!([]), "spec"),
        (json!("x"), "spec"),
    ] {
        let body = json!({"virtualNodeName": "n", "spec": spec});
        let (status, code, message) = world.fails("PUT", "meshes/m/virtualNodes", body);
        assert_eq!((status, code.as_str()), (400, "BadRequestException"), "{spec}");
        assert!(message.contains(&format!("'{path}'")), "{spec}: {message}");
    }
    assert_eq!(world.store.snapshot().expect("a view").revision(), before);
}

#[test]
fn what_is_in_use_cannot_be_deleted() {
    let world = World::with_mesh();
    world.node("n", &[80]);
    world.node("provider", &[80]);
    world.router("r", &[80]);
    world.router("empty", &[]);
    world.ok("PUT", "meshes/m/virtualRouter/r/routes", json!({"routeName": "x", "spec": http_route("n")}));
    world.service("s", json!({"virtualRouter": {"virtualRouterName": "empty"}}));
    world.service("t", json!({"virtualNode": {"virtualNodeName": "provider"}}));
    let gateway = json!({"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]});
    world.ok("PUT", "meshes/m/virtualGateways", json!({"virtualGatewayName": "g", "spec": gateway}));
    let target = json!({"virtualService": {"virtualServiceName": "s"}});
    let spec = json!({"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}});
    let route = world.ok(
        "PUT",
        "meshes/m/virtualGateway/g/gatewayRoutes",
        json!({"gatewayRouteName": "x", "spec": spec}),
    );
    let id = route["metadata"]["uid"].as_str().expect("an identifier");

    for (path, message) in [
        (
            "virtualNodes/n",
            "VirtualNode with name n cannot be deleted because it is the target of one or more routes.",
        ),
        (
            "virtualNodes/provider",
            "VirtualNode with name provider cannot be deleted because it is a VirtualService provider",
        ),
        (
            "virtualRouters/empty",
            "VirtualRouter with name empty cannot be deleted because it is a VirtualService provider",
        ),
        ("virtualRouters/r", "VirtualRouter with name r cannot be deleted because it has active Routes"),
        (
            "virtualGateways/g",
            "VirtualGateway with name g cannot be deleted because it has active GatewayRoutes",
        ),
        (
            "virtualServices/s",
            &format!("VirtualService s is being referenced in the following: GATEWAY_ROUTE: [{id}]"),
        ),
        (
            "",
            "Mesh m for account 123456789012 has active VirtualGateways, please delete VirtualGateways before deleting the Mesh",
        ),
    ] {
        let path = format!("meshes/m/{path}");
        let (status, code, got) = world.fails("DELETE", path.trim_end_matches('/'), Value::Null);
        assert_eq!((status, code.as_str(), got.as_str()), (409, "ResourceInUseException", message));
    }
    for path in [
        "virtualGateway/g/gatewayRoutes/x",
        "virtualGateways/g",
        "virtualServices/s",
        "virtualServices/t",
        "virtualRouter/r/routes/x",
        "virtualRouters/r",
        "virtualRouters/empty",
        "virtualNodes/n",
        "virtualNodes/provider",
    ] {
        world.ok("DELETE", &format!("meshes/m/{path}"), Value::Null);
    }
    world.ok("DELETE", "meshes/m", Value::Null);
    assert_eq!(world.ok("GET", "meshes", Value::Null), json!({"meshes": []}));
}

#[test]
fn several_listeners_demand_ports() {
    let world = World::with_mesh();
    world.node("n", &[80]);
    world.node("many", &[80, 81]);
    world.router("r", &[80]);
    world.router("two", &[80, 81]);
    world.ok("PUT", "meshes/m/virtualRouter/r/routes", json!({"routeName": "x", "spec": http_route("n")}));
    let listener = |port: u16, protocol: &str| json!({"portMapping": {"port": port, "protocol": protocol}});
    for (path, body, message) in [
        (
            "virtualRouter/two/routes",
            json!({"routeName": "y", "spec": http_route("n")}),
            "Route must define a port match criteria if the Virtual Router has multiple listeners",
        ),
        (
            "virtualRouter/r/routes",
            json!({"routeName": "y", "spec": http_route("many")}),
            "A target port is required because VirtualNode many has multiple listeners",
        ),
        (
            "virtualRouters/r",
            json!({"spec": {"listeners": [listener(80, "http"), listener(81, "http")]}}),
            "All Routes for this Virtual Router must define a port match before adding multiple listeners to this \
             Virtual Router. 1 Route(s) are missing port. Listing up to 5 route names: [x]",
        ),
    ] {
        let (_, code, got) = world.fails("PUT", &format!("meshes/m/{path}"), body);
        assert_eq!(code, "BadRequestException");
        assert!(got.contains(message), "{got}");
    }
    let body = json!({"spec": {"listeners": [listener(80, "grpc")]}});
    let (_, code, message) = world.fails("PUT", "meshes/m/virtualRouters/r", body);
    assert_eq!(code, "BadRequestException");
    assert!(message.contains("Route protocol http must match the protocol grpc"), "{message}");
}

#[test]
fn a_service_is_inactive_until_its_provider_exists() {
    let world = World::with_mesh();
    let created = world.service("s", json!({"virtualNode": {"virtualNodeName": "later"}}));
    assert_eq!(created["status"]["status"], "INACTIVE");
    world.node("later", &[80]);
    let described = world.ok("GET", "meshes/m/virtualServices/s", Value::Null);
    assert_eq!(described["status"]["status"], "ACTIVE");
}

#[test]
fn a_strict_server_refuses_what_app_mesh_refused() {
    let world = World::new(Settings { strictness: Strictness::Strict, ..Settings::default() });
    world.ok("PUT", "meshes", json!({"meshName": "m"}));
    let provider = json!({"virtualNode": {"virtualNodeName": "later"}});
    let body = json!({"virtualServiceName": "s", "spec": {"provider": provider}});
    let (_, code, message) = world.fails("PUT", "meshes/m/virtualServices", body);
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("NotFoundException", "VirtualNode with name later is missing")
    );
    let listener = json!({"portMapping": {"port": 80, "protocol": "http"}});
    let body = json!({"virtualNodeName": "n", "spec": {"listeners": [listener]}});
    assert_eq!(world.fails("PUT", "meshes/m/virtualNodes", body).1, "BadRequestException");
    let check = json!({"protocol": "http", "healthyThreshold": 2, "unhealthyThreshold": 2});
    let listener = json!({"portMapping": {"port": 80, "protocol": "http"}, "healthCheck": check});
    let spec = json!({"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": "h"}}});
    let body = json!({"virtualNodeName": "n", "spec": spec});
    let (_, _, message) = world.fails("PUT", "meshes/m/virtualNodes", body);
    assert!(message.contains("spec.listeners[0].healthCheck.intervalMillis"), "{message}");
}

#[test]
fn a_client_token_makes_a_request_happen_once() {
    let world = World::with_mesh();
    let body = |name: &str| json!({"virtualNodeName": name, "spec": {}, "clientToken": "t-1"});
    let first = world.ok("PUT", "meshes/m/virtualNodes", body("n"));
    assert_eq!(world.ok("PUT", "meshes/m/virtualNodes", body("n")), first);
    assert_eq!(world.fails("PUT", "meshes/m/virtualNodes", body("other")).1, "ConflictException");

    // After a delete the same request makes a new resource: the old answer would be a lie.
    world.ok("DELETE", "meshes/m/virtualNodes/n", Value::Null);
    let second = world.ok("PUT", "meshes/m/virtualNodes", body("n"));
    assert_ne!(second["metadata"]["uid"], first["metadata"]["uid"]);

    let update = |path: &str| json!({"spec": {"logging": {"accessLog": {"file": {"path": path}}}}, "clientToken": "t-2"});
    let once = world.ok("PUT", "meshes/m/virtualNodes/n", update("/a"));
    assert_eq!(world.ok("PUT", "meshes/m/virtualNodes/n", update("/a")), once);
    assert_eq!(world.fails("PUT", "meshes/m/virtualNodes/n", update("/b")).1, "ConflictException");
    world.time.millis.store(CLIENT_TOKEN_RETENTION_MILLIS + 1, Ordering::Relaxed);
    assert_eq!(world.ok("PUT", "meshes/m/virtualNodes/n", update("/b"))["metadata"]["version"], 3);
}

#[test]
fn expired_tokens_are_swept() {
    let world = World::with_mesh();
    let tokens =
        || world.store.snapshot().expect("a view").scan("appmesh-token", None, 1000).expect("a page").len();
    for number in 0..8 {
        let body =
            json!({"virtualNodeName": format!("n{number}"), "spec": {}, "clientToken": format!("t{number}")});
        world.ok("PUT", "meshes/m/virtualNodes", body);
    }
    assert_eq!(tokens(), 16);
    world.time.millis.store(2 * CLIENT_TOKEN_RETENTION_MILLIS, Ordering::Relaxed);
    for number in 0..4 {
        let body = json!({"spec": {}, "clientToken": format!("u{number}")});
        world.ok("PUT", "meshes/m/virtualNodes/n0", body);
    }
    assert_eq!(tokens(), 8);
}

#[test]
fn lists_come_in_pages() {
    let world = World::with_mesh();
    for name in ["a", "b", "c", "d", "e"] {
        world.node(name, &[80]);
    }
    let names = |page: &Value| -> Vec<String> {
        let nodes = page["virtualNodes"].as_array().expect("a list");
        nodes.iter().map(|node| node["virtualNodeName"].as_str().expect("a name").to_owned()).collect()
    };
    let first = world.ok("GET", "meshes/m/virtualNodes?limit=2", Value::Null);
    assert_eq!(names(&first), ["a", "b"]);
    let token = first["nextToken"].as_str().expect("a token");
    let rest = world.ok("GET", &format!("meshes/m/virtualNodes?nextToken={token}"), Value::Null);
    assert_eq!(names(&rest), ["c", "d", "e"]);
    assert!(rest.get("nextToken").is_none());
    for path in [
        format!("meshes/m/virtualRouters?nextToken={token}"),
        "meshes/m/virtualNodes?nextToken=x".into(),
        "meshes/m/virtualNodes?limit=0".into(),
        "meshes/m/virtualNodes?limit=101".into(),
        "meshes/m/virtualNodes?limit=many".into(),
    ] {
        assert_eq!(world.fails("GET", &path, Value::Null).1, "BadRequestException", "{path}");
    }
    assert_eq!(world.fails("GET", "meshes/absent/virtualNodes", Value::Null).1, "NotFoundException");
}

#[test]
fn tags_are_merged_removed_and_listed() {
    let world = World::new(Settings::default());
    let tags = json!([{"key": "a", "value": "1"}, {"key": "b", "value": ""}]);
    let mesh = world.ok("PUT", "meshes", json!({"meshName": "m", "tags": tags}));
    let arn = mesh["metadata"]["arn"].as_str().expect("an ARN").to_owned();
    let list = |query: &str| world.ok("GET", &format!("tags?resourceArn={arn}{query}"), Value::Null);
    assert_eq!(list("")["tags"], tags);

    let more = json!({"tags": [{"key": "b", "value": "2"}, {"key": "c", "value": "3"}]});
    world.ok("PUT", &format!("tag?resourceArn={arn}"), more);
    world.ok("PUT", &format!("untag?resourceArn={arn}"), json!({"tagKeys": ["a", "absent"]}));
    let page = list("&limit=1");
    assert_eq!(page["tags"], json!([{"key": "b", "value": "2"}]));
    let token = page["nextToken"].as_str().expect("a token");
    assert_eq!(list(&format!("&nextToken={token}")), json!({"tags": [{"key": "c", "value": "3"}]}));

    let many: Vec<_> = (0..49).map(|n| json!({"key": format!("k{n}"), "value": ""})).collect();
    let too_many = world.fails("PUT", &format!("tag?resourceArn={arn}"), json!({"tags": many}));
    assert_eq!((too_many.0, too_many.1.as_str()), (400, "TooManyTagsException"));
    let reserved = json!({"tags": [{"key": "AWS:x", "value": ""}]});
    assert_eq!(world.fails("PUT", &format!("tag?resourceArn={arn}"), reserved).1, "BadRequestException");
    assert_eq!(world.fails("GET", "tags?resourceArn=nonsense", Value::Null).1, "BadRequestException");
    assert_eq!(world.fails("GET", &format!("tags?resourceArn={arn}x"), Value::Null).1, "NotFoundException");
    // Tags go with their resource.
    world.ok("DELETE", "meshes/m", Value::Null);
    world.ok("PUT", "meshes", json!({"meshName": "m"}));
    assert_eq!(list(""), json!({"tags": []}));
}

#[test]
fn quotas_are_settings() {
    let mut settings = Settings::default();
    settings.quotas.virtual_nodes_per_mesh = 2;
    let world = World::new(settings);
    world.ok("PUT", "meshes", json!({"meshName": "m"}));
    world.node("a", &[80]);
    world.node("b", &[80]);
    let body = json!({"virtualNodeName": "c", "spec": {}});
    let (status, code, _) = world.fails("PUT", "meshes/m/virtualNodes", body.clone());
    assert_eq!((status, code.as_str()), (400, "LimitExceededException"));
    world.ok("DELETE", "meshes/m/virtualNodes/a", Value::Null);
    world.ok("PUT", "meshes/m/virtualNodes", body);
}

#[test]
fn a_gateway_route_needs_its_service_and_leaves_app_meshs_own_paths_alone() {
    let world = World::with_mesh();
    let gateway = json!({"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]});
    world.ok("PUT", "meshes/m/virtualGateways", json!({"virtualGatewayName": "g", "spec": gateway}));
    world.service("s", json!({"virtualNode": {"virtualNodeName": "later"}}));
    let body = |service: &str, prefix: &str| {
        let target = json!({"virtualService": {"virtualServiceName": service}});
        let route = json!({"match": {"prefix": prefix}, "action": {"target": target}});
        json!({"gatewayRouteName": "x", "spec": {"httpRoute": route}})
    };
    let path = "meshes/m/virtualGateway/g/gatewayRoutes";
    let (_, code, message) = world.fails("PUT", path, body("absent", "/"));
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("NotFoundException", "VirtualService with name absent is missing")
    );
    assert_eq!(world.fails("PUT", path, body("s", "/aws-appmesh/x")).1, "BadRequestException");
    world.ok("PUT", path, body("s", "/"));
    // The protocol may change with an update, whatever the listener speaks.
    let target = json!({"virtualService": {"virtualServiceName": "s"}});
    let spec = json!({"grpcRoute": {"match": {"serviceName": "x.Y"}, "action": {"target": target}}});
    world.ok("PUT", "meshes/m/virtualGateway/g/gatewayRoutes/x", json!({"spec": spec}));
}

#[test]
fn health_is_answered_whatever_the_host() {
    let world = World::new(Settings::default());
    assert_eq!(world.send("GET", "/healthz", "").status(), 200);
    assert_eq!(world.send("GET", "/readyz", "").status(), 200);
    let request = Request::get("/v20190125/meshes").header("host", "rebound.example.org").body(Bytes::new());
    assert_eq!(world.api.handle(&request.expect("a request")).status(), 421);
    let request = Request::get("/v20190125/meshes").header("origin", "http://page").body(Bytes::new());
    assert_eq!(world.api.handle(&request.expect("a request")).status(), 403);
}

#[test]
fn a_service_that_is_not_here_is_an_error_in_its_own_protocol() {
    let world = World::new(Settings::default());
    let request = Request::post("/").header("x-amz-target", "DynamoDB_20120810.ListTables");
    let response = world.api.handle(&request.body(Bytes::from("{}")).expect("a request"));
    assert_eq!(response.status(), 400);
    assert!(response.body().starts_with(br#"{"__type":"UnknownOperationException""#));
    let request = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let response =
        world.api.handle(&request.body(Bytes::from("Action=GetCallerIdentity")).expect("a request"));
    assert!(
        response
            .body()
            .starts_with(b"<ErrorResponse><Error><Type>Sender</Type><Code>UnknownOperationException")
    );
    assert!(world.send("GET", "/", "").body().starts_with(b"This is Selvedge's API"));
}

#[test]
fn a_store_that_is_gone_is_an_error_that_can_be_retried() {
    let world = World::with_mesh();
    world.store.crash();
    let (status, code, _) = world.fails("PUT", "meshes", json!({"meshName": "n"}));
    assert_eq!((status, code.as_str()), (503, "ServiceUnavailableException"));
    assert_eq!(world.fails("GET", "meshes/m", Value::Null).0, 503);
    world.store.recover();
    world.ok("GET", "meshes/m", Value::Null);
}

#[test]
fn the_region_of_a_signature_becomes_part_of_the_arn() {
    let world = World::new(Settings::default());
    let scope = "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-west-2/appmesh/aws4_request, SignedHeaders=host, Signature=0";
    let request = Request::put("/v20190125/meshes").header("authorization", scope);
    let response = world.api.handle(&request.body(Bytes::from(r#"{"meshName":"m"}"#)).expect("a request"));
    let mesh: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(mesh["metadata"]["arn"], "arn:aws:appmesh:us-west-2:123456789012:mesh/m");
    assert!(response.headers().contains_key("x-amzn-requestid"));
}

#[test]
fn resources_of_another_account_or_partition_look_like_missing_ones() {
    let world = World::new(Settings::default());
    world.ok("PUT", "meshes", json!({ "meshName": "here" }));
    let ask = |mesh: &str, owner: &str| {
        let arn = format!("arn:{owner}:mesh/{mesh}");
        world.call(
            "GET",
            &format!("tags?resourceArn={}", arn.replace(':', "%3A").replace('/', "%2F")),
            Value::Null,
        )
    };
    assert_eq!(ask("here", "aws:appmesh:us-east-1:123456789012").0, 200);
    for owner in ["aws:appmesh:us-east-1:999999999999", "aws-cn:appmesh:us-east-1:123456789012"] {
        let (present, absent) = (ask("here", owner), ask("gone", owner));
        assert_eq!((present.0, absent.0), (404, 404), "{owner}");
        let message =
            |document: &Value, mesh| document["message"].as_str().unwrap_or_default().replace(mesh, "MESH");
        assert_eq!(message(&present.1, "here"), message(&absent.1, "gone"), "{owner}");
    }
}
