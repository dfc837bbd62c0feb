//! Peers that mean harm, or are gone without a word.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Request;
use selvedge_traffic::matching::PathMatch;
use selvedge_traffic::matching::header::Pattern;
use selvedge_traffic::{CircuitBreakers, Codec, Forward, HttpConnection, Thresholds};
use selvedge_wire::drain::DrainState;
use tokio::net::TcpStream;

use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

/// An upstream that answers each connection's first request with `answer`, whatever was asked, and stays.
fn saying(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
            open.push(stream);
        }
    });
    address
}

fn to(upstream: SocketAddr) -> Mesh {
    with(http(vec![route("/", forward("up"))]), upstream)
}

fn with(http: HttpConnection, upstream: SocketAddr) -> Mesh {
    Mesh::http(http, vec![cluster("up", &[upstream])])
}

async fn connect(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn a_change_of_protocol_that_nobody_asked_for_is_the_upstreams_fault() {
    let mesh =
        to(saying("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"));
    let mut client = mesh.connect();
    let answer = client.ask("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(mesh.stat("cluster.up.upstream_cx_protocol_error"), 1);
    mesh.await_stat("cluster.up.upstream_cx_active", 0);
}

#[test]
fn what_was_meant_for_a_tunnel_is_no_request_when_there_is_none() {
    let mesh = to(crate::upstream::nobody());
    let mut client = mesh.connect();
    let answer = client.ask(
        "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\
         GET /early HTTP/1.1\r\nhost: h\r\n\r\n",
    );
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert!(client.is_closed());
    assert_eq!(mesh.stat("http.in.downstream_rq_total"), 1);
}

#[test]
fn no_route_is_one_for_tunnels() {
    let upstream = Upstream::start();
    let mut all = route("/", forward("up"));
    all.matches.path = PathMatch::Regex(Pattern::new(".*").unwrap());
    let mesh = with(http(vec![all]), upstream.address);
    assert_eq!(mesh.get("/").status, 200);
    let mut client = mesh.connect();
    assert_eq!(client.ask("CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\nearly").status, 404);
    assert!(client.is_closed());
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn what_follows_a_response_ends_the_connection_it_came_on() {
    let mesh = to(saying(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    ));
    let mut client = mesh.connect();
    for _ in 0..3 {
        let answer = client.ask("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!((answer.status, &*answer.body), (200, "ok"));
    }
    assert_eq!(mesh.stat("cluster.up.upstream_cx_total"), 3);
}

#[test]
fn no_client_is_told_of_a_body_that_cannot_come() {
    let mesh = to(saying("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"));
    let answer = mesh.get("/");
    assert_eq!((answer.status, answer.header("content-length")), (204, None));
    let mesh = to(saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"));
    assert_eq!(mesh.ask("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n").status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lengths_of_one_http2_request_reach_nobody() {
    let upstream = Upstream::start();
    let mesh = tokio::task::block_in_place(|| to(upstream.address));
    let mut client = connect(mesh.address).await;
    let request = Request::post("http://h/").header("content-length", "5").header("content-length", "6");
    let (response, mut send) = client.send_request(request.body(()).unwrap(), false).unwrap();
    send.send_data(Bytes::from_static(b"hello"), true).unwrap();
    // Whether the codec or the proxy says so.
    if let Ok(response) = response.await {
        assert_eq!(response.status(), 400);
    }
    assert_eq!(upstream.requests(), 0);
    tokio::task::block_in_place(|| drop(mesh));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_of_nothing_is_not_sent_along_with_chunks() {
    let upstream = Upstream::start();
    let mesh = tokio::task::block_in_place(|| to(upstream.address));
    let mut client = connect(mesh.address).await;
    let request = Request::post("http://h/").header("content-length", "0").body(()).unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    send.send_data(Bytes::new(), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = response.into_body().data().await.unwrap().unwrap();
    let seen = String::from_utf8_lossy(&seen);
    // Which of them depends on whether the end has come by then.
    assert!(
        seen.contains("content-length: 0\r\n") != seen.contains("transfer-encoding: chunked\r\n"),
        "{seen}"
    );
    tokio::task::block_in_place(|| drop(mesh));
}

#[test]
fn an_http2_host_that_no_authority_can_be_is_refused() {
    let upstream = Upstream::start();
    let mesh = to(upstream.address);
    let mut client = mesh.connect().stream;
    // GET / with `host: h x` in place of `:authority`.
    let fields = b"\x82\x86\x84\x0f\x17\x03h x";
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    client.write_all(&[0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1]).unwrap();
    client.write_all(fields).unwrap();
    mesh.await_stat("http.in.downstream_rq_completed", 1);
    assert_eq!((mesh.stat("http.in.downstream_rq_4xx"), upstream.requests()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_back_most_of_its_requests_is_sent_away() {
    let upstream = Upstream::start();
    let mesh = tokio::task::block_in_place(|| to(upstream.address));
    let mut client = connect(mesh.address).await;
    let mut asked = 0;
    'flood: for _ in 0..12 {
        let mut streams = Vec::new();
        for _ in 0..50 {
            let Ok(mut ready) = client.clone().ready().await else { break 'flood };
            let request = Request::get("http://h/slow").body(()).unwrap();
            let Ok((_, send)) = ready.send_request(request, true) else { break 'flood };
            streams.push(send);
            asked += 1;
        }
        // Only what the proxy has begun to serve counts here: the codec itself counts the rest.
        let until = Instant::now() + Duration::from_secs(5);
        while mesh.stat("http.in.downstream_rq_total") < asked && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        streams.iter_mut().for_each(|send| send.send_reset(Reason::CANCEL));
    }
    let gone = tokio::time::timeout(Duration::from_secs(5), async {
        while client.clone().ready().await.is_ok() && client.send_request(Request::new(()), true).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    gone.await.expect("the connection is ended");
    mesh.await_stat("http.in.downstream_rq_too_many_premature_resets", 1);
    assert!(asked <= 350, "{asked} were served");
    mesh.await_stat("http.in.downstream_rq_active", 0);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
    mesh.await_stat("http.in.downstream_cx_active", 0);
    tokio::task::block_in_place(|| drop(mesh));
}

#[test]
fn a_client_that_never_begins_http2_is_let_go() {
    let idle_timeout = Some(Duration::from_millis(100));
    let http = HttpConnection { codec: Codec::Http2, idle_timeout, ..http(vec![route("/", forward("up"))]) };
    let mesh = with(http, Upstream::start().address);
    mesh.connect().stream.read_to_end(&mut Vec::new()).expect("the proxy closes");
    mesh.await_stat("http.in.downstream_cx_active", 0);
}

#[test]
fn a_client_that_does_not_hear_a_goaway_is_let_go() {
    let short = Some(Duration::from_millis(100));
    let http =
        HttpConnection { idle_timeout: short, drain_timeout: short, ..http(vec![route("/", forward("up"))]) };
    let mesh = with(http, Upstream::start().address);
    let mut client = mesh.connect().stream;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // Settings, GOAWAY and PING come; none of them is answered.
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("the proxy closes");
    mesh.await_stat("http.in.downstream_cx_active", 0);
}

#[test]
fn a_client_that_has_said_nothing_does_not_hold_up_a_drain() {
    let mut mesh = to(Upstream::start().address);
    let _silent = mesh.connect();
    mesh.await_stat("listener.127.0.0.1_0.downstream_cx_active", 1);
    let (begin, ms) = (Instant::now(), Duration::from_millis);
    mesh.drain.send_replace(DrainState::begin(begin, ms(50), ms(20_000)).into());
    mesh.runtime.block_on(mesh.serving.ended());
    assert!(begin.elapsed() < Duration::from_secs(10), "nothing was left to wait for");
}

#[test]
fn a_body_that_waits_for_a_connection_is_read_and_its_time_runs() {
    let one = Thresholds {
        connections_max: 1,
        pending_requests_max: 8,
        requests_max: 8,
        retries_max: 1,
        ..Thresholds::default()
    };
    let timeout = Some(Duration::from_millis(300));
    let routes = vec![route("/slow", forward("up")), route("/", Forward { timeout, ..forward("up") })];
    let cluster = selvedge_traffic::Cluster {
        circuit_breakers: CircuitBreakers { default: one, ..CircuitBreakers::default() },
        ..cluster("up", &[saying("HTTP/1.1 100 Continue\r\n\r\n")])
    };
    let mesh = Mesh::http(http(routes), vec![cluster]);
    let mut busy = mesh.connect();
    busy.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n");
    mesh.await_stat("cluster.up.upstream_rq_active", 1);
    let mut waiting = mesh.connect();
    let answer = waiting.ask("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(answer.status, 504);
    let mut gone = mesh.connect();
    gone.send("POST /slow HTTP/1.1\r\nhost: h\r\ncontent-length: 50000\r\n\r\nhello");
    mesh.await_stat("cluster.up.upstream_rq_pending_active", 1);
    drop(gone);
    mesh.await_stat("cluster.up.upstream_rq_pending_active", 0);
}
