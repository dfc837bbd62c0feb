//! Local and global rate limits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use selvedge_traffic::filter::{GlobalRateLimit, LocalDescriptor, LocalRateLimit, RequestType};
use selvedge_traffic::rate_limit::{HostRateLimits, RateLimitAction, TokenBucket};
use selvedge_traffic::{FilterEntry, Forward, Fraction, HeaderEdit, HttpFilter, RateLimit};
use selvedge_xds::rpc::rate_limit as rpc;

use crate::mesh::{cluster, forward, http, route};
use crate::planes::Planes;
use crate::service::Service;
use crate::upstream::Upstream;

fn tokens(tokens_max: u32) -> TokenBucket {
    TokenBucket { tokens_max, tokens_per_fill: 1, fill_interval: Duration::from_secs(3600) }
}

fn by_header(header: &str, key: &str) -> RateLimit {
    let action =
        RateLimitAction::RequestHeader { header: header.into(), key: key.into(), skip_if_absent: false };
    RateLimit { stage: 0, actions: vec![action] }
}

fn entry(filter: HttpFilter) -> Vec<FilterEntry> {
    vec![FilterEntry { name: "limit".into(), disabled: false, filter }]
}

fn local() -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: "lim".into(),
        status: 429,
        bucket: Some(tokens(3)),
        descriptors: Vec::new(),
        enabled: Fraction::ALL,
        enforced: Fraction::ALL,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: vec![HeaderEdit::Append { name: "x-why".into(), value: "too many".into() }],
        stage: 0,
        per_connection: false,
        ratelimit_headers: true,
        host_rate_limits: HostRateLimits::Override,
        always_consume_default: true,
        resource_exhausted: false,
        rate_limits: Vec::new(),
        dynamic_descriptors_max: 20,
    }
}

#[test]
fn local_limits_are_envoys() {
    let upstream = Upstream::start();
    let mut http = http(vec![route("/e", forward("up"))]);
    http.filters = entry(HttpFilter::LocalRateLimit(Box::new(local())));
    let planes = Planes::new(&http, &[cluster("up", &[upstream.address])]);
    let statuses = [0; 5].map(|_| planes.get("/e", "").status);
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let grpc = planes.get("/e", "content-type: application/grpc\r\n");
    assert_eq!(grpc.header("grpc-status"), Some("14"));
    assert_eq!(planes.get("/nowhere", "").status, 429);
    assert_eq!(planes.log(7)[3], "429 RL local_rate_limited GET /e HTTP/1.1 0 18 0");
    planes.stats(&[
        ("lim.http_local_rate_limit.enabled", 7),
        ("lim.http_local_rate_limit.ok", 3),
        ("lim.http_local_rate_limit.rate_limited", 4),
        ("lim.http_local_rate_limit.enforced", 4),
    ]);
}

#[test]
fn local_descriptors_are_envoys() {
    let upstream = Upstream::start();
    let limited = Forward {
        rate_limits: vec![by_header("x-user", "user"), by_header("x-path", "path")],
        ..forward("up")
    };
    let mut http = http(vec![route("/e", limited)]);
    let one = |entries: &[(&str, &str)], max| LocalDescriptor {
        entries: entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        bucket: tokens(max),
    };
    let limit = LocalRateLimit {
        bucket: Some(tokens(100)),
        descriptors: vec![one(&[("user", "vip")], 4), one(&[("user", "")], 2), one(&[("path", "slow")], 1)],
        ..local()
    };
    http.filters = entry(HttpFilter::LocalRateLimit(Box::new(limit)));
    let planes = Planes::new(&http, &[cluster("up", &[upstream.address])]);
    for (headers, statuses) in [
        ("x-user: vip\r\n", vec![200, 200, 200, 200, 429]),
        ("x-user: a\r\n", vec![200, 200, 429]),
        ("x-user: b\r\n", vec![200, 200, 429]),
        ("x-path: slow\r\nx-user: c\r\n", vec![200, 429, 429]),
        ("x-path: fast\r\n", vec![200, 200, 200]),
    ] {
        for status in statuses {
            assert_eq!(planes.get("/e", headers).status, status, "{headers:?}");
        }
    }
}

fn global(cluster: &str) -> GlobalRateLimit {
    GlobalRateLimit {
        domain: "d".into(),
        stage: 0,
        request_type: RequestType::Both,
        timeout: Duration::from_secs(5),
        failure_mode_deny: false,
        resource_exhausted: false,
        cluster: cluster.into(),
        authority: String::new(),
        ratelimit_headers: true,
        ratelimited_header: true,
        status: 429,
        status_on_error: 500,
        response_headers: vec![HeaderEdit::Append { name: "x-why".into(), value: "too many".into() }],
        stat_prefix: String::new(),
        enabled: None,
        enforced: None,
    }
}

#[test]
fn the_rate_limit_service_is_asked_as_envoy_asks_it() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let service = Service::grpc(|path, message| {
        assert_eq!(path, rpc::PATH);
        ASKED.fetch_add(1, Ordering::SeqCst);
        let question = rpc::decode_request(message)?;
        assert_eq!(question.domain, "d");
        let user = question.descriptors[0].entries[0].1.clone();
        let over_limit = user == "greedy";
        let limit = |requests, unit| Some(rpc::Limit { name: "per user".into(), requests, unit });
        Some(rpc::encode_answer(&rpc::Answer {
            over_limit,
            statuses: vec![
                rpc::Status {
                    over_limit,
                    limit: limit(10, rpc::Unit::Minute),
                    remaining: u32::from(!over_limit) * 9,
                    reset: Duration::from_secs(30),
                },
                rpc::Status { limit: limit(100, rpc::Unit::Hour), remaining: 50, ..rpc::Status::default() },
            ],
            response_headers: vec![("x-service".into(), "said".into())],
            request_headers: vec![("x-to-up".into(), user)],
            body: if over_limit { b"slow down".to_vec() } else { Vec::new() },
        }))
    });
    let upstream = Upstream::start();
    let limited = Forward { rate_limits: vec![by_header("x-user", "user")], ..forward("up") };
    let mut http = http(vec![route("/e", limited), route("/plain", forward("up"))]);
    http.filters = entry(HttpFilter::GlobalRateLimit(Box::new(global("rls"))));
    let planes = Planes::new(&http, &[cluster("up", &[upstream.address]), service.cluster("rls")]);
    assert_eq!(planes.get("/e", "").status, 200, "nothing to count by");
    assert_eq!(planes.get("/plain", "x-user: greedy\r\n").status, 200);
    assert_eq!(ASKED.load(Ordering::SeqCst), 0);
    let answer = planes.get("/e", "x-user: ann\r\n");
    assert_eq!((answer.status, answer.header("x-service")), (200, Some("said")));
    let answer = planes.get("/e", "x-user: greedy\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (429, "slow down"));
    assert_eq!(planes.log(4)[3], "429 RL request_rate_limited GET /e HTTP/1.1 0 9 0");
    planes.stats(&[("cluster.up.ratelimit.ok", 1), ("cluster.up.ratelimit.over_limit", 1)]);
}

#[test]
fn a_rate_limit_service_that_does_not_answer_is_treated_as_envoy_treats_it() {
    let silent = Service::grpc(|_, _| None);
    for (deny, status, cluster_name) in [(false, 200, "rls"), (true, 500, "rls"), (false, 200, "gone")] {
        let upstream = Upstream::start();
        let limited = Forward { rate_limits: vec![by_header("x-user", "user")], ..forward("up") };
        let mut http = http(vec![route("/e", limited)]);
        let limit = GlobalRateLimit {
            failure_mode_deny: deny,
            timeout: Duration::from_millis(100),
            ..global(cluster_name)
        };
        http.filters = entry(HttpFilter::GlobalRateLimit(Box::new(limit)));
        let planes = Planes::new(&http, &[cluster("up", &[upstream.address]), silent.cluster("rls")]);
        assert_eq!(planes.get("/e", "x-user: ann\r\n").status, status);
        let log = planes.log(1);
        if deny {
            assert_eq!(log[0], "500 RLSE rate_limiter_error GET /e HTTP/1.1 0 0 0");
        }
        planes.stats(&[("cluster.up.ratelimit.error", 1)]);
    }
}
