//! What holds for every request: tokens, pages, tags, quotas, hosts, accounts, a store that fails.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Request;
use selvedge_control::operations::{CLIENT_TOKEN_RETENTION_MILLIS, Settings};
use selvedge_store::Store;
use serde_json::{Value, json};

use crate::world::World;

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
