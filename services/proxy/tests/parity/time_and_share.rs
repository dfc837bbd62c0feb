//! What takes time or is a share, in a real Envoy and in ours: waits that a host asks for, hosts that are new, connections that
//! are old, copies of a part of the requests, tries that go elsewhere.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use selvedge_traffic::retry::{RateLimitedBackoff, ResetFormat, ResetHeader};
use selvedge_traffic::*;

use crate::apps::{App, Raw};
use crate::planes::{Plane, both, until};
use crate::{check_equal, cluster, endpoint, group, http, ms, to};

fn retried(cluster: &str, policy: RetryPolicy) -> Forward {
    Forward { retry: Some(policy.into()), ..to(cluster) }
}

#[test]
fn a_host_that_says_when_to_come_again_is_given_that_time() {
    /// Requests so far: the first of each plane is refused.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let limited = Raw::start(|bytes| {
        bytes.ends_with(b"\r\n\r\n").then(|| match ASKED.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => b"HTTP/1.1 503 No\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        })
    });
    let reset = ResetHeader { name: "retry-after".to_owned(), format: ResetFormat::Seconds };
    let policy = RetryPolicy {
        on: RetryOn::FIVE_XX,
        retries_max: 1,
        rate_limited_backoff: Some(RateLimitedBackoff {
            reset_headers: vec![reset],
            interval_max: Duration::from_secs(10),
        }),
        ..RetryPolicy::default()
    };
    let clusters = [cluster("up", vec![group(vec![Endpoint::new(Address::Socket(limited.address))])])];
    let Some(planes) = both(&http(vec![("/", retried("up", policy))]), &clusters) else { return };
    let seen = check_equal(&planes, "the wait", |plane| {
        let begun = Instant::now();
        let answer = plane.get("/", &[]);
        // Between what was asked for and half as much again.
        let waited = begun.elapsed() >= Duration::from_secs(1);
        let counts = ["ratelimited", "exponential"]
            .map(|kind| plane.stat(&format!("cluster.up.upstream_rq_retry_backoff_{kind}")));
        (answer.status, waited, counts)
    });
    assert_eq!(seen, (200, true, [1, 0]));
}

#[test]
fn a_part_of_the_requests_is_copied() {
    let (app, shadows) = (App::start(), [App::start(), App::start()]);
    let share = |numerator| Mirror {
        cluster: "shadow".to_owned(),
        share: Fraction { numerator, denominator: fraction::Denominator::Hundred },
        keeps_host: false,
    };
    let mirrored = |numerator| Forward { mirrors: vec![share(numerator)], ..to("up") };
    let routes = vec![("/half", mirrored(50)), ("/none", mirrored(0))];
    let planes: Vec<Plane> = {
        let mut planes = Vec::new();
        for (at, shadow) in shadows.iter().enumerate() {
            let clusters = [
                cluster("up", vec![group(vec![endpoint(&app)])]),
                cluster("shadow", vec![group(vec![endpoint(shadow)])]),
            ];
            let Some(pair) = both(&http(routes.clone()), &clusters) else { return };
            planes.extend(pair.into_iter().skip(at).take(1));
        }
        planes
    };
    for (plane, shadow) in planes.iter().zip(&shadows) {
        (0..20).for_each(|_| assert_eq!(plane.get("/none", &[]).status, 200));
        (0..200).for_each(|_| assert_eq!(plane.get("/half", &[]).status, 200));
        // Copies arrive after the answers: whatever was begun has come when the cluster has nothing under way.
        until("copies have ended", || (plane.stat("cluster.shadow.upstream_rq_active") == 0).then_some(()));
        // Five standard deviations of 200 draws.
        let copied = shadow.requests();
        assert!((65..=135).contains(&copied), "{}: {copied} of 200", plane.name);
    }
}

#[test]
fn a_try_after_a_failure_goes_to_another_host() {
    let app = App::start();
    let failing = Raw::start(|bytes| {
        let whole = bytes.ends_with(b"\r\n\r\n");
        whole.then(|| b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let policy = RetryPolicy {
        on: RetryOn::FIVE_XX,
        retries_max: 1,
        avoid_previous_hosts: true,
        host_selection_attempts_max: 50,
        ..RetryPolicy::default()
    };
    let hosts = vec![group(vec![endpoint(&app), Endpoint::new(Address::Socket(failing.address))])];
    let clusters = [Cluster { balancing: LoadBalancing::Random, ..cluster("up", hosts) }];
    let Some(planes) = both(&http(vec![("/", retried("up", policy))]), &clusters) else { return };
    for plane in &planes {
        for _ in 0..30 {
            let answer = plane.get("/", &[]);
            assert_eq!(answer.status, 200, "{}: {:?}", plane.name, answer.head);
        }
        let retries = plane.stat("cluster.up.upstream_rq_retry");
        assert!(retries > 0, "{}: chance led to the failing host at least once", plane.name);
    }
}

#[test]
fn a_host_that_is_new_gets_little_at_first() {
    const WINDOW: Duration = Duration::from_secs(5);
    let apps = [App::start(), App::start()];
    let warming = Cluster {
        placement: Placement { slow_start: Some(SlowStart::over(WINDOW)), ..Placement::default() },
        discovery: Discovery::Eds { service_name: "up".to_owned() },
        ..cluster("up", Vec::new())
    };
    let assignment = |apps: &[App]| LoadAssignment {
        cluster: "up".to_owned(),
        localities: vec![group(apps.iter().map(endpoint).collect())],
        ..LoadAssignment::default()
    };
    let Some(mut planes) = both(&http(vec![("/", to("up"))]), &[warming]) else { return };
    for plane in &mut planes {
        plane.publish_endpoints(assignment(&apps[..1]));
        until("the first host serves", || (plane.get("/", &[]).status == 200).then_some(()));
    }
    // The first host is new as well; what it gets is compared once it is not.
    std::thread::sleep(WINDOW);
    for plane in &mut planes {
        plane.publish_endpoints(assignment(&apps));
        until("the second host is known", || (plane.stat("cluster.up.membership_total") == 2).then_some(()));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        (0..60).for_each(|_| *counts.entry(plane.get("/", &[]).body).or_default() += 1);
        let new = counts.get(&apps[1].name()).copied().unwrap_or(0);
        assert!(new < 20, "{}: {new} of 60 within a moment", plane.name);
    }
    std::thread::sleep(WINDOW);
    for plane in &planes {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        (0..60).for_each(|_| *counts.entry(plane.get("/", &[]).body).or_default() += 1);
        let new = counts.get(&apps[1].name()).copied().unwrap_or(0);
        assert!((20..=40).contains(&new), "{}: {new} of 60 in the end", plane.name);
    }
}

#[test]
fn a_connection_that_is_too_old_is_ended() {
    let app = App::start();
    let http = HttpConnection {
        connection_duration_max: Some(ms(400)),
        drain_timeout: Some(ms(100)),
        ..http(vec![("/", to("up"))])
    };
    let up = Cluster {
        connection_duration_max: Some(ms(300)),
        ..cluster("up", vec![group(vec![endpoint(&app)])])
    };
    let Some(planes) = both(&http, &[up]) else { return };
    let seen = check_equal(&planes, "an old connection", |plane| {
        let mut stream = TcpStream::connect(plane.listen).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").expect("open");
        let begun = Instant::now();
        let mut bytes = Vec::new();
        // It is answered, and then closed although nobody asked for it.
        stream.read_to_end(&mut bytes).expect("the end");
        let in_time = begun.elapsed() >= Duration::from_millis(350);
        until("the connection to the host has ended too", || {
            (plane.stat("cluster.up.upstream_cx_max_duration_reached") == 1).then_some(())
        });
        let reached = plane.stat("http.in.downstream_cx_max_duration_reached");
        (String::from_utf8_lossy(&bytes).starts_with("HTTP/1.1 200"), in_time, reached)
    });
    assert_eq!(seen, (true, true, 1));
}
