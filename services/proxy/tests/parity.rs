//! What clusters and routes can be told about balancing, retries, ejection and time, once in a real Envoy and once in our
//! proxy: both take the same resources, and a client cannot tell them apart.

#[path = "parity/admin.rs"]
mod admin;
#[path = "parity/apps.rs"]
mod apps;
#[allow(dead_code, reason = "shared with the tests of the request path")]
#[path = "path/authority.rs"]
mod authority;
#[path = "parity/bodies.rs"]
mod bodies;
#[path = "parity/clients.rs"]
mod clients;
#[allow(dead_code, reason = "shared with the tests of secrets")]
#[path = "run/control_plane.rs"]
mod control_plane;
#[path = "parity/events.rs"]
mod events;
#[path = "parity/h2_app.rs"]
mod h2_app;
#[path = "parity/interim.rs"]
mod interim;
#[path = "parity/keepalive.rs"]
mod keepalive;
#[path = "parity/life.rs"]
mod life;
#[path = "parity/log_services.rs"]
mod log_services;
#[path = "path/mutual.rs"]
mod mutual;
#[path = "parity/names.rs"]
mod names;
#[path = "parity/network.rs"]
mod network;
#[path = "parity/planes.rs"]
mod planes;
#[path = "parity/pools.rs"]
mod pools;
#[path = "run/ports.rs"]
mod ports;
#[path = "parity/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "parity/retired.rs"]
mod retired;
#[path = "parity/settings.rs"]
mod settings;
#[path = "parity/spans.rs"]
mod spans;
#[path = "parity/splits.rs"]
mod splits;
#[path = "parity/time_and_share.rs"]
mod time_and_share;
#[path = "parity/tunnels.rs"]
mod tunnels;
#[path = "parity/verdicts.rs"]
mod verdicts;
#[path = "parity/waits.rs"]
mod waits;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use apps::App;
use planes::{Plane, both};
use selvedge_traffic::hash::HashCookie;
use selvedge_traffic::matching::{HeaderCondition, HeaderMatch, RouteMatch};
use selvedge_traffic::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn endpoint(app: &App) -> Endpoint {
    endpoint_at(app.address)
}

fn endpoint_at(address: std::net::SocketAddr) -> Endpoint {
    Endpoint::new(Address::Socket(address))
}

fn group(endpoints: Vec<Endpoint>) -> LocalityEndpoints {
    LocalityEndpoints { endpoints, ..LocalityEndpoints::default() }
}

fn cluster(name: &str, localities: Vec<LocalityEndpoints>) -> Cluster {
    let assignment = LoadAssignment { cluster: name.to_owned(), localities, ..LoadAssignment::default() };
    Cluster::new(name, Discovery::Static(assignment))
}

/// Calls a service of that name as `proxy`.
fn by_tls(authority: &authority::Authority, name: &str, alpn: &str) -> UpstreamTransport {
    UpstreamTransport::Tls(Box::new(tls::UpstreamTls {
        certificate: Some(authority.certificate("proxy")),
        validation: Some(authority.trust(tls::NameKind::Dns, &format!("{name}.local"))),
        sni: format!("{name}.local"),
        alpn: vec![alpn.to_owned()],
        versions: tls::Versions::default(),
        suites: tls::Suites::default(),
    }))
}

fn to(cluster: &str) -> Forward {
    Forward::to(vec![WeightedCluster::new(cluster, 1)])
}

fn http(routes: Vec<(&str, Forward)>) -> HttpConnection {
    let route = |(prefix, forward): (&str, Forward)| {
        Route::new(prefix, RouteMatch::prefix(prefix), Action::Forward(forward))
    };
    let host = VirtualHost {
        name: "v".to_owned(),
        domains: vec!["*".to_owned()],
        routes: routes.into_iter().map(route).collect(),
        include_attempt_count_in_response: true,
        ..VirtualHost::default()
    };
    let table = RouteTable { name: "r".to_owned(), virtual_hosts: vec![host], ..RouteTable::default() };
    HttpConnection::new("in", RouteSource::Inline(table))
}

fn hashed(cluster: &str, sources: Vec<(HashSource, bool)>) -> Forward {
    let hash = sources.into_iter().map(|(source, terminal)| HashPolicy { source, terminal }).collect();
    Forward { hash, ..to(cluster) }
}

fn header(name: &str) -> HashSource {
    HashSource::Header(name.to_owned())
}

fn check_equal<T: PartialEq + std::fmt::Debug>(
    planes: &[Plane; 2],
    what: &str,
    of: impl Fn(&Plane) -> T,
) -> T {
    let [envoy, ours] = planes.each_ref().map(&of);
    assert_eq!(envoy, ours, "{what}: Envoy left, ours right");
    ours
}

#[test]
fn the_same_key_finds_the_same_host() {
    let apps: Vec<App> = (0..7).map(|_| App::start()).collect();
    let endpoints = |weight: &dyn Fn(usize) -> u32| -> Vec<Endpoint> {
        let weighted = |(at, app)| Endpoint { weight: weight(at), ..endpoint(app) };
        apps.iter().enumerate().map(weighted).collect()
    };
    let named = |at: usize, app: &App| {
        let key = (endpoint::HASH_KEY.to_owned(), Label::Text(format!("host-{at}")));
        Endpoint { labels: Labels::from([key]), ..endpoint(app) }
    };
    let murmur =
        LoadBalancing::RingHash { ring_size_min: 64, ring_size_max: 4096, hash: RingHashFunction::Murmur2 };
    let weighted = Placement { locality: LocalityRouting::Weighted, ..Placement::default() };
    let places = |weights: [u32; 2]| {
        let place = |(zone, (weight, apps)): (usize, (u32, &[App]))| LocalityEndpoints {
            locality: Locality { zone: zone.to_string(), ..Locality::default() },
            weight,
            ..group(apps.iter().map(endpoint).collect())
        };
        weights.into_iter().zip([&apps[..3], &apps[3..]]).enumerate().map(place).collect::<Vec<_>>()
    };
    let even = vec![group(endpoints(&|_| 1))];
    let uneven = vec![group(endpoints(&|at| at as u32 + 1))];
    let all_named = vec![group(apps.iter().enumerate().map(|(at, app)| named(at, app)).collect())];
    let clusters = [
        Cluster { balancing: LoadBalancing::RING_HASH, ..cluster("ring", even.clone()) },
        Cluster { balancing: LoadBalancing::RING_HASH, ..cluster("ring-uneven", uneven.clone()) },
        Cluster { balancing: murmur, ..cluster("ring-murmur", even.clone()) },
        Cluster { balancing: LoadBalancing::RING_HASH, ..cluster("ring-named", all_named.clone()) },
        Cluster {
            balancing: LoadBalancing::RING_HASH,
            placement: weighted,
            ..cluster("ring-places", places([1, 3]))
        },
        Cluster { balancing: LoadBalancing::MAGLEV, ..cluster("maglev", even) },
        Cluster { balancing: LoadBalancing::MAGLEV, ..cluster("maglev-uneven", uneven) },
        Cluster {
            balancing: LoadBalancing::Maglev { table_size: 251 },
            ..cluster("maglev-named", all_named)
        },
        Cluster {
            balancing: LoadBalancing::MAGLEV,
            placement: weighted,
            ..cluster("maglev-places", places([2, 1]))
        },
    ];
    let names: Vec<String> = clusters.iter().map(|cluster| cluster.name.clone()).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("/{name}/")).collect();
    let routes = paths
        .iter()
        .zip(&names)
        .map(|(path, name)| (path.as_str(), hashed(name, vec![(header("x-key"), false)])));
    let Some(planes) = both(&http(routes.collect()), &clusters) else { return };
    for path in &paths {
        let mut hosts = std::collections::BTreeSet::new();
        for key in 0..40 {
            let line = format!("x-key: user-{key}");
            hosts.insert(check_equal(&planes, &format!("{path} {line}"), |plane| {
                plane.get(path, &[&line]).body
            }));
        }
        assert!(hosts.len() > 3, "{path}: keys are spread, {hosts:?}");
    }
}

#[test]
fn every_ingredient_of_a_hash_counts_the_same() {
    let apps: Vec<App> = (0..7).map(|_| App::start()).collect();
    let ring = cluster("up", vec![group(apps.iter().map(endpoint).collect())]);
    let cookie = |ttl| {
        HashSource::Cookie(HashCookie {
            name: "sticky".to_owned(),
            ttl,
            path: "/p".to_owned(),
            attributes: vec![("Secure".to_owned(), String::new()), ("SameSite".to_owned(), "Lax".to_owned())],
        })
    };
    let query = HashSource::QueryParameter("user".to_owned());
    let routes = vec![
        ("/cookie", hashed("up", vec![(cookie(None), false)])),
        ("/made", hashed("up", vec![(cookie(Some(ms(60_000))), false)])),
        ("/session", hashed("up", vec![(cookie(Some(ms(0))), false)])),
        ("/query", hashed("up", vec![(query.clone(), false)])),
        ("/source", hashed("up", vec![(HashSource::SourceIp, false)])),
        ("/terminal", hashed("up", vec![(header("x-key"), true), (query.clone(), false)])),
        (
            "/both",
            hashed("up", vec![(header("x-key"), false), (query, false), (HashSource::SourceIp, false)]),
        ),
        ("/path", hashed("up", vec![(header(":path"), false)])),
    ];
    let clusters = [Cluster { balancing: LoadBalancing::RING_HASH, ..ring }];
    let Some(planes) = both(&http(routes), &clusters) else { return };
    for number in 0..12 {
        let (key, user) = (format!("x-key: k{number}"), format!("user=u{}", number * 7));
        let sticky = format!("cookie: other=1; sticky=v{number}; more=2");
        let quoted = format!("cookie: sticky=\"v{number}\"");
        for (path, lines) in [
            ("/cookie".to_owned(), vec![sticky.as_str()]),
            ("/made".to_owned(), vec![quoted.as_str()]),
            (format!("/query?a=b&{user}&user=x"), vec![]),
            ("/source".to_owned(), vec![]),
            (format!("/terminal?{user}"), vec![key.as_str()]),
            (format!("/terminal?{user}"), vec![]),
            (format!("/both?{user}"), vec![key.as_str()]),
            (format!("/both?{user}"), vec![key.as_str(), "x-key: a"]),
            (format!("/path?{user}"), vec![]),
        ] {
            check_equal(&planes, &format!("{path} {lines:?}"), |plane| plane.get(&path, &lines).body);
        }
    }
    for path in ["/made", "/session"] {
        let shape = check_equal(&planes, path, |plane| {
            let answer = plane.get(path, &[]);
            let cookie = answer.header("set-cookie").expect("a cookie is made").to_owned();
            let value = cookie.split('"').nth(1).expect("a quoted value").to_owned();
            let again = plane.get(path, &[&format!("cookie: sticky={value}")]);
            assert_eq!((again.header("set-cookie"), &again.body), (None, &answer.body), "{}", plane.name);
            (cookie.replace(&value, "…"), value.len())
        });
        assert!(shape.0.starts_with("sticky=\"…\""), "{shape:?}");
    }
}

#[test]
fn shares_follow_weights_priorities_and_health() {
    let apps: Vec<App> = (0..4).map(|_| App::start()).collect();
    let weighted = |weights: [u32; 4]| -> Vec<Endpoint> {
        apps.iter().zip(weights).map(|(app, weight)| Endpoint { weight, ..endpoint(app) }).collect()
    };
    let health = |health: [EndpointHealth; 4]| -> Vec<Endpoint> {
        apps.iter().zip(health).map(|(app, health)| Endpoint { health, ..endpoint(app) }).collect()
    };
    use EndpointHealth::{Degraded, Healthy, Unhealthy};
    let least = LoadBalancing::LEAST_REQUEST;
    let scan = LoadBalancing::LeastRequest { choice_count: 2, active_request_bias: 1.0, full_scan: true };
    let panic = |panic_threshold_percent| Placement { panic_threshold_percent, ..Placement::default() };
    let by_place = Placement { locality: LocalityRouting::Weighted, ..Placement::default() };
    let second = LocalityEndpoints { priority: 1, ..group(apps[2..].iter().map(endpoint).collect()) };
    let first = |health: [EndpointHealth; 2]| {
        group(apps.iter().zip(health).map(|(app, health)| Endpoint { health, ..endpoint(app) }).collect())
    };
    let place = |zone: &str, weight, apps: &[App]| LocalityEndpoints {
        locality: Locality { zone: zone.to_owned(), ..Locality::default() },
        weight,
        ..group(apps.iter().map(endpoint).collect())
    };
    let rows: Vec<(Cluster, [f64; 4])> = vec![
        (cluster("rotation", vec![group(weighted([1, 1, 1, 1]))]), [0.25; 4]),
        (cluster("rotation-weighted", vec![group(weighted([1, 2, 3, 4]))]), [0.1, 0.2, 0.3, 0.4]),
        (Cluster { balancing: least, ..cluster("least", vec![group(weighted([1, 1, 1, 1]))]) }, [0.25; 4]),
        (
            Cluster { balancing: least, ..cluster("least-weighted", vec![group(weighted([1, 2, 3, 4]))]) },
            [0.1, 0.2, 0.3, 0.4],
        ),
        (Cluster { balancing: scan, ..cluster("scan", vec![group(weighted([1, 1, 1, 1]))]) }, [0.25; 4]),
        (
            Cluster {
                balancing: LoadBalancing::Random,
                ..cluster("random", vec![group(weighted([1, 9, 1, 1]))])
            },
            [0.25; 4],
        ),
        (cluster("spill", vec![first([Healthy, Unhealthy]), second.clone()]), [0.7, 0.0, 0.15, 0.15]),
        (
            Cluster {
                discovery: Discovery::Static(LoadAssignment {
                    cluster: "factor".to_owned(),
                    localities: vec![first([Healthy, Unhealthy]), second],
                    overprovisioning_percent: Some(100),
                }),
                ..cluster("factor", Vec::new())
            },
            [0.5, 0.0, 0.25, 0.25],
        ),
        (
            cluster("degraded", vec![group(health([Healthy, Degraded, Degraded, Degraded]))]),
            [0.35, 0.65 / 3.0, 0.65 / 3.0, 0.65 / 3.0],
        ),
        (cluster("panic", vec![group(health([Healthy, Unhealthy, Unhealthy, Unhealthy]))]), [0.25; 4]),
        (
            Cluster {
                placement: panic(0.0),
                ..cluster("no-panic", vec![group(health([Healthy, Unhealthy, Unhealthy, Unhealthy]))])
            },
            [1.0, 0.0, 0.0, 0.0],
        ),
        (
            Cluster {
                placement: by_place,
                ..cluster("places", vec![place("a", 1, &apps[..1]), place("b", 3, &apps[1..])])
            },
            [0.25; 4],
        ),
    ];
    let names: Vec<String> = rows.iter().map(|(cluster, _)| format!("/{}/", cluster.name)).collect();
    let routes = names.iter().map(|path| (path.as_str(), to(path.trim_matches('/')))).collect();
    let clusters: Vec<Cluster> = rows.iter().map(|(cluster, _)| cluster.clone()).collect();
    let Some(planes) = both(&http(routes), &clusters) else { return };
    const DRAWS: usize = 200;
    for (path, (_, shares)) in names.iter().zip(&rows) {
        for plane in &planes {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..DRAWS {
                *counts.entry(plane.get(path, &[]).body).or_default() += 1;
            }
            for (app, share) in apps.iter().zip(shares) {
                let found = counts.get(&app.name()).copied().unwrap_or(0) as f64 / DRAWS as f64;
                // Five standard deviations of a draw of so many.
                let margin = 5.0 * (share * (1.0 - share) / DRAWS as f64).sqrt();
                assert!(
                    (found - share).abs() <= margin,
                    "{} {path}: {found} is not {share}, {counts:?}",
                    plane.name
                );
            }
        }
    }
}

#[test]
fn bounds_of_time_are_told_in_the_same_words() {
    let app = App::start();
    let up = cluster("up", vec![group(vec![endpoint(&app)])]);
    let bounded = Cluster {
        stream_duration_max: Some(ms(200)),
        ..cluster("bounded", vec![group(vec![endpoint(&app)])])
    };
    let stream =
        |duration: StreamDuration| Forward { stream_duration: duration, timeout: Some(ms(300)), ..to("up") };
    let none = StreamDuration::default();
    let retry = |policy: RetryPolicy| Forward { retry: Some(policy.into()), ..to("up") };
    let policy = RetryPolicy { on: RetryOn::FIVE_XX, retries_max: 1, ..RetryPolicy::default() };
    let routes = vec![
        ("/timeout", Forward { timeout: Some(ms(200)), ..to("up") }),
        ("/stream", stream(StreamDuration { max: Some(ms(200)), ..none })),
        // Beside a bound of the stream the route's time-out does not count.
        ("/patient", stream(StreamDuration { max: Some(ms(5_000)), ..none })),
        ("/grpc", stream(StreamDuration { grpc_timeout_max: Some(ms(250)), ..none })),
        ("/idle-try", retry(RetryPolicy { per_try_idle_timeout: Some(ms(200)), ..policy.clone() })),
        ("/try", retry(RetryPolicy { per_try_timeout: Some(ms(200)), ..policy })),
        ("/idle", Forward { idle_timeout: Some(ms(200)), ..to("up") }),
        ("/cluster", to("bounded")),
    ];
    let Some(planes) = both(&http(routes), &[up, bounded]) else { return };
    for (line, (path, headers, status)) in [
        ("/timeout/slow", vec![], 504),
        ("/stream/slow", vec![], 504),
        ("/patient/slow", vec![], 200),
        ("/grpc/slow", vec!["grpc-timeout: 150m", "content-type: application/grpc"], 200),
        ("/grpc/slow", vec!["grpc-timeout: 10S"], 504),
        ("/grpc/quick", vec!["grpc-timeout: 10S"], 200),
        ("/idle-try/slow", vec![], 504),
        ("/try/slow", vec![], 504),
        ("/idle/slow", vec![], 504),
        ("/cluster/slow", vec![], 504),
        ("/cluster/quick", vec![], 200),
    ]
    .into_iter()
    .enumerate()
    {
        let (answer, _) = check_equal(&planes, &format!("{path} {headers:?}"), |plane| {
            let answer = plane.get(path, &headers);
            let attempts = answer.header("x-envoy-attempt-count").map(str::to_owned);
            let grpc = answer.header("grpc-status").map(str::to_owned);
            ((answer.status, answer.body, attempts, grpc), plane.log(line + 1))
        });
        assert_eq!(answer.0, status, "{path}");
    }
}

#[test]
fn retries_ask_the_same_questions() {
    let apps: Vec<App> = (0..2).map(|_| App::start()).collect();
    let hosts = || vec![group(apps.iter().map(endpoint).collect())];
    let present = |name: &str| HeaderMatch {
        name: name.to_owned(),
        condition: HeaderCondition::Present,
        invert: false,
    };
    let retry = |policy: RetryPolicy| Forward { retry: Some(policy.into()), ..to("up") };
    let on = |on: RetryOn| RetryPolicy { on, retries_max: 2, ..RetryPolicy::default() };
    let canary = Labels::from([(endpoint::CANARY.to_owned(), Label::Flag(true))]);
    let labelled = Endpoint { labels: canary, ..endpoint(&apps[1]) };
    let second = LocalityEndpoints { priority: 1, ..group(vec![endpoint(&apps[1])]) };
    let routes = vec![
        (
            "/limited",
            retry(RetryPolicy { retriable_request_headers: vec![present("x-safe")], ..on(RetryOn::FIVE_XX) }),
        ),
        (
            "/header",
            retry(RetryPolicy {
                retriable_headers: vec![present("x-again")],
                ..on(RetryOn::RETRIABLE_HEADERS)
            }),
        ),
        ("/5xx", retry(on(RetryOn::FIVE_XX))),
        ("/reset-before", retry(on(RetryOn::RESET_BEFORE_REQUEST))),
        (
            "/canary",
            Forward {
                clusters: vec![WeightedCluster::new("canary", 1)],
                ..retry(RetryPolicy {
                    avoid_canaries: true,
                    host_selection_attempts_max: 50,
                    ..on(RetryOn::FIVE_XX)
                })
            },
        ),
        (
            "/priorities",
            Forward {
                clusters: vec![WeightedCluster::new("priorities", 1)],
                ..retry(RetryPolicy {
                    avoid_priorities_every: Some(1),
                    retries_max: 1,
                    ..on(RetryOn::FIVE_XX)
                })
            },
        ),
        (
            "/budget",
            Forward { clusters: vec![WeightedCluster::new("budget", 1)], ..retry(on(RetryOn::FIVE_XX)) },
        ),
    ];
    let budget = RetryBudget { percent: 0.0, retries_min: 0 };
    let breakers = Thresholds { retry_budget: Some(budget), ..Thresholds::default() };
    let clusters = [
        cluster("up", hosts()),
        cluster("canary", vec![group(vec![endpoint(&apps[0]), labelled])]),
        cluster("priorities", vec![group(vec![endpoint(&apps[0])]), second]),
        Cluster {
            circuit_breakers: CircuitBreakers { default: breakers, high: breakers },
            ..cluster("budget", hosts())
        },
    ];
    let Some(planes) = both(&http(routes), &clusters) else { return };
    for (line, (path, headers, attempts)) in [
        ("/limited/fail", vec![], "1"),
        ("/limited/fail", vec!["x-safe: 1"], "3"),
        ("/header/plain", vec![], "1"),
        ("/5xx/fail", vec![], "3"),
        ("/5xx/close", vec![], "3"),
        ("/reset-before/close", vec![], "1"),
        ("/canary/fail", vec![], "3"),
        ("/priorities/fail", vec![], "2"),
        ("/budget/fail", vec![], "1"),
    ]
    .into_iter()
    .enumerate()
    {
        let seen = check_equal(&planes, &format!("{path} {headers:?}"), |plane| {
            let answer = plane.get(path, &headers);
            (answer.status, answer.header("x-envoy-attempt-count").map(str::to_owned), plane.log(line + 1))
        });
        assert_eq!(seen.1.as_deref(), Some(attempts), "{path}: {seen:?}");
    }
    let last = check_equal(&planes, "who is asked last", |plane| plane.get("/priorities/fail", &[]).body);
    assert_eq!(last, apps[1].name(), "the second priority");
}

#[test]
fn a_hedged_request_is_answered_by_whoever_is_first() {
    let policy = RetryPolicy {
        on: RetryOn::FIVE_XX,
        retries_max: 1,
        per_try_timeout: Some(ms(200)),
        ..RetryPolicy::default()
    };
    let hedged = Forward {
        retry: Some(policy.into()),
        hedge: Some(Hedge { on_per_try_timeout: true }),
        timeout: Some(ms(5_000)),
        ..to("up")
    };
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let Some(planes) = both(&http(vec![("/", hedged)]), &clusters) else { return };
    for plane in &planes {
        let before = app.requests();
        // Every request is slower than a try may be: the second try is the last, and the first answer still counts.
        let answer = plane.get("/slow", &[]);
        let name = plane.name;
        assert_eq!((answer.status, answer.body), (200, app.name()), "{name}");
        assert_eq!(app.requests() - before, 2, "{name}: one beside the other");
        assert_eq!(plane.stat("cluster.up.upstream_rq_retry"), 1, "{name}");
    }
    let line = check_equal(&planes, "the log", |plane| plane.log(1));
    assert_eq!(line, "200 URX via_upstream", "the second try exceeded its bound as well");
}

#[test]
fn hosts_that_break_off_are_ejected_by_the_same_count() {
    let apps: Vec<App> = (0..2).map(|_| App::start()).collect();
    let hosts = vec![group(apps.iter().map(endpoint).collect())];
    let detection = OutlierDetection {
        consecutive_5xx: 0,
        consecutive_gateway_failure: 3,
        enforcing_consecutive_gateway_failure: 100,
        enforcing_consecutive_5xx: 0,
        max_ejection_percent: 50,
        success_rate: SuccessRate { enforcing: 0, ..SuccessRate::default() },
        ..OutlierDetection::default()
    };
    let split = OutlierDetection {
        split_local_origin: true,
        consecutive_local_origin_failure: 2,
        enforcing_consecutive_gateway_failure: 0,
        ..detection
    };
    let clusters = [
        Cluster { outlier_detection: Some(detection), ..cluster("gateway", hosts.clone()) },
        Cluster { outlier_detection: Some(split), ..cluster("split", hosts) },
    ];
    let Some(planes) = both(&http(vec![("/gateway", to("gateway")), ("/split", to("split"))]), &clusters)
    else {
        return;
    };
    for plane in &planes {
        for path in ["/gateway/close", "/split/close"] {
            (0..6).for_each(|_| drop(plane.get(path, &[])));
        }
    }
    for stat in [
        "cluster.gateway.outlier_detection.ejections_enforced_consecutive_gateway_failure",
        "cluster.gateway.outlier_detection.ejections_overflow",
        "cluster.gateway.outlier_detection.ejections_active",
        "cluster.split.outlier_detection.ejections_enforced_consecutive_local_origin_failure",
        "cluster.split.outlier_detection.ejections_detected_consecutive_local_origin_failure",
    ] {
        planes::until(stat, || {
            let [envoy, ours] = planes.each_ref().map(|plane| plane.stat(stat));
            (envoy == ours).then_some(())
        });
    }
    let ejected = check_equal(&planes, "ejections", |plane| {
        plane.stat("cluster.gateway.outlier_detection.ejections_enforced_total")
    });
    assert_eq!(ejected, 1);
}

#[test]
fn a_connection_carries_so_many_requests_and_no_more() {
    let app = App::start();
    let once = Cluster {
        requests_per_connection_max: Some(1),
        ..cluster("once", vec![group(vec![endpoint(&app)])])
    };
    let http = HttpConnection { requests_per_connection_max: Some(2), ..http(vec![("/", to("once"))]) };
    let Some(planes) = both(&http, &[once]) else { return };
    let closes = check_equal(&planes, "which answer closes", |plane| {
        let mut stream = TcpStream::connect(plane.listen).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
        let mut told = Vec::new();
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").expect("open");
            let mut bytes = Vec::new();
            let mut buffer = [0; 1024];
            while planes::parse(&String::from_utf8_lossy(&bytes))
                .is_none_or(|answer| answer.body != app.name())
            {
                let read = stream.read(&mut buffer).expect("an answer");
                assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
                bytes.extend_from_slice(&buffer[..read]);
            }
            let answer = planes::parse(&String::from_utf8_lossy(&bytes)).expect("an answer");
            told.push(answer.header("connection").map(str::to_owned));
        }
        (
            told,
            plane.stat("http.in.downstream_cx_max_requests_reached"),
            plane.stat("cluster.once.upstream_cx_max_requests"),
        )
    });
    assert_eq!(closes, (vec![None, Some("close".to_owned())], 1, 2));
}
