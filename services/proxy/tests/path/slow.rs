//! Clients that take their time, and many of them.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use selvedge_proxy::patience::Patience;

use crate::frames::{self, Connection, flag, frame, kind};
use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn bearing(patience: Patience) -> Mesh {
    let upstream = Upstream::start();
    Mesh::bearing(patience, http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])])
}

/// A gateway in a hurry, so that no test waits for seconds.
fn hurried() -> Mesh {
    let (body_grace, write_stall) = (Duration::from_millis(200), Some(Duration::from_millis(300)));
    bearing(Patience { body_grace, write_stall, ..Patience::with_strangers() })
}

#[test]
fn a_body_that_trickles_in_is_cut_off() {
    let mesh = hurried();
    for head in ["content-length: 100000", "transfer-encoding: chunked"] {
        let mut client = mesh.connect();
        client.send(&format!("POST / HTTP/1.1\r\nhost: h\r\n{head}\r\n\r\n"));
        let mut other = client.stream.try_clone().unwrap();
        let trickle = std::thread::spawn(move || {
            let begin = Instant::now();
            while other.write_all(b"1\r\na\r\n").is_ok() && begin.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let answer = client.answer(false);
        assert_eq!((answer.status, &*answer.body), (408, "request timeout"));
        assert_eq!(answer.header("connection"), Some("close"));
        drop(client);
        trickle.join().unwrap();
    }
    assert_eq!(mesh.stat("http.in.downstream_rq_timeout"), 2);
    mesh.await_stat("http.in.downstream_cx_active", 0);
}

#[test]
fn a_body_that_trickles_in_by_http2_ends_its_stream_alone() {
    let mesh = hurried();
    let mut connection = Connection::open(mesh.address);
    connection.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &frames::post("/")));
    connection.send(&frame(kind::DATA, 0, 1, b"a"));
    assert_eq!(connection.await_kind(kind::HEADERS).unwrap().stream, 1);
    assert_eq!(mesh.stat("http.in.downstream_rq_timeout"), 1);
    connection.send(&frames::request(3, "/"));
    assert_eq!(connection.await_kind(kind::HEADERS).unwrap().stream, 3);
}

#[test]
fn a_stream_of_messages_has_no_rate() {
    let mesh = hurried();
    let mut client = mesh.connect();
    client.send(
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    std::thread::sleep(Duration::from_millis(600));
    client.send("0\r\n\r\n");
    assert_eq!(client.answer(false).status, 200);
}

#[test]
fn neighbours_may_take_their_time() {
    let patience = Patience { body_grace: Duration::ZERO, ..Patience::with_neighbours() };
    let mesh = bearing(patience);
    let mut client = mesh.connect();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\na");
    std::thread::sleep(Duration::from_millis(600));
    client.send("b");
    assert_eq!(client.answer(false).status, 200);
}

#[test]
fn a_client_that_reads_nothing_is_let_go() {
    let mesh = hurried();
    let mut client = mesh.connect();
    client.send("GET /huge HTTP/1.1\r\nhost: h\r\n\r\n");
    mesh.await_stat("http.in.downstream_rq_idle_timeout", 1);
    mesh.await_stat("http.in.downstream_cx_active", 0);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
    // By HTTP/2 the window stays shut.
    let mut connection = Connection::open_with(mesh.address, &[(4, 0)]);
    connection.send(&frames::request(1, "/large"));
    assert!(connection.await_kind(kind::RST_STREAM).is_some());
    mesh.await_stat("http.in.downstream_rq_idle_timeout", 2);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it() {
    let mesh = hurried();
    let mut client = mesh.connect();
    client.send("GET /large HTTP/1.1\r\nhost: h\r\n\r\n");
    let (mut read, mut buffer) = (0, vec![0; 400_000]);
    while read < 3_000_000 {
        std::thread::sleep(Duration::from_millis(100));
        read += client.stream.read(&mut buffer).unwrap();
    }
}

#[test]
fn a_head_that_trickles_in_is_cut_off() {
    let http = selvedge_traffic::HttpConnection {
        request_headers_timeout: Some(Duration::from_millis(200)),
        ..http(vec![route("/", forward("up"))])
    };
    let mesh = Mesh::http(http, vec![cluster("up", &[Upstream::start().address])]);
    let mut client = mesh.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\nx: ");
    let mut other = client.stream.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        let begin = Instant::now();
        while other.write_all(b"x").is_ok() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(client.answer(false).status, 408);
    drop(client);
    trickle.join().unwrap();
    assert_eq!(mesh.stat("http.in.downstream_rq_header_timeout"), 1);
}

#[test]
fn a_terabyte_that_is_announced_takes_no_room() {
    let mesh = bearing(Patience::with_neighbours());
    let mut client = mesh.connect();
    client.send("POST /early HTTP/1.1\r\nhost: h\r\ncontent-length: 1099511627776\r\n\r\nabc");
    let answer = client.answer(false);
    assert_eq!((answer.status, &*answer.body), (200, "early"));
    assert!(client.is_closed(), "the rest is not waited for");
}

#[test]
fn connections_beyond_the_limits_are_closed_at_once() {
    let listener = Patience { listener_connections_max: 3, ..Patience::with_neighbours() };
    let process = Patience { connections_max: 3, ..Patience::with_neighbours() };
    for (patience, stat) in [(listener, "downstream_cx_overflow"), (process, "downstream_global_cx_overflow")]
    {
        let mesh = bearing(patience);
        let mut kept: Vec<_> = (0..3).map(|_| mesh.connect()).collect();
        mesh.await_stat("listener.127.0.0.1_0.downstream_cx_active", 3);
        assert!(mesh.connect().is_closed());
        mesh.await_stat(&format!("listener.127.0.0.1_0.{stat}"), 1);
        assert_eq!(kept[2].ask("GET / HTTP/1.1\r\nhost: h\r\n\r\n").status, 200);
        kept.pop();
        mesh.await_stat("listener.127.0.0.1_0.downstream_cx_active", 2);
        assert_eq!(mesh.get("/").status, 200, "there is room again");
    }
}
