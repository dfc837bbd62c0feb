//! From the API to proxies' sessions, in virtual time and without a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use selvedge_control::api::{Api, Hosts, Readiness, System};
use selvedge_control::operations::Settings;
use selvedge_control::policies::PoliciesRoute;
use selvedge_control::publish::{self, End, Feed, Output, Publisher, StreamId, registry};
use selvedge_store::Store;
use selvedge_store::memory::Memory;
use selvedge_traffic::{Address, Resource, ResourceKind};
use selvedge_xds::server::{Form, Scope};
use selvedge_xds::{ClientSession, Node};
use serde_json::{Value, json};

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A store, its API, one replica of the publisher at a time, and proxies.
const ARN: &str = "arn:aws:appmesh:us-east-1:123456789012";

struct World {
    store: Arc<dyn Store>,
    api: Api,
    feed: Feed,
    publisher: Publisher,
    now: Instant,
    proxies: BTreeMap<StreamId, Proxy>,
    next: StreamId,
}

struct Proxy {
    session: ClientSession,
    resources: BTreeMap<(ResourceKind, String), Resource>,
    /// Names of what arrived since somebody looked.
    arrived: Vec<String>,
    refuse: Option<&'static str>,
    ended: Option<End>,
}

impl World {
    fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let api = Api::new(
            store.clone(),
            Settings::default(),
            Arc::new(System),
            Readiness::default(),
            Hosts::default(),
        );
        let mut world = Self {
            store,
            api,
            feed: Feed::new(),
            publisher: Publisher::new(publish::Settings::new("first")),
            now: Instant::now(),
            proxies: BTreeMap::new(),
            next: 0,
        };
        world.put("meshes", json!({ "meshName": "m" }));
        world
    }

    /// Another replica over the same store, at the same time.
    fn beside(&self, replica: &str) -> Self {
        let (readiness, hosts) = (Readiness::default(), Hosts::default());
        Self {
            store: self.store.clone(),
            api: Api::new(self.store.clone(), Settings::default(), Arc::new(System), readiness, hosts),
            feed: Feed::new(),
            publisher: Publisher::new(publish::Settings::new(replica)),
            now: self.now,
            proxies: BTreeMap::new(),
            next: 0,
        }
    }

    fn put(&mut self, path: &str, body: Value) {
        self.call("PUT", path, &body.to_string());
    }

    fn call(&mut self, method: &str, path: &str, body: &str) {
        let request =
            Request::builder().method(method).uri(format!("/v20190125/{path}")).header("host", "localhost");
        let response = self.api.handle(&request.body(Bytes::from(body.to_owned())).expect("a request"));
        assert_eq!(response.status(), 200, "{path}: {:?}", response.body());
    }

    fn node(&mut self, name: &str, backends: &[&str]) {
        let backends: Vec<Value> =
            backends.iter().map(|name| json!({ "virtualService": { "virtualServiceName": name } })).collect();
        let listener = json!({ "portMapping": { "protocol": "http", "port": 8080 } });
        let spec = json!({ "listeners": [listener], "backends": backends });
        self.put("meshes/m/virtualNodes", json!({ "virtualNodeName": name, "spec": spec }));
    }

    /// A service that is one node.
    fn service(&mut self, name: &str, node: &str) {
        let spec = json!({ "provider": { "virtualNode": { "virtualNodeName": node } } });
        self.put("meshes/m/virtualServices", json!({ "virtualServiceName": name, "spec": spec }));
    }

    /// A proxy whose node is reached at that port.
    fn connect(&mut self, node: &str, port: u16) -> StreamId {
        let direct = json!({ "interception": "none", "ingress_port": port, "egress_port": 1 });
        let node = Node {
            id: format!("mesh/m/virtualNode/{node}"),
            metadata: json!({ "selvedge": direct }).as_object().cloned().unwrap_or_default(),
            ..Node::default()
        };
        self.join(node)
    }

    fn join(&mut self, node: Node) -> StreamId {
        let mut session = ClientSession::new(node, 1);
        session.listen();
        self.attach(Proxy {
            session,
            resources: BTreeMap::new(),
            arrived: Vec::new(),
            refuse: None,
            ended: None,
        })
    }

    fn attach(&mut self, mut proxy: Proxy) -> StreamId {
        let id = self.next;
        self.next += 1;
        proxy.session.handle_connected();
        self.publisher.handle_connected(self.now, id, LOCALHOST, Form::Delta, Scope::Aggregated);
        self.proxies.insert(id, proxy);
        id
    }

    fn disconnect(&mut self, id: StreamId, orderly: bool) -> Proxy {
        self.publisher.handle_disconnected(self.now, id, orderly);
        let mut proxy = self.proxies.remove(&id).expect("it was connected");
        proxy.session.handle_disconnected(self.now);
        proxy
    }

    /// A crash of the control plane: another process over the same store, and every proxy comes back.
    fn restart(&mut self, replica: &str, with_proxies: bool) {
        self.feed = Feed::new();
        self.publisher = Publisher::new(publish::Settings::new(replica));
        for (_, mut proxy) in std::mem::take(&mut self.proxies) {
            proxy.session.handle_disconnected(self.now);
            if with_proxies {
                self.attach(proxy);
            }
        }
    }

    /// Lets time pass, in steps as they are due, until `span` is over.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            let due = [self.feed.next_timeout(), self.publisher.next_timeout()].into_iter().flatten().min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
        }
        self.now = end;
    }

    /// Does all that is due, and carries messages until nobody has any.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            if self.feed.next_timeout().is_none_or(|at| at <= self.now) {
                for event in self.feed.poll(self.now, &*self.store).expect("the store works") {
                    self.publisher.handle_feed(self.now, event);
                }
            }
            if self.publisher.next_timeout().is_some_and(|at| at <= self.now) {
                self.publisher.handle_timeout(self.now);
            }
            let writes = self.publisher.poll_write(self.now);
            if !writes.is_empty() {
                for place in registry::write(&*self.store, &writes).expect("the store works") {
                    self.publisher.handle_refusal(self.now, &place);
                }
                self.feed.handle_wake(self.now);
            }
            while let Some(output) = self.publisher.poll_output() {
                quiet = false;
                match output {
                    Output::Send { stream, message } => {
                        if let Some(proxy) = self.proxies.get_mut(&stream) {
                            proxy.take(&message);
                        }
                    }
                    Output::End { stream, end } => {
                        if let Some(proxy) = self.proxies.get_mut(&stream) {
                            proxy.ended = Some(end);
                        }
                    }
                }
            }
            for (id, proxy) in &mut self.proxies {
                while let Some(request) = proxy.session.poll_request() {
                    quiet = false;
                    self.publisher.handle_message(self.now, *id, &request);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Lets a write of the API arrive.
    fn publish(&mut self) {
        self.feed.handle_wake(self.now);
        self.pass(Duration::from_secs(1));
    }

    fn arrived(&mut self, id: StreamId) -> Vec<String> {
        std::mem::take(&mut self.proxies.get_mut(&id).expect("it is connected").arrived)
    }

    /// The ports of the endpoints that a proxy knows for a node.
    fn endpoints(&self, id: StreamId, node: &str) -> BTreeSet<u16> {
        self.places(id, node).into_iter().map(|(_, _, port)| port).collect()
    }

    /// Region, zone and port of each.
    fn places(&self, id: StreamId, node: &str) -> BTreeSet<(String, String, u16)> {
        let resources = self.proxies[&id].resources.values();
        let assignments = resources.filter_map(|resource| match resource {
            Resource::Endpoints(assignment) if assignment.cluster.contains(&format!("_{node}_")) => {
                Some(assignment)
            }
            _ => None,
        });
        let groups = assignments.flat_map(|assignment| &assignment.localities);
        let places = groups.flat_map(|group| {
            group.endpoints.iter().filter_map(|endpoint| match endpoint.address {
                Address::Socket(address) => {
                    Some((group.locality.region.clone(), group.locality.zone.clone(), address.port()))
                }
                _ => None,
            })
        });
        places.collect()
    }
}

impl Proxy {
    fn take(&mut self, message: &[u8]) {
        self.session.handle_response(message).expect("a response that is fine");
        while let Some(update) = self.session.poll_update() {
            assert!(update.refused.is_empty(), "{:?}", update.refused);
            let mut refused = Vec::new();
            for received in update.changed {
                let name = received.resource.name().to_owned();
                if self.refuse.is_some_and(|part| name.contains(part)) {
                    refused.push(selvedge_xds::client::Refused {
                        resource: name,
                        reason: "not that".to_owned(),
                    });
                    continue;
                }
                self.arrived.push(name.clone());
                self.resources.insert((update.kind, name), received.resource);
            }
            for name in update.removed {
                self.arrived.push(format!("-{name}"));
                self.resources.remove(&(update.kind, name));
            }
            self.session.handle_applied(&update.nonce, refused);
        }
    }
}

/// Two callers of one service each, and the services' nodes.
fn world() -> (World, StreamId, StreamId) {
    let mut world = World::new();
    for node in ["one", "two"] {
        world.node(node, &[]);
        world.service(&format!("{node}.local"), node);
    }
    world.node("caller-of-one", &["one.local"]);
    world.node("caller-of-two", &["two.local"]);
    let one = world.connect("caller-of-one", 1001);
    let two = world.connect("caller-of-two", 1002);
    world.publish();
    assert!(!world.arrived(one).is_empty() && !world.arrived(two).is_empty());
    (world, one, two)
}

#[test]
fn a_change_reaches_those_whom_it_concerns_and_nobody_else() {
    let (mut world, one, two) = world();
    let timeout = json!({ "http": { "perRequest": { "unit": "s", "value": 3 } } });
    let listener = json!({ "portMapping": { "protocol": "http", "port": 8080 }, "timeout": timeout });
    let pool = json!({ "http": { "maxConnections": 3 } });
    let mut listener_with_pool = listener;
    listener_with_pool["connectionPool"] = pool;
    let outlier = json!({
        "maxServerErrors": 5, "maxEjectionPercent": 50,
        "interval": { "unit": "s", "value": 10 }, "baseEjectionDuration": { "unit": "s", "value": 30 },
    });
    listener_with_pool["outlierDetection"] = outlier;
    world.put("meshes/m/virtualNodes/one", json!({ "spec": { "listeners": [listener_with_pool] } }));
    world.publish();
    assert!(!world.arrived(one).is_empty(), "its cluster has an outlier detection");
    assert_eq!(world.arrived(two), [] as [String; 0]);
}

#[test]
fn changes_in_a_row_are_gathered() {
    let (mut world, one, _) = world();
    world.feed.handle_wake(world.now);
    let due = world.feed.next_timeout();
    world.now += Duration::from_millis(10);
    world.feed.handle_wake(world.now);
    assert_eq!(world.feed.next_timeout(), due, "the first decides, so that nobody waits for ever");
    assert_eq!(world.arrived(one), [] as [String; 0]);
}

#[test]
fn a_sidecar_is_an_endpoint_while_it_is_connected() {
    let (mut world, one, two) = world();
    let first = world.connect("one", 9001);
    let second = world.connect("one", 9002);
    world.publish();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([9001, 9002]));
    assert_eq!(world.arrived(two), [] as [String; 0], "who does not call it does not hear of it");
    world.disconnect(first, true);
    world.settle();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([9002]), "it said goodbye");
    world.disconnect(second, false);
    world.settle();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([9002]), "it may be back");
    world.pass(registry::GRACE + Duration::from_secs(1));
    assert_eq!(world.endpoints(one, "one"), BTreeSet::new());
}

#[test]
fn a_mesh_that_cannot_be_read_holds_up_no_other() {
    let (mut world, one, _) = world();
    let (key, good) = {
        let view = world.store.snapshot().expect("the store works");
        let key = "appmesh/virtualNode/m/one";
        (key, view.get(key).expect("the store works").expect("the node").value)
    };
    let store = Arc::clone(&world.store);
    let write = |value: &[u8]| {
        let value = Bytes::copy_from_slice(value);
        store.transact(&mut |transaction| Ok(transaction.put(key, value.clone())?)).expect("the store works");
    };
    write(b"{not json");
    world.put("meshes", json!({ "meshName": "other" }));
    world.publish();
    assert_eq!(world.arrived(one), [] as [String; 0], "its proxies keep what they have");

    // The same when it is found at a start: the other mesh's proxies are served.
    world.restart("second", false);
    let spec = json!({ "listeners": [{ "portMapping": { "protocol": "http", "port": 8080 } }] });
    world.put("meshes/other/virtualNodes", json!({ "virtualNodeName": "web", "spec": spec }));
    world.publish();
    assert!(world.publisher.is_loaded());
    let node = Node { id: "mesh/other/virtualNode/web".to_owned(), ..Node::default() };
    let web = world.join(node);
    world.publish();
    assert!(!world.arrived(web).is_empty());

    // Mended, it comes back by itself.
    write(&good);
    world.publish();
    let one = world.connect("caller-of-one", 1001);
    world.publish();
    assert!(!world.arrived(one).is_empty());
}

#[test]
fn a_restart_changes_nothing_for_anybody() {
    let (mut world, one, _) = world();
    world.connect("one", 9001);
    world.publish();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([9001]));
    for proxy in world.proxies.values_mut() {
        proxy.arrived.clear();
    }
    world.restart("second", true);
    world.pass(registry::DEAD_AFTER * 3);
    for (id, proxy) in &world.proxies {
        assert_eq!(proxy.arrived, [] as [String; 0], "stream {id}");
        assert_eq!(proxy.ended, None);
    }
}

#[test]
fn endpoints_whose_sidecars_do_not_come_back_after_a_restart_are_forgotten_in_time() {
    let (mut world, _, _) = world();
    world.connect("one", 9001);
    world.publish();
    world.restart("second", false);
    let caller = world.connect("caller-of-one", 1001);
    world.pass(registry::DEAD_AFTER - Duration::from_secs(1));
    assert_eq!(world.endpoints(caller, "one"), BTreeSet::from([9001]), "it has time to come back");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.endpoints(caller, "one"), BTreeSet::new());
}

#[test]
fn unknown_nodes_and_deleted_ones_are_refused_as_app_mesh_did() {
    let (mut world, one, _) = world();
    let ghost = world.connect("ghost", 9009);
    world.settle();
    let text = "VirtualNode ghost in mesh m is not found".to_owned();
    assert_eq!(world.proxies[&ghost].ended, Some(End::InvalidArgument(text)));
    world.call("DELETE", "meshes/m/virtualNodes/caller-of-one", "");
    world.publish();
    assert!(matches!(world.proxies[&one].ended, Some(End::InvalidArgument(_))));
}

#[test]
fn more_streams_than_a_node_may_have_are_refused_by_quota() {
    let mut world = World::new();
    world.publisher =
        Publisher::new(publish::Settings { streams_per_node_max: 2, ..publish::Settings::new("r") });
    world.node("n", &[]);
    world.publish();
    let ids: Vec<StreamId> = (0..3).map(|at| world.connect("n", 9000 + at)).collect();
    world.settle();
    let ended: Vec<bool> = ids.iter().map(|id| world.proxies[id].ended.is_some()).collect();
    assert_eq!(ended, [false, false, true]);
    assert!(matches!(world.proxies[&ids[2]].ended, Some(End::ResourceExhausted(_))));
}

#[test]
fn a_rejection_is_reported_on_the_resources_that_it_came_from() {
    let (mut world, one, _) = world();
    assert!(world.publisher.report(world.now, "m").connected.iter().all(|proxy| proxy.up_to_date));
    world.proxies.get_mut(&one).expect("it is connected").refuse = Some("cds_egress_m_one");
    let listener = json!({ "portMapping": { "protocol": "http2", "port": 8080 } });
    world.put("meshes/m/virtualNodes/one", json!({ "spec": { "listeners": [listener] } }));
    world.publish();
    let report = world.publisher.report(world.now, "m");
    let rejection = report.rejections.first().expect("it is known");
    assert!(rejection.subject.ends_with("mesh/m/virtualNode/one"), "{rejection:?}");
    assert!(rejection.message.contains("not that"), "{rejection:?}");
    assert!(report.connected.iter().any(|proxy| !proxy.up_to_date));
}

/// Calls an operation of Cloud Map.
fn registry_call(world: &World, operation: &str, input: &Value) -> Value {
    let target = format!("Route53AutoNaming_v20170314.{operation}");
    let request = Request::post("/").header("host", "localhost").header("x-amz-target", target);
    let response = world.api.handle(&request.body(Bytes::from(input.to_string())).expect("a request"));
    let document = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(response.status(), 200, "{operation}: {document}");
    document
}

#[test]
fn registered_instances_are_the_endpoints_of_nodes_that_cloud_map_discovers() {
    let (mut world, _, two) = world();
    let map = json!({
        "namespaceName": "Shop", "serviceName": "one", "attributes": [{ "key": "stage", "value": "live" }],
    });
    let listener = json!({ "portMapping": { "protocol": "http", "port": 8080 } });
    let spec = json!({ "listeners": [listener], "serviceDiscovery": { "awsCloudMap": map } });
    world.put("meshes/m/virtualNodes/one", json!({ "spec": spec }));
    let one = world.connect("caller-of-one", 1003);
    world.connect("one", 9001);
    world.publish();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([9001]), "the registry has no such service yet");

    registry_call(&world, "CreateHttpNamespace", &json!({ "Name": "shop" }));
    let space = registry_call(&world, "ListNamespaces", &json!({}))["Namespaces"][0]["Id"].clone();
    let created = json!({ "Name": "one", "NamespaceId": space, "HealthCheckCustomConfig": {} });
    let service = registry_call(&world, "CreateService", &created)["Service"]["Id"].clone();
    world.publish();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::new(), "it has one, and nobody is registered");
    let register = |world: &World, id: &str, port: &str, stage: &str| {
        let attributes =
            json!({ "AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": port, "stage": stage });
        let input = json!({ "ServiceId": service, "InstanceId": id, "Attributes": attributes });
        registry_call(world, "RegisterInstance", &input);
    };
    register(&world, "a", "81", "live");
    register(&world, "b", "82", "live");
    register(&world, "c", "83", "test");
    world.publish();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([81, 82]));
    let ill = json!({ "ServiceId": service, "InstanceId": "a", "Status": "UNHEALTHY" });
    registry_call(&world, "UpdateInstanceCustomHealthStatus", &ill);
    world.publish();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([82]));
    assert!(
        !world.arrived(two).iter().any(|name| name.contains("_one_")),
        "who does not call it does not hear of it"
    );

    registry_call(&world, "DeregisterInstance", &json!({ "ServiceId": service, "InstanceId": "b" }));
    world.publish();
    assert_eq!(world.endpoints(one, "one"), BTreeSet::from([82]));
    let healths = world.proxies[&one].resources.values().filter_map(|resource| match resource {
        Resource::Endpoints(one) if one.cluster.contains("_one_") => {
            Some(one.localities[0].endpoints[0].health)
        }
        _ => None,
    });
    assert_eq!(healths.collect::<Vec<_>>(), [selvedge_traffic::EndpointHealth::Draining]);

    world.restart("second", true);
    world.pass(Duration::from_secs(10));
    let again =
        *world.proxies.keys().find(|id| world.endpoints(**id, "one").contains(&82)).expect("it came back");
    register(&world, "b", "82", "live");
    world.publish();
    assert_eq!(world.endpoints(again, "one"), BTreeSet::from([82]), "registrations outlive a control plane");

    // Where an instance stands is what is registered of it; a region alone is no place.
    for (id, port, zone) in [("d", "84", Some("eu-west-1a")), ("e", "85", None)] {
        let mut attributes = json!({
            "AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": port, "stage": "live", "REGION": "eu-west-1",
        });
        if let Some(zone) = zone {
            attributes["AVAILABILITY_ZONE"] = zone.into();
        }
        let input = json!({ "ServiceId": service, "InstanceId": id, "Attributes": attributes });
        registry_call(&world, "RegisterInstance", &input);
    }
    world.publish();
    let place = |region: &str, zone: &str, port| (region.to_owned(), zone.to_owned(), port);
    let expected = [place("", "", 82), place("", "", 85), place("eu-west-1", "eu-west-1a", 84)];
    assert_eq!(world.places(again, "one"), BTreeSet::from(expected));
}

#[test]
fn a_replica_that_stood_still_does_not_bring_back_what_has_left() {
    let (mut first, caller, _) = world();
    first.connect("one", 9001);
    first.pass(Duration::from_secs(3));
    let mut second = first.beside("second");
    let other_caller = second.connect("caller-of-one", 9901);
    second.pass(Duration::from_secs(3));
    assert_eq!(second.endpoints(other_caller, "one"), BTreeSet::from([9001]));
    // The first replica hears nothing any more. The sidecar goes to the second one, and later says goodbye there.
    let moved = second.connect("one", 9001);
    second.pass(Duration::from_secs(10));
    second.disconnect(moved, true);
    second.pass(Duration::from_secs(1));
    assert_eq!(second.endpoints(other_caller, "one"), BTreeSet::new());
    // It wakes up with a stream whose proxy is gone, and speaks for it.
    first.now = second.now;
    for _ in 0..5 {
        first.pass(Duration::from_secs(3));
        second.pass(Duration::from_secs(3));
        assert_eq!(first.endpoints(caller, "one"), BTreeSet::new());
        assert_eq!(second.endpoints(other_caller, "one"), BTreeSet::new());
    }
    // A stream that is open still when every dead one would have been noticed is alive.
    first.pass(registry::PROVEN_AFTER);
    second.now = first.now;
    second.pass(Duration::from_secs(3));
    assert_eq!(first.endpoints(caller, "one"), BTreeSet::from([9001]));
    assert_eq!(second.endpoints(other_caller, "one"), BTreeSet::from([9001]));
}

#[test]
fn a_limit_that_nobody_can_ask_for_is_reported_on_its_policy() {
    for (address, reported) in [(None, true), (Some(([10, 0, 0, 1], 7070).into()), false)] {
        let mut world = World::new();
        world.publisher = Publisher::new(publish::Settings { address, ..publish::Settings::new("r") });
        world.node("n", &[]);
        let entries = json!([{ "fixed": { "key": "all", "value": "of them" } }]);
        let spec = json!({ "domain": "d", "descriptors": [{ "entries": entries }] });
        let policy =
            json!({ "target": format!("{ARN}:mesh/m/virtualNode/n"), "kind": "globalRateLimit", "spec": spec }).to_string();
        let policies = PoliciesRoute::new(world.store.clone(), Settings::default(), Arc::new(System));
        let (readiness, hosts) = (Readiness::default(), Hosts::default());
        let api = Api::new(world.store.clone(), Settings::default(), Arc::new(System), readiness, hosts)
            .with_extension(policies);
        let request = Request::put("/selvedge/v1/policies/all").header("host", "localhost");
        let response = api.handle(&request.body(Bytes::from(policy)).expect("a request"));
        assert_eq!(response.status(), 201, "{:?}", response.body());
        world.publish();
        world.connect("n", 9001);
        world.settle();
        let report = world.publisher.report(world.now, "m");
        let unknown = |one: &&selvedge_translate::Diagnostic| {
            one.code == selvedge_translate::Code::ControlPlaneAddressUnknown
        };
        let found: Vec<&str> =
            report.diagnostics.iter().filter(unknown).map(|one| one.subject.as_str()).collect();
        assert_eq!(found, if reported { vec!["mesh/m/policy/all"] } else { Vec::new() });
    }
}
