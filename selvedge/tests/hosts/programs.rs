//! Programs that know nothing of a mesh, through two sidecars.

use serde_json::json;

use crate::mesh::{Mesh, Plane, envoy, python};
use crate::network::{Family, Host};
use crate::servers::{self, GRPC_PORT, HTTP_PORT, MYSQL_PORT, POSTGRES_PORT, REDIS_PORT, SMTP_PORT};

/// Every service with its port and protocol.
const SERVICES: [(&str, u16, &str); 6] = [
    ("web.mesh", HTTP_PORT, "http"),
    ("echo.mesh", GRPC_PORT, "grpc"),
    ("postgres.mesh", POSTGRES_PORT, "tcp"),
    ("redis.mesh", REDIS_PORT, "tcp"),
    ("mysql.mesh", MYSQL_PORT, "tcp"),
    ("smtp.mesh", SMTP_PORT, "tcp"),
];

const GRPC_CLIENT: &str = r#"
import grpc
channel = grpc.insecure_channel("echo.mesh:50051")
say = channel.unary_unary("/test.Echo/Say")
for index in range(20):
    answer = say(b"%d" % index, timeout=30, wait_for_ready=True)
    assert answer == b"echo %d" % index, answer
print("ok")
"#;

/// The time that a client of SMTP waits for its greeting shows whether the sidecar waited for it.
const SMTP_CLIENT: &str = r#"
import smtplib, time
begun = time.monotonic()
with smtplib.SMTP("smtp.mesh", 2525, local_hostname="client", timeout=30) as client:
    client.sendmail("a@example.com", ["b@example.com"], "Subject: s\r\n\r\nhello")
print("ok %d" % (1000 * (time.monotonic() - begun)))
"#;

/// A client that hears no greeting would wait for as long as a sidecar waits for its first bytes.
const GREETING_MILLIS_MAX: u64 = 5000;

/// One host calls every service on another.
fn story(family: Family, backend: &str, caller: Plane, called: Plane) {
    let Some(python) = python() else { return };
    if [caller, called].contains(&Plane::Envoy) && envoy().is_none() {
        return;
    }
    let preference = match family {
        Family::V4 => json!({}),
        Family::V6 => json!({"serviceDiscovery": {"ipPreference": "IPv6_PREFERRED"}}),
    };
    let Some(mesh) = Mesh::start(family, preference) else { return };
    let names = SERVICES.map(|(name, ..)| name);
    mesh.node("servers", &SERVICES.map(|(_, port, protocol)| (port, protocol)), &[]);
    // A service on a node with several listeners is one on each of its ports: one node for each is clearer.
    for (name, port, protocol) in SERVICES {
        let spec = json!({"listeners": [{"portMapping": {"port": port, "protocol": protocol}}]});
        let router = name.replace('.', "-");
        mesh.make("create-virtual-router", json!({"virtualRouterName": router, "spec": spec}));
        let target = json!({"weightedTargets": [{"virtualNode": "servers", "weight": 1, "port": port}]});
        let route = match protocol {
            "http" => json!({"httpRoute": {"match": {"prefix": "/"}, "action": target}}),
            "grpc" => json!({"grpcRoute": {"match": {}, "action": target}}),
            _ => json!({"tcpRoute": {"action": target}}),
        };
        mesh.make("create-route", json!({"virtualRouterName": router, "routeName": "all", "spec": route}));
        let provider = json!({"provider": {"virtualRouter": {"virtualRouterName": router}}});
        mesh.make("create-virtual-service", json!({"virtualServiceName": name, "spec": provider}));
    }
    mesh.node("client", &[], &names);
    let (client, server) = (mesh.host(11, &names), mesh.host(12, &[]));
    let _servers = [
        servers::http(&mesh, &server),
        servers::grpc(&mesh, &server),
        servers::redis(&mesh, &server),
        servers::postgres(&mesh, &server),
        servers::mariadb(&mesh, &server),
        servers::smtp(&mesh, &server),
    ];
    let ports: Vec<String> = SERVICES.iter().map(|(_, port, _)| port.to_string()).collect();
    mesh.redirect(&server, backend, &ports.join(","));
    mesh.redirect(&client, backend, "");
    let _sidecars = [mesh.sidecar(called, &server, "servers"), mesh.sidecar(caller, &client, "client")];
    http(&client, family, &mesh);
    assert_eq!(client.succeeds(&[&python, "-c", GRPC_CLIENT]).trim(), "ok");
    redis(&client);
    postgres(&client);
    greeted(&client, &python);
    passed_both(&client, &server, called);
}

fn http(client: &Host, family: Family, mesh: &Mesh) {
    let version = if family == Family::V6 { "-6" } else { "-4" };
    for _ in 0..10 {
        let words = ["curl", "-sS", version, "--retry", "5", "--retry-all-errors", "http://web.mesh:8080/x"];
        let answer = client.succeeds(&words);
        // The server sees the sidecar beside it, not the host that called.
        let beside = if family == Family::V6 { "::1" } else { "::ffff:127.0.0.1" };
        assert_eq!(answer, format!("hello /x from {beside}\n"));
    }
    let _ = mesh;
}

fn redis(client: &Host) {
    let call = |words: &[&str]| client.succeeds(&[&["redis-cli", "-h", "redis.mesh"], words].concat());
    assert_eq!(call(&["set", "key", "value"]).trim(), "OK");
    assert_eq!(call(&["get", "key"]).trim(), "value");
}

fn postgres(client: &Host) {
    let ask = |sql: &str| {
        client.succeeds(&["psql", "-h", "postgres.mesh", "-U", "postgres", "-qAtc", sql]).trim().to_owned()
    };
    ask("create table t (n int); insert into t select generate_series(1, 10000)");
    assert_eq!(ask("select sum(n) from t"), "50005000");
}

/// Servers that speak first: the client waits for their greeting, and the sidecar must not wait for the client.
fn greeted(client: &Host, python: &str) {
    let words =
        ["mariadb", "--no-defaults", "-h", "mysql.mesh", "-uroot", "--skip-ssl", "-NBe", "select 6 * 7"];
    let begun = std::time::Instant::now();
    assert_eq!(client.succeeds(&words).trim(), "42");
    let took = begun.elapsed().as_millis() as u64;
    assert!(took < GREETING_MILLIS_MAX, "the greeting of MySQL took {took} ms");
    let answer = client.succeeds(&[python, "-c", SMTP_CLIENT]);
    let took = answer.trim().strip_prefix("ok ").and_then(|millis| millis.parse::<u64>().ok());
    assert!(took.is_some_and(|took| took < GREETING_MILLIS_MAX), "{answer}");
}

/// Both sidecars have counted connections: nothing went by them.
fn passed_both(client: &Host, server: &Host, called: Plane) {
    let stats = |host: &Host| {
        host.succeeds(&["curl", "-sS", "http://127.0.0.1:9901/stats?filter=downstream_cx_total"])
    };
    let count = |stats: &str, start: &str| -> u64 {
        let lines = stats.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit_once(": ")?.1.trim().parse::<u64>().ok()).sum()
    };
    let (out, back) = (stats(client), stats(server));
    assert!(count(&out, "http.egress.") >= 11 && count(&out, "tcp.egress.") >= 6, "{out}");
    let ingress = count(&back, "http.ingress.") + count(&back, "tcp.ingress.");
    assert!(ingress >= 8, "{called:?}: {back}");
}

fn apart(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(test).join().expect("the test");
}

#[test]
fn programs_that_know_nothing_of_a_mesh_over_ipv4_and_nftables() {
    apart(|| story(Family::V4, "nft", Plane::Own, Plane::Own));
}

#[test]
fn programs_that_know_nothing_of_a_mesh_over_ipv4_and_iptables() {
    apart(|| story(Family::V4, "iptables", Plane::Own, Plane::Own));
}

#[test]
fn programs_that_know_nothing_of_a_mesh_over_ipv6_and_nftables() {
    apart(|| story(Family::V6, "nft", Plane::Own, Plane::Own));
}

#[test]
fn programs_that_know_nothing_of_a_mesh_over_ipv6_and_iptables() {
    apart(|| story(Family::V6, "iptables", Plane::Own, Plane::Own));
}

#[test]
fn programs_that_know_nothing_of_a_mesh_from_envoy_to_ours() {
    apart(|| story(Family::V4, "nft", Plane::Envoy, Plane::Own));
}

#[test]
fn programs_that_know_nothing_of_a_mesh_from_ours_to_envoy() {
    apart(|| story(Family::V6, "nft", Plane::Own, Plane::Envoy));
}
