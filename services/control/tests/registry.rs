//! Leases, draining and the sweep, in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request};
use selvedge_control::api::{Api, Hosts, Readiness, Surroundings};
use selvedge_control::operations::Settings;
use selvedge_control::registry::sweep::sweep;
use selvedge_model::Timestamp;
use selvedge_store::Store;
use selvedge_store::memory::Memory;
use serde_json::{Value, json};

struct World {
    store: Arc<dyn Store>,
    time: Arc<Time>,
    api: Api,
    service: String,
}

/// A clock that is set, and identifiers that count.
#[derive(Default)]
struct Time {
    millis: AtomicU64,
    ids: AtomicU64,
}

impl Surroundings for Time {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis.load(Ordering::Relaxed))
    }

    fn uuid(&self) -> String {
        format!("{:032x}", self.ids.fetch_add(1, Ordering::Relaxed))
    }
}

impl World {
    fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let time = Arc::new(Time::default());
        time.millis.store(1_800_000_000_000, Ordering::Relaxed);
        let api = api(&store, &time);
        let mut world = Self { store, time, api, service: String::new() };
        world.call("CreateHttpNamespace", json!({ "Name": "shop" }));
        let space = world.call("ListNamespaces", json!({}))["Namespaces"][0]["Id"].clone();
        let service = json!({ "Name": "web", "NamespaceId": space, "HealthCheckCustomConfig": {} });
        let service = world.call("CreateService", service)["Service"]["Id"].clone();
        world.service = service.as_str().expect("a text").to_owned();
        world
    }

    fn call(&self, operation: &str, input: Value) -> Value {
        let target = format!("Route53AutoNaming_v20170314.{operation}");
        let request = Request::post("/").header("host", "localhost").header("x-amz-target", target);
        let response = self.api.handle(&request.body(Bytes::from(input.to_string())).expect("a request"));
        serde_json::from_slice(response.body()).expect("JSON")
    }

    fn lease(&self, method: Method, body: Value) -> (u16, Value) {
        let mut body = body;
        body["service"] = "shop/web".into();
        body["instance"] = "i".into();
        let request =
            Request::builder().method(method).uri("/selvedge/v1/leases").header("host", "localhost");
        let response = self.api.handle(&request.body(Bytes::from(body.to_string())).expect("a request"));
        (response.status().as_u16(), serde_json::from_slice(response.body()).expect("JSON"))
    }

    fn pass(&self, millis: u64) {
        self.time.millis.fetch_add(millis, Ordering::Relaxed);
    }

    fn sweep(&self, up_since: u64) -> usize {
        sweep(&*self.store, &self.api.registry(), self.time.now().0, up_since).expect("the store works")
    }

    fn found(&self, health: &str) -> usize {
        let input = json!({ "NamespaceName": "shop", "ServiceName": "web", "HealthStatus": health });
        self.call("DiscoverInstances", input)["Instances"].as_array().expect("a list").len()
    }
}

fn api(store: &Arc<dyn Store>, time: &Arc<Time>) -> Api {
    let (readiness, hosts) = (Readiness::default(), Hosts::default());
    Api::new(Arc::clone(store), Settings::default(), time.clone(), readiness, hosts)
}

const HERE: &str = "127.0.0.1";

fn taken() -> Value {
    json!({ "attributes": { "AWS_INSTANCE_IPV4": HERE, "AWS_INSTANCE_PORT": "80" }, "ttlMillis": 10_000 })
}

#[test]
fn a_lease_lasts_as_long_as_it_is_renewed() {
    let world = World::new();
    let (status, taken) = world.lease(Method::POST, taken());
    assert_eq!(status, 200, "{taken}");
    let epoch = taken["epoch"].clone();
    for _ in 0..5 {
        world.pass(9_000);
        assert_eq!((world.sweep(0), world.found("HEALTHY")), (0, 1));
        assert_eq!(world.lease(Method::PUT, json!({ "epoch": epoch })).0, 200);
    }
    assert_eq!(world.lease(Method::PUT, json!({ "epoch": epoch, "healthy": false })).0, 200);
    assert_eq!((world.found("HEALTHY"), world.found("UNHEALTHY")), (0, 1), "its holder says that it is ill");
    world.pass(10_000);
    assert_eq!((world.sweep(0), world.found("ALL")), (1, 0));
    let (status, refused) = world.lease(Method::PUT, json!({ "epoch": epoch }));
    assert_eq!((status, &refused["code"]), (410, &json!("LeaseEnded")));
}

#[test]
fn the_heartbeat_of_a_former_holder_is_refused() {
    let world = World::new();
    let first = world.lease(Method::POST, taken()).1["epoch"].clone();
    let second = world.lease(Method::POST, taken()).1["epoch"].clone();
    assert_ne!(first, second);
    for method in [Method::PUT, Method::DELETE] {
        let (status, refused) = world.lease(method, json!({ "epoch": first, "healthy": false }));
        assert_eq!((status, &refused["code"]), (409, &json!("LeaseFenced")));
    }
    assert_eq!(world.found("HEALTHY"), 1, "nothing that it said counts");
    assert_eq!(world.lease(Method::PUT, json!({ "epoch": second })).0, 200);

    // Cloud Map's own operations take an instance over as well.
    let attributes = json!({ "AWS_INSTANCE_IPV4": HERE, "AWS_INSTANCE_PORT": "81" });
    world.call(
        "RegisterInstance",
        json!({ "ServiceId": world.service, "InstanceId": "i", "Attributes": attributes }),
    );
    assert_eq!(world.lease(Method::PUT, json!({ "epoch": second })).0, 410);
    world.pass(60_000);
    assert_eq!((world.sweep(0), world.found("ALL")), (0, 1), "and it has no lease that could end");

    // Gone and back, with nothing left to remember: its number is higher all the same.
    world.call("DeregisterInstance", json!({ "ServiceId": world.service, "InstanceId": "i" }));
    world.pass(60_000);
    assert_eq!(world.sweep(0), 1);
    let third = world.lease(Method::POST, taken()).1["epoch"].clone();
    assert!(third.as_u64() > second.as_u64());
    assert_eq!(world.lease(Method::PUT, json!({ "epoch": second })).0, 409);
}

#[test]
fn a_restart_loses_no_registration_and_gives_leases_time() {
    let mut world = World::new();
    let epoch = world.lease(Method::POST, taken()).1["epoch"].clone();
    let attributes = json!({ "AWS_INSTANCE_IPV4": "10.0.0.1" });
    let other = json!({ "ServiceId": world.service, "InstanceId": "other", "Attributes": attributes });
    world.call("RegisterInstance", other);
    world.pass(3_600_000);
    world.api = api(&world.store, &world.time);
    let up_since = world.time.now().0;
    assert_eq!((world.sweep(up_since), world.found("HEALTHY")), (0, 2));
    world.pass(9_000);
    assert_eq!(world.sweep(up_since), 0);
    assert_eq!(world.lease(Method::PUT, json!({ "epoch": epoch })).0, 200, "its holder is back in time");
    world.pass(9_000);
    assert_eq!((world.sweep(up_since), world.found("HEALTHY")), (0, 2));
}

#[test]
fn a_lease_that_is_given_back_drains() {
    let world = World::new();
    let epoch = world.lease(Method::POST, taken()).1["epoch"].clone();
    let (status, released) = world.lease(Method::DELETE, json!({ "epoch": epoch }));
    assert_eq!((status, world.found("ALL")), (200, 0));
    let show =
        || world.call("GetOperation", json!({ "OperationId": released["operation"] }))["Operation"].clone();
    assert_eq!((world.sweep(0), &show()["Status"]), (0, &json!("PENDING")));
    world.pass(released["drainMillis"].as_u64().expect("a number"));
    assert_eq!((world.sweep(0), &show()["Status"]), (1, &json!("SUCCESS")));
    assert_eq!(world.call("DeleteService", json!({ "Id": world.service })), json!({}));
}

#[test]
fn what_is_not_a_lease_is_refused_with_its_place() {
    let world = World::new();
    for (body, part) in [
        (json!({ "ttlMillis": 1 }), "ttlMillis"),
        (json!({ "attributes": { "AWS_INSTANCE_IPV4": "169.254.169.254" } }), "metadata"),
        (json!({ "attributes": { "AWS_INSTANCE_IPV4": 7 } }), "Attributes.AWS_INSTANCE_IPV4"),
    ] {
        let (status, refused) = world.lease(Method::POST, body);
        assert_eq!(status, 400, "{refused}");
        assert!(refused["message"].as_str().is_some_and(|text| text.contains(part)), "{refused}");
    }
    assert_eq!(world.lease(Method::PUT, json!({})).0, 400);
    assert_eq!(world.lease(Method::GET, json!({})).0, 400);
}
