//! HTTP/2 clients that make work and do none: each is sent away with `ENHANCE_YOUR_CALM` and counted, and whoever is
//! honest is served meanwhile.

use std::time::{Duration, Instant};

use crate::frames::{
    Connection, code, field, flag, frame, get, kind, post, request, rst, settings, window_update,
};
use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

/// More frames, and more bytes, than any flood may have before its end.
const FRAMES: usize = 1000;
const BYTES: usize = 1024 * 1024;

fn mesh(upstream: &Upstream) -> Mesh {
    Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])])
}

/// Sends what `nth` gives, up to the limits and a little, and expects to be sent away.
fn flood(mesh: &Mesh, open: &[u8], nth: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let mut connection = Connection::open(mesh.address);
    connection.send(open);
    let (mut frames, mut bytes) = (0, 0);
    while frames < FRAMES && bytes < BYTES {
        let next = nth(frames as u32);
        frames += 1;
        bytes += next.len();
        if !connection.send(&next) {
            break;
        }
    }
    connection.await_kind(kind::GOAWAY).and_then(|frame| frame.code())
}

/// A flood: what comes before it, its frames by number, and what counts it.
struct Row {
    name: &'static str,
    open: Vec<u8>,
    nth: Box<dyn Fn(u32) -> Vec<u8>>,
    stat: &'static str,
}

fn same(name: &'static str, stat: &'static str, open: &[u8], bytes: Vec<u8>) -> Row {
    Row { name, open: open.to_vec(), nth: Box::new(move |_| bytes.clone()), stat }
}

fn rows() -> Vec<Row> {
    let stream = frame(kind::HEADERS, flag::END_HEADERS, 1, &post("/"));
    let block = frame(kind::HEADERS, 0, 1, &get("/"));
    let id = |nth: u32| nth * 2 + 1;
    // A request that is no larger than others, and names one remembered field of 4 KB twenty times.
    let remembered = [&get("/")[..], &[0x40, 1, b'b', 127, 0x81, 30], &[b'x'; 4000 - 32]].concat();
    let remember = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &remembered);
    let bomb = move |nth: u32, references: usize| {
        let fields = [&get("/")[..], &vec![0xbe; references]].concat();
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id(nth) + 2, &fields)
    };
    vec![
        same("PING", "http2.outbound_control_flood", b"", frame(kind::PING, 0, 0, &[7; 8])),
        same("SETTINGS", "http2.outbound_control_flood", b"", settings(&[])),
        same("SETTINGS with a value", "http2.outbound_control_flood", b"", settings(&[(4, 65_535)])),
        same(
            "PRIORITY",
            "http2.inbound_priority_frames_flood",
            b"",
            frame(kind::PRIORITY, 0, 9, &[0, 0, 0, 0, 1]),
        ),
        same("WINDOW_UPDATE", "http2.inbound_window_update_frames_flood", b"", window_update(0, 1)),
        same(
            "WINDOW_UPDATE of a stream",
            "http2.inbound_window_update_frames_flood",
            &stream,
            window_update(1, 1),
        ),
        same("unknown frames", "http2.inbound_unknown_frames_flood", b"", frame(0xbe, 0, 0, b"anything")),
        same("RST_STREAM", "http2.rx_reset_flood", &request(1, "/"), rst(1, code::CANCEL)),
        same("empty DATA", "http2.inbound_empty_frames_flood", &stream, frame(kind::DATA, 0, 1, b"")),
        same("padding", "http2.inbound_empty_frames_flood", &stream, frame(kind::DATA, 8, 1, b"\x02\0\0")),
        same("empty CONTINUATION", "http2.header_overflow", &block, frame(kind::CONTINUATION, 0, 1, b"")),
        same(
            "CONTINUATION",
            "http2.header_overflow",
            &block,
            frame(kind::CONTINUATION, 0, 1, &field("a", "b")),
        ),
        Row {
            name: "faults that reset a stream each",
            open: Vec::new(),
            // No window grows beyond 2^31-1 (RFC 9113 §6.9.1).
            nth: Box::new(move |nth| {
                [frame(kind::HEADERS, 4, id(nth), &post("/")), window_update(id(nth), u32::MAX >> 1)].concat()
            }),
            stat: "http2.tx_reset_flood",
        },
        Row {
            name: "a large header list out of few bytes",
            open: remember.clone(),
            nth: Box::new(move |nth| bomb(nth, 16_000)),
            stat: "http2.header_overflow",
        },
        Row {
            name: "many small ones",
            open: remember,
            nth: Box::new(move |nth| bomb(nth, 20)),
            stat: "http2.header_overflow",
        },
    ]
}

#[test]
fn each_flood_is_cut_and_counted() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut wrong = Vec::new();
    for row in rows() {
        let before = mesh.stat(row.stat);
        let code = flood(&mesh, &row.open, row.nth);
        let until = Instant::now() + Duration::from_secs(10);
        while mesh.stat(row.stat) == before && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if code != Some(code::ENHANCE_YOUR_CALM) || mesh.stat(row.stat) != before + 1 {
            wrong.push(format!("{}: {code:?}, {} {}", row.name, row.stat, mesh.stat(row.stat) - before));
        }
        assert_eq!(mesh.get("/").status, 200, "{}", row.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    mesh.await_stat("http.in.downstream_rq_active", 0);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
}

#[test]
fn the_honest_are_served_while_others_flood() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let address = mesh.address;
    let flooders: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut sent = 0u64;
                for _ in 0..10 {
                    let mut connection = Connection::open(address);
                    let pings = frame(kind::PING, 0, 0, &[0; 8]).repeat(100);
                    while connection.send(&pings) && sent < 1 << 30 {
                        sent += pings.len() as u64;
                    }
                }
                sent
            })
        })
        .collect();
    let mut client = mesh.connect();
    for _ in 0..500 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: h\r\n\r\n").status, 200);
    }
    for flooder in flooders {
        // What the kernel takes on its own, and what is read after the farewell; nobody floods on.
        let sent = flooder.join().unwrap();
        assert!(sent < 10 * 16 * BYTES as u64, "{sent} bytes were taken");
    }
    mesh.await_stat("http2.outbound_control_flood", 80);
    mesh.await_stat("http.in.downstream_cx_http2_active", 0);
}

#[test]
fn a_long_life_of_pings_and_settings_is_no_flood() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    let mut connection = Connection::open(mesh.address);
    for nth in 0..400 {
        let id = nth * 2 + 1;
        // What a client that measures the way sends along with each request.
        connection.send(&request(id, "/"));
        connection.send(&frame(kind::PING, 0, 0, &[1; 8]));
        connection.send(&settings(&[(4, 65_535 + nth)]));
        connection.send(&frame(kind::PRIORITY, 0, id, &[0, 0, 0, 0, 1]));
        let answered = connection.await_kind(kind::HEADERS).expect("an answer");
        assert_eq!(answered.stream, id);
        connection.send(&window_update(0, 500));
        connection.send(&window_update(id, 500));
    }
    assert!(connection.is_alive());
}

#[test]
fn a_reader_that_opens_no_window_holds_little() {
    let upstream = Upstream::start();
    let mesh = mesh(&upstream);
    // SETTINGS_INITIAL_WINDOW_SIZE 0: not a byte may come.
    let mut connection = Connection::open_with(mesh.address, &[(4, 0)]);
    for nth in 0..20 {
        connection.send(&request(nth * 2 + 1, "/large"));
    }
    for _ in 0..20 {
        connection.await_kind(kind::HEADERS).expect("a head");
    }
    std::thread::sleep(Duration::from_millis(200));
    let read = mesh.stat("cluster.up.upstream_rq_active");
    assert_eq!(read, 20);
    drop(connection);
    mesh.await_stat("cluster.up.upstream_rq_active", 0);
    let read = mesh.stat("cluster.up.upstream_cx_rx_bytes_total");
    assert!(read < 20 * 128 * 1024, "{read} of 60,000,000 bytes were read ahead");
}
