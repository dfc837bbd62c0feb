//! The harness itself, against a real Envoy on a static configuration: what it observes is what happened.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use selvedge_differential::access_log::{self, Reader};
use selvedge_differential::app::App;
use selvedge_differential::scenario::{self, Answer, Step};
use selvedge_differential::stats::{self, Selection};
use selvedge_differential::{client, envoy, place};
use serde_json::{Value, json};

fn step(value: Value) -> Step {
    serde_json::from_value(value).unwrap()
}

fn bootstrap(admin: u16, listener: u16, app: u16, log: &std::path::Path) -> Value {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let format = access_log::logging(log)["accessLog"]["file"]["format"]["json"].clone();
    let format: serde_json::Map<String, Value> = format
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone()))
        .collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "egress",
        "access_log": [{"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": log, "log_format": {"json_format": format}}}],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
            "match": {"prefix": "/"},
            "route": {"cluster": "cds_app", "retry_policy": {"retry_on": "5xx", "num_retries": 2}}}]}]}
    });
    json!({
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "l", "address": address(listener), "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
            "clusters": [{"name": "cds_app", "type": "STATIC", "load_assignment": {"cluster_name": "cds_app",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(app)}}]}]}}]
        }
    })
}

#[tokio::test]
async fn what_is_observed_is_what_happened() {
    if envoy::binary().is_none() {
        println!("skipped: no Envoy here (cargo xtask test --only setup installs it)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let app = App::start("blue", &scenario::App::default()).await.unwrap();
    let (admin, listener) = (place::free_port().unwrap(), place::free_port().unwrap());
    let path = folder.path().join("bootstrap.json");
    std::fs::write(&path, bootstrap(admin, listener, app.port, &log).to_string()).unwrap();
    let _envoy = envoy::start(&path, &folder.path().join("log")).unwrap();
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for _ in 0..500 {
        if matches!(stats::get(local(admin), "/ready").await, Ok((200, _))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    app.rehearse(&[Answer::Status(503), Answer::Status(503), Answer::Status(200)]);
    let request = step(
        json!({"request": "POST /a?b=c", "to": "svc.local", "body": "hello", "headers": [["x-a", "1"]]}),
    );
    let answers = client::perform(&request, local(listener)).await.unwrap();
    assert_eq!((answers[0].status, answers[0].body.as_str()), (200, "blue"));

    let received = app.received();
    assert_eq!(received.len(), 3);
    assert_eq!((received[2].method.as_str(), received[2].path.as_str()), ("POST", "/a?b=c"));
    assert_eq!((received[2].authority.as_str(), received[2].body.as_str()), ("svc.local", "hello"));
    assert!(received[2].headers.contains(&("x-a".into(), "1".into())));

    let lines = Reader::default().lines(&log, 1).await.unwrap();
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        (&line["status"], &line["attempts"], &line["cluster"]),
        (&json!(200), &json!(3), &json!("cds_app"))
    );

    let stats = stats::read_settled(local(admin), &Selection::new(&[], &[]).unwrap()).await.unwrap();
    assert_eq!(stats["cluster.cds_app.upstream_rq_retry"], 2);
    assert_eq!(stats["http.egress.downstream_rq_2xx"], 1);

    let garbage = step(json!({"raw": "GET / HTTP/1.0\r\n\r\n"}));
    let answers = client::perform(&garbage, local(listener)).await.unwrap();
    assert_eq!((answers[0].status, answers[0].ending.as_str()), (426, "closed"));

    let upgrade = step(json!({"request": "GET /", "to": "svc.local", "speaks": "websocket", "body": "ping"}));
    let answers = client::perform(&upgrade, local(listener)).await.unwrap();
    assert_eq!(answers[0].status, 403, "an upgrade that no route allows is refused");

    let http2 = step(json!({"request": "GET /h2", "to": "svc.local", "speaks": "http2"}));
    let answers = client::perform(&http2, local(listener)).await.unwrap();
    assert_eq!((answers[0].status, answers[0].body.as_str()), (200, "blue"));

    let many = step(json!({"request": "GET /", "to": "svc.local", "times": 60, "parallel": 8}));
    assert_eq!(client::perform(&many, local(listener)).await.unwrap().len(), 60);
}
