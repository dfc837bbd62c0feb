//! The rows of `core/http/tests/framing/requests.txt` through the real Envoy: where the list says that both proxies agree
//! they do, and where it says that they do not, Envoy does what the list says.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use selvedge_differential::{app::App, envoy, place, scenario, stats};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "../../../core/http/tests/framing/cases.rs"]
mod cases;

use cases::Outcome;

/// As our control plane configures listeners, with nothing that is beside the point.
fn bootstrap(admin: u16, listener: u16, app: u16) -> Value {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in", "normalize_path": true, "merge_slashes": true,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
            "match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]}
    });
    json!({
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "l", "address": address(listener), "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
            "clusters": [{"name": "app", "type": "STATIC", "load_assignment": {"cluster_name": "app",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(app)}}]}]}}]
        }
    })
}

/// The status of the first answer; `None` if none came.
async fn ask(address: SocketAddr, bytes: Vec<u8>) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // The answer to a head that is too long may come before all of it is sent.
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n") && stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {}
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

#[tokio::test]
async fn envoy_does_what_the_list_says() {
    if envoy::binary().is_none() {
        println!("skipped: no Envoy here (cargo xtask test --only setup installs it)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let app = App::start("app", &scenario::App::default()).await.unwrap();
    let (admin, listener) = (place::free_port().unwrap(), place::free_port().unwrap());
    let path = folder.path().join("bootstrap.json");
    std::fs::write(&path, bootstrap(admin, listener, app.port).to_string()).unwrap();
    let _envoy = envoy::start(&path, &folder.path().join("log")).unwrap();
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for _ in 0..1000 {
        if matches!(stats::get(local(admin), "/ready").await, Ok((200, _))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut asked = tokio::task::JoinSet::new();
    for case in cases::all() {
        asked.spawn(async move {
            let status = ask(local(listener), case.bytes.clone()).await;
            (case, status)
        });
    }
    let (mut wrong, mut passed) = (Vec::new(), 0);
    for (case, status) in asked.join_all().await {
        let found = match status {
            Some(200) => Outcome::Pass,
            Some(status) => Outcome::Refused(status),
            None => Outcome::Waits,
        };
        passed += usize::from(case.envoy == Outcome::Pass);
        if found != case.envoy {
            wrong.push((case.line, format!("line {}: {found:?} and not {:?}", case.line, case.envoy)));
        }
    }
    wrong.sort();
    let wrong: Vec<String> = wrong.into_iter().map(|(_, text)| text).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Envoy lets a request through before it has seen its last chunks.
    assert!(app.received().len() >= passed);
}
