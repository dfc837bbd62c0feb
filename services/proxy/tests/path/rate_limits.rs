//! Limits that a proxy keeps by itself: for all, by descriptor, by connection.

use std::time::Duration;

use selvedge_traffic::filter::{LocalDescriptor, LocalRateLimit};
use selvedge_traffic::rate_limit::{HostRateLimits, RateLimitAction, TokenBucket};
use selvedge_traffic::{FilterEntry, Fraction, HeaderEdit, HttpFilter, RateLimit, Route};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

/// So slow that no test sees it fill.
fn tokens(tokens_max: u32) -> TokenBucket {
    TokenBucket { tokens_max, tokens_per_fill: 1, fill_interval: Duration::from_secs(3600) }
}

fn limit(bucket: Option<TokenBucket>) -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: "lim".into(),
        status: 429,
        bucket,
        descriptors: Vec::new(),
        enabled: Fraction::ALL,
        enforced: Fraction::ALL,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: Vec::new(),
        stage: 0,
        per_connection: false,
        ratelimit_headers: false,
        host_rate_limits: HostRateLimits::Override,
        always_consume_default: true,
        resource_exhausted: false,
        rate_limits: Vec::new(),
        dynamic_descriptors_max: 20,
    }
}

fn mesh(upstream: &Upstream, workers: usize, limit: LocalRateLimit) -> Mesh {
    let mut counted = forward("up");
    counted.rate_limits = vec![RateLimit {
        stage: 0,
        actions: vec![RateLimitAction::RequestHeader {
            header: "x-user".into(),
            key: "user".into(),
            skip_if_absent: false,
        }],
    }];
    let counted = Route { name: "counted".into(), ..route("/counted", counted) };
    let mut http = http(vec![counted, route("/e", forward("up"))]);
    http.filters = vec![FilterEntry {
        name: "limit".into(),
        disabled: false,
        filter: HttpFilter::LocalRateLimit(Box::new(limit)),
    }];
    Mesh::http_on(workers, http, vec![cluster("up", &[upstream.address])])
}

fn statuses(mesh: &Mesh, path: &str, headers: &str, times: usize) -> Vec<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n{headers}\r\n");
    (0..times).map(|_| mesh.ask(&request).status).collect()
}

#[test]
fn workers_share_one_bucket() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, 2, limit(Some(tokens(5))));
    let passed = statuses(&mesh, "/e", "", 20).into_iter().filter(|status| *status == 200).count();
    assert_eq!(passed, 5);
    for (name, value) in [("enabled", 20), ("ok", 5), ("rate_limited", 15), ("enforced", 15)] {
        assert_eq!(mesh.stat(&format!("lim.http_local_rate_limit.{name}")), value, "{name}");
    }
}

#[test]
fn a_refusal_says_so_and_carries_its_headers() {
    let upstream = Upstream::start();
    let edit = HeaderEdit::Append { name: "X-Limited".into(), value: "yes".into() };
    let limit =
        LocalRateLimit { response_headers: vec![edit], ratelimit_headers: true, ..limit(Some(tokens(1))) };
    let mesh = mesh(&upstream, 1, limit);
    let answer = mesh.get("/e");
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, Some("1")));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    let answer = mesh.get("/e");
    assert_eq!((answer.status, answer.body.as_str()), (429, "local_rate_limited"));
    assert_eq!(answer.header("x-limited"), Some("yes"));
    assert_eq!(mesh.log(2)[1], "429 RL local_rate_limited GET /e HTTP/1.1 0 18 0");
}

#[test]
fn a_limit_that_is_not_enforced_marks_requests() {
    let upstream = Upstream::start();
    let edit = HeaderEdit::Append { name: "x-over".into(), value: "1".into() };
    let limit = LocalRateLimit {
        enforced: Fraction::NONE,
        request_headers_when_not_enforced: vec![edit],
        ..limit(Some(tokens(1)))
    };
    let mesh = mesh(&upstream, 1, limit);
    assert!(!mesh.get("/e").body.contains("x-over"));
    assert!(mesh.get("/e").body.contains("x-over: 1"));
    assert_eq!(mesh.stat("lim.http_local_rate_limit.rate_limited"), 1);
    assert_eq!(mesh.stat("lim.http_local_rate_limit.enforced"), 0);
}

#[test]
fn each_connection_has_its_own_where_asked() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream, 1, LocalRateLimit { per_connection: true, ..limit(Some(tokens(2))) });
    for _ in 0..2 {
        let mut client = mesh.connect();
        let statuses = [0; 3].map(|_| client.ask("GET /e HTTP/1.1\r\nhost: h\r\n\r\n").status);
        assert_eq!(statuses, [200, 200, 429]);
    }
}

#[test]
fn users_are_counted_each_for_himself() {
    let upstream = Upstream::start();
    let limit = LocalRateLimit {
        always_consume_default: false,
        descriptors: vec![LocalDescriptor {
            entries: vec![("user".into(), String::new())],
            bucket: tokens(2),
        }],
        ..limit(Some(tokens(100)))
    };
    let mesh = mesh(&upstream, 1, limit);
    for user in ["x-user: a\r\n", "x-user: b\r\n"] {
        assert_eq!(statuses(&mesh, "/counted", user, 3), [200, 200, 429]);
    }
    assert_eq!(statuses(&mesh, "/counted", "", 3), [200; 3], "nobody: the limit for all");
    assert_eq!(statuses(&mesh, "/e", "x-user: a\r\n", 3), [200; 3], "a route without a rate limit");
}
