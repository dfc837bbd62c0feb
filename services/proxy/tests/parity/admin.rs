//! What operators ask the admin endpoint, of both.

use std::time::Duration;

use selvedge_traffic::filter::{self, JwtKeys, JwtProvider};
use selvedge_traffic::hash::HashCookie;
use selvedge_traffic::*;
use serde_json::{Value, json};

use crate::apps::{App, Raw};
use crate::planes::{Plane, both, until};
use crate::{check_equal, cluster, endpoint, endpoint_at, group, hashed, http, ms, to};

/// A page as JSON, without what differs from start to start: moments, ports of the plane's own, versions.
fn page(plane: &Plane, path: &str) -> Value {
    let answer = plane.page(path);
    assert_eq!(answer.status, 200, "{} {path}: {}", plane.name, answer.body);
    let mut text = answer.body;
    for (at, port) in plane.ports.iter().enumerate() {
        text = text.replace(&port.port().to_string(), &format!("{}", 60_000 + at));
    }
    let mut value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}\n{text}"));
    settle(&mut value);
    value
}

/// Moments become one, the file of the log as well; the order of a list of names is kept.
fn settle(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match name.as_str() {
                    "last_updated" => *value = "some time".into(),
                    // Of a listener it is a hash of its own port, among others.
                    "version_info" => *value = "some version".into(),
                    "path" => *value = "some file".into(),
                    _ => settle(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        _ => {}
    }
}

/// Without the static cluster that leads an Envoy to its control plane.
fn dynamic(mut page: Value) -> Value {
    if let Some(statuses) = page["cluster_statuses"].as_array_mut() {
        statuses.retain(|status| status["added_via_api"] == true);
        statuses.sort_by_key(|status| status["name"].to_string());
    }
    page
}

#[test]
fn what_operators_ask_is_answered_in_the_shape_of_envoys() {
    let app = App::start();
    let place = Locality { region: "r".to_owned(), zone: "z".to_owned(), sub_zone: String::new() };
    let near = LocalityEndpoints { locality: place, ..group(vec![Endpoint { weight: 3, ..endpoint(&app) }]) };
    let tracked = Thresholds { requests_max: 5, track_remaining: true, ..Thresholds::default() };
    let up = Cluster {
        connect_timeout: ms(250),
        circuit_breakers: CircuitBreakers { default: tracked, ..CircuitBreakers::default() },
        outlier_detection: Some(OutlierDetection::default()),
        ..cluster("up", vec![near])
    };
    let cookie = HashSource::Cookie(HashCookie { name: "c".to_owned(), ..HashCookie::default() });
    let routes = vec![("/hashed", hashed("up", vec![(cookie, true)])), ("/", to("up"))];
    let Some(planes) = both(&http(routes), &[up, cluster("empty", Vec::new())]) else { return };
    for plane in &planes {
        assert_eq!(plane.get("/", &[]).status, 200);
    }
    for path in [
        "/config_dump?resource=dynamic_active_clusters",
        "/config_dump?resource=dynamic_active_clusters&name_regex=u.",
        "/config_dump?resource=dynamic_active_clusters&mask=cluster.name,cluster.connect_timeout",
        "/config_dump?resource=dynamic_warming_clusters",
        "/config_dump?resource=dynamic_listeners",
        "/config_dump?resource=dynamic_listeners&name_regex=nothing",
        "/config_dump?resource=static_route_configs",
        "/config_dump?resource=dynamic_active_secrets",
        "/config_dump?mask=dynamic_listeners",
        "/listeners?format=json",
        "/init_dump",
        "/certs",
    ] {
        check_equal(&planes, path, |plane| page(plane, path));
    }
    check_equal(&planes, "clusters", |plane| dynamic(page(plane, "/clusters?format=json")));
    check_equal(&planes, "endpoints", |plane| {
        let mut endpoints = page(plane, "/config_dump?include_eds&resource=dynamic_endpoint_configs");
        let all = endpoints["configs"].as_array_mut().expect("a list");
        all.retain(|one| one["endpoint_config"]["cluster_name"] == "up");
        endpoints
    });
    // Which parts there are, and in which order.
    let parts = check_equal(&planes, "the whole", |plane| {
        let whole = page(plane, "/config_dump?include_eds");
        let all = whole["configs"].as_array().expect("a list");
        all.iter().map(|config| config["@type"].clone()).collect::<Vec<_>>()
    });
    assert_eq!(parts.len(), 7);
    for (path, status) in [
        ("/config_dump?resource=bootstrap", 400),
        ("/config_dump?resource=nothing", 404),
        ("/config_dump?mask=nothing.at.all", 400),
        ("/config_dump?name_regex=%5B", 400),
        ("/config_dump?resource=dynamic_listeners&mask=nothing", 400),
        ("/stats?type=nothing", 400),
        ("/stats?histogram_buckets=nothing", 400),
        ("/quitquitquit", 405),
        ("/nothing", 404),
    ] {
        let seen = check_equal(&planes, path, |plane| plane.page(path).status);
        assert_eq!(seen, status, "{path}");
    }
    for (path, member) in [
        ("/server_info", "state"),
        ("/server_info", "hot_restart_version"),
        ("/stats?format=json&filter=server.live", "stats"),
        ("/runtime?format=json", "entries"),
    ] {
        check_equal(&planes, path, |plane| page(plane, path)[member].clone());
    }
    let left = check_equal(&planes, "what is left", |plane| {
        ["remaining_cx", "remaining_pending", "remaining_retries", "remaining_rq"]
            .map(|name| plane.stat(&format!("cluster.up.circuit_breakers.default.{name}")))
    });
    assert_eq!(left[3], 5);
}

/// Names of statistics, without what differs from plane to plane.
fn statistics(plane: &Plane) -> std::collections::BTreeSet<String> {
    let stats = plane.page("/stats?format=json");
    let stats: Value = serde_json::from_str(&stats.body).expect("JSON");
    let stats = stats["stats"].as_array().expect("a list").clone();
    let histograms = stats.iter().find_map(|stat| stat.get("histograms").cloned()).unwrap_or_default();
    let computed = histograms["computed_quantiles"].as_array().cloned().unwrap_or_default();
    let names = stats.iter().chain(&computed).filter_map(|stat| stat["name"].as_str().map(str::to_owned));
    names
        .filter(|name| !name.starts_with("cluster.control."))
        .map(|name| name.replace(&plane.ports[0].port().to_string(), "PORT"))
        .collect()
}

/// Parts of names that only an Envoy has, and why.
const ABSENT: &[(&str, &str)] = &[
    ("http.admin.", "the admin endpoint is not counted as a listener of the mesh"),
    ("listener.admin.", "the admin endpoint is not counted as a listener of the mesh"),
    ("http.async-client.", "calls of the proxy's own are counted with their cluster and their filter"),
    (".lb_subsets_", "of balancing by subsets, from its first use"),
    (".lb_local_cluster_not_ok", "of zones, from their first use"),
    (".default.total_match_count", "how Envoy decides which statistics it makes"),
    ("_0_rtt", "there are no requests before a handshake's end"),
    ("_0rtt", "there are no requests before a handshake's end"),
    (".upstream_http3_broken", "there is no HTTP/3"),
    (".http1.", "of Envoy's codec for upstreams, each 0 in a mesh"),
    ("watchdog", "there is no watchdog between threads"),
    (".clusters_inflated", "clusters are shared by the workers"),
    ("overload", "there is no overload manager"),
    ("reset_high_memory_stream", "there is no overload manager"),
    ("server.compilation_settings", "of Envoy's build"),
    ("control_plane.identifier", "the delta protocol's responses are read without it"),
    (".version_text", "a text; the number is in version"),
];

#[test]
fn every_statistic_of_envoys_is_there_or_known_not_to_be() {
    let app = App::start();
    let up = cluster("up", vec![group(vec![endpoint(&app)])]);
    let routes = vec![("/nowhere", to("nowhere")), ("/", to("up"))];
    let Some(planes) = both(&http(routes), &[up, cluster("nowhere", Vec::new())]) else { return };
    for plane in &planes {
        for path in ["/", "/fail", "/nowhere"] {
            plane.get(path, &[]);
        }
    }
    let [envoy, ours] = planes.each_ref().map(statistics);
    let is_known = |name: &str| ABSENT.iter().any(|(part, _)| name.contains(part));
    let missing: Vec<&String> = envoy.difference(&ours).filter(|name| !is_known(name)).collect();
    assert!(missing.is_empty(), "Envoy counts these as well: {missing:#?}");
    for (part, why) in ABSENT {
        assert!(envoy.difference(&ours).any(|name| name.contains(part)), "{part} is there after all ({why})");
    }
}

fn provider(cluster: &str, refetch: Duration) -> JwtProvider {
    JwtProvider {
        name: "p".to_owned(),
        issuer: "i".to_owned(),
        audiences: Vec::new(),
        subjects: None,
        require_expiration: false,
        lifetime_max: None,
        keys: JwtKeys::Remote {
            uri: "http://keys.example/jwks".to_owned(),
            cluster: cluster.to_owned(),
            timeout: Duration::from_secs(5),
            cache: Duration::from_secs(600),
            refetch,
            ahead: true,
        },
        forward: false,
        from_headers: Vec::new(),
        from_params: Vec::new(),
        from_cookies: Vec::new(),
        forward_payload_header: String::new(),
        pad_forward_payload_header: false,
        claim_to_headers: Vec::new(),
        payload_in_metadata: String::new(),
        header_in_metadata: String::new(),
        failed_status_in_metadata: String::new(),
        clear_route_cache: false,
        clock_skew: Duration::from_secs(60),
    }
}

fn keys(bytes: &[u8]) -> Option<Vec<u8>> {
    bytes.windows(4).any(|end| end == b"\r\n\r\n").then(|| {
        let keys = json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "k", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]});
        let keys = keys.to_string();
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{keys}", keys.len()).into_bytes()
    })
}

/// Nobody sends a request: whatever is fetched is fetched ahead.
#[test]
fn keys_are_fetched_before_the_first_request_and_again_after_a_failure() {
    let (app, good) = (App::start(), Raw::start(keys));
    let filter = |cluster| filter::Jwt {
        providers: vec![provider(cluster, ms(100))],
        rules: Vec::new(),
        requirements: Vec::new(),
        bypass_cors_preflight: false,
        strip_failure_response: false,
        stat_prefix: String::new(),
    };
    let with = |cluster| {
        let entry = FilterEntry {
            name: "jwt".to_owned(),
            disabled: false,
            filter: HttpFilter::Jwt(Box::new(filter(cluster))),
        };
        HttpConnection { filters: vec![entry], ..http(vec![("/", to("up"))]) }
    };
    let clusters = [
        cluster("up", vec![group(vec![endpoint(&app)])]),
        cluster("good", vec![group(vec![endpoint_at(good.address)])]),
        // What it answers is no key set.
        cluster("bad", vec![group(vec![endpoint(&app)])]),
    ];
    let Some(planes) = both(&with("good"), &clusters) else { return };
    for plane in &planes {
        until(&format!("{} fetches", plane.name), || {
            (plane.stat("http.in.jwt_authn.jwks_fetch_success") >= 1).then_some(())
        });
    }
    drop(planes);
    let Some(planes) = both(&with("bad"), &clusters) else { return };
    for plane in &planes {
        until(&format!("{} tries again", plane.name), || {
            (plane.stat("http.in.jwt_authn.jwks_fetch_failed") >= 3).then_some(())
        });
    }
}

#[test]
fn what_was_rejected_is_shown_beside_what_is_in_force() {
    let Some(mut planes) = both(&http(vec![("/", to("up"))]), &[cluster("up", Vec::new())]) else { return };
    for plane in &mut planes {
        plane.change_listener(0, |listener| {
            let chain = listener.default_chain.as_mut().expect("it has one");
            let Network::Http(manager) = &mut chain.network else { unreachable!("it is HTTP") };
            let RouteSource::Inline(table) = &mut manager.routes else { unreachable!("it is within") };
            let again = VirtualHost { name: "again".to_owned(), ..table.virtual_hosts[0].clone() };
            table.virtual_hosts.push(again);
        });
    }
    let shown = check_equal(&planes, "error_state", |plane| {
        let path = "/config_dump?resource=dynamic_listeners";
        until(&format!("{} rejects", plane.name), || {
            plane.page(path).body.contains("error_state").then_some(())
        });
        let mut shown = page(plane, path);
        // An Envoy tells of it a second time, without a name.
        shown["configs"].as_array_mut().expect("a list").retain(|listener| listener["name"].is_string());
        let state = &mut shown["configs"][0]["error_state"];
        // Each says it in its own words; when, as well.
        for member in ["details", "last_update_attempt"] {
            assert!(state[member].as_str().is_some_and(|text| text.len() > 10), "{}: {state}", plane.name);
            state[member] = "something".into();
        }
        shown
    });
    let failed = &shown["configs"][0]["error_state"]["failed_configuration"];
    assert_eq!(failed["@type"], "type.googleapis.com/envoy.config.listener.v3.Listener");
    assert!(shown["configs"][0]["active_state"].is_object(), "the first one serves on");
}
