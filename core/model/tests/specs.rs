//! Specs of every kind: what is read from them, what is refused, and where.

use selvedge_model::{
    Backend, ConnectionPool, GatewayRouteSpec, HeaderMatchMethod, Kind, ListenerTimeout, MeshSpec,
    PortProtocol, RouteSpec, ServiceDiscovery, Snapshot, Spec, Strictness, Value, VirtualGatewaySpec,
    VirtualNodeSpec, VirtualRouterSpec, VirtualServiceProvider, VirtualServiceSpec,
};
use selvedge_model::{Key, Mesh, Status};
use serde_json::json;

fn parse<S: Spec>(value: Value) -> S {
    S::parse(&value, Strictness::Strict).unwrap_or_else(|found| panic!("{value}: {found}"))
}

fn refusal<S: Spec>(value: &Value) -> String {
    match S::parse(value, Strictness::Lenient) {
        Ok(_) => panic!("{value} was taken"),
        Err(found) => found.to_string(),
    }
}

#[test]
fn a_full_virtual_node_is_read() {
    let node: VirtualNodeSpec = parse(json!({
        "listeners": [{
            "portMapping": {"port": 8080, "protocol": "http2"},
            "healthCheck": {
                "protocol": "http2", "path": "/ping", "port": 8080, "healthyThreshold": 2, "unhealthyThreshold": 10,
                "intervalMillis": 5000, "timeoutMillis": 60000,
            },
            "timeout": {"http2": {"perRequest": {"unit": "s", "value": 3}, "idle": {"unit": "ms", "value": 0}}},
            "connectionPool": {"http2": {"maxRequests": 7}},
            "outlierDetection": {
                "maxServerErrors": 5, "maxEjectionPercent": 50, "interval": {"unit": "s", "value": 10},
                "baseEjectionDuration": {"unit": "s", "value": 30},
            },
            "tls": {
                "mode": "STRICT",
                "certificate": {"file": {"certificateChain": "/c", "privateKey": "/k"}},
                "validation": {"trust": {"sds": {"secretName": "s"}}},
            },
        }],
        "serviceDiscovery": {"awsCloudMap": {
            "namespaceName": "ns", "serviceName": "svc", "attributes": [{"key": "k", "value": "v w"}],
        }},
        "backends": [{"virtualService": {"virtualServiceName": "b.local", "clientPolicy": {"tls": {
            "enforce": false, "ports": [443], "validation": {"trust": {"file": {"certificateChain": "/ca"}}},
        }}}}],
        "backendDefaults": {"clientPolicy": {}},
        "logging": {"accessLog": {"file": {"path": "/dev/stdout", "format": {"text": "%PATH%"}}}},
    }));
    let listener = &node.listeners[0];
    assert_eq!((listener.port_mapping.port, listener.port_mapping.protocol), (8080, PortProtocol::Http2));
    let Some(ListenerTimeout::Http2(timeout)) = &listener.timeout else { panic!("a timeout of HTTP/2") };
    assert_eq!(timeout.per_request.as_ref().and_then(|length| length.to_millis()), Some(3000));
    assert!(matches!(&listener.connection_pool, Some(ConnectionPool::Http2(pool)) if pool.max_requests == 7));
    assert!(
        matches!(&node.service_discovery, Some(ServiceDiscovery::AwsCloudMap(map)) if map.attributes.len() == 1)
    );
    let Backend::VirtualService(backend) = &node.backends[0];
    let policy = backend.client_policy.as_ref().and_then(|policy| policy.tls.as_ref());
    assert!(policy.is_some_and(|tls| !tls.is_enforced() && tls.ports == [443]));
}

#[test]
fn a_route_knows_its_protocol_port_and_targets() {
    let action = json!({"weightedTargets": [{"virtualNode": "a", "weight": 0, "port": 80}]});
    for (member, matcher, protocol) in [
        ("httpRoute", json!({"prefix": "/", "port": 8080}), PortProtocol::Http),
        ("http2Route", json!({"path": {"regex": ".*"}, "port": 8080}), PortProtocol::Http2),
        ("grpcRoute", json!({"serviceName": "s", "methodName": "m", "port": 8080}), PortProtocol::Grpc),
        ("tcpRoute", json!({"port": 8080}), PortProtocol::Tcp),
    ] {
        let route: RouteSpec = parse(json!({member: {"action": action, "match": matcher}, "priority": 1000}));
        assert_eq!(
            (route.protocol(), route.match_port(), route.protocol_member()),
            (Some(protocol), Some(8080), member)
        );
        assert_eq!((route.targets()[0].virtual_node.as_str(), route.targets()[0].weight), ("a", 0));
    }
    let header = json!({"name": "h", "invert": true, "match": {"range": {"start": -5, "end": 5}}});
    let route: RouteSpec =
        parse(json!({"httpRoute": {"action": action, "match": {"prefix": "/", "headers": [header]}}}));
    let http = route.http_route.expect("an HTTP route");
    let Some(HeaderMatchMethod::Range(range)) = &http.matcher.headers[0].method else { panic!("a range") };
    assert_eq!((range.start, range.end), (-5, 5));
}

#[test]
fn what_one_kind_refuses_is_said_with_its_place() {
    let listener = |extra: Value| {
        let mut listener = json!({"portMapping": {"port": 80, "protocol": "http"}});
        if let (Value::Object(listener), Value::Object(extra)) = (&mut listener, extra) {
            listener.extend(extra);
        }
        json!({"listeners": [listener]})
    };
    let one = "1 validation error detected: ";
    for (spec, message) in [
        (json!({"serviceDiscovery": {"dns": {"hostname": "h"}}}), "Service Discovery can't be set without a listener.".into()),
        (
            json!({"listeners": [{"portMapping": {"port": 65536, "protocol": "http"}}]}),
            format!(
                "{one}Value '65536' at 'spec.listeners[0].portMapping.port' failed to satisfy constraint: Member must have \
                 value less than or equal to 65535"
            ),
        ),
        (
            listener(json!({"healthcheck": {}})),
            format!(
                "{one}Unknown member at 'spec.listeners[0].healthcheck', must be one of: portMapping, tls, healthCheck, \
                 timeout, outlierDetection, connectionPool"
            ),
        ),
        (
            listener(json!({"connectionPool": {"tcp": {"maxConnections": 1}}})),
            format!(
                "{one}Value at 'spec.listeners[0].connectionPool.tcp' is refused: Connection pool protocol tcp must match \
                 the listener protocol http."
            ),
        ),
        (
            json!({"listeners": [{"portMapping": {"protocol": "HTTP"}}]}),
            "2 validation errors detected: Value 'HTTP' at 'spec.listeners[0].portMapping.protocol' failed to satisfy \
             constraint: Member must satisfy enum value set: [http, tcp, http2, grpc]; Value null at \
             'spec.listeners[0].portMapping.port' failed to satisfy constraint: Member must not be null"
                .into(),
        ),
    ] {
        assert_eq!(refusal::<VirtualNodeSpec>(&spec), message);
    }
}

#[test]
fn rules_between_members_are_kept() {
    let action = json!({"weightedTargets": [{"virtualNode": "a", "weight": 1}]});
    let http = |matcher: Value| json!({"httpRoute": {"match": matcher, "action": action}});
    for (spec, part) in [
        (json!({}), "exactly one of: httpRoute"),
        (
            json!({"tcpRoute": {"action": action}, "httpRoute": {"match": {}, "action": action}}),
            "exactly one of",
        ),
        (http(json!({"prefix": "x"})), "must start with '/'"),
        (http(json!({"prefix": "/", "path": {"exact": "/"}})), "either prefix or path"),
        (http(json!({"path": {"exact": "/", "regex": "/"}})), "either exact or regex"),
        (json!({"grpcRoute": {"match": {"methodName": "m"}, "action": action}}), "without a service name"),
        (
            json!({"httpRoute": {"match": {}, "action": action, "retryPolicy": {
                "maxRetries": 1, "perRetryTimeout": {}, "httpRetryEvents": ["server-error", "5xx"],
            }}}),
            "spec.httpRoute.retryPolicy.httpRetryEvents[1]",
        ),
    ] {
        let message = refusal::<RouteSpec>(&spec);
        assert!(message.contains(part), "{spec}: {message}");
    }
    let target = json!({"virtualService": {"virtualServiceName": "s"}});
    let http = |matcher: Value, rewrite: Value| json!({"httpRoute": {"match": matcher, "action": {"target": target, "rewrite": rewrite}}});
    for (spec, part) in [
        (http(json!({"prefix": "/aws-app-mesh"}), json!({})), "is reserved"),
        (http(json!({"path": {"exact": "/aws-appmesh-x"}}), json!({})), "is reserved"),
        (http(json!({"hostname": {"exact": "a", "suffix": "b"}}), json!({})), "either exact or suffix"),
        (http(json!({"path": {"exact": "/"}}), json!({"prefix": {"value": "/"}})), "whole path is matched"),
        (
            http(json!({"prefix": "/"}), json!({"prefix": {"value": "/", "defaultPrefix": "ENABLED"}})),
            "not both",
        ),
        (
            json!({"grpcRoute": {"match": {"serviceName": "aws.appmesh"}, "action": {"target": target}}}),
            "is reserved",
        ),
    ] {
        let message = refusal::<GatewayRouteSpec>(&spec);
        assert!(message.contains(part), "{spec}: {message}");
    }
    // App Mesh took a gateway route's prefix without a slash.
    parse::<GatewayRouteSpec>(http(json!({"prefix": "newprefix"}), json!({})));
    let twice = json!({"listeners": [
        {"portMapping": {"port": 80, "protocol": "http"}}, {"portMapping": {"port": 80, "protocol": "grpc"}},
    ]});
    for message in [
        refusal::<VirtualNodeSpec>(&twice),
        refusal::<VirtualRouterSpec>(&twice),
        refusal::<VirtualGatewaySpec>(&twice),
    ] {
        assert!(message.contains("'spec.listeners[1].portMapping.port'"), "{message}");
    }
    let tcp = json!({"listeners": [{"portMapping": {"port": 80, "protocol": "tcp"}}]});
    assert!(refusal::<VirtualGatewaySpec>(&tcp).contains("[http, http2, grpc]"));
}

#[test]
fn only_a_lenient_reader_takes_a_health_check_without_times() {
    let check = json!({"protocol": "http", "healthyThreshold": 2, "unhealthyThreshold": 3});
    let listener = json!({"portMapping": {"port": 80, "protocol": "http"}, "healthCheck": check});
    let spec = json!({"listeners": [listener]});
    let node = VirtualNodeSpec::parse(&spec, Strictness::Lenient).expect("lenient");
    let check = node.listeners[0].health_check.as_ref().expect("a health check");
    assert_eq!((check.interval_millis, check.timeout_millis), (None, None));
    let found = VirtualNodeSpec::parse(&spec, Strictness::Strict).expect_err("strict");
    assert_eq!(found.iter().count(), 2);
}

#[test]
fn a_flood_of_violations_is_counted_not_listed() {
    let members: serde_json::Map<_, _> = (0..1000).map(|n| (format!("m{n}"), json!(1))).collect();
    let message = refusal::<MeshSpec>(&Value::Object(members));
    assert!(message.starts_with("1000 validation errors detected: "), "{message}");
    assert!(message.ends_with("; and 980 more"), "{message}");
}

#[test]
fn a_snapshot_follows_its_documents() {
    let metadata = json!({
        "arn": "a", "createdAt": 1, "lastUpdatedAt": 1.5, "meshOwner": "o", "resourceOwner": "o", "uid": "u", "version": 1,
    });
    let mesh = json!({"meshName": "m", "metadata": metadata, "spec": {}});
    let mut snapshot = Snapshot::new(3, Mesh::from_wire(&mesh).expect("a mesh"));
    let provider = json!({"provider": {"virtualRouter": {"virtualRouterName": "r"}}});
    let service = json!({"meshName": "m", "virtualServiceName": "s", "metadata": metadata, "spec": provider});
    snapshot.put(Kind::VirtualService, &service).expect("a service");
    let action = json!({"weightedTargets": [{"virtualNode": "a", "weight": 1}]});
    let route = json!({
        "meshName": "m", "virtualRouterName": "r", "routeName": "x", "metadata": metadata,
        "spec": {"tcpRoute": {"action": action}},
    });
    snapshot.put(Kind::Route, &route).expect("a route");

    let spec: &VirtualServiceSpec = &snapshot.virtual_services["s"].spec;
    assert_eq!(spec.provider.as_ref().map(VirtualServiceProvider::target), Some((Kind::VirtualRouter, "r")));
    let stored = snapshot.routes_of("r").next().expect("a route");
    assert_eq!(stored.key, Key::below("m", "r", Kind::Route, "x"));
    assert_eq!(stored.to_wire(Status::Active)["spec"], route["spec"]);
    let broken =
        json!({"meshName": "m", "virtualRouterName": "r", "routeName": "x", "metadata": metadata, "spec": 1});
    assert!(snapshot.put(Kind::Route, &broken).is_err());
    snapshot.remove(&Key::below("m", "r", Kind::Route, "x"));
    assert!(snapshot.routes.is_empty());
}
