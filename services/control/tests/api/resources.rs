//! What becomes of resources and their specifications, and what is said of mistakes in them.

use std::sync::atomic::Ordering;

use selvedge_control::operations::Settings;
use selvedge_model::Strictness;
use selvedge_store::Store;
use serde_json::{Value, json};

use crate::world::{World, http_route};

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
