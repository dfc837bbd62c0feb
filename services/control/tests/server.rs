//! The server on a socket: both HTTPs and gRPC on one port, strangers who dawdle, and a drain that loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use selvedge_control::api::{Api, Extension, Hosts, Readiness, System};
use selvedge_control::operations::Settings;
use selvedge_control::server::{CALLS_MAX, CALLS_WAITING_MAX, STREAMS_MAX, Server, listen};
use selvedge_store::memory::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;

/// Answers when it is let go, or fails at once.
struct Slow {
    /// Calls that have come.
    calls: Arc<AtomicUsize>,
    is_let_go: Arc<AtomicBool>,
}

impl Extension for Slow {
    fn path(&self) -> &str {
        "slow"
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        assert_ne!(request.uri().query(), Some("fails"), "the call fails, as it was asked to");
        self.calls.fetch_add(1, Ordering::SeqCst);
        while !self.is_let_go.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Response::new(Bytes::from("at last"))
    }
}

struct Running {
    address: SocketAddr,
    drain: watch::Sender<bool>,
    server: JoinHandle<()>,
    calls: Arc<AtomicUsize>,
    is_let_go: Arc<AtomicBool>,
}

async fn start(grpc: Option<Routes>, deadline: Duration) -> Running {
    let (calls, is_let_go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let store = Arc::new(Memory::new());
    let api = Api::new(store, Settings::default(), Arc::new(System), Readiness::default(), Hosts::default())
        .with_extension(Slow { calls: Arc::clone(&calls), is_let_go: Arc::clone(&is_let_go) });
    let listener = listen(([127, 0, 0, 1], 0).into()).expect("loopback has a port");
    let address = listener.local_addr().expect("a bound socket");
    let (drain, is_draining) = watch::channel(false);
    let server = tokio::spawn(Server::new(Arc::new(api), grpc).run(listener, is_draining, deadline));
    Running { address, drain, server, calls, is_let_go }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server listens")
    }

    /// One request on a connection of its own, which the server closes after its answer.
    async fn send(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the server closes");
        answer
    }
}

const CREATE: &str = "PUT /v20190125/meshes HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 16\r\n\r\n{\"meshName\":\"m\"}";

#[tokio::test]
async fn both_http_versions_and_grpc_share_a_port() {
    let running = start(Some(Routes::default()), Duration::from_secs(5)).await;
    let answer = running.send(CREATE).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-amzn-requestid: "), "{answer}");

    let io = TokioIo::new(running.connect().await);
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let uri = |path: &str| format!("http://{}{path}", running.address);
    let request = Request::get(uri("/v20190125/meshes/m")).body(Full::<Bytes>::default()).expect("a request");
    let response = http2.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert!(body.starts_with(br#"{"meshName":"m""#));

    let request = Request::post(uri("/some.Service/Method")).header("content-type", "application/grpc");
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    let response = http2.send_request(request).await.expect("an answer");
    // 12 is UNIMPLEMENTED: gRPC's own answer, not the API's.
    assert_eq!(response.headers().get("grpc-status").map(|status| status.as_bytes()), Some(&b"12"[..]));
}

#[tokio::test]
async fn a_web_page_reaches_nothing_behind_the_socket() {
    let running = start(Some(Routes::default()), Duration::from_secs(5)).await;
    for (method, content_type) in
        [("GET", "text/plain"), ("POST", "application/json"), ("POST", "application/grpc")]
    {
        let answer = running
            .send(&format!(
                "{method} /v20190125/meshes HTTP/1.1\r\nhost: localhost\r\norigin: http://page.example\r\n\
                 content-type: {content_type}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{content_type}: {answer}");
    }
    let io = TokioIo::new(running.connect().await);
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::post(format!("http://{}/some.Service/Method", running.address))
        .header("content-type", "application/grpc")
        .header("origin", "http://page.example");
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    let response = http2.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_request_says_one_host() {
    let running = start(None, Duration::from_secs(5)).await;
    for (hosts, status) in [
        ("host: localhost\r\n", "200"),
        ("", "400"),
        ("host: localhost\r\nhost: localhost\r\n", "400"),
        ("host: page.example\r\n", "421"),
        ("host: caf\u{e9}\r\n", "421"),
    ] {
        let answer = running
            .send(&format!("GET /v20190125/meshes HTTP/1.1\r\n{hosts}connection: close\r\n\r\n"))
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{hosts:?}: {answer}");
    }
}

#[tokio::test]
async fn an_oversized_body_is_refused_before_it_arrives_whole() {
    let running = start(None, Duration::from_secs(5)).await;
    let head = "PUT /v20190125/meshes HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 99999999\r\n\r\n";
    let answer = running.send(head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("x-amzn-errortype: RequestEntityTooLargeException"), "{answer}");
}

#[tokio::test]
async fn half_a_request_keeps_nobody_else_waiting() {
    let running = start(None, Duration::from_secs(5)).await;
    let mut dawdlers = Vec::new();
    for half in
        ["PUT /v2019", "PUT /v20190125/meshes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 16\r\n\r\n{"]
    {
        let mut stream = running.connect().await;
        stream.write_all(half.as_bytes()).await.expect("the server reads");
        dawdlers.push(stream);
    }
    let answer = running.send(CREATE).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let running = start(None, Duration::from_secs(30)).await;
    let mut idle = running.connect().await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /selvedge/v1/slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("the server reads");
    while running.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    running.drain.send_replace(true);
    // An idle connection ends at once.
    assert_eq!(idle.read(&mut [0]).await.expect("the server closes"), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
    running.is_let_go.store(true, Ordering::SeqCst);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the server answers and closes");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("at last"), "{answer}");
    running.server.await.expect("the server ends");
}

#[tokio::test]
async fn a_drain_waits_no_longer_than_its_deadline() {
    let running = start(None, Duration::from_millis(50)).await;
    let mut stream = running.connect().await;
    let half = b"PUT /v20190125/meshes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 16\r\n\r\n{";
    stream.write_all(half).await.expect("the server reads");
    running.drain.send_replace(true);
    running.server.await.expect("the server ends");
}

#[tokio::test]
async fn more_calls_than_may_wait_are_told_to_come_back() {
    let running = start(None, Duration::from_secs(5)).await;
    let mut clients = Vec::new();
    // One connection has only so many streams, so several are needed to have too many calls at a time.
    let calls = CALLS_MAX + CALLS_WAITING_MAX + 1;
    for _ in 0..calls.div_ceil(usize::try_from(STREAMS_MAX).expect("a small number")) {
        let io = TokioIo::new(running.connect().await);
        let (client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        tokio::spawn(connection);
        clients.push(client);
    }
    let uri = format!("http://{}/selvedge/v1/slow", running.address);
    let mut answers = tokio::task::JoinSet::new();
    for index in 0..calls {
        let request = Request::get(uri.as_str()).body(Full::<Bytes>::default()).expect("a request");
        let client = index % clients.len();
        answers.spawn(clients[client].send_request(request));
    }
    let refused =
        answers.join_next().await.expect("an answer").expect("no panic").expect("no broken connection");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["x-amzn-errortype"], "TooManyRequestsException");
    running.is_let_go.store(true, Ordering::SeqCst);
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.expect("no panic").expect("no broken connection").status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn callers_that_hang_up_free_no_place_that_their_calls_still_take() {
    let running = start(None, Duration::from_secs(5)).await;
    let request = b"GET /selvedge/v1/slow HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for call in 1..=CALLS_MAX {
        let mut stream = running.connect().await;
        stream.write_all(request).await.expect("the server reads");
        while running.calls.load(Ordering::SeqCst) < call {
            tokio::task::yield_now().await;
        }
    }
    let mut stream = running.connect().await;
    stream.write_all(request).await.expect("the server reads");
    let early = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut [0])).await.is_ok();
    let calls = running.calls.load(Ordering::SeqCst);
    // Before anything can fail: the runtime does not end before the calls do.
    running.is_let_go.store(true, Ordering::SeqCst);
    assert_eq!((calls, early), (CALLS_MAX, false), "one more waits its turn");
    assert_eq!(stream.read(&mut [0]).await.expect("an answer"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_that_is_alone_keeps_nobody_from_being_served() {
    let running = start(None, Duration::from_secs(5)).await;
    let mut slow = running.connect().await;
    slow.write_all(b"GET /selvedge/v1/slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("the server reads");
    while running.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The only worker is in that call.
    let answer = tokio::time::timeout(Duration::from_secs(5), running.send(CREATE)).await;
    running.is_let_go.store(true, Ordering::SeqCst);
    assert!(answer.expect("an answer in time").starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(slow.read(&mut [0]).await.expect("an answer"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_that_panics_is_answered_and_the_next_one_is_served() {
    let running = start(None, Duration::from_secs(5)).await;
    let fails = "GET /selvedge/v1/slow?fails HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for _ in 0..2 {
        let answer = running.send(fails).await;
        assert!(
            answer.starts_with("HTTP/1.1 500 ") && answer.contains("InternalServerErrorException"),
            "{answer}"
        );
    }
    assert!(running.send(CREATE).await.starts_with("HTTP/1.1 200 OK\r\n"));
}
