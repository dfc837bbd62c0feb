//! What HTTP/2 can carry and HTTP/1 would read as something else (nginx's CVE-2026-42926 and its kind): nothing of it reaches a
//! backend behind an edge.

mod server;

#[path = "../../proxy/tests/path/downgrade/cases.rs"]
mod cases;

#[allow(dead_code, reason = "the proxy's tests use the rest")]
#[path = "../../proxy/tests/path/frames.rs"]
mod frames;

use cases::Fate::{Harmless, Refused};
use cases::{block, rows};
use frames::{Connection, flag, frame, kind};
use server::{edge, ok, service};

#[test]
fn what_http1_would_read_as_something_else_reaches_no_backend() {
    let (port, requests) = service(|_| ok("", "fine"));
    let address = edge(&format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\n\
         server.feature-flags = ( \"server.h2c\" => \"enable\" )\n\
         proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n"
    ));
    let mut wrong = Vec::new();
    for row in rows() {
        let mut connection = Connection::open(address);
        connection.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&row.fields)));
        let (ends, body) = (u8::from(row.trailers.is_empty()), row.body.unwrap_or_default());
        connection.send(&frame(kind::DATA, ends, 1, body));
        if !row.trailers.is_empty() {
            connection.send(&frame(kind::HEADERS, 5, 1, &block(&row.trailers)));
        }
        let answered = loop {
            match connection.next() {
                Some(next) if matches!(next.kind, kind::RST_STREAM | kind::GOAWAY) => break false,
                Some(next) if next.stream == 1 && next.flags & flag::END_STREAM != 0 => break true,
                Some(_) => {}
                None => break false,
            }
        };
        // The edge has answered: what the backend was asked, it was asked before.
        let asked: Vec<String> = requests.try_iter().collect();
        let right = match row.fate {
            Refused => asked.is_empty(),
            Harmless => answered && asked.len() == 1 && !asked[0].contains("smuggled"),
        };
        if !right {
            wrong.push(format!("{}: answered {answered}: {asked:?}", row.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A request names its host, whichever way it comes (RFC 9113 §8.3.1, RFC 9110 §7.2): no rule on hosts is passed by naming none.
#[test]
fn a_request_that_names_no_host_reaches_no_backend() {
    /// `:status` 200 and 400, as entries of HPACK's static table (RFC 7541 appendix A).
    const FINE: u8 = 0x80 | 8;
    const BAD_REQUEST: u8 = 0x80 | 12;
    let (port, requests) = service(|_| ok("", "fine"));
    let address = edge(&format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\n\
         server.feature-flags = ( \"server.h2c\" => \"enable\" )\n\
         proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n"
    ));
    for (what, host, answered) in [
        ("no host at all", None, BAD_REQUEST),
        ("an empty authority", Some((":authority", "")), BAD_REQUEST),
        ("an empty host", Some(("host", "")), BAD_REQUEST),
        ("by its authority", Some((":authority", "a.example")), FINE),
        ("by host", Some(("host", "a.example")), FINE),
    ] {
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", "/")];
        fields.extend(host);
        // What is refused before it is a request is refused as well.
        let mut connection = Connection::open(address);
        connection.send(&frame(kind::HEADERS, flag::END_HEADERS | 1, 1, &frames::fields(&fields)));
        let status = loop {
            match connection.next() {
                Some(next) if next.kind == kind::HEADERS => break next.payload.first().copied(),
                Some(next) if next.kind == kind::RST_STREAM => break Some(BAD_REQUEST),
                Some(_) => {}
                None => break None,
            }
        };
        assert_eq!(status, Some(answered), "{what}");
        let asked = requests.try_recv().ok();
        assert_eq!(asked.is_some(), answered == FINE, "{what}: {asked:?}");
        assert!(asked.is_none_or(|head| head.to_lowercase().contains("host: a.example\r\n")), "{what}");
    }
}

/// Threats row 46: by HTTP/2 no more fields come through than by HTTP/1, however short they are.
#[test]
fn a_request_has_a_hundred_fields_and_no_more() {
    /// `:status` 200, as an entry of HPACK's static table.
    const FINE: u8 = 0x80 | 8;
    let (port, requests) = service(|_| ok("", "fine"));
    let address = edge(&format!(
        "server.document-root = \"/nonexistent\"\nserver.modules = ( \"mod_proxy\" )\n\
         server.feature-flags = ( \"server.h2c\" => \"enable\" )\n\
         proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n"
    ));
    for (number, fine) in [(100, true), (101, false), (300, false)] {
        let names: Vec<String> = (0..number).map(|one| format!("x{one}")).collect();
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];
        fields.extend(names.iter().map(|name| (name.as_str(), "y")));
        let mut connection = Connection::open(address);
        connection.send(&frame(kind::HEADERS, flag::END_HEADERS | 1, 1, &frames::fields(&fields)));
        let status = loop {
            match connection.next() {
                Some(next) if next.kind == kind::HEADERS => break next.payload.first().copied(),
                Some(next) if matches!(next.kind, kind::RST_STREAM | kind::GOAWAY) => break None,
                Some(_) => {}
                None => break None,
            }
        };
        assert_eq!(status == Some(FINE), fine, "{number}: {status:?}");
        assert_eq!(requests.try_recv().is_ok(), fine, "{number}");
    }
}
