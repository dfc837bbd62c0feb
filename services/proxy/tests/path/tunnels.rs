//! Bytes that nobody interprets: WebSockets and TCP.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use selvedge_traffic::{TcpProxy, WeightedCluster};

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::{Upstream, nobody};

const UPGRADE: &str =
    "HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";

#[test]
fn a_websocket_carries_both_ways() {
    let upstream = Upstream::start();
    let mesh = Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    let mut client = mesh.connect();
    let answer = client.ask(&format!("GET /websocket {UPGRADE}"));
    assert_eq!(answer.status, 101);
    assert_eq!((answer.header("upgrade"), answer.header("connection")), (Some("websocket"), Some("upgrade")));
    for size in [1usize, 1000, 200_000] {
        let mut sender = client.stream.try_clone().unwrap();
        let thread = std::thread::spawn(move || sender.write_all(&vec![b'w'; size]).unwrap());
        assert_eq!(client.bytes(size), vec![b'w'; size]);
        thread.join().unwrap();
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    assert_eq!(mesh.log(1), ["101 DC downstream_remote_disconnect GET /websocket HTTP/1.1 201001 201001 1"]);
    mesh.await_stat("http.in.downstream_cx_upgrades_active", 0);
}

#[test]
fn an_upstream_that_does_not_upgrade_answers_and_the_connection_ends() {
    let upstream = Upstream::start();
    let mesh = Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    let mut client = mesh.connect();
    let answer = client.ask(&format!("GET /plain {UPGRADE}"));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(client.is_closed());
    assert!(mesh.log(1)[0].starts_with("200 - websocket_handshake_unsuccessful GET /plain"));
}

fn tcp(cluster: &str) -> TcpProxy {
    TcpProxy::to("tcp", vec![WeightedCluster::new(cluster, 1)])
}

#[test]
fn tcp_is_relayed_and_counted() {
    let upstream = Upstream::start();
    let mesh = Mesh::tcp(tcp("up"), vec![cluster("up", &[upstream.address])]);
    let answer = mesh.get("/anything");
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("GET /anything HTTP/1.1\r\nhost: h\r\n\r\n"), "nothing was changed");
    let line = &mesh.log(1)[0];
    assert!(line.starts_with("- 35 ") && line.ends_with(" up"), "{line}");
    mesh.await_stat("tcp.tcp.downstream_cx_total", 1);
    mesh.await_stat("tcp.tcp.downstream_cx_rx_bytes_total", 35);
    mesh.await_stat("cluster.up.upstream_cx_active", 0);
}

#[test]
fn tcp_without_a_host_is_reset() {
    let mesh = Mesh::tcp(tcp("dead"), vec![cluster("dead", &[nobody()])]);
    // The reset may come before the client has looked at its own connection: then already connecting fails.
    let told = TcpStream::connect(mesh.address).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        std::io::Read::read(&mut stream, &mut [0])
    });
    let error = told.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(mesh.log(1), ["UF,URX 0 0 dead"]);
}
