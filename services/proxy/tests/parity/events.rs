//! What happens to hosts, and where it is told: the event logs of ejections and of health checks, and ejections by rates.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use selvedge_traffic::*;
use serde_json::Value;

use crate::apps::{App, Raw};
use crate::planes::{Plane, both, until};
use crate::{cluster, endpoint, group, http, ms, to};

/// A line without what differs from run to run.
fn comparable(line: &str) -> BTreeMap<String, Value> {
    let mut event: BTreeMap<String, Value> = serde_json::from_str(line).expect("JSON");
    assert!(event.remove("timestamp").is_some(), "{line}");
    if let Some(since) = event.get_mut("secs_since_last_action") {
        *since = Value::Null;
    }
    event
}

/// A return does not say from what: that of the host that failed in a row is looked for.
fn is(event: &BTreeMap<String, Value>, kind: &str, action: &str) -> bool {
    let returned = action == "UNEJECT";
    event["type"] == kind && event["action"] == action && (!returned || event["cluster_name"] == "row")
}

fn events(plane: &Plane, file: &str, lines: usize) -> Vec<BTreeMap<String, Value>> {
    plane.lines(file, lines).iter().map(|line| comparable(line)).collect()
}

#[test]
fn ejections_by_rows_and_rates_are_told_in_the_same_words() {
    let apps: Vec<App> = (0..3).map(|_| App::start()).collect();
    let detection = OutlierDetection {
        consecutive_5xx: 0,
        enforcing_consecutive_5xx: 0,
        consecutive_gateway_failure: 0,
        enforcing_consecutive_gateway_failure: 0,
        interval: ms(500),
        base_ejection_time: ms(600),
        max_ejection_percent: 40,
        success_rate: SuccessRate { enforcing: 0, ..SuccessRate::default() },
        ..OutlierDetection::default()
    };
    let row = OutlierDetection { consecutive_5xx: 3, enforcing_consecutive_5xx: 100, ..detection };
    let rate = OutlierDetection {
        success_rate: SuccessRate {
            enforcing: 100,
            hosts_min: 3,
            requests_min: 5,
            deviation_factor: 1000,
            ..SuccessRate::default()
        },
        ..detection
    };
    let failures = OutlierDetection {
        failure_percentage: FailurePercentage {
            enforcing: 100,
            threshold: 60,
            hosts_min: 2,
            requests_min: 5,
            ..FailurePercentage::default()
        },
        ..detection
    };
    // One host fails whatever it is asked; the others answer.
    let failing = Raw::start(|bytes| {
        let whole = bytes.ends_with(b"\r\n\r\n");
        whole.then(|| b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let bad = Endpoint::new(Address::Socket(failing.address));
    let hosts = || vec![group(apps[..2].iter().map(endpoint).chain([bad.clone()]).collect())];
    let clusters = [
        Cluster { outlier_detection: Some(row), ..cluster("row", hosts()) },
        Cluster { outlier_detection: Some(rate), ..cluster("rate", hosts()) },
        Cluster { outlier_detection: Some(failures), ..cluster("percent", hosts()) },
    ];
    let routes = vec![("/row", to("row")), ("/rate", to("rate")), ("/percent", to("percent"))];
    let Some(planes) = both(&http(routes), &clusters) else { return };
    let mut told = Vec::new();
    for plane in &planes {
        for name in ["row", "rate", "percent"] {
            let ejected = format!("cluster.{name}.outlier_detection.ejections_enforced_total");
            // Enough for every host in whichever interval it falls; more would be ejected again.
            until(&format!("{}: {ejected}", plane.name), || {
                (0..30).for_each(|_| drop(plane.get(&format!("/{name}"), &[])));
                (plane.stat(&ejected) >= 1).then_some(())
            });
        }
        let events = until("an ejection of each sort and a return", || {
            let events = events(plane, "outlier.log", 1);
            let has = |kind: &str, action: &str| events.iter().any(|event| is(event, kind, action));
            let all = has("CONSECUTIVE_5XX", "EJECT")
                && has("SUCCESS_RATE", "EJECT")
                && has("FAILURE_PERCENTAGE", "EJECT")
                && has("CONSECUTIVE_5XX", "UNEJECT");
            all.then_some(events)
        });
        for event in &events {
            assert_eq!(event["upstream_url"], failing.address.to_string(), "{}: {event:?}", plane.name);
        }
        let first = |kind: &str, action: &str| {
            let event = events.iter().find(|event| is(event, kind, action));
            let mut event = event.expect("asked above").clone();
            // How well the others did in that interval is chance; that they were compared is not.
            if let Some(Value::Object(rates)) = event.get_mut("eject_success_rate_event") {
                assert_eq!(rates["host_success_rate"], 0);
                rates.values_mut().for_each(|rate| *rate = Value::Null);
            }
            event
        };
        told.push([
            first("CONSECUTIVE_5XX", "EJECT"),
            first("SUCCESS_RATE", "EJECT"),
            first("FAILURE_PERCENTAGE", "EJECT"),
            first("CONSECUTIVE_5XX", "UNEJECT"),
        ]);
    }
    assert_eq!(told[0], told[1]);
}

/// An application that is well or is not, as the test says.
fn patient(well: Arc<AtomicBool>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let well = Arc::clone(&well);
            std::thread::spawn(move || {
                let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
                while let Ok(read @ 1..) = std::io::Read::read(&mut stream, &mut buffer) {
                    bytes.extend_from_slice(&buffer[..read]);
                    if bytes.ends_with(b"\r\n\r\n") {
                        bytes.clear();
                        let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 No" };
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                        if std::io::Write::write_all(&mut stream, answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[test]
fn health_checks_tell_what_they_found() {
    let [well, ill] = [true, false].map(|well| patient(Arc::new(AtomicBool::new(well))));
    let absent = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let check = |name: &str, probe| HealthCheck {
        interval: ms(100),
        pace: HealthPace::default(),
        timeout: ms(5_000),
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        port: None,
        probe,
        log: HealthLog {
            paths: vec![folder.path().join(name).display().to_string()],
            failures: false,
            successes: false,
        },
    };
    let http_probe = || HealthProbe::Http {
        path: "/".to_owned(),
        host: String::new(),
        http2: false,
        statuses: Vec::new(),
    };
    let of = |name: &str, address, probe| {
        let locality = Locality { region: "r".to_owned(), zone: "z".to_owned(), sub_zone: String::new() };
        let place = LocalityEndpoints { locality, ..group(vec![Endpoint::new(Address::Socket(address))]) };
        Cluster { health_checks: vec![check(name, probe)], ..cluster(name, vec![place]) }
    };
    // Nobody calls them: each is probed once within the test.
    let clusters = [
        of("well", well, http_probe()),
        of("ill", ill, http_probe()),
        of("absent", absent, HealthProbe::Tcp),
    ];
    let Some(_planes) = both(&http(vec![("/", to("well"))]), &clusters) else { return };
    let rows = [
        ("well", vec!["add_healthy_event"]),
        ("ill", vec!["health_check_failure_event"]),
        ("absent", vec!["health_check_failure_event"]),
    ];
    for (name, members) in rows {
        // Both write into one file, whole lines each: every event stands there twice.
        let told = until(&format!("both tell of {name}"), || {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
            let told: Vec<_> = text.lines().map(comparable).collect();
            (told.len() == 2 * members.len()).then_some(told)
        });
        for member in members {
            let pair: Vec<_> = told.iter().filter(|event| event.contains_key(member)).collect();
            assert_eq!(pair.len(), 2, "{name}: {told:?}");
            assert_eq!(pair[0], pair[1], "{name}");
        }
    }
}

#[test]
fn breakers_with_states_are_seen_and_a_real_envoy_passes_over_them() {
    let well = Arc::new(AtomicBool::new(false));
    let address = patient(Arc::clone(&well));
    let rule = BreakerConfig {
        failures_in_a_row: 2,
        failure_percent: 0,
        open_time: ms(700),
        ..BreakerConfig::default()
    };
    let of = |name: &str, policy| Cluster {
        breaker: Some(policy),
        ..cluster(name, vec![group(vec![Endpoint::new(Address::Socket(address))])])
    };
    let clusters = [
        of("service", BreakerPolicy { endpoint: None, cluster: Some(rule) }),
        of("endpoint", BreakerPolicy { endpoint: Some(rule), cluster: None }),
    ];
    let routes = vec![("/service", to("service")), ("/endpoint", to("endpoint"))];
    let Some([envoy, ours]) = both(&http(routes), &clusters) else { return };
    let shown =
        |line: &str| until(line, || ours.admin("/clusters").lines().any(|it| it == line).then_some(()));
    let rows = [
        ("service", "service::breaker".to_owned(), "cluster"),
        ("endpoint", format!("endpoint::{address}::breaker"), "endpoint"),
    ];
    for (name, line, scope) in rows {
        let path = format!("/{name}");
        let gauge = |state: &str| {
            let several = if scope == "endpoint" { "endpoints" } else { "cluster" };
            ours.stat(&format!("cluster.{name}.breaker.{several}_{state}"))
        };
        shown(&format!("{line}::closed"));
        well.store(false, Ordering::SeqCst);
        (0..2).for_each(|_| assert_eq!(ours.get(&path, &[]).status, 503));
        shown(&format!("{line}::open"));
        assert_eq!((gauge("open"), ours.stat(&format!("cluster.{name}.breaker.{scope}_opened"))), (1, 1));
        let refused = ours.get(&path, &[]);
        assert_eq!((refused.status, refused.body.as_str()), (503, "circuit breaker open"));
        assert_eq!(ours.stat(&format!("cluster.{name}.breaker.rejected")), 1);
        shown(&format!("{line}::half_open"));
        well.store(true, Ordering::SeqCst);
        assert_eq!(ours.get(&path, &[]).status, 200, "the probe");
        shown(&format!("{line}::closed"));
        assert_eq!((gauge("open"), gauge("half_open")), (0, 0));
        assert_eq!(envoy.get(&path, &[]).status, 200, "it takes the same cluster");
    }
}
