//! Requests of HTTP/2 that HTTP/1 would read as something else: of a proxy and of an edge alike.

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The stream or the connection ends, or the answer is 4xx; the upstream sees nothing.
    Refused,
    /// It is forwarded as one request, without the word `smuggled`.
    Harmless,
}

use Fate::{Harmless, Refused};

pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Option<&'static [u8]>,
    pub(crate) trailers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) fate: Fate,
}

const SPLIT: &str = "x\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";

/// A request with one thing changed: a pseudo field replaced, a field added.
fn row(what: &'static str, name: &str, value: &str, fate: Fate) -> Row {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> =
        [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "h")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
    match all.iter_mut().find(|(known, _)| known == name.as_bytes()) {
        Some(pseudo) => pseudo.1 = value.into(),
        None => all.push((name.into(), value.into())),
    }
    Row { what, fields: all, body: Some(b"abc"), trailers: Vec::new(), fate }
}

fn also(mut row: Row, name: &str, value: &str) -> Row {
    row.fields.push((name.into(), value.into()));
    row
}

fn trailer(what: &'static str, name: &str, value: &str, fate: Fate) -> Row {
    Row { trailers: vec![(name.into(), value.into())], ..row(what, "x", "y", fate) }
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("CR LF in a value", "x", "a\r\nx-smuggled: 1", Refused),
        row("a whole request in a value", "x", SPLIT, Refused),
        row("LF in a value", "x", "a\nx-smuggled: 1", Refused),
        row("CR in a value", "x", "a\rx-smuggled: 1", Refused),
        row("NUL in a value", "x", "a\0smuggled", Refused),
        row("DEL in a value", "x", "a\x7fsmuggled", Refused),
        row("CR LF in a name", "x\r\nx-smuggled", "1", Refused),
        row("a request in a name", "x: y\r\n\r\nGET /smuggled HTTP/1.1\r\nz", "1", Refused),
        row("a colon in a name", "x: smuggled", "1", Refused),
        row("a colon behind a name", "host:", "smuggled", Refused),
        row("a space in a name", "transfer-encoding ", "chunked", Refused),
        row("a tab before a name", "\ttransfer-encoding", "chunked", Refused),
        row("NUL in a name", "x\0", "1", Refused),
        row("an upper-case name", "Transfer-Encoding", "chunked", Refused),
        row("an empty name", "", "smuggled", Refused),
        row("a name beyond ASCII", "x\u{e9}", "1", Refused),
        row("transfer-encoding", "transfer-encoding", "chunked", Refused),
        row("transfer-encoding of a kind", "transfer-encoding", "identity", Refused),
        row("connection", "connection", "x-smuggled", Refused),
        row("connection: close", "connection", "close", Refused),
        row("keep-alive", "keep-alive", "timeout=5", Refused),
        row("proxy-connection", "proxy-connection", "keep-alive", Refused),
        row("upgrade", "upgrade", "websocket", Refused),
        row("te", "te", "chunked", Refused),
        row("te and more", "te", "trailers, chunked", Refused),
        row("a length too short", "content-length", "1", Refused),
        row("a length too long", "content-length", "30", Refused),
        row("a length of nothing", "content-length", "0", Refused),
        row("a length that is none", "content-length", "+3", Refused),
        row("a length in hexadecimal", "content-length", "0x3", Refused),
        row("a list of lengths", "content-length", "3, 3", Refused),
        also(row("two lengths", "content-length", "3", Refused), "content-length", "4"),
        row("a length with a line behind it", "content-length", "3\r\nx-smuggled: 1", Refused),
        row("CR LF in the path", ":path", "/ HTTP/1.1\r\nx-smuggled: 1\r\nx: ", Refused),
        row("a space in the path", ":path", "/ HTTP/1.1 smuggled", Refused),
        row("a tab in the path", ":path", "/\tsmuggled", Refused),
        row("NUL in the path", ":path", "/\0smuggled", Refused),
        row("a path beyond ASCII", ":path", "/\u{e9}smuggled", Refused),
        row("a path that is none", ":path", "smuggled", Refused),
        row("a URL for a path", ":path", "http://smuggled/", Refused),
        // The codec's URIs have no fragments.
        row("a fragment in the path", ":path", "/#smuggled", Harmless),
        row("a space in the method", ":method", "GET /smuggled HTTP/1.1", Refused),
        row("CR LF in the method", ":method", "GET /smuggled HTTP/1.1\r\nx: y\r\n\r\nPOST", Refused),
        row("an empty method", ":method", "", Refused),
        row("CR LF in the authority", ":authority", "h\r\nx-smuggled: 1", Refused),
        row("a space in the authority", ":authority", "h smuggled", Refused),
        row("a path in the authority", ":authority", "h/smuggled", Refused),
        row("CR LF in the scheme", ":scheme", "http\r\nx-smuggled: 1", Refused),
        row("a URL for a scheme", ":scheme", "http://smuggled/?", Refused),
        also(row("two authorities", "x", "y", Refused), ":authority", "smuggled"),
        also(row("two paths", "x", "y", Refused), ":path", "/smuggled"),
        row("CR LF in the host", "host", "h\r\nx-smuggled: 1", Refused),
        row("another host", "host", "smuggled", Harmless),
        row("a cookie with a line", "cookie", "a=b\r\nx-smuggled: 1", Refused),
        row("proxy's own fields", "http2-settings", "smuggled", Harmless),
        trailer("a length in the trailers", "content-length", "3", Harmless),
        trailer("CR LF in the trailers", "x", "a\r\nx-smuggled: 1", Refused),
        trailer("transfer-encoding in the trailers", "transfer-encoding", "chunked", Refused),
        trailer("a host in the trailers", "host", "smuggled", Harmless),
        trailer("a path in the trailers", ":path", "/smuggled", Refused),
    ]
}

pub(crate) fn block(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    // Texts shorter than 127 bytes: one byte of length.
    let text = |bytes: &[u8]| [&[bytes.len() as u8][..], bytes].concat();
    pairs.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat()).collect()
}
