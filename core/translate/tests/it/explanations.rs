//! What a person is told about a request.

use selvedge_traffic::matching::PlainRequest;
use selvedge_translate::explain::{Outcome, Source};
use selvedge_translate::{Explanation, Proxy, explain};
use serde_json::{Value, json};

use crate::mesh;

fn shop() -> Value {
    let target = |node: &str, weight: u32| json!({"virtualNode": node, "weight": weight});
    json!({
        "mesh": {"egressFilter": {"type": "DROP_ALL"}},
        "virtualNode": {
            "web": {"backends": [
                {"virtualService": {"virtualServiceName": "cart.local"}},
                {"virtualService": {"virtualServiceName": "ledger.local"}},
            ]},
            "cart-1": {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]},
            "cart-2": {
                "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
                "serviceDiscovery": {"dns": {"hostname": "cart.internal"}},
            },
            "ledger": {"listeners": [{"portMapping": {"port": 5432, "protocol": "tcp"}}]},
        },
        "virtualRouter": {"cart": {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}},
        "virtualService": {
            "cart.local": {"provider": {"virtualRouter": {"virtualRouterName": "cart"}}},
            "ledger.local": {"provider": {"virtualNode": {"virtualNodeName": "ledger"}}},
        },
        "route": {
            "cart/split": {"httpRoute": {
                "match": {"prefix": "/"},
                "action": {"weightedTargets": [target("cart-1", 3), target("cart-2", 1)]},
            }},
            "cart/broken": {"httpRoute": {
                "match": {"path": {"regex": "("}},
                "action": {"weightedTargets": [target("cart-1", 1)]},
            }},
            "cart/beta": {"priority": 10, "httpRoute": {
                "match": {"prefix": "/", "headers": [{"name": "X-Beta", "match": {"exact": "yes"}}]},
                "action": {"weightedTargets": [target("cart-2", 1)]},
                "timeout": {"perRequest": {"unit": "s", "value": 60}},
            }},
        },
        "virtualGateway": {"edge": {"listeners": [{"portMapping": {"port": 8088, "protocol": "http"}}]}},
        "gatewayRoute": {"edge/cart": {"httpRoute": {
            "match": {"prefix": "/cart"},
            "action": {"target": {"virtualService": {"virtualServiceName": "cart.local"}}},
        }}},
    })
}

fn ask(from: &Proxy, request: &PlainRequest) -> Explanation {
    explain(&mesh::snapshot(&shop()), from, request)
}

fn get(authority: &str, path: &str) -> PlainRequest {
    PlainRequest::new("GET", authority, path)
}

#[test]
fn shares_time_outs_and_retries_are_told_with_their_source() {
    let told = ask(&Proxy::node("web"), &get("cart.local:8080", "/x"));
    assert_eq!(told.outcome, Outcome::Forwarded);
    let stage = &told.stages[0];
    assert_eq!(stage.route.as_ref().map(|route| route.name.as_str()), Some("split"));
    let shares: Vec<_> = stage.targets.iter().map(|one| (one.node.name.as_str(), one.percent)).collect();
    assert_eq!(shares, [("cart-1", 75.0), ("cart-2", 25.0)]);
    let timeout = stage.timeout.expect("a time-out");
    assert_eq!((timeout.millis, timeout.source), (Some(15_000), Source::Default));
    let retries = stage.retries.as_ref().expect("the default policy");
    assert_eq!((retries.max, retries.source), (2, Source::Default));
    assert_eq!(stage.tried[0].failed.as_deref(), Some("header x-beta = yes"));
    assert_eq!(stage.tried[0].priority, Some(10));
}

#[test]
fn what_a_route_says_is_told_as_said_and_with_its_trap() {
    let told = ask(&Proxy::node("web"), &get("cart.local", "/").with_header("x-beta", "yes"));
    let timeout = told.stages[0].timeout.expect("a time-out");
    assert_eq!((timeout.millis, timeout.source), (Some(60_000), Source::Specification));
    assert!(told.notes.iter().any(|note| note.contains("8080")), "{:?}", told.notes);
    assert!(told.diagnostics.iter().any(|one| one.code.as_str() == "TIMEOUT_SHADOWED"), "{:?}", told.lines);
}

#[test]
fn what_goes_nowhere_is_told_too() {
    for (from, request, outcome) in [
        (Proxy::node("web"), get("other.local:8080", "/"), Outcome::NoRoute),
        (Proxy::node("web"), get("other.local", "/"), Outcome::Closed),
        (Proxy::node("web"), get("cart.local:9", "/"), Outcome::Closed),
        (Proxy::node("cart-1"), get("cart.local:8080", "/"), Outcome::Closed),
        (Proxy::node("nobody"), get("cart.local:8080", "/"), Outcome::ProxyUnknown),
        (Proxy::gateway("edge"), get("h", "/other"), Outcome::NoRoute),
        (Proxy::gateway("nobody"), get("h", "/"), Outcome::ProxyUnknown),
    ] {
        let told = ask(&from, &request);
        assert_eq!(told.outcome, outcome, "{from:?} {request:?} {:?}", told.lines);
    }
}

#[test]
fn a_dropped_sibling_is_told() {
    let told = ask(&Proxy::node("web"), &get("cart.local:8080", "/"));
    let broken = told.diagnostics.iter().find(|one| one.subject.ends_with("/route/broken"));
    assert_eq!(broken.map(|one| one.code.as_str()), Some("REGEX_INVALID"), "{:?}", told.lines);
}

#[test]
fn a_tcp_port_leads_to_its_node() {
    let told = ask(&Proxy::node("web"), &get("ledger.local:5432", "/"));
    assert_eq!(told.outcome, Outcome::Forwarded);
    assert_eq!(told.stages[0].targets[0].node.name, "ledger");
}

#[test]
fn a_gateway_decides_twice() {
    let told =
        ask(&Proxy::gateway("edge"), &get("shop.example", "/cart/items?n=1").with_header("x-beta", "yes"));
    assert_eq!(told.outcome, Outcome::Forwarded, "{:?}", told.lines);
    let routes: Vec<_> = told.stages.iter().filter_map(|stage| stage.route.as_ref()).collect();
    assert_eq!(
        routes.iter().map(|route| (route.kind, route.name.as_str())).collect::<Vec<_>>(),
        [("GatewayRoute", "cart"), ("Route", "beta"),]
    );
    assert_eq!(told.stages[0].path.as_deref(), Some("/items?n=1"));
    assert_eq!(told.stages[0].host.as_deref(), Some("cart.local"));
    assert_eq!(told.stages[1].targets[0].node.name, "cart-2");
}

#[test]
fn the_lines_say_it_all() {
    let told = ask(&Proxy::node("web"), &get("cart.local:8080", "/x"));
    let text = told.lines.join("\n");
    for part in
        ["cart.local on port 8080", "Route beta (priority 10): no", "75.0 % to cart-1:8080", "15 s (default)"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(serde_json::to_value(&told).is_ok());
}
