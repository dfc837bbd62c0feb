//! What is under way on connections whose configuration has gone: it has the drain time, and is cut off then.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use selvedge_traffic::*;

use crate::planes::{Plane, both_draining, listener, until};
use crate::{cluster, endpoint_at, group, http, to};

const DRAIN_TIME: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// An application that never finishes what it has begun.
fn holds() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || hold(stream));
        }
    });
    address
}

fn hold(mut stream: TcpStream) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let answer = match &*String::from_utf8_lossy(&head) {
        head if head.starts_with("GET /tunnel ") => {
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        }
        head if head.starts_with("GET /begun ") => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun",
        head if head.starts_with("GET /at-once ") => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        _ => "",
    };
    stream.write_all(answer.as_bytes()).ok()?;
    stream.read_to_end(&mut Vec::new()).ok().map(drop)
}

/// A request on a connection of its own, and what has come when `so_far` has.
fn ask(plane: &Plane, path: &str, lines: &str, so_far: &str) -> TcpStream {
    let mut stream = TcpStream::connect(plane.listen).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).expect("open");
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(so_far.as_bytes()) {
        stream.read_exact(&mut byte).expect("more");
        read.push(byte[0]);
    }
    stream
}

/// As [`ask`] for what never ends, by HTTP/2, once its answer has begun; whether the stream has broken off when it is over.
fn ask_http2(plane: &Plane) -> std::thread::JoinHandle<bool> {
    let address = plane.listen;
    let (begun, begins) = std::sync::mpsc::channel();
    let asking = async move {
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("open");
        let request = ::http::Request::get("http://h/begun").body(()).expect("a request");
        let (response, _) = client.send_request(request, true).expect("open");
        let mut body = response.await.expect("an answer").into_body();
        begun.send(()).expect("somebody waits");
        loop {
            match body.data().await {
                Some(Ok(data)) => drop(body.flow_control().release_capacity(data.len())),
                Some(Err(_)) => return true,
                None => return false,
            }
        }
    };
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let bounded = async { tokio::time::timeout(PATIENCE, asking).await };
        runtime.block_on(bounded).expect("an end in time")
    });
    begins.recv_timeout(PATIENCE).expect("an answer");
    asked
}

/// How the connection ends.
fn end(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    format!("{:?} {:?}", ended.map_err(|error| error.kind()), String::from_utf8_lossy(&rest))
}

#[test]
fn what_is_under_way_is_cut_off_when_its_chain_has_gone_for_long_enough() {
    let manager = HttpConnection { websocket: true, ..http(vec![("/", to("up"))]) };
    let before = listener(Network::Http(Box::new(manager)));
    let up = cluster("up", vec![group(vec![endpoint_at(holds())])]);
    let Some(mut planes) = both_draining(&[before], &[up], DRAIN_TIME) else { return };
    let told = planes.each_mut().map(|plane| {
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
        let under_way = [
            ask(plane, "/begun", "", "begun"),
            ask(plane, "/tunnel", upgrade, "\r\n\r\n"),
            ask(plane, "/waits", "", ""),
        ];
        let streamed = ask_http2(plane);
        let idle = ask(plane, "/at-once", "", "\r\n\r\n");
        until("all are under way", || (plane.stat("http.in.downstream_rq_active") == 4).then_some(()));
        let begun = Instant::now();
        plane.change_listener(0, |listener| {
            let chain = listener.default_chain.as_mut().expect("it has one");
            let Network::Http(manager) = &mut chain.network else { unreachable!("it is HTTP") };
            manager.server_name = Some("another".to_owned());
        });
        let broken_off = streamed.join().expect("no panic");
        assert!(broken_off, "{}: the stream by HTTP/2", plane.name);
        let ends = under_way.map(end);
        let after = begun.elapsed();
        let idle = end(idle);
        assert!(after >= DRAIN_TIME - Duration::from_millis(100), "{}: {after:?}", plane.name);
        let mut log = plane.lines("access.log", 5);
        log.sort();
        (ends, idle, log)
    });
    assert_eq!(told[0], told[1], "Envoy left, ours right");
}
