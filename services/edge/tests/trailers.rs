//! What becomes of a backend's trailers: they are read, and nobody is told, whatever the client speaks. Merged into the head, as by
//! lighttpd 1.4.69, they are headers and a length that nobody judged (CVE-2025-12642, the other way round).

mod server;

#[allow(dead_code, reason = "the proxy's tests use the rest")]
#[path = "../../proxy/tests/path/frames.rs"]
mod frames;

use frames::{Connection, flag, kind};
use server::{edge, exchange, get, service};

fn says(head: &str) -> String {
    if head.starts_with("GET /next ") {
        return server::ok("", "the next\n");
    }
    let trailers = "X-Trailer: in\r\nSet-Cookie: evil=1\r\nContent-Length: 3\r\nLocation: /evil\r\n";
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n\
         4\r\nabcd\r\n3\r\nefg\r\n0\r\n{trailers}\r\n"
    )
}

fn configuration(backend: u16, more: &str) -> String {
    format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\n\
         proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {backend} )) )\n{more}"
    )
}

#[test]
fn by_http1_they_are_read_and_the_next_answer_is_the_next() {
    let (backend, _) = service(says);
    let ours = edge(&configuration(backend, ""));
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n",
    ] {
        let found = get(ours, request);
        let all = format!("{found:?}");
        assert!(!all.contains("evil") && !all.contains("\"x-trailer\""), "{all}");
        assert!(found.code() == 200 && found.body.contains("abcd") && found.body.contains("efg"), "{all}");
    }
    // What follows on the connection is the next answer.
    let two = "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let text = String::from_utf8_lossy(&exchange(ours, two.as_bytes())).into_owned();
    assert!(text.ends_with("the next\n") && text.matches("HTTP/1.1 200").count() == 2, "{text}");
    assert!(!text.contains("evil") && !text.contains("X-Trailer: in"), "{text}");
}

#[test]
fn by_http2_the_stream_ends_with_its_body() {
    let (backend, _) = service(says);
    let address = edge(&configuration(backend, "server.feature-flags = ( \"server.h2c\" => \"enable\" )\n"));
    let mut connection = Connection::open(address);
    connection.send(&frames::request(1, "/"));
    let (mut heads, mut body) = (0, Vec::new());
    while let Some(frame) = connection.next() {
        match frame.kind {
            kind::HEADERS => heads += 1,
            kind::DATA => body.extend(frame.payload),
            kind::RST_STREAM | kind::GOAWAY => panic!("{frame:?}"),
            _ => {}
        }
        if frame.stream == 1 && frame.flags & flag::END_STREAM != 0 && frame.kind != kind::SETTINGS {
            break;
        }
    }
    assert_eq!((heads, String::from_utf8_lossy(&body).as_ref()), (1, "abcdefg"));
}
