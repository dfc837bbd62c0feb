//! The table.

use super::*;

const PROTOCOL: &[u32] = &[code::PROTOCOL_ERROR];
// h2spec takes any end of the connection; the RFC names a code, and the codec says PROTOCOL_ERROR for most of them.
const FRAME_SIZE: &[u32] = &[code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR];
const FLOW: &[u32] = &[code::FLOW_CONTROL_ERROR, code::PROTOCOL_ERROR];
const CLOSED: &[u32] = &[code::STREAM_CLOSED, code::PROTOCOL_ERROR];
const COMPRESSION: &[u32] = &[code::COMPRESSION_ERROR, code::PROTOCOL_ERROR];

use Expect::{Alive, Answer, ConnectionError, StreamError};

fn case(section: &'static str, title: &'static str, parts: &[Vec<u8>], expect: Expect) -> Case {
    Case { section, title, settings: Vec::new(), bytes: parts.concat(), expect }
}

/// HEADERS that neither end the block nor the stream, unless flags say so.
fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

fn whole(stream: u32, block: &[u8]) -> Vec<u8> {
    headers(flag::END_HEADERS | flag::END_STREAM, stream, block)
}

fn open(stream: u32) -> Vec<u8> {
    headers(flag::END_HEADERS, stream, &post("/"))
}

fn data(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, payload)
}

fn continuation(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, block)
}

fn priority(stream: u32, dependency: u32, weight: u8) -> Vec<u8> {
    frame(kind::PRIORITY, 0, stream, &[&dependency.to_be_bytes()[..], &[weight]].concat())
}

fn with(more: &[u8]) -> Vec<u8> {
    [&get("/")[..], more].concat()
}

fn pseudo(pairs: &[(&str, &str)]) -> Vec<u8> {
    whole(1, &fields(pairs))
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = generic();
    cases.extend(hpack_forms());
    cases.extend(frames());
    cases.extend(states());
    cases.extend(definitions());
    cases.extend(settings_and_pings());
    cases.extend(windows());
    cases.extend(messages());
    cases.extend(hpack());
    cases
}

fn generic() -> Vec<Case> {
    const EXCLUSIVE: u32 = 1 << 31;
    let whole = || whole(1, &get("/"));
    let padded = [&[4][..], &get("/"), &[0; 4]].concat();
    let prioritised = [&[0, 0, 0, 0, 15][..], &get("/")].concat();
    let (begin, rest) = {
        let all = get("/");
        (all[..9].to_vec(), all[9..].to_vec())
    };
    let half = rest.len() / 2;
    vec![
        case("generic/2.1", "PRIORITY on an idle stream", &[priority(1, 0, 15), whole()], Answer),
        case("generic/2.2", "WINDOW_UPDATE on a half-closed stream", &[whole(), window_update(1, 1)], Answer),
        case("generic/2.3", "PRIORITY on a half-closed stream", &[whole(), priority(1, 0, 15)], Answer),
        case("generic/2.4", "RST_STREAM on a half-closed stream", &[whole(), rst(1, code::CANCEL)], Alive),
        case("generic/2.5", "PRIORITY on a closed stream", &[whole(), rst(1, 8), priority(1, 0, 15)], Alive),
        case("generic/3.1.1", "DATA", &[open(1), data(1, 1, b"test")], Answer),
        case("generic/3.1.2", "several DATA", &[open(1), data(0, 1, b"test"), data(1, 1, b"test")], Answer),
        case("generic/3.1.3", "DATA with padding", &[open(1), data(9, 1, b"\x03test\0\0\0")], Answer),
        case("generic/3.2.1", "HEADERS", &[whole()], Answer),
        case("generic/3.2.2", "HEADERS with padding", &[headers(0xd, 1, &padded)], Answer),
        case("generic/3.2.3", "HEADERS with priority", &[headers(0x25, 1, &prioritised)], Answer),
        case("generic/3.3.1", "PRIORITY with weight 1", &[priority(1, 0, 0), whole()], Answer),
        case("generic/3.3.2", "PRIORITY with weight 256", &[priority(1, 0, 255), whole()], Answer),
        case("generic/3.3.3", "PRIORITY with a dependency", &[priority(1, 3, 15), whole()], Answer),
        case("generic/3.3.4", "PRIORITY, exclusive", &[priority(1, EXCLUSIVE | 3, 15), whole()], Answer),
        case(
            "generic/3.3.5",
            "PRIORITY, then a lower stream",
            &[priority(5, 0, 15), request(3, "/")],
            Answer,
        ),
        case("generic/3.4.1", "RST_STREAM", &[open(1), rst(1, code::CANCEL)], Alive),
        case("generic/3.5.1", "SETTINGS", &[settings(&[(3, 100)])], Alive),
        case("generic/3.7.1", "PING", &[frame(kind::PING, 0, 0, b"h2spec!!")], Alive),
        case(
            "generic/3.8.1",
            "GOAWAY",
            &[frame(kind::GOAWAY, 0, 0, &[0; 8])],
            ConnectionError(&[code::NO_ERROR]),
        ),
        case("generic/3.9.1", "WINDOW_UPDATE of the connection", &[window_update(0, 1), whole()], Answer),
        case("generic/3.9.2", "WINDOW_UPDATE of a stream", &[whole(), window_update(1, 1)], Answer),
        case("generic/3.10.1", "CONTINUATION", &[headers(1, 1, &begin), continuation(4, 1, &rest)], Answer),
        case(
            "generic/3.10.2",
            "several CONTINUATION",
            &[headers(1, 1, &begin), continuation(0, 1, &rest[..half]), continuation(4, 1, &rest[half..])],
            Answer,
        ),
        case("generic/4.1", "GET", &[whole()], Answer),
        case(
            "generic/4.2",
            "HEAD",
            &[pseudo(&[(":method", "HEAD"), (":scheme", "http"), (":path", "/"), (":authority", "h")])],
            Answer,
        ),
        case("generic/4.3", "POST", &[open(1), data(1, 1, b"test")], Answer),
        case(
            "generic/4.4",
            "POST with trailers",
            &[open(1), data(0, 1, b"test"), headers(5, 1, &field("x-test", "ok"))],
            Answer,
        ),
    ]
}

/// generic 5: the representations of RFC 7541 §6, each as a field of a request.
fn hpack_forms() -> Vec<Case> {
    // `user-agent` is 58 of the static table; the texts are "h2spec" and "x-test", then their Huffman codes.
    let plain = |first: &[u8]| whole(1, &with(&[first, b"\x06h2spec"].concat()));
    let coded = |first: &[u8]| whole(1, &with(&[first, b"\x85\x9c\x51\x6b\x22\x9f"].concat()));
    let named = |first: u8| [&[first][..], b"\x06x-test"].concat();
    let named_coded = |first: u8| [&[first][..], b"\x85\xf2\xb2\x4a\x84\xff"].concat();
    vec![
        case("generic/5.1", "indexed", &[whole(1, &with(&[0x90]))], Answer),
        case("generic/5.2", "incremental, indexed name", &[plain(&[0x7a])], Answer),
        case("generic/5.3", "incremental, indexed name, Huffman", &[coded(&[0x7a])], Answer),
        case("generic/5.4", "incremental, new name", &[plain(&named(0x40))], Answer),
        case("generic/5.5", "incremental, new name, Huffman", &[coded(&named_coded(0x40))], Answer),
        case("generic/5.6", "not indexed, indexed name", &[plain(&[0x0f, 43])], Answer),
        case("generic/5.7", "not indexed, indexed name, Huffman", &[coded(&[0x0f, 43])], Answer),
        case("generic/5.8", "not indexed, new name", &[plain(&named(0))], Answer),
        case("generic/5.9", "not indexed, new name, Huffman", &[coded(&named_coded(0))], Answer),
        case("generic/5.10", "never indexed, indexed name", &[plain(&[0x1f, 43])], Answer),
        case("generic/5.11", "never indexed, indexed name, Huffman", &[coded(&[0x1f, 43])], Answer),
        case("generic/5.12", "never indexed, new name", &[plain(&named(0x10))], Answer),
        case("generic/5.13", "never indexed, new name, Huffman", &[coded(&named_coded(0x10))], Answer),
        case("generic/5.14", "table size update", &[whole(1, &[&[0x2a][..], &get("/")].concat())], Answer),
        case(
            "generic/5.15",
            "table size updates",
            &[whole(1, &[&[0x20, 0x2a][..], &get("/")].concat())],
            Answer,
        ),
    ]
}

fn frames() -> Vec<Case> {
    let mut reserved = frame(kind::PING, 0, 0, &[0; 8]);
    reserved[5] |= 0x80;
    let large = vec![0; 16_385];
    vec![
        case("http2/4.1.1", "unknown type", &[frame(0xff, 0, 0, &[0; 8])], Alive),
        case("http2/4.1.2", "undefined flags", &[frame(kind::PING, 0xfe, 0, &[0; 8])], Alive),
        case("http2/4.1.3", "reserved bit", &[reserved], Alive),
        case("http2/4.2.1", "DATA of 2^14 bytes", &[open(1), data(1, 1, &large[..16_384])], Answer),
        case(
            "http2/4.2.2",
            "DATA beyond the frame size",
            &[open(1), data(1, 1, &large)],
            StreamError(FRAME_SIZE),
        ),
        case(
            "http2/4.2.3",
            "HEADERS beyond the frame size",
            &[whole(1, &large)],
            ConnectionError(FRAME_SIZE),
        ),
        case("http2/4.3.1", "a block that is none", &[whole(1, &[0x40])], ConnectionError(COMPRESSION)),
        case(
            "http2/4.3.2",
            "PRIORITY in a block",
            &[headers(1, 1, &get("/")), priority(1, 0, 15)],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/4.3.3",
            "another stream in a block",
            &[headers(1, 1, &get("/")), request(3, "/")],
            ConnectionError(PROTOCOL),
        ),
    ]
}

fn states() -> Vec<Case> {
    let reset = || [open(1), rst(1, code::CANCEL)].concat();
    let ended = || request(1, "/");
    let more = || continuation(flag::END_HEADERS, 1, &field("x", "y"));
    let itself = [&[0, 0, 0, 1, 15][..], &get("/")].concat();
    let unknown = frame(0x16, 0, 0, &[0; 8]);
    vec![
        case("http2/5.1.1", "idle: DATA", &[data(1, 1, b"test")], ConnectionError(PROTOCOL)),
        case("http2/5.1.2", "idle: RST_STREAM", &[rst(1, code::CANCEL)], ConnectionError(PROTOCOL)),
        case("http2/5.1.3", "idle: WINDOW_UPDATE", &[window_update(1, 100)], ConnectionError(PROTOCOL)),
        case("http2/5.1.4", "idle: CONTINUATION", &[more()], ConnectionError(PROTOCOL)),
        case("http2/5.1.5", "half-closed: DATA", &[ended(), data(1, 1, b"test")], StreamError(CLOSED)),
        case("http2/5.1.6", "half-closed: HEADERS", &[ended(), request(1, "/")], StreamError(CLOSED)),
        case("http2/5.1.7", "half-closed: CONTINUATION", &[ended(), more()], ConnectionError(CLOSED)),
        case(
            "http2/5.1.8",
            "closed: DATA after RST_STREAM",
            &[reset(), data(1, 1, b"test")],
            StreamError(CLOSED),
        ),
        case(
            "http2/5.1.9",
            "closed: HEADERS after RST_STREAM",
            &[reset(), request(1, "/")],
            StreamError(CLOSED),
        ),
        case(
            "http2/5.1.10",
            "closed: CONTINUATION after RST_STREAM",
            &[reset(), more()],
            ConnectionError(CLOSED),
        ),
        case("http2/5.1.1.1", "an even stream", &[request(2, "/")], ConnectionError(PROTOCOL)),
        case(
            "http2/5.1.1.2",
            "a smaller stream",
            &[request(5, "/"), request(3, "/")],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/5.3.1.1",
            "HEADERS that depend on themselves",
            &[headers(0x25, 1, &itself)],
            StreamError(PROTOCOL),
        ),
        case(
            "http2/5.3.1.2",
            "PRIORITY that depends on itself",
            &[priority(1, 1, 15)],
            StreamError(PROTOCOL),
        ),
        case(
            "http2/5.4.1.1",
            "a bad PING closes",
            &[frame(kind::PING, 0, 3, &[0; 8])],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/5.4.1.2",
            "a bad PING gets GOAWAY",
            &[frame(kind::PING, 0, 3, &[0; 8])],
            ConnectionError(PROTOCOL),
        ),
        case("http2/5.5.1", "an unknown extension", std::slice::from_ref(&unknown), Alive),
        case(
            "http2/5.5.2",
            "an unknown extension in a block",
            &[headers(1, 1, &get("/")), unknown.clone()],
            ConnectionError(PROTOCOL),
        ),
    ]
}

fn definitions() -> Vec<Case> {
    let block = || headers(1, 1, &get("/"));
    vec![
        case("http2/6.1.1", "DATA of stream 0", &[data(1, 0, b"test")], ConnectionError(PROTOCOL)),
        case(
            "http2/6.1.2",
            "DATA where none may be",
            &[request(1, "/"), data(1, 1, b"test")],
            StreamError(CLOSED),
        ),
        case(
            "http2/6.1.3",
            "DATA with too much padding",
            &[open(1), data(9, 1, b"\x06test")],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.2.1",
            "HEADERS, then PRIORITY",
            &[block(), priority(1, 0, 15)],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.2.2",
            "HEADERS, then HEADERS of another",
            &[block(), request(3, "/")],
            ConnectionError(PROTOCOL),
        ),
        case("http2/6.2.3", "HEADERS of stream 0", &[request(0, "/")], ConnectionError(PROTOCOL)),
        case(
            "http2/6.2.4",
            "HEADERS with too much padding",
            &[headers(0xd, 1, b"\x20\x82\x86\x84")],
            ConnectionError(PROTOCOL),
        ),
        case("http2/6.3.1", "PRIORITY of stream 0", &[priority(0, 0, 15)], ConnectionError(PROTOCOL)),
        case(
            "http2/6.3.2",
            "PRIORITY of four bytes",
            &[frame(kind::PRIORITY, 0, 1, &[0; 4])],
            StreamError(FRAME_SIZE),
        ),
        case("http2/6.4.1", "RST_STREAM of stream 0", &[rst(0, code::CANCEL)], ConnectionError(PROTOCOL)),
        case(
            "http2/6.4.2",
            "RST_STREAM of an idle stream",
            &[rst(1, code::CANCEL)],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.4.3",
            "RST_STREAM of three bytes",
            &[open(1), frame(kind::RST_STREAM, 0, 1, &[0; 3])],
            ConnectionError(FRAME_SIZE),
        ),
        case(
            "http2/6.10.1",
            "CONTINUATION twice",
            &[
                headers(1, 1, &get("/")),
                continuation(0, 1, &field("a", "b")),
                continuation(4, 1, &field("c", "d")),
            ],
            Answer,
        ),
        case(
            "http2/6.10.2",
            "CONTINUATION, then something else",
            &[block(), continuation(0, 1, &field("a", "b")), data(1, 1, b"test")],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.10.3",
            "CONTINUATION of stream 0",
            &[block(), continuation(4, 0, &field("a", "b"))],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.10.4",
            "CONTINUATION of a whole block",
            &[open(1), continuation(4, 1, &field("a", "b"))],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.10.5",
            "CONTINUATION after the last one",
            &[block(), continuation(4, 1, &field("a", "b")), continuation(4, 1, &field("a", "b"))],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.10.6",
            "CONTINUATION after DATA",
            &[open(1), data(0, 1, b"test"), continuation(4, 1, &field("a", "b"))],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/7.1",
            "GOAWAY with an unknown code",
            &[frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 255])],
            ConnectionError(&[code::NO_ERROR, 255]),
        ),
        case("http2/7.2", "RST_STREAM with an unknown code", &[open(1), rst(1, 255)], Alive),
    ]
}

fn settings_and_pings() -> Vec<Case> {
    let one = |id, value| [settings(&[(id, value)])];
    vec![
        case(
            "http2/6.5.1",
            "an acknowledgement with a payload",
            &[frame(kind::SETTINGS, flag::ACK, 0, &[0])],
            ConnectionError(FRAME_SIZE),
        ),
        case(
            "http2/6.5.2",
            "SETTINGS of a stream",
            &[frame(kind::SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.5.3",
            "SETTINGS of three bytes",
            &[frame(kind::SETTINGS, 0, 0, &[0, 3, 0])],
            ConnectionError(FRAME_SIZE),
        ),
        case("http2/6.5.2.1", "ENABLE_PUSH 2", &one(2, 2), ConnectionError(PROTOCOL)),
        case("http2/6.5.2.2", "a window beyond 2^31-1", &one(4, 1 << 31), ConnectionError(FLOW)),
        case("http2/6.5.2.3", "a frame size below 2^14", &one(5, 16_383), ConnectionError(PROTOCOL)),
        case("http2/6.5.2.4", "a frame size beyond 2^24-1", &one(5, 16_777_216), ConnectionError(PROTOCOL)),
        case("http2/6.5.2.5", "an unknown setting", &one(0xff, 1), Alive),
        case(
            "http2/6.5.3.1",
            "one setting twice",
            &[settings(&[(4, 100), (4, 65_535)]), request(1, "/")],
            Answer,
        ),
        case(
            "http2/6.7.2",
            "a PING's acknowledgement",
            &[frame(kind::PING, flag::ACK, 0, b"invalid\0")],
            Alive,
        ),
        case(
            "http2/6.7.3",
            "PING of a stream",
            &[frame(kind::PING, 0, 1, &[0; 8])],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.7.4",
            "PING of six bytes",
            &[frame(kind::PING, 0, 0, &[0; 6])],
            ConnectionError(FRAME_SIZE),
        ),
        case(
            "http2/6.8.1",
            "GOAWAY of a stream",
            &[frame(kind::GOAWAY, 0, 1, &[0; 8])],
            ConnectionError(PROTOCOL),
        ),
    ]
}

fn windows() -> Vec<Case> {
    const MAX: u32 = u32::MAX >> 1;
    vec![
        case(
            "http2/6.9.1",
            "a window that grows by nothing",
            &[window_update(0, 0)],
            ConnectionError(PROTOCOL),
        ),
        case("http2/6.9.2", "a stream's that does", &[open(1), window_update(1, 0)], StreamError(PROTOCOL)),
        case(
            "http2/6.9.3",
            "WINDOW_UPDATE of three bytes",
            &[frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])],
            ConnectionError(FRAME_SIZE),
        ),
        case(
            "http2/6.9.1.2",
            "a window beyond 2^31-1",
            &[window_update(0, MAX), window_update(0, MAX)],
            ConnectionError(FLOW),
        ),
        case(
            "http2/6.9.1.3",
            "a stream's",
            &[open(1), window_update(1, MAX), window_update(1, MAX)],
            StreamError(FLOW),
        ),
        case(
            "http2/6.9.2.3",
            "all streams' by SETTINGS",
            &[settings(&[(4, 1 << 31)])],
            ConnectionError(FLOW),
        ),
    ]
}

fn messages() -> Vec<Case> {
    let malformed =
        |section, title, more: &[u8]| case(section, title, &[whole(1, &with(more))], StreamError(PROTOCOL));
    let of = |section, title, pairs: &[(&str, &str)]| {
        case(section, title, &[pseudo(pairs)], StreamError(PROTOCOL))
    };
    let (method, scheme, path, authority) =
        ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h"));
    let sized = |parts: &[Vec<u8>]| {
        let block = [&post("/")[..], &field("content-length", "1")].concat();
        [&[headers(flag::END_HEADERS, 1, &block)], parts].concat()
    };
    vec![
        case(
            "http2/8.1.1",
            "trailers that do not end the stream",
            &[open(1), data(0, 1, b"test"), headers(4, 1, &field("x-test", "ok"))],
            StreamError(PROTOCOL),
        ),
        malformed("http2/8.1.2.1", "a name in upper case", &field("X-TEST", "ok")),
        malformed("http2/8.1.2.1.1", "an unknown pseudo field", &field(":test", "ok")),
        malformed("http2/8.1.2.1.2", "a pseudo field of responses", &field(":status", "200")),
        case(
            "http2/8.1.2.1.3",
            "a pseudo field in trailers",
            &[open(1), data(0, 1, b"test"), headers(5, 1, &field(":method", "200"))],
            StreamError(PROTOCOL),
        ),
        of(
            "http2/8.1.2.1.4",
            "a pseudo field after another",
            &[method, scheme, authority, ("x-test", "ok"), path],
        ),
        malformed("http2/8.1.2.2.1", "a field of the connection", &field("connection", "keep-alive")),
        malformed("http2/8.1.2.2.2", "TE of something but trailers", &field("te", "trailers, deflate")),
        of("http2/8.1.2.3.1", "an empty path", &[method, scheme, (":path", ""), authority]),
        of("http2/8.1.2.3.2", "no method", &[scheme, path, authority]),
        of("http2/8.1.2.3.3", "no scheme", &[method, path, authority]),
        of("http2/8.1.2.3.4", "no path", &[method, scheme, authority]),
        of("http2/8.1.2.3.5", "two methods", &[method, method, scheme, path, authority]),
        of("http2/8.1.2.3.6", "two schemes", &[method, scheme, scheme, path, authority]),
        of("http2/8.1.2.3.7", "two paths", &[method, scheme, path, path, authority]),
        case(
            "http2/8.1.2.6.1",
            "a length that is not that of DATA",
            &sized(&[data(1, 1, b"test")]),
            StreamError(PROTOCOL),
        ),
        case(
            "http2/8.1.2.6.2",
            "a length that is not that of several DATA",
            &sized(&[data(0, 1, b"test"), data(1, 1, b"test")]),
            StreamError(PROTOCOL),
        ),
        case(
            "http2/8.2.1",
            "a promise from a client",
            &[frame(kind::PUSH_PROMISE, 4, 1, &[&[0, 0, 0, 2][..], &get("/")].concat())],
            ConnectionError(PROTOCOL),
        ),
        case("http2/5.1.11", "closed: DATA", &[request(1, "/"), data(1, 1, b"test")], StreamError(CLOSED)),
        case("http2/5.1.12", "closed: HEADERS", &[request(1, "/"), request(1, "/")], StreamError(CLOSED)),
        case(
            "http2/5.1.13",
            "closed: CONTINUATION",
            &[request(1, "/"), continuation(4, 1, &field("a", "b"))],
            ConnectionError(CLOSED),
        ),
    ]
}

fn hpack() -> Vec<Case> {
    let bad = |section, title, more: &[u8]| {
        case(section, title, &[whole(1, &with(more))], ConnectionError(COMPRESSION))
    };
    vec![
        bad("hpack/2.3.3.1", "an index that nothing stands at", &[0xff, 0x00]),
        bad("hpack/2.3.3.2", "a name at such an index", b"\x7f\x01\x04test"),
        bad("hpack/4.2.1", "a table size update at the end", &[0x21]),
        bad(
            "hpack/5.2.1",
            "Huffman padding of eight bits",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x86\x9c\x51\x6b\x22\x9f\xff",
        ),
        bad("hpack/5.2.2", "Huffman padding of zeros", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        bad("hpack/5.2.3", "Huffman's EOS", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\xff\xff\xff\xff"),
        bad("hpack/6.1.1", "index 0", &[0x80]),
        case(
            "hpack/6.3.1",
            "a table beyond the limit",
            &[whole(1, &[&[0x3f, 0xe1, 0xff, 0x03][..], &get("/")].concat())],
            ConnectionError(COMPRESSION),
        ),
    ]
}
