//! Upstreams that lie: what they say wrongly is theirs alone. The client gets 502 or sees that something is missing, and
//! no later request travels on that connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use selvedge_traffic::HttpProtocol;

use crate::frames::{field, fields, flag, frame, kind, settings};
use crate::mesh::{Mesh, cluster, forward, http, route};

/// An upstream that says the same on every connection once it is asked, and waits.
fn saying(answer: Vec<u8>, hangs_up: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                if await_request(&mut stream).is_some() && stream.write_all(&answer).is_ok() && !hangs_up {
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
        }
    });
    address
}

/// Waits for a request by HTTP/1, or for HEADERS by HTTP/2.
fn await_request(stream: &mut TcpStream) -> Option<()> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&buffer[..read]);
        if !seen.starts_with(b"PRI") {
            if seen.windows(4).any(|end| end == b"\r\n\r\n") {
                return Some(());
            }
            continue;
        }
        let mut asked = false;
        selvedge_http::h2::frames::Frames::after(24)
            .feed(&seen, |frame| asked |= frame.kind == kind::HEADERS);
        if asked {
            return Some(());
        }
    }
}

/// What the client sees: a status, and whether the answer ended as it should.
fn asked(mesh: &Mesh) -> (u16, bool) {
    let mut stream = mesh.connect().stream;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let whole = match length {
        Some(length) => body.len() == length,
        None => body.ends_with("0\r\n\r\n") || status == 204,
    };
    assert!(!text.contains("smuggled"), "{text}");
    (status, whole)
}

/// What an upstream does, says, whether it then hangs up, and the status that comes of it and whether it ends whole.
type Row = (&'static str, Vec<u8>, bool, (u16, bool));

/// Asks twice, and expects the same on two connections.
fn check(protocol: HttpProtocol, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (what, answer, hangs_up, expected) in rows {
        let up = selvedge_traffic::Cluster { protocol, ..cluster("up", &[saying(answer, hangs_up)]) };
        let mesh = Mesh::http(http(vec![route("/", forward("up"))]), vec![up]);
        let got = [asked(&mesh), asked(&mesh)];
        // A flood may come before its head is read or after.
        let cut = |(status, whole): (u16, bool)| what.contains("without end") && status == 200 && !whole;
        if !got.iter().all(|got| *got == expected || cut(*got)) {
            wrong.push(format!("{what}: {got:?} and not {expected:?}"));
        }
        let connections = mesh.stat("cluster.up.upstream_cx_total");
        if connections != 2 {
            wrong.push(format!("{what}: {connections} connections"));
        }
        mesh.await_stat("cluster.up.upstream_rq_active", 0);
        mesh.await_stat("cluster.up.upstream_cx_active", 0);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn http1_upstreams_that_lie() {
    let ok = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}").into_bytes();
    let many = |line: &str, times: usize| line.repeat(times);
    check(
        HttpProtocol::Http1,
        vec![
            ("nothing like HTTP", b"smuggled\r\n\r\n".to_vec(), false, (502, true)),
            (
                "a version of its own",
                b"HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
                false,
                (502, true),
            ),
            (
                "a status of two digits",
                b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
                false,
                (502, true),
            ),
            (
                "a status of four",
                b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
                false,
                (502, true),
            ),
            (
                "a status below 100",
                b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
                false,
                (502, true),
            ),
            ("lines that end in LF", b"HTTP/1.1 200 OK\ncontent-length: 0\n\n".to_vec(), false, (502, true)),
            ("CR in a value", ok("x: a\rx-smuggled: 1\r\ncontent-length: 0\r\n\r\n"), false, (502, true)),
            ("NUL in a value", ok("x: a\0smuggled\r\ncontent-length: 0\r\n\r\n"), false, (502, true)),
            ("a space before the colon", ok("content-length : 0\r\n\r\n"), false, (502, true)),
            ("two lengths", ok("content-length: 2\r\ncontent-length: 3\r\n\r\nabc"), false, (502, true)),
            ("a length that is none", ok("content-length: -1\r\n\r\n"), false, (502, true)),
            (
                "a length and chunks",
                ok("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
                false,
                (502, true),
            ),
            ("an unknown coding", ok("transfer-encoding: smuggled\r\n\r\n0\r\n\r\n"), false, (502, true)),
            (
                "chunks by HTTP/1.0",
                b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
                false,
                (502, true),
            ),
            ("too many headers", ok(&(many("x: y\r\n", 200) + "\r\n")), false, (502, true)),
            ("a head without end", ok(&many("x: yyyyyyyyyyyyyyyyyyyyyyyy\r\n", 50_000)), false, (502, true)),
            (
                "interim answers without end",
                many("HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", 500).into_bytes(),
                false,
                (502, true),
            ),
            (
                "a protocol that nobody asked for",
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: smuggled\r\n\r\nsmuggled".to_vec(),
                false,
                (502, true),
            ),
            (
                "a second answer",
                ok("content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nx: smuggled\r\ncontent-length: 0\r\n\r\n"),
                false,
                (200, true),
            ),
            ("more than its length", ok("content-length: 2\r\n\r\nok smuggled"), false, (200, true)),
            ("less than its length", ok("content-length: 20\r\n\r\nok"), true, (200, false)),
            (
                "a body where none may be",
                b"HTTP/1.1 204 No Content\r\n\r\nsmuggled".to_vec(),
                false,
                (204, true),
            ),
            (
                "a chunk that is none",
                ok("transfer-encoding: chunked\r\n\r\nsmuggled\r\n"),
                false,
                (200, false),
            ),
            ("a chunk that ends early", ok("transfer-encoding: chunked\r\n\r\n5\r\nab"), true, (200, false)),
            (
                "trailers without end",
                ok(&format!(
                    "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{}",
                    many("x: y\r\n", 10_000)
                )),
                false,
                (200, false),
            ),
            (
                "a trailer that is none",
                ok("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\0\r\n\r\n"),
                false,
                (200, false),
            ),
            ("gone after the head", ok("content-length: 5\r\n\r\n"), true, (200, false)),
            ("gone in the head", b"HTTP/1.1 200 OK\r\nconte".to_vec(), true, (503, true)),
            ("gone at once", Vec::new(), true, (503, true)),
        ],
    );
}

#[test]
fn http2_upstreams_that_lie() {
    let hello = settings(&[]);
    let says = |parts: &[Vec<u8>]| [&hello[..], &parts.concat()].concat();
    let status = |value: &str| fields(&[(":status", value)]);
    let head = |flags: u8, block: &[u8]| frame(kind::HEADERS, flags, 1, block);
    let ok = || head(4, &status("200"));
    let sized = |length: &str| head(4, &[status("200"), field("content-length", length)].concat());
    let promise = frame(
        kind::PUSH_PROMISE,
        4,
        1,
        &[
            &[0, 0, 0, 2][..],
            &fields(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "h")]),
        ]
        .concat(),
    );
    let first = frame(kind::HEADERS, 0, 1, &status("200"));
    check(
        HttpProtocol::Http2,
        vec![
            ("nothing like HTTP/2", b"HTTP/1.1 200 OK\r\nx: smuggled\r\n\r\n".to_vec(), false, (502, true)),
            ("a push", says(&[promise, ok()]), false, (502, true)),
            ("a head without a status", says(&[head(5, &field("x", "y"))]), false, (502, true)),
            ("a status that is none", says(&[head(5, &status("abc"))]), false, (502, true)),
            (
                "CR LF in a value",
                says(&[head(5, &[status("200"), field("x", "a\r\nx-smuggled: 1")].concat())]),
                false,
                (502, true),
            ),
            (
                "a field of the connection",
                says(&[head(5, &[status("200"), field("transfer-encoding", "smuggled")].concat())]),
                false,
                (502, true),
            ),
            ("a body before its head", says(&[frame(kind::DATA, 1, 1, b"smuggled")]), false, (502, true)),
            (
                "two lengths",
                says(&[head(
                    4,
                    &[status("200"), field("content-length", "1"), field("content-length", "2")].concat(),
                )]),
                false,
                (502, true),
            ),
            (
                "interim answers without end",
                says(&[head(4, &status("103")).repeat(2000)]),
                false,
                (502, true),
            ),
            (
                "a head without end",
                says(&[first, frame(kind::CONTINUATION, 0, 1, &field("x", "y")).repeat(2000)]),
                false,
                (502, true),
            ),
            (
                "a block that is none",
                says(&[head(5, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff])]),
                false,
                (502, true),
            ),
            ("pings without end", says(&[frame(kind::PING, 0, 0, &[0; 8]).repeat(2000)]), false, (502, true)),
            ("settings without end", says(&[settings(&[]).repeat(2000)]), false, (502, true)),
            ("unknown frames without end", says(&[frame(0xee, 0, 0, b"x").repeat(2000)]), false, (502, true)),
            (
                "empty frames without end",
                says(&[ok(), frame(kind::DATA, 0, 1, b"").repeat(2000)]),
                false,
                (502, true),
            ),
            (
                "less than its length",
                says(&[sized("20"), frame(kind::DATA, 1, 1, b"ok")]),
                false,
                (200, false),
            ),
            (
                "more than its length",
                says(&[sized("2"), frame(kind::DATA, 1, 1, b"smuggled")]),
                false,
                (200, false),
            ),
            ("gone after the head", says(&[ok()]), true, (200, false)),
            ("gone at once", says(&[]), true, (503, true)),
            ("a frame that is too large", says(&[head(5, &[0; 20_000])]), false, (502, true)),
            (
                "trailers that do not end",
                says(&[ok(), frame(kind::DATA, 0, 1, b"ok"), head(flag::END_HEADERS, &field("x", "y"))]),
                false,
                (200, false),
            ),
        ],
    );
}
