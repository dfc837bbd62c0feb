//! What passes through, and what changes on the way. Heads were compared with those of Envoy 1.40.

use std::time::Duration;

use selvedge_traffic::matching::RouteMatch;
use selvedge_traffic::{
    Action, DirectResponse, HeaderEdit, HostRewrite, PathRewrite, Redirect, Route, WeightedCluster,
};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn mesh(upstream: &Upstream) -> Mesh {
    let rewritten = selvedge_traffic::Forward {
        path_rewrite: Some(PathRewrite::Prefix("/x".into())),
        host_rewrite: Some(HostRewrite::Literal("hh".into())),
        ..forward("up")
    };
    let direct = Action::Respond(DirectResponse { status: 200, body: "direct".into() });
    let redirect =
        Action::Redirect(Redirect { status: 301, scheme: Some("https".into()), ..Redirect::default() });
    let edited = Route {
        request_headers: vec![
            HeaderEdit::Append { name: "X-Added".into(), value: "1".into() },
            HeaderEdit::Remove { name: "x-unwanted".into() },
        ],
        response_headers: vec![HeaderEdit::Overwrite { name: "x-up".into(), value: "2".into() }],
        ..route("/edited", forward("up"))
    };
    let routes = vec![
        route("/rewritten", rewritten),
        Route::new("direct", RouteMatch::prefix("/direct"), direct),
        Route::new("redirect", RouteMatch::prefix("/redirect"), redirect),
        edited,
        route("/gone", forward("unknown")),
        route("/nobody", forward("empty")),
        route("/e", forward("up")),
    ];
    Mesh::http(http(routes), vec![cluster("up", &[upstream.address]), cluster("empty", &[])])
}

/// A request head as the upstream saw it, without the values that are random.
fn seen(body: &str) -> Vec<String> {
    body.lines()
        .take_while(|line| !line.is_empty())
        .map(|line| match line.split_once(": ") {
            Some(("x-request-id", id)) => format!("x-request-id: {}", id.len()),
            _ => line.to_owned(),
        })
        .collect()
}

#[test]
fn a_request_and_its_response_look_as_envoys() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let answer = mesh.ask(
        "GET http://b.c/e HTTP/1.1\r\nhost: a\r\nX-Foo: B\r\nte: trailers\r\nconnection: te, x-foo\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(answer.names(), ["content-length", "x-up", "x-envoy-upstream-service-time", "date", "server"]);
    assert_eq!(answer.header("server"), Some("envoy"));
    assert_eq!(
        seen(&answer.body),
        [
            "GET /e HTTP/1.1",
            "host: b.c",
            "te: trailers",
            "x-forwarded-proto: http",
            "x-request-id: 36",
            "x-envoy-expected-rq-timeout-ms: 15000",
        ]
    );
    let answer = mesh.ask("GET /rewritten/y?q=1 HTTP/1.1\r\nhost: a\r\nUser-Agent: me\r\nx-envoy-retry-on: 5xx\r\nx-envoy-foo: 1\r\nX-Request-Id: abc\r\n\r\n");
    assert_eq!(
        seen(&answer.body),
        [
            "GET /x/y?q=1 HTTP/1.1",
            "host: hh",
            "user-agent: me",
            "x-envoy-foo: 1",
            "x-request-id: 3",
            "x-forwarded-proto: http",
            "x-envoy-expected-rq-timeout-ms: 15000",
            "x-envoy-original-host: a",
            "x-envoy-original-path: /rewritten/y?q=1",
        ]
    );
    assert_eq!(
        mesh.log(2),
        [
            "200 - via_upstream GET /e HTTP/1.1 0 160 1",
            "200 - via_upstream GET /rewritten/y?q=1 HTTP/1.1 0 217 1"
        ]
        .map(str::to_owned)
    );
}

#[test]
fn one_connection_serves_many_requests_on_one_upstream_connection() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut client = mesh.connect();
    for _ in 0..50 {
        assert_eq!(client.ask("GET /e HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    }
    client.send("GET /e/1 HTTP/1.1\r\nhost: a\r\n\r\nGET /e/2 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.answer(false).body.starts_with("GET /e/1 "));
    assert!(client.answer(false).body.starts_with("GET /e/2 "));
    assert_eq!(upstream.connections(), 1);
    assert_eq!(mesh.stat("cluster.up.upstream_cx_total"), 1);
    assert_eq!(mesh.stat("cluster.up.upstream_rq_total"), 52);
    mesh.await_stat("cluster.up.upstream_rq_200", 52);
    mesh.await_stat("http.in.downstream_rq_2xx", 52);
    assert_eq!(mesh.stat("http.in.downstream_cx_total"), 1);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
    mesh.await_stat("http.in.downstream_rq_active", 0);
}

#[test]
fn bodies_of_every_size_and_framing_pass_both_ways() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut client = mesh.connect();
    for size in [1usize, 100, 20_000, 300_000] {
        let body = "b".repeat(size);
        let answer =
            client.ask(&format!("POST /e HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{body}"));
        assert!(answer.body.ends_with(&format!("\r\n\r\n{body}")), "content-length {size}");
        let answer = client.ask(&format!(
            "POST /e HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
        ));
        assert!(answer.body.ends_with(&format!("\r\n\r\n{body}")), "chunked {size}");
        assert!(answer.body.contains("transfer-encoding: chunked\r\n"));
    }
    let answer = client.ask("GET /e/large HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(answer.body.len(), 3_000_000);
    assert_eq!(client.ask("GET /e HTTP/1.1\r\nhost: a\r\n\r\n").status, 200, "the connection is still good");
}

#[test]
fn responses_keep_their_meaning() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let head = |answer: &crate::mesh::Answer| answer.names().join(" ");
    let answer = mesh.get("/e/empty");
    assert_eq!((answer.status, head(&answer)), (204, "x-envoy-upstream-service-time date server".into()));
    let answer = mesh.get("/e/http10");
    assert_eq!((answer.body.as_str(), answer.header("transfer-encoding")), ("ten", Some("chunked")));
    let answer = mesh.get("/e/trailers");
    assert_eq!((answer.body.as_str(), answer.header("transfer-encoding")), ("abc", Some("chunked")));
    assert_eq!(mesh.get("/e/interim").status, 200);
    let mut client = mesh.connect();
    let answer = client.ask("HEAD /e HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(answer.header("content-length").is_some() && answer.body.is_empty());
    let mut client = mesh.connect();
    let answer = client.ask("GET /e HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn the_proxys_own_answers() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let answer = mesh.get("/direct");
    assert_eq!((answer.status, answer.body.as_str()), (200, "direct"));
    assert_eq!(answer.names(), ["content-length", "content-type", "date", "server"]);
    let answer = mesh.get("/redirect?a=b");
    assert_eq!((answer.status, answer.header("location")), (301, Some("https://h/redirect?a=b")));
    let answer = mesh.get("/nowhere");
    assert_eq!((answer.status, answer.names()), (404, vec!["date", "server", "content-length"]));
    assert_eq!((mesh.get("/gone").status, mesh.get("/gone").body.as_str()), (503, ""));
    let answer = mesh.get("/nobody");
    assert_eq!((answer.status, answer.body.as_str()), (503, "no healthy upstream"));
    let grpc =
        "POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 3\r\n\r\nabc";
    let answer = mesh.ask(grpc);
    assert_eq!(
        answer.names(),
        ["content-type", "grpc-status", "date", "server", "connection", "content-length"]
    );
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("12")));
    assert_eq!(
        mesh.log(7),
        [
            "200 - direct_response GET /direct HTTP/1.1 0 6 0",
            "301 - direct_response GET /redirect?a=b HTTP/1.1 0 0 0",
            "404 NR route_not_found GET /nowhere HTTP/1.1 0 0 0",
            "503 NC cluster_not_found GET /gone HTTP/1.1 0 0 0",
            "503 NC cluster_not_found GET /gone HTTP/1.1 0 0 0",
            "503 UH no_healthy_upstream GET /nobody HTTP/1.1 0 19 1",
            "200 NR route_not_found POST /nowhere HTTP/1.1 0 0 0",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn routes_edit_headers() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let answer = mesh.ask("GET /edited HTTP/1.1\r\nhost: a\r\nx-unwanted: 1\r\n\r\n");
    assert!(answer.body.contains("x-added: 1\r\n") && !answer.body.contains("x-unwanted"));
    assert_eq!(answer.header("x-up"), Some("2"));
}

#[test]
fn weights_split_the_traffic() {
    let (a, b) = (Upstream::start(), Upstream::start());
    let weighted = |name: &str, weight| WeightedCluster::new(name, weight);
    let split = selvedge_traffic::Forward::to(vec![weighted("a", 80), weighted("b", 20)]);
    let clusters = vec![cluster("a", &[a.address]), cluster("b", &[b.address])];
    let mesh = Mesh::http_on(2, http(vec![route("/", split)]), clusters);
    let mut client = mesh.connect();
    for _ in 0..1000 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    }
    // Five standard deviations around 800: sqrt(1000 · 0.8 · 0.2) = 12.6.
    assert!((737..=863).contains(&a.requests()), "{} of 1000", a.requests());
    assert_eq!(a.requests() + b.requests(), 1000);
}

#[test]
fn the_proxy_answers_100_continue_itself() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut client = mesh.connect();
    client.send("POST /e HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer(false).status, 100);
    client.send("abc");
    let answer = client.answer(false);
    assert!(answer.body.ends_with("abc") && !answer.body.contains("100-continue"));
}

#[test]
fn an_answer_before_the_end_of_the_request_closes_the_connection() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut client = mesh.connect();
    client.send("POST /e/early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc");
    let answer = client.answer(false);
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("early", Some("close")));
    assert!(client.is_closed());
}

#[test]
fn a_route_change_needs_no_new_connection() {
    let upstream = Upstream::start();
    let routes = |prefix: &str| {
        let mut http = http(vec![route(prefix, forward("up"))]);
        http.access_logs.clear();
        http
    };
    let mesh = Mesh::http(routes("/old"), vec![cluster("up", &[upstream.address])]);
    assert_eq!(mesh.get("/new").status, 404);
    let listener = crate::mesh::listener(selvedge_traffic::Network::Http(Box::new(routes("/new"))));
    mesh.config.send_replace(crate::mesh::snapshot(listener));
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while mesh.get("/new").status != 200 {
        assert!(std::time::Instant::now() < until, "the new route is not served on the same socket");
    }
}
