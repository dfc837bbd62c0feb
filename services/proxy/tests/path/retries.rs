//! Upstreams that fail, in every way that they can, and what the client hears.

use std::time::Duration;

use selvedge_traffic::{CircuitBreakers, Forward, RetryBackoff, RetryOn, RetryPolicy, Thresholds};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::{Upstream, nobody};

fn policy(on: RetryOn, retries_max: u32) -> RetryPolicy {
    let backoff = RetryBackoff { base: Duration::from_millis(1), max: Duration::from_millis(5) };
    RetryPolicy { on, retries_max, backoff, ..RetryPolicy::default() }
}

fn retrying(retries_max: u32) -> Forward {
    Forward { retry: Some(policy(RetryOn::FIVE_XX, retries_max).into()), ..forward("up") }
}

fn mesh(upstream: &Upstream, forward: Forward) -> Mesh {
    Mesh::http(http(vec![route("/", forward)]), vec![cluster("up", &[upstream.address])])
}

#[test]
fn failures_without_retries() {
    let upstream = Upstream::start();
    let dead = cluster("dead", &[nobody()]);
    let routes = vec![route("/dead", forward("dead")), route("/", forward("up"))];
    let mesh = Mesh::http(http(routes), vec![cluster("up", &[upstream.address]), dead]);
    let before = "upstream connect error or disconnect/reset before headers.";
    let rows = [
        (
            "/dead",
            503,
            format!("{before} reset reason: remote connection failure"),
            "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} GET /dead HTTP/1.1 0 98 1",
        ),
        (
            "/close",
            503,
            format!("{before} reset reason: connection termination"),
            "503 UC upstream_reset_before_response_started{connection_termination} GET /close HTTP/1.1 0 95 1",
        ),
        (
            "/garbage",
            502,
            format!("{before} reset reason: protocol error"),
            "502 UPE upstream_reset_before_response_started{protocol_error} GET /garbage HTTP/1.1 0 87 1",
        ),
    ];
    for (line, (path, status, body, logged)) in rows.iter().enumerate() {
        let answer = mesh.get(path);
        assert_eq!((answer.status, &answer.body), (*status, body), "{path}");
        assert_eq!(mesh.log(line + 1)[line], *logged);
    }
    for (name, value) in [
        ("upstream_cx_connect_fail", 1),
        ("upstream_cx_destroy", 1),
        ("upstream_cx_destroy_remote", 1),
        ("upstream_cx_http1_total", 1),
        ("upstream_cx_total", 1),
        ("upstream_rq_503", 1),
        ("upstream_rq_5xx", 1),
        ("upstream_rq_completed", 1),
        ("upstream_rq_pending_failure_eject", 1),
        ("upstream_rq_pending_total", 1),
        ("upstream_rq_total", 0),
        ("upstream_cx_active", 0),
        ("upstream_rq_pending_active", 0),
    ] {
        mesh.await_stat(&format!("cluster.dead.{name}"), value);
    }
}

#[test]
fn a_response_cut_short_is_cut_short_for_the_client_too() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, forward("up"));
    let mut client = mesh.connect();
    client.send("GET /truncated HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut seen = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut seen);
    assert!(seen.ends_with(b"\r\n\r\nabc"));
    assert_eq!(
        mesh.log(1),
        ["200 UPE upstream_reset_after_response_started{protocol_error} GET /truncated HTTP/1.1 0 3 1"]
    );
}

#[test]
fn retries_hide_failures_until_they_are_used_up() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, retrying(2));
    let answer = mesh.ask("POST /fail-twice HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
    assert_eq!(answer.status, 200);
    assert!(answer.body.ends_with("body"), "the body was sent again");
    assert_eq!(upstream.requests(), 3);
    mesh.await_stat("cluster.up.upstream_rq_retry", 2);
    mesh.await_stat("cluster.up.upstream_rq_retry_success", 1);
    mesh.await_stat("cluster.up.retry.upstream_rq_503", 2);
    let answer = mesh.get("/always-fail");
    assert_eq!((answer.status, answer.body.as_str()), (503, "fail"));
    assert_eq!(upstream.requests(), 6);
    mesh.await_stat("cluster.up.upstream_rq_retry_limit_exceeded", 1);
    assert_eq!(
        mesh.log(2),
        [
            "200 - via_upstream POST /fail-twice HTTP/1.1 4 177 3",
            "503 URX via_upstream GET /always-fail HTTP/1.1 0 4 3",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn a_host_that_refuses_is_tried_again_and_named() {
    let retrying = Forward { retry: Some(policy(RetryOn::CONNECT_FAILURE, 1).into()), ..forward("up") };
    let mesh = Mesh::http(http(vec![route("/", retrying)]), vec![cluster("up", &[nobody()])]);
    let answer = mesh.get("/");
    assert_eq!(
        answer.body,
        "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure"
    );
    assert_eq!(
        mesh.log(1),
        [
            "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} GET / HTTP/1.1 0 121 2"
        ]
    );
}

#[test]
fn time_outs_of_route_and_try() {
    let upstream = Upstream::start();
    let ms = Duration::from_millis;
    let global = Forward { timeout: Some(ms(50)), ..forward("up") };
    let retry = RetryPolicy { per_try_timeout: Some(ms(50)), ..policy(RetryOn::FIVE_XX, 1) };
    let per_try = Forward { retry: Some(retry.into()), ..forward("up") };
    let routes = vec![route("/slow/global", global), route("/slow/try", per_try)];
    let mesh = Mesh::http(http(routes), vec![cluster("up", &[upstream.address])]);
    let answer = mesh.get("/slow/global");
    assert_eq!((answer.status, answer.body.as_str()), (504, "upstream request timeout"));
    let answer = mesh.get("/slow/try");
    assert_eq!((answer.status, answer.body.as_str()), (504, "upstream request timeout"));
    assert_eq!(
        mesh.log(2),
        [
            "504 UT response_timeout GET /slow/global HTTP/1.1 0 24 1",
            "504 URX,UT upstream_per_try_timeout GET /slow/try HTTP/1.1 0 24 2",
        ]
        .map(str::to_owned)
    );
    mesh.await_stat("cluster.up.upstream_rq_timeout", 1);
    mesh.await_stat("cluster.up.upstream_rq_per_try_timeout", 2);
}

#[test]
fn a_stale_connection_is_replaced_without_a_retry_policy() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, forward("up"));
    assert_eq!(mesh.get("/first").status, 200);
    // The second request of this upstream is dropped without an answer.
    assert_eq!(mesh.get("/drop-first").status, 200);
    assert_eq!((upstream.requests(), upstream.connections()), (3, 2));
    mesh.await_stat("cluster.up.upstream_rq_retry", 0);
}

#[test]
fn circuit_breakers_refuse_what_is_too_much() {
    let upstream = Upstream::start();
    let one = Thresholds {
        connections_max: 1,
        pending_requests_max: 1,
        requests_max: 1,
        retries_max: 1,
        ..Thresholds::default()
    };
    let mut limited = cluster("up", &[upstream.address]);
    limited.circuit_breakers = CircuitBreakers { default: one, ..CircuitBreakers::default() };
    let mesh = Mesh::http(http(vec![route("/", forward("up"))]), vec![limited]);
    let mut busy = mesh.connect();
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    mesh.await_stat("cluster.up.upstream_rq_active", 1);
    // One may wait, of the others some find no room; which worker serves whom is the kernel's choice.
    let mut others: Vec<_> = (0..6).map(|_| mesh.connect()).collect();
    others.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(busy.answer(false).status, 200);
    let answers: Vec<_> = others.iter_mut().map(|client| client.answer(false)).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
        assert!(answer.body.ends_with("reset reason: overflow"));
    }
    assert!(
        mesh.log(7)
            .iter()
            .any(|line| line.starts_with("503 UO upstream_reset_before_response_started{overflow}"))
    );
    let overflows = ["upstream_rq_pending_overflow", "upstream_rq_active_overflow"];
    assert!(overflows.iter().any(|name| mesh.stat(&format!("cluster.up.{name}")) > 0));
    mesh.await_stat("cluster.up.upstream_rq_pending_active", 0);
}
