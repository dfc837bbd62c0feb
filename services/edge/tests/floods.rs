//! HTTP/2 clients that make work and do none, at the edge's own listener: each is sent away with `ENHANCE_YOUR_CALM` and
//! counted, and whoever is honest is served meanwhile (threats row 38).

mod server;

#[allow(dead_code, reason = "the proxy's tests use the rest")]
#[path = "../../proxy/tests/path/frames.rs"]
mod frames;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use frames::{
    Connection, code, field, fields, flag, frame, get, kind, post, request, rst, settings, window_update,
};
use server::edge;

/// More frames, and more bytes, than any flood may have before its end.
const FRAMES: usize = 1000;
const BYTES: usize = 1024 * 1024;

fn site() -> (tempfile::TempDir, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "12345\n").unwrap();
    std::fs::write(folder.path().join("large"), vec![b'x'; 3_000_000]).unwrap();
    // A backend that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    std::thread::spawn(move || silent.incoming().collect::<Vec<_>>());
    let address = edge(&format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_status\", \"mod_proxy\" )\nstatus.status-url = \"/status\"\n\
         server.feature-flags = ( \"server.h2c\" => \"enable\" )\nserver.max-keep-alive-idle = 60\n\
         proxy.server = ( \"/silent\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n\
         proxy.header = ( \"upgrade\" => \"enable\" )\n",
        folder.path().display()
    ));
    (folder, address)
}

/// What the edge has counted.
fn counted(address: SocketAddr, name: &str) -> u64 {
    let page = server::get(address, "GET /status?prometheus HTTP/1.0\r\n\r\n").body;
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

fn await_counted(address: SocketAddr, name: &str, wanted: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    while counted(address, name) != wanted {
        assert!(Instant::now() < until, "{name}: {} and not {wanted}", counted(address, name));
    }
}

/// A flood: what comes before it, and its frames by number.
struct Row {
    name: &'static str,
    open: Vec<u8>,
    nth: Box<dyn Fn(u32) -> Vec<u8>>,
}

fn same(name: &'static str, open: &[u8], bytes: Vec<u8>) -> Row {
    Row { name, open: open.to_vec(), nth: Box::new(move |_| bytes.clone()) }
}

fn rows() -> Vec<Row> {
    let stream = frame(kind::HEADERS, flag::END_HEADERS, 1, &post("/a.txt"));
    let block = frame(kind::HEADERS, 0, 1, &get("/a.txt"));
    let id = |nth: u32| nth * 2 + 1;
    // A request that is no larger than others, and names one remembered field of 4 KB many times.
    let remembered = [&get("/a.txt")[..], &[0x40, 1, b'b', 127, 0x81, 30], &[b'x'; 4000 - 32]].concat();
    let remember = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &remembered);
    let bomb = move |nth: u32| {
        let fields = [&get("/a.txt")[..], &[0xbe; 16_000]].concat();
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id(nth) + 2, &fields)
    };
    vec![
        same("PING", b"", frame(kind::PING, 0, 0, &[7; 8])),
        same("SETTINGS", b"", settings(&[])),
        same("PRIORITY", b"", frame(kind::PRIORITY, 0, 9, &[0, 0, 0, 0, 1])),
        same("WINDOW_UPDATE", b"", window_update(0, 1)),
        same("WINDOW_UPDATE of a stream", &stream, window_update(1, 1)),
        same("unknown frames", b"", frame(0xbe, 0, 0, b"anything")),
        same("RST_STREAM", &request(1, "/a.txt"), rst(1, code::CANCEL)),
        same("empty DATA", &stream, frame(kind::DATA, 0, 1, b"")),
        same("padding", &stream, frame(kind::DATA, 8, 1, b"\x02\0\0")),
        same("empty CONTINUATION", &block, frame(kind::CONTINUATION, 0, 1, b"")),
        same("CONTINUATION", &block, frame(kind::CONTINUATION, 0, 1, &field("a", "b"))),
        // CVE-2023-44487.
        Row {
            name: "rapid reset",
            open: Vec::new(),
            nth: Box::new(move |nth| [request(id(nth), "/large"), rst(id(nth), code::CANCEL)].concat()),
        },
        // The same where a backend thinks, which is not waited for in vain.
        Row {
            name: "rapid reset of what a backend is asked",
            open: Vec::new(),
            nth: Box::new(move |nth| [request(id(nth), "/silent"), rst(id(nth), code::CANCEL)].concat()),
        },
        // And of tunnels, for each of which a backend is connected to.
        Row {
            name: "wishes for tunnels, taken back",
            open: Vec::new(),
            nth: Box::new(move |nth| {
                let wish = fields(&[
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "http"),
                    (":path", "/silent"),
                    (":authority", "h"),
                ]);
                [frame(kind::HEADERS, flag::END_HEADERS, id(nth), &wish), rst(id(nth), code::CANCEL)].concat()
            }),
        },
        // CVE-2025-8671: no window grows beyond 2^31-1 (RFC 9113 §6.9.1). Of an answer that is not on its way whole: what is
        // answered already leaves nothing behind.
        Row {
            name: "made resets",
            open: Vec::new(),
            nth: Box::new(move |nth| {
                [
                    frame(kind::HEADERS, flag::END_HEADERS, id(nth), &post("/large")),
                    window_update(id(nth), u32::MAX >> 1),
                ]
                .concat()
            }),
        },
        Row { name: "a large header list out of few bytes", open: remember, nth: Box::new(bomb) },
    ]
}

#[test]
fn each_flood_at_the_edge_is_cut_and_counted() {
    let (_folder, address) = site();
    let mut wrong = Vec::new();
    for (number, row) in rows().into_iter().enumerate() {
        let mut connection = Connection::open(address);
        connection.send(&row.open);
        let (mut frames, mut bytes) = (0, 0);
        while frames < FRAMES && bytes < BYTES {
            let next = (row.nth)(frames as u32);
            frames += 1;
            bytes += next.len();
            if !connection.send(&next) {
                break;
            }
        }
        let code = connection.await_kind(kind::GOAWAY).and_then(|frame| frame.code());
        let floods = counted(address, "selvedge_edge_http2_floods_total");
        if code != Some(code::ENHANCE_YOUR_CALM) || floods != number as u64 + 1 {
            wrong.push(format!("{}: {code:?} after {frames} frames, {floods} counted", row.name));
        }
        assert_eq!(server::get(address, "GET /a.txt HTTP/1.0\r\n\r\n").body, "12345\n", "{}", row.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The one who asks is there, and nobody else.
    await_counted(address, "selvedge_edge_connections ", 1);
}

#[test]
fn the_honest_are_served_while_others_flood_the_edge() {
    let (_folder, address) = site();
    let flooders: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut sent = 0;
                for _ in 0..10 {
                    let mut connection = Connection::open(address);
                    let pings = frame(kind::PING, 0, 0, &[0; 8]).repeat(100);
                    while connection.send(&pings) && sent < 1 << 30 {
                        sent += pings.len();
                    }
                }
                sent
            })
        })
        .collect();
    let mut honest = Connection::open(address);
    for nth in 0..200 {
        honest.send(&request(nth * 2 + 1, "/a.txt"));
        assert_eq!(honest.await_kind(kind::HEADERS).expect("an answer").stream, nth * 2 + 1);
    }
    for flooder in flooders {
        let sent = flooder.join().unwrap();
        assert!(sent < 10 * 16 * BYTES, "{sent} bytes were taken");
    }
    drop(honest);
    await_counted(address, "selvedge_edge_http2_floods_total", 40);
    await_counted(address, "selvedge_edge_connections ", 1);
}

/// Threats row 39: a window that stays shut holds little, and not for long.
#[test]
fn a_client_that_opens_no_window_is_let_go() {
    let (_folder, address) = site();
    // SETTINGS_INITIAL_WINDOW_SIZE 0: not a byte may come.
    let mut connection = Connection::open_with(address, &[(4, 0)]);
    for nth in 0..20 {
        connection.send(&request(nth * 2 + 1, "/large"));
    }
    for _ in 0..20 {
        connection.await_kind(kind::HEADERS).expect("a head");
    }
    assert_eq!(counted(address, "selvedge_edge_requests_active"), 21);
    drop(connection);
    await_counted(address, "selvedge_edge_requests_active", 1);
}

/// A form that a file answers: the answer is whole before the body is, and the stream does not end in an error.
#[test]
fn an_answer_that_needs_no_body_ends_its_stream_in_peace() {
    let (_folder, address) = site();
    let mut connection = Connection::open(address);
    let body = frame(kind::DATA, flag::END_STREAM, 1, b"hello");
    connection.send(&[frame(kind::HEADERS, flag::END_HEADERS, 1, &post("/a.txt")), body].concat());
    // What comes to the next request comes after whatever the first was told.
    connection.send(&request(3, "/a.txt"));
    let mut of_first = Vec::new();
    while let Some(next) = connection.next() {
        if next.stream == 3 {
            break;
        }
        of_first.extend((next.stream == 1).then_some((next.kind, next.code())));
    }
    assert!(of_first.iter().any(|(kind, _)| *kind == kind::HEADERS), "{of_first:?}");
    let mut resets = of_first.iter().filter(|(kind, _)| *kind == kind::RST_STREAM);
    assert!(resets.all(|(_, code)| *code == Some(code::NO_ERROR)), "{of_first:?}");
}
