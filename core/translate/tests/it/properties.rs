//! What holds for every mesh, however wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use selvedge_model::{Key, Kind, Snapshot};
use selvedge_traffic::matching::PlainRequest;
use selvedge_traffic::{
    Action, CompiledRoutes, Discovery, Network, Resource, RouteSource, RouteTable, WeightedCluster,
};
use selvedge_translate::{Proxy, Translation, explain, translate};
use serde_json::{Value, json};

use crate::mesh;

/// Few names and ports, so that references meet, clash and miss.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "a.local", "A.local", "a.local:80", "*", "we ird"])
        .prop_map(String::from)
}

fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![80, 443, 8080, 15001])
}

fn protocol() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["http", "http2", "grpc", "tcp"])
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "/",
        "/a",
        "/a/",
        "a",
        "(",
        ".*",
        "",
        "\u{7f}x",
        "[[:alpha:]]+",
        "a{1000}{1000}",
    ])
    .prop_map(String::from)
}

fn maybe<T: std::fmt::Debug + Into<Value>>(
    inner: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Value>> {
    prop::option::of(inner.prop_map(Into::into))
}

/// An object of the members that are there.
fn object(members: Vec<(&str, Option<Value>)>) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn duration() -> impl Strategy<Value = Value> {
    (
        maybe(prop::sample::select(vec!["s", "ms"])),
        maybe(prop::sample::select(vec![0_u64, 1, 15, 90, u64::MAX >> 1])),
    )
        .prop_map(|(unit, value)| object(vec![("unit", unit), ("value", value)]))
}

fn timeout() -> impl Strategy<Value = Value> {
    (prop::option::of(duration()), prop::option::of(duration()))
        .prop_map(|(request, idle)| object(vec![("perRequest", request), ("idle", idle)]))
}

fn tls() -> impl Strategy<Value = Value> {
    let certificate = prop::sample::select(vec![
        json!({"acm": {"certificateArn": "arn:x"}}),
        json!({"file": {"certificateChain": "/c", "privateKey": "/k"}}),
        json!({"sds": {"secretName": "s"}}),
        json!({"sds": {"secretName": ""}}),
    ]);
    let validation =
        prop::sample::select(vec![json!({"trust": {"file": {"certificateChain": "/ca"}}}), Value::Null]);
    (certificate, validation, prop::sample::select(vec!["STRICT", "PERMISSIVE", "DISABLED"])).prop_map(
        |(certificate, validation, mode)| json!({"certificate": certificate, "mode": mode, "validation": validation}),
    )
}

fn client_policy() -> impl Strategy<Value = Value> {
    let trust = prop::sample::select(vec![
        json!({"acm": {"certificateAuthorityArns": ["arn:y"]}}),
        json!({"file": {"certificateChain": "/ca"}}),
        json!({"sds": {"secretName": "s"}}),
    ]);
    (trust, any::<Option<bool>>(), prop::collection::vec(port(), 0..2)).prop_map(|(trust, enforce, ports)| {
        json!({"tls": {"validation": {"trust": trust}, "enforce": enforce, "ports": ports}})
    })
}

fn listener() -> impl Strategy<Value = Value> {
    let health =
        prop::option::of(protocol().prop_map(
            |protocol| json!({"protocol": protocol, "healthyThreshold": 2, "unhealthyThreshold": 2}),
        ));
    let pool = maybe(prop::sample::select(vec![
        json!({"http": {"maxConnections": 1}}),
        json!({"grpc": {"maxRequests": 1}}),
        json!({"tcp": {"maxConnections": 1}}),
    ]));
    let timeout = prop::option::of(timeout().prop_map(|timeout| json!({"http": timeout})));
    (port(), protocol(), prop::option::of(tls()), health, pool, timeout).prop_map(
        |(port, protocol, tls, health, pool, timeout)| {
            object(vec![
                ("portMapping", Some(json!({"port": port, "protocol": protocol}))),
                ("tls", tls),
                ("healthCheck", health),
                ("connectionPool", pool),
                ("timeout", timeout),
            ])
        },
    )
}

fn node() -> impl Strategy<Value = Value> {
    let backend = (name(), prop::option::of(client_policy())).prop_map(
        |(name, policy)| json!({"virtualService": {"virtualServiceName": name, "clientPolicy": policy}}),
    );
    let discovery = maybe(prop::sample::select(vec![
        json!({"dns": {"hostname": "h.internal", "responseType": "ENDPOINTS", "ipPreference": "IPv6_ONLY"}}),
        json!({"dns": {"hostname": "127.0.0.1"}}),
        json!({"dns": {"hostname": ""}}),
        json!({"awsCloudMap": {"namespaceName": "n", "serviceName": "s"}}),
    ]));
    (
        prop::collection::vec(listener(), 0..3),
        prop::collection::vec(backend, 0..4),
        discovery,
        prop::option::of(client_policy()),
    )
        .prop_map(|(listeners, backends, discovery, policy)| {
            let defaults = policy.map(|policy| json!({"clientPolicy": policy}));
            object(vec![
                ("listeners", Some(listeners.into())),
                ("backends", Some(backends.into())),
                ("serviceDiscovery", discovery),
                ("backendDefaults", defaults),
            ])
        })
}

fn action() -> impl Strategy<Value = Value> {
    let target = (name(), 0..3_u32, maybe(port())).prop_map(|(node, weight, port)| {
        object(vec![("virtualNode", Some(node.into())), ("weight", Some(weight.into())), ("port", port)])
    });
    prop::collection::vec(target, 0..4).prop_map(|targets| json!({"weightedTargets": targets}))
}

fn http_match() -> impl Strategy<Value = Value> {
    let path = prop::sample::select(vec!["exact", "regex"]);
    let path = prop::option::of((path, text()).prop_map(|(kind, text)| json!({kind: text})));
    let header = text().prop_map(
        |text| json!([{"name": if text.is_empty() { "a b\n" } else { "X-A" }, "match": {"regex": text}}]),
    );
    let hostname = name().prop_map(|name| json!({"exact": name}));
    let query = name().prop_map(|name| json!([{"name": name, "match": {"exact": ""}}]));
    let parts = (
        maybe(text()),
        path,
        prop::option::of(header),
        maybe(port()),
        prop::option::of(hostname),
        prop::option::of(query),
    );
    parts.prop_map(|(prefix, path, headers, port, hostname, query)| {
        object(vec![
            ("prefix", prefix),
            ("path", path),
            ("headers", headers),
            ("port", port),
            ("hostname", hostname),
            ("queryParameters", query),
        ])
    })
}

fn route() -> impl Strategy<Value = Value> {
    let retry = prop::option::of(duration().prop_map(
        |duration| json!({"maxRetries": 1, "perRetryTimeout": duration, "httpRetryEvents": ["server-error", "x"]}),
    ));
    let kind = prop::sample::select(vec!["httpRoute", "http2Route", "grpcRoute", "tcpRoute", "none"]);
    let parts = (kind, http_match(), action(), prop::option::of(timeout()), retry, maybe(0..3_u32));
    parts.prop_map(|(kind, matcher, action, timeout, retry, priority)| {
        let body = object(vec![
            ("match", Some(if kind == "httpRoute" || kind == "http2Route" { matcher } else { json!({}) })),
            ("action", Some(action)),
            ("timeout", timeout.filter(|_| kind != "tcpRoute")),
            ("retryPolicy", retry.filter(|_| kind != "tcpRoute")),
        ]);
        object(vec![(kind, Some(body)), ("priority", priority)])
    })
}

fn gateway_route() -> impl Strategy<Value = Value> {
    let rewrite = maybe(prop::sample::select(vec![
        json!({"prefix": {"defaultPrefix": "DISABLED"}}),
        json!({"prefix": {"value": "/new"}}),
        json!({"path": {"exact": "/one"}}),
        json!({"path": {"exact": "/o\r\ne"}}),
        json!({"hostname": {"defaultTargetHostname": "DISABLED"}}),
    ]));
    let kind = prop::sample::select(vec!["httpRoute", "http2Route", "grpcRoute", "none"]);
    (kind, http_match(), rewrite, name(), maybe(port())).prop_map(
        |(kind, matcher, rewrite, service, port)| {
            let grpc = kind == "grpcRoute";
            let target = object(vec![
                ("virtualService", Some(json!({"virtualServiceName": service}))),
                ("port", port),
            ]);
            let action = object(vec![("target", Some(target)), ("rewrite", rewrite.filter(|_| !grpc))]);
            json!({kind: {"match": if grpc { json!({}) } else { matcher }, "action": action}})
        },
    )
}

/// A target, a kind and a spec; most fit, some do not and are left out.
fn policy() -> impl Strategy<Value = Value> {
    let spec = prop::sample::select(vec![
        json!({"kind": "timeout", "spec": {"request": "0s", "idle": "1s"}}),
        json!({"kind": "timeout", "spec": {"request": "87600h"}}),
        json!({"kind": "retry", "spec": {"on": ["5xx"], "maxRetries": 2, "backOff": {"base": "1ms"}}}),
        json!({"kind": "headers", "spec": {"request": {"set": [{"name": "A", "value": "%"}]}, "response": {"remove": ["b"]}}}),
        json!({"kind": "redirect", "spec": {"path": "/x?y"}}),
        json!({"kind": "directResponse", "spec": {"status": 200}}),
        json!({"kind": "rewrite", "spec": {"path": {"full": "/x"}, "host": {"literal": "h"}}}),
        json!({"kind": "rewrite", "spec": {"path": {"prefix": "/x"}, "host": {"auto": true}}}),
        json!({"kind": "access", "spec": {"action": "allow", "rules": [{"name": "r", "from": [{"address": "10.0.0.0/8"}], "methods": ["GET"]}]}}),
        json!({"kind": "authentication", "spec": {"providers": [{"name": "p", "issuer": "i", "keys": "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}"}],
            "rules": [{"prefix": "/a", "token": "optional"}, {"prefix": "/b", "token": "none"}]}}),
        json!({"kind": "rateLimit", "spec": {"requests": 1, "per": "1s"}}),
        json!({"kind": "cors", "spec": {"origins": [{"regex": "a.*"}]}}),
        json!({"kind": "fault", "spec": {"delay": {"fixed": "1ms", "share": "0.5%"}, "abort": {"byHeader": true}}}),
        json!({"kind": "mirror", "spec": {"targets": [{"virtualNode": "a"}, {"virtualNode": "b", "port": 8080}]}}),
        json!({"kind": "compression", "spec": {"codings": ["br"]}}),
        json!({"kind": "loadBalancing", "spec": {"algorithm": "random"}}),
        json!({"kind": "loadBalancing", "spec": {"algorithm": "ringHash", "ringSizeMax": 7, "hash": [{"header": "A"}, {"cookie": {"name": "c", "ttl": "0s"}}]}}),
        json!({"kind": "loadBalancing", "spec": {"algorithm": "maglev", "tableSize": 2, "hash": [{"queryParameter": "q", "terminal": true}]}}),
        json!({"kind": "loadBalancing", "spec": {"algorithm": "roundRobin", "slowStart": {"window": "1ms", "minWeightPercent": 0}}}),
        json!({"kind": "timeout", "spec": {"stream": "0s"}}),
        json!({"kind": "split", "spec": {"by": [{"sourceIp": true}]}}),
        json!({"kind": "split", "spec": {"numberHeader": "n"}}),
        json!({"kind": "breaker", "spec": {"service": {"openTime": "1ms"}}}),
        json!({"kind": "connection", "spec": {"listener": {"maxConnections": 1, "bufferBytes": 1, "grpcWeb": true}, "callers": {"maxAge": "0s"}}}),
        json!({"kind": "clientAddress", "spec": {"trustedProxies": ["::/0"], "append": false}}),
        json!({"kind": "clientAddress", "spec": {"trustedHops": 2, "append": false, "certificate": {"forward": "set"}}}),
        json!({"kind": "proxyProtocol", "spec": {"accept": {}, "send": "v2"}}),
        json!({"kind": "tls", "spec": {"listener": {"minVersion": "1.3"}, "callers": {"minVersion": "1.3", "peer": {"names": [{"type": "dns", "match": {"regex": "a.*"}}]}}}}),
        json!({"kind": "tracing", "spec": {"off": true}}),
        json!({"kind": "tracing", "spec": {"provider": {"openTelemetry": {"service": {"virtualNode": {"name": "a"}}}}}}),
        json!({"kind": "tracing", "spec": {"provider": {"datadog": {"service": {"host": {"name": "a b", "port": 1}}, "serviceName": "s"}}}}),
        json!({"kind": "extAuthz", "spec": {"service": {"grpc": {"virtualNode": {"name": "b", "port": 8080}}}}}),
        json!({"kind": "extAuthz", "spec": {"service": {"http": {"service": {"host": {"name": "::1", "port": 1, "tls": true}}}}}}),
        json!({"kind": "globalRateLimit", "spec": {"domain": "d", "descriptors": [{"entries": [{"clientAddress": {}}]}]}}),
        json!({"kind": "globalRateLimit", "spec": {"domain": "d", "descriptors": [{"entries": [{"fixed": {"value": "v"}}]}], "service": {"virtualNode": {"name": "c"}}}}),
        json!({"kind": "authentication", "spec": {"providers": [{"name": "p", "issuer": "i", "remoteKeys": {"url": "https://a/k"}}]}}),
        json!({"kind": "circuitBreaking", "spec": {"retryBudget": {}, "outlier": {"successRate": {}, "failurePercentage": {"threshold": 0}}}}),
        json!({"kind": "circuitBreaking", "spec": {"maxConnections": 0, "outlier": {"maxEjectionTime": "1ms"}}}),
        json!({"kind": "accessLog", "spec": {"path": "/dev/stdout", "json": [{"key": "k", "value": "%RESPONSE_CODE%"}]}}),
        json!({"kind": "egress", "spec": {"allow": [{"host": "*.amazonaws.com"}, {"host": "A.b", "port": 80}, {"host": "*.b"}]}}),
    ]);
    let target = prop_oneof![
        Just("mesh/m".to_owned()),
        name().prop_map(|name| format!("mesh/m/virtualNode/{name}")),
        name().prop_map(|name| format!("mesh/m/virtualService/{name}")),
        name().prop_map(|name| format!("mesh/m/virtualRouter/{name}")),
        name().prop_map(|name| format!("mesh/m/virtualGateway/{name}")),
        (name(), name()).prop_map(|(router, name)| format!("mesh/m/virtualRouter/{router}/route/{name}")),
        (name(), name())
            .prop_map(|(gateway, name)| format!("mesh/m/virtualGateway/{gateway}/gatewayRoute/{name}")),
    ];
    (target, spec).prop_map(|(target, mut policy)| {
        policy["target"] = target.into();
        policy
    })
}

fn named(spec: impl Strategy<Value = Value>, count: usize) -> impl Strategy<Value = Vec<(String, Value)>> {
    prop::collection::vec((name(), spec), 0..count)
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let mesh = prop::sample::select(vec![
        json!({}),
        json!({"egressFilter": {"type": "ALLOW_ALL"}, "serviceDiscovery": {"ipPreference": "IPv6_PREFERRED"}}),
    ]);
    let mapping = (port(), protocol())
        .prop_map(|(port, protocol)| json!({"portMapping": {"port": port, "protocol": protocol}}));
    let router = prop::collection::vec(mapping, 0..3).prop_map(|listeners| json!({ "listeners": listeners }));
    let service = (name(), any::<Option<bool>>()).prop_map(|(name, kind)| match kind {
        None => json!({}),
        Some(true) => json!({"provider": {"virtualNode": {"virtualNodeName": name}}}),
        Some(false) => json!({"provider": {"virtualRouter": {"virtualRouterName": name}}}),
    });
    let gateway =
        prop::collection::vec(listener(), 0..3).prop_map(|listeners| json!({ "listeners": listeners }));
    let flat = (named(node(), 6), named(router, 4), named(service, 6), named(gateway, 3));
    let nested = (
        prop::collection::vec((name(), name(), route()), 0..8),
        prop::collection::vec((name(), name(), gateway_route()), 0..6),
        prop::collection::vec(policy(), 0..6),
    );
    (mesh, flat, nested).prop_map(|(mesh, (nodes, routers, services, gateways), nested)| {
        let (routes, gateway_routes, policies) = nested;
        let mut snapshot = mesh::snapshot(&json!({ "mesh": mesh }));
        for (kind, specs) in [
            (Kind::VirtualNode, nodes),
            (Kind::VirtualRouter, routers),
            (Kind::VirtualService, services),
            (Kind::VirtualGateway, gateways),
        ] {
            for (name, spec) in specs {
                try_put(&mut snapshot, &Key::in_mesh("m", kind, name), &spec);
            }
        }
        for (kind, specs) in [(Kind::Route, routes), (Kind::GatewayRoute, gateway_routes)] {
            for (parent, name, spec) in specs {
                try_put(&mut snapshot, &Key::below("m", parent, kind, name), &spec);
            }
        }
        for (index, policy) in policies.iter().enumerate() {
            let _ = mesh::try_put_policy(&mut snapshot, &format!("p{index}"), policy);
        }
        snapshot
    })
}

/// A document that is no resource at all cannot be in a snapshot; everything else may be.
fn try_put(snapshot: &mut Snapshot, key: &Key, spec: &Value) {
    let _ = snapshot.put(key.kind, &mesh::resource(key, spec));
}

fn proxies(snapshot: &Snapshot) -> Vec<Proxy> {
    let direct = json!({"selvedge": {"interception": "none", "ingress_port": 1, "egress_port": 15001}});
    let nodes = snapshot.virtual_nodes.keys().map(|name| (Kind::VirtualNode, name));
    let gateways = snapshot.virtual_gateways.keys().map(|name| (Kind::VirtualGateway, name));
    let proxy = |(kind, name): (Kind, &String)| {
        let key = Key::in_mesh("m", kind, name);
        [json!(null), direct.clone()].map(|metadata| Proxy::of(&key, &metadata).expect("a proxy"))
    };
    nodes.chain(gateways).flat_map(proxy).collect()
}

fn listeners(translation: &Translation) -> impl Iterator<Item = &selvedge_traffic::Listener> {
    translation.resources.iter().filter_map(|resource| match resource {
        Resource::Listener(listener) => Some(listener),
        _ => None,
    })
}

fn networks(translation: &Translation) -> impl Iterator<Item = &Network> {
    listeners(translation)
        .flat_map(|listener| listener.chains.iter().chain(&listener.default_chain))
        .map(|chain| &chain.network)
}

fn tables(translation: &Translation) -> Vec<&RouteTable> {
    let mut tables = Vec::new();
    for resource in &translation.resources {
        if let Resource::Routes(table) = resource {
            tables.push(table);
        }
    }
    tables
}

fn used(translation: &Translation) -> Vec<&WeightedCluster> {
    let mut used: Vec<&WeightedCluster> = Vec::new();
    for table in tables(translation) {
        for route in table.virtual_hosts.iter().flat_map(|host| &host.routes) {
            if let Action::Forward(forward) = &route.action {
                used.extend(&forward.clusters);
            }
        }
    }
    for network in networks(translation) {
        if let Network::Tcp(tcp) = network {
            used.extend(&tcp.clusters);
        }
    }
    used
}

fn check(translation: &Translation) {
    let mut names = BTreeSet::new();
    let mut clusters = BTreeSet::new();
    for resource in &translation.resources {
        assert!(names.insert((resource.kind(), resource.name())), "{} stands twice", resource.name());
        if let Resource::Cluster(cluster) = resource {
            clusters.insert(cluster.name.as_str());
            let by_discovery = matches!(cluster.discovery, Discovery::Eds { .. });
            assert_eq!(by_discovery, translation.endpoints.contains_key(&cluster.name), "{}", cluster.name);
        }
        let origins = translation.origins.resources.get(resource.name());
        assert!(origins.is_some_and(|arns| !arns.is_empty()), "{} comes from nowhere", resource.name());
    }
    for cluster in used(translation) {
        assert!(clusters.contains(cluster.name.as_str()), "{} does not exist", cluster.name);
    }
    let tables: BTreeSet<&str> = tables(translation)
        .into_iter()
        .map(|table| {
            CompiledRoutes::new(Arc::new(table.clone()))
                .unwrap_or_else(|error| panic!("{}: {error}", table.name));
            table.name.as_str()
        })
        .collect();
    let mut asked = BTreeSet::new();
    for network in networks(translation) {
        match network {
            Network::Http(http) => {
                let RouteSource::Rds(table) = &http.routes else { panic!("routes are discovered") };
                assert!(tables.contains(table.as_str()), "{table} does not exist");
                asked.insert(table.as_str());
            }
            Network::Tcp(tcp) => {
                assert!(!tcp.clusters.is_empty() && tcp.clusters.iter().all(|cluster| cluster.weight > 0));
            }
        }
    }
    // A proxy that never asks for what it is given never has everything.
    assert_eq!(asked, tables, "tables of no listener");
    for listener in listeners(translation) {
        assert!(
            !listener.chains.is_empty() || listener.default_chain.is_some(),
            "{} is empty",
            listener.name
        );
        let mut matches = Vec::new();
        for chain in &listener.chains {
            assert!(!matches.contains(&&chain.matches), "two chains of {} match the same", listener.name);
            matches.push(&chain.matches);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the mesh, each of its proxies gets a configuration that is complete in itself, the same each time.
    #[test]
    fn translations_are_total_closed_and_repeatable(snapshot in snapshot()) {
        for proxy in proxies(&snapshot) {
            let translation = translate(&snapshot, &proxy);
            check(&translation);
            prop_assert_eq!(&translation, &translate(&snapshot, &proxy));
        }
    }

    /// A change of what a translation did not look at does not change it.
    #[test]
    fn what_is_not_looked_at_does_not_matter(snapshot in snapshot()) {
        let keys: Vec<Key> = snapshot.virtual_nodes.keys().map(|name| Key::in_mesh("m", Kind::VirtualNode, name))
            .chain(snapshot.virtual_services.keys().map(|name| Key::in_mesh("m", Kind::VirtualService, name)))
            .chain(snapshot.virtual_routers.keys().map(|name| Key::in_mesh("m", Kind::VirtualRouter, name)))
            .chain(snapshot.routes.iter().flat_map(|(router, routes)| {
                routes.keys().map(move |name| Key::below("m", router, Kind::Route, name))
            }))
            .collect();
        for proxy in proxies(&snapshot) {
            let before = translate(&snapshot, &proxy);
            for key in keys.iter().filter(|key| !before.depends_on(key)) {
                let mut without = snapshot.clone();
                without.remove(key);
                prop_assert_eq!(&translate(&without, &proxy).resources, &before.resources, "{}", key);
            }
        }
    }

    /// A policy whose target was not looked at does not change it.
    #[test]
    fn policies_of_what_is_not_looked_at_do_not_matter(snapshot in snapshot()) {
        for proxy in proxies(&snapshot) {
            let before = translate(&snapshot, &proxy);
            for policy in snapshot.policies.iter().filter(|policy| !before.depends_on(&policy.target.key)) {
                let mut without = snapshot.clone();
                without.policies.remove(&policy.name);
                prop_assert_eq!(&translate(&without, &proxy), &before, "{}", policy.path());
            }
        }
    }

    /// An explanation answers for every request.
    #[test]
    fn explanations_are_total(snapshot in snapshot(), host in name(), path in text()) {
        for proxy in proxies(&snapshot) {
            let told = explain(&snapshot, &proxy, &PlainRequest::new("GET", &host, &path));
            prop_assert!(!told.lines.is_empty());
        }
    }
}
