//! Policies as a client meets them, and what they do to what proxies get.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use selvedge_control::api::{Api, Hosts, Readiness, System};
use selvedge_control::operations::{Quotas, Settings};
use selvedge_control::policies::{PoliciesRoute, PolicyKindsRoute};
use selvedge_control::publish::feed::{Feed, FeedEvent};
use selvedge_control::status::{NoSessions, StatusRoute};
use selvedge_model::{Key, Kind};
use selvedge_store::Store;
use selvedge_store::memory::Memory;
use serde_json::{Value, json};

const ARN: &str = "arn:aws:appmesh:us-east-1:123456789012";

struct World {
    store: Arc<dyn Store>,
    api: Api,
}

impl World {
    fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let quotas = Quotas { policies_per_mesh: 3, ..Quotas::default() };
        let settings = Settings { quotas, ..Settings::default() };
        let hosts = Hosts::allowing([]);
        let api =
            Api::new(Arc::clone(&store), settings.clone(), Arc::new(System), Readiness::default(), hosts)
                .with_extension(PoliciesRoute::new(Arc::clone(&store), settings, Arc::new(System)))
                .with_extension(PolicyKindsRoute)
                .with_extension(StatusRoute::new(Arc::clone(&store), Arc::new(NoSessions)));
        Self { store, api }
    }

    /// A mesh `m` with a node `n`, a router `r` with a route `x` to it, and a service `s.local`; `web` calls it.
    fn with_mesh() -> Self {
        let world = Self::new();
        let listeners = json!([{"portMapping": {"port": 8080, "protocol": "http"}}]);
        let backends = json!([{"virtualService": {"virtualServiceName": "s.local"}}]);
        let targets = json!([{"virtualNode": "n", "weight": 1}]);
        for (path, body) in [
            ("meshes", json!({"meshName": "m"})),
            ("meshes/m/virtualNodes", json!({"virtualNodeName": "n", "spec": {"listeners": listeners}})),
            ("meshes/m/virtualNodes", json!({"virtualNodeName": "web", "spec": {"backends": backends}})),
            ("meshes/m/virtualRouters", json!({"virtualRouterName": "r", "spec": {"listeners": listeners}})),
            (
                "meshes/m/virtualRouter/r/routes",
                json!({"routeName": "x", "spec": {"httpRoute": {
                    "match": {"prefix": "/"}, "action": {"weightedTargets": targets},
                }}}),
            ),
            (
                "meshes/m/virtualServices",
                json!({"virtualServiceName": "s.local", "spec": {"provider": {
                    "virtualRouter": {"virtualRouterName": "r"},
                }}}),
            ),
        ] {
            let (status, answer) = world.call("PUT", &format!("/v20190125/{path}"), &body);
            assert_eq!(status, 200, "{path}: {answer}");
        }
        world
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.send(method, path, body.to_string().into(), &[])
    }

    fn send(&self, method: &str, path: &str, body: Bytes, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.api.handle(&request.body(body).expect("a request"));
        let document = serde_json::from_slice(response.body());
        (response.status().as_u16(), document.unwrap_or(Value::Null))
    }

    fn put(&self, name: &str, document: &Value) -> (u16, Value) {
        self.call("PUT", &format!("/selvedge/v1/policies/{name}"), document)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", &format!("/selvedge/v1/{path}"), &json!({}))
    }
}

fn policy(target: &str, kind: &str, spec: Value) -> Value {
    json!({"target": format!("{ARN}:{target}"), "kind": kind, "spec": spec})
}

fn timeout(target: &str, request: &str) -> Value {
    policy(target, "timeout", json!({"request": request}))
}

#[test]
fn a_policy_lives_from_put_to_delete() {
    let world = World::with_mesh();
    let document = timeout("mesh/m/virtualRouter/r", "60s");
    let (status, created) = world.put("patient", &document);
    assert_eq!(
        (status, &created["metadata"]["version"], &created["condition"]),
        (201, &json!(1), &json!("ACTIVE"))
    );
    assert_eq!(created["spec"], document["spec"], "a spec is echoed as it was sent");
    let revision = world.store.revision().expect("a revision");

    let (status, again) = world.put("patient", &document);
    assert_eq!(
        (status, &again["metadata"]),
        (200, &created["metadata"]),
        "the same document changes nothing"
    );
    assert_eq!(world.store.revision().expect("a revision"), revision);

    let (status, same) = world.put("patient", &world.get("policies/patient").1);
    assert_eq!((status, &same["metadata"]["version"]), (200, &json!(1)), "what a get shows can be put");

    let (status, changed) = world.put("patient", &timeout("mesh/m/virtualRouter/r", "90s"));
    assert_eq!((status, &changed["metadata"]["version"]), (200, &json!(2)));
    assert_eq!(changed["metadata"]["createdAt"], created["metadata"]["createdAt"]);

    assert_eq!(world.call("DELETE", "/selvedge/v1/policies/patient", &json!({})).1["condition"], "DELETED");
    assert_eq!(world.get("policies/patient").0, 404);
    assert_eq!(world.call("DELETE", "/selvedge/v1/policies/patient", &json!({})).0, 404);
}

#[test]
fn what_is_wrong_with_a_policy_is_told_with_its_path() {
    let world = World::with_mesh();
    let route = "mesh/m/virtualRouter/r/route/x";
    for (name, document, told) in [
        ("p", json!([]), "an object with the members target, kind and spec"),
        ("p", json!({}), "'target'"),
        (
            "p",
            policy(route, "timeout", json!({"reqest": "5s"})),
            "'spec.reqest', must be one of: request, idle, stream",
        ),
        ("p", policy(route, "timeout", json!({"request": "5"})), "'spec.request'"),
        ("p", policy(route, "timeout", json!({"request": 5})), "'spec.request'"),
        ("p", policy(route, "timeout", json!({})), "it sets no time-out"),
        ("p", policy(route, "timeut", json!({})), "accessLog, authentication, breaker, circuitBreaking"),
        (
            "p",
            policy(
                "mesh/m",
                "authentication",
                json!({"providers": [{"name": "p", "issuer": "i", "keys": "{}"}]}),
            ),
            "'spec.providers[0].keys'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "authentication",
                json!({
                    "providers": [{"name": "p", "issuer": "i", "keys": r#"{"keys": [{}]}"#}],
                    "rules": [{"prefix": "/", "token": "required", "providers": ["q"]}],
                }),
            ),
            "there is no provider q",
        ),
        ("p", policy(route, "timeout", json!({"request": "1s", "stream": "2s"})), "'spec.stream'"),
        ("p", policy(route, "retry", json!({"on": ["5xx"], "maxRetries": 1, "hedge": true})), "'spec.hedge'"),
        (
            "p",
            policy("mesh/m", "loadBalancing", json!({"algorithm": "maglev"})),
            "by which requests are alike",
        ),
        ("p", policy("mesh/m", "split", json!({})), "nothing by which requests are alike"),
        (
            "p",
            policy("mesh/m", "split", json!({"by": [{"sourceIp": true}], "numberHeader": "n"})),
            "'spec.numberHeader'",
        ),
        ("p", policy("mesh/m", "split", json!({"by": [{}]})), "'spec.by[0]'"),
        ("p", policy("mesh/m", "breaker", json!({})), "it sets no breaker"),
        (
            "p",
            policy("mesh/m", "breaker", json!({"service": {"consecutiveFailures": 0, "failurePercent": 0}})),
            "nothing opens it",
        ),
        (
            "p",
            policy("mesh/m", "clientAddress", json!({"trustedProxies": ["x"]})),
            "'spec.trustedProxies[0]'",
        ),
        (
            "p",
            policy("mesh/m", "clientAddress", json!({"trustedHops": 1, "trustedProxies": ["::1"]})),
            "give one of them",
        ),
        ("p", policy("mesh/m", "proxyProtocol", json!({})), "neither accepted nor sent"),
        ("p", policy("mesh/m", "connection", json!({})), "nothing of listener or callers"),
        (
            "p",
            policy("mesh/m", "tls", json!({"listener": {"minVersion": "1.3", "maxVersion": "1.2"}})),
            "'spec.listener.minVersion'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "tls",
                json!({"callers": {"peer": {"names": [{"type": "dns", "match": {"regex": "("}}]}}}),
            ),
            "'spec'",
        ),
        ("p", policy("mesh/m", "tracing", json!({"off": true, "sampling": "1%"})), "'spec.off'"),
        ("p", policy("mesh/m", "tracing", json!({"tags": [{"name": "t"}]})), "'spec.tags[0]'"),
        (
            "p",
            policy("mesh/m", "tracing", json!({"provider": {"xray": {"daemon": "localhost:2000"}}})),
            "ADDRESS:PORT",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "extAuthz",
                json!({"service": {"http": {"service": {"virtualNode": {"name": "n"}}, "pathPrefix": "x"}}}),
            ),
            "'spec.service.http.pathPrefix'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "globalRateLimit",
                json!({"domain": "d", "descriptors": [{"entries": [{"header": {"name": "x", "only": "y"}}]}]}),
            ),
            "only is for rateLimit",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "rateLimits",
                json!({"domains": [{"name": "d", "descriptors": [
                    {"key": "a", "limit": {"unit": "day", "requestsPerUnit": 1}, "descriptors": [{"key": "b"}]},
                ]}]}),
            ),
            "'spec.domains[0].descriptors[0].descriptors[0]'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "rateLimits",
                json!({"domains": [{"name": "d", "descriptors": [{"key": "a", "limit": {"unit": "day"}}]}]}),
            ),
            "it needs unit and requestsPerUnit",
        ),
        (
            "p",
            policy(
                "mesh/m/virtualNode/n",
                "rateLimits",
                json!({"domains": [{"name": "d", "descriptors": [
                {"key": "a", "limit": {"unlimited": true}}]}]}),
            ),
            "cannot govern a VirtualNode: it fits Mesh",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "rateLimit",
                json!({"requests": 1, "per": "1s", "limits": [{"by": [], "requests": 1, "per": "1s"}]}),
            ),
            "'spec.limits[0].by'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "authentication",
                json!({"providers": [{"name": "p", "issuer": "i", "remoteKeys": {"url": "login.example"}}]}),
            ),
            "'spec.providers[0].remoteKeys.url'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "loadBalancing",
                json!({"algorithm": "random", "hash": [{"sourceIp": true}], "slowStart": {"window": "1s"}}),
            ),
            "'spec.slowStart'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "loadBalancing",
                json!({"algorithm": "ringHash", "hash": [{"header": "a", "sourceIp": true}]}),
            ),
            "'spec.hash[0]'",
        ),
        (
            "p",
            policy(
                "mesh/m",
                "loadBalancing",
                json!({"algorithm": "maglev", "tableSize": 65536, "hash": [{"sourceIp": true}]}),
            ),
            "a prime number",
        ),
        (
            "p",
            policy("mesh/m", "circuitBreaking", json!({"maxRetries": 1, "retryBudget": {}})),
            "'spec.retryBudget'",
        ),
        ("p", policy(route, "loadBalancing", json!({"algorithm": "random"})), "cannot govern a Route"),
        ("p", policy(route, "retry", json!({"on": ["5xx"], "maxRetries": 101})), "'spec.maxRetries'"),
        (
            "p",
            policy(route, "retry", json!({"on": ["retriable-status-codes"], "maxRetries": 1})),
            "statusCodes",
        ),
        (
            "p",
            policy(route, "headers", json!({"request": {"set": [{"name": "a b", "value": ""}]}})),
            "'spec.request.set[0].name'",
        ),
        (
            "p",
            policy(route, "headers", json!({"request": {"set": [{"name": "a", "value": "b\r\nc"}]}})),
            "control characters",
        ),
        (
            "p",
            policy(route, "rewrite", json!({"path": {"regex": {"pattern": "(", "substitution": ""}}})),
            "'spec.path.regex.pattern'",
        ),
        (
            "p",
            policy(route, "headers", json!({"request": {"add": [{"name": "a", "value": "%NONSENSE%"}]}})),
            "'spec.request.add[0].value'",
        ),
        (
            "p",
            policy(route, "headers", json!({"request": {"add": [{"name": "Host", "value": "x"}]}})),
            "rewrite",
        ),
        ("p", policy("mesh/m", "accessLog", json!({"path": "/dev/stdout", "text": "100 %"})), "'spec.text'"),
        (
            "p",
            policy(
                route,
                "redirect",
                json!({"pathRewrite": {"regex": {"pattern": "(", "substitution": ""}}}),
            ),
            "'spec.pathRewrite.regex.pattern'",
        ),
        ("p", policy("mesh/m/virtualRouter/r/route", "timeout", json!({"request": "1s"})), "'target'"),
        (
            "p",
            json!({"target": "arn:aws:ecs:r:a:mesh/m", "kind": "timeout", "spec": {"request": "1s"}}),
            "not an ARN of App Mesh",
        ),
        (
            "p",
            json!({"name": "q", "target": format!("{ARN}:{route}"), "kind": "timeout", "spec": {"request": "1s"}}),
            "'name'",
        ),
        (
            "p",
            json!({"target": format!("{ARN}:{route}"), "kind": "timeout", "spec": {"request": "1s"}, "specs": {}}),
            "'specs'",
        ),
        ("a%2Fb", timeout(route, "1s"), "a policy's name has"),
        ("p?dry=1", timeout(route, "1s"), "no such parameter"),
        ("p?dryRun=yes", timeout(route, "1s"), "dryRun"),
    ] {
        let (status, answer) = world.put(name, &document);
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(status, 400, "{document}: {answer}");
        assert!(message.contains(told), "{told:?} is not in {message:?}");
    }
    let (status, answer) =
        world.send("PUT", "/selvedge/v1/policies/p", vec![b' '; 64 * 1024 + 1].into(), &[]);
    assert_eq!(status, 400, "{answer}");
    assert_eq!(world.get("policies").1, json!({"policies": []}), "nothing of that was put");
}

#[test]
fn web_pages_and_foreign_hosts_reach_no_policy() {
    let world = World::with_mesh();
    let document = Bytes::from(timeout("mesh/m", "1s").to_string());
    let path = "/selvedge/v1/policies/p";
    assert_eq!(world.send("PUT", path, document.clone(), &[("origin", "http://evil.example")]).0, 403);
    let request = Request::put(path).header(header::HOST, "evil.example").body(document).expect("a request");
    assert_eq!(world.api.handle(&request).status().as_u16(), 421);
    assert_eq!(world.get("policies/p").0, 404);
}

#[test]
fn a_dry_run_tells_the_effect_and_changes_nothing() {
    let world = World::with_mesh();
    let before = world.store.revision().expect("a revision");
    let (status, answer) = world.put("p?dryRun=true", &timeout("mesh/m/virtualRouter/r", "60s"));
    assert_eq!((status, &answer["dryRun"]), (200, &json!(true)));
    let which = "mesh/m/virtualRouter/r/route/x for s.local";
    assert_eq!(answer["governs"], json!([{"proxy": "virtual node web", "what": "calls", "which": which}]));
    assert_eq!(world.store.revision().expect("a revision"), before);
    assert_eq!(world.get("policies/p").0, 404);
}

#[test]
fn a_mesh_holds_as_many_policies_as_its_quota() {
    let world = World::with_mesh();
    for name in ["a", "b", "c"] {
        assert_eq!(world.put(name, &timeout("mesh/m/virtualRouter/r", "60s")).0, 201);
    }
    let (status, answer) = world.put("d", &timeout("mesh/m", "60s"));
    assert_eq!((status, &answer["__type"]), (400, &json!("LimitExceededException")));
    assert_eq!(world.put("c", &timeout("mesh/m", "61s")).0, 200, "a change takes no place");
    assert_eq!(
        world.put("c", &timeout("mesh/other", "61s")).0,
        200,
        "one that moves away gives its place back"
    );
    assert_eq!(world.put("d", &timeout("mesh/m", "60s")).0, 201);
    world.call("DELETE", "/selvedge/v1/policies/a", &json!({}));
    assert_eq!(world.put("e", &timeout("mesh/m", "60s")).0, 201);
}

#[test]
fn policies_are_listed_in_pages_and_by_what_they_are() {
    let world = World::with_mesh();
    world.put("a", &timeout("mesh/m", "60s"));
    world.put("b", &policy("mesh/m/virtualNode/n", "loadBalancing", json!({"algorithm": "leastRequest"})));
    world.put("c", &timeout("mesh/other", "60s"));
    let names = |query: &str| -> Vec<String> {
        let (status, answer) = world.get(&format!("policies?{query}"));
        assert_eq!(status, 200, "{answer}");
        let policies = answer["policies"].as_array().expect("a list");
        policies.iter().map(|policy| policy["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(""), ["a", "b", "c"]);
    assert_eq!(names("mesh=m"), ["a", "b"]);
    assert_eq!(names("kind=timeout"), ["a", "c"]);
    assert_eq!(names(&format!("target={ARN}:mesh/m")), ["a"]);
    let (_, first) = world.get("policies?kind=timeout&limit=1");
    let token = first["nextToken"].as_str().expect("more");
    assert_eq!(names(&format!("kind=timeout&limit=1&nextToken={token}")), ["c"]);
    for query in ["limit=0", "limit=101", "kind=x", "nextToken=!", &format!("nextToken={token}"), "x=1"] {
        assert_eq!(world.get(&format!("policies?{query}")).0, 400, "{query}");
    }
}

#[test]
fn status_shows_policies_and_what_ails_them() {
    let world = World::with_mesh();
    world.put("b", &timeout("mesh/m", "60s"));
    world.put("a", &timeout("mesh/m", "70s"));
    world.put("z", &timeout("mesh/m/virtualNode/gone", "60s"));
    let (_, status) = world.get("status?mesh=m");
    let found = |name: &str| {
        let children = status["meshes"][0]["children"].as_array().expect("children");
        let child = children.iter().find(|child| child["kind"] == "policy" && child["name"] == name);
        let child = child.expect(name);
        (child["condition"].as_str().expect("one").to_owned(), child["reasons"][0]["code"].clone())
    };
    assert_eq!(found("a"), ("ACTIVE".to_owned(), Value::Null));
    assert_eq!(found("b"), ("INACTIVE".to_owned(), json!("POLICY_SHADOWED")));
    assert_eq!(found("z"), ("INACTIVE".to_owned(), json!("POLICY_TARGET_MISSING")));
    assert_eq!(world.get("policies/z").1["condition"], "INACTIVE");
    let foreign = json!({"target": "arn:aws:appmesh:eu-west-1:123456789012:mesh/m", "kind": "timeout", "spec": {"request": "1s"}});
    world.put("b", &foreign);
    let reason = &world.get("policies/b").1["reasons"][0];
    assert_eq!(reason["code"], "POLICY_TARGET_MISSING", "the region differs: {reason}");
}

#[test]
fn the_feed_tells_what_a_policy_governs_before_and_after() {
    let world = World::with_mesh();
    let mut feed = Feed::new();
    let mut poll = || {
        let events =
            feed.poll(Instant::now() + Duration::from_secs(1), &*world.store).expect("the store works");
        let changed = events.into_iter().filter_map(|event| match event {
            FeedEvent::Mesh { name, changed, snapshot } if name == "m" => {
                let policies = snapshot.map_or(0, |snapshot| snapshot.policies.iter().count());
                Some((changed.into_iter().collect::<BTreeSet<_>>(), policies))
            }
            _ => None,
        });
        changed.last()
    };
    poll().expect("the mesh");
    world.put("p", &timeout("mesh/m/virtualRouter/r", "60s"));
    let router = Key::in_mesh("m", Kind::VirtualRouter, "r");
    assert_eq!(poll(), Some((BTreeSet::from([router.clone()]), 1)));
    world.put("p", &timeout("mesh/m", "60s"));
    assert_eq!(poll(), Some((BTreeSet::from([router, Key::mesh("m")]), 1)));
    world.put("p", &timeout("mesh/other", "60s"));
    assert_eq!(
        poll().map(|(changed, policies)| (changed.contains(&Key::mesh("m")), policies)),
        Some((true, 0))
    );
    world.put("p", &timeout("mesh/m", "60s"));
    poll();
    world.call("DELETE", "/selvedge/v1/policies/p", &json!({}));
    assert_eq!(poll(), Some((BTreeSet::from([Key::mesh("m")]), 0)));
}

#[test]
fn every_kind_is_described() {
    let world = World::new();
    let (status, document) = world.get("policy-kinds");
    assert_eq!(status, 200);
    let kinds = document["kinds"].as_array().expect("a list");
    assert_eq!(kinds.len(), selvedge_model::policy::PolicyKind::ALL.len());
    for kind in kinds {
        assert!(!kind["doc"].as_str().expect("a doc").is_empty(), "{kind}");
        assert!(!kind["spec"]["members"].as_object().expect("members").is_empty(), "{kind}");
    }
}
