//! Garbage on the proxy's port: an answer, and the connection's end.

use std::time::Duration;

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

fn mesh(upstream: &Upstream) -> Mesh {
    let mut http = http(vec![route("/", forward("up"))]);
    http.websocket = false;
    http.request_headers_timeout = Some(Duration::from_millis(200));
    http.stream_idle_timeout = Some(Duration::from_millis(400));
    Mesh::http(http, vec![cluster("up", &[upstream.address])])
}

#[test]
fn each_fault_gets_its_answer_and_the_worker_goes_on() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let rows: &[(&str, u16, &str, &str)] = &[
        ("GET / HTTP/1.0\r\n\r\n", 426, "Upgrade Required", "426 DPE low_version - - HTTP/1.1 0 16 0"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "", "400 - missing_host_header GET / HTTP/1.1 0 0 0"),
        ("\x16\x03\x01\x02", 400, "Bad Request", "400 DPE http1.codec_error - - HTTP/1.1 0 11 0"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            400,
            "Bad Request",
            "400 DPE http1.duplicate_host - - HTTP/1.1 0 11 0",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            400,
            "Bad Request",
            "400 DPE http1.codec_error POST / HTTP/1.1 0 11 1",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            403,
            "",
            "403 - upgrade_failed GET / HTTP/1.1 0 0 0",
        ),
        (
            "GET / HTTP/1.1\r\nhost",
            408,
            "request header timeout",
            "408 - request_header_timeout - - HTTP/1.1 0 22 0",
        ),
    ];
    for (line, (request, status, body, logged)) in rows.iter().enumerate() {
        let mut client = mesh.connect();
        let answer = client.ask(request);
        assert_eq!((answer.status, answer.body.as_str()), (*status, *body), "{request:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{request:?}");
        assert!(client.is_closed(), "{request:?}");
        assert_eq!(mesh.log(line + 1)[line], *logged, "{request:?}");
    }
    assert_eq!(mesh.get("/").status, 200);
    mesh.await_stat("http.in.downstream_cx_active", 0);
}

#[test]
fn a_body_that_never_comes_is_a_timeout() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let answer = mesh.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (408, "stream timeout"));
    let answer = mesh.get("/slow");
    assert_eq!((answer.status, answer.body.as_str()), (504, "stream timeout"));
    assert_eq!(
        mesh.log(2),
        [
            "408 SI stream_idle_timeout POST / HTTP/1.1 0 14 1",
            "504 SI stream_idle_timeout GET /slow HTTP/1.1 0 14 1",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn a_client_that_goes_away_is_noticed() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut client = mesh.connect();
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    mesh.await_stat("cluster.up.upstream_rq_active", 1);
    drop(client);
    assert_eq!(mesh.log(1), ["0 DC downstream_remote_disconnect GET /slow HTTP/1.1 0 0 1"]);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
}

#[test]
fn two_thousand_mutilated_requests_leave_nothing_behind() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let good = b"POST /a?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: te\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    // A fixed sequence: SplitMix64 from 7.
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
    };
    for _ in 0..2000 {
        let mut bytes = good.to_vec();
        for _ in 0..=next() % 4 {
            let at = next() as usize % bytes.len();
            bytes[at] = next() as u8;
        }
        bytes.truncate(bytes.len() - next() as usize % 20);
        let mut client = mesh.connect();
        let _ = std::io::Write::write_all(&mut client.stream, &bytes);
    }
    mesh.await_stat("http.in.downstream_cx_active", 0);
    mesh.await_stat("http.in.downstream_rq_active", 0);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
    assert_eq!(mesh.get("/").status, 200);
}
