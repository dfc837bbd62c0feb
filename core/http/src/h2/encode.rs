//! Heads → header blocks.
//!
//! Nothing is put into the peer's table and no text is coded: a line costs a copy of its bytes. What that adds on the wire is
//! less than what a search for each line costs here, and no secret can be guessed from how well it is compressed.

use crate::fields::Fields;
use crate::head::{RequestHead, ResponseHead};
use crate::known::HeaderId;
use crate::parse::Upgrade;

/// The representations of RFC 7541 §6.2.2 and §6.2.3; the second tells every hop to leave the line out of its tables.
const PASSING: u8 = 0x00;
const NEVER: u8 = 0x10;
/// Says that the table stays empty (RFC 7541 §6.3), for a peer that would have it smaller than it began.
pub const EMPTY_TABLE: u8 = 0x20;

/// The request cannot be said in HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request names no authority")]
pub struct NoAuthority;

/// Writes a request; a wish for a WebSocket as RFC 8441 §5 has it.
///
/// # Errors
/// See [`NoAuthority`].
pub fn request(head: &RequestHead, upgrade: Upgrade, out: &mut Vec<u8>) -> Result<(), NoAuthority> {
    let authority = head.authority_bytes().filter(|authority| !authority.is_empty()).ok_or(NoAuthority)?;
    let websocket = upgrade == Upgrade::WebSocket;
    match head.method() {
        _ if websocket => literal(PASSING, 2, b"CONNECT", out),
        "GET" => out.push(0x82),
        "POST" => out.push(0x83),
        method => literal(PASSING, 2, method.as_bytes(), out),
    }
    if websocket {
        named(PASSING, b":protocol", b"websocket", out);
    }
    // A tunnel has neither scheme nor path (RFC 9113 §8.5).
    if websocket || head.method() != "CONNECT" {
        match head.scheme() {
            "" | "http" => out.push(0x86),
            "https" => out.push(0x87),
            scheme => literal(PASSING, 6, scheme.as_bytes(), out),
        }
        match head.path_bytes() {
            b"/" => out.push(0x84),
            path => literal(PASSING, 4, path, out),
        }
    }
    literal(PASSING, 1, authority, out);
    for (id, name, value) in head.fields.iter_ids() {
        let is_of_upgrade = matches!(id, HeaderId::Upgrade | HeaderId::Connection | HeaderId::ContentLength);
        if !(websocket && is_of_upgrade) {
            line(id, name, value, out);
        }
    }
    Ok(())
}

/// Writes a response, final or interim.
pub fn response(head: &ResponseHead, out: &mut Vec<u8>) {
    match head.status {
        200 => out.push(0x88),
        204 => out.push(0x89),
        206 => out.push(0x8a),
        304 => out.push(0x8b),
        400 => out.push(0x8c),
        404 => out.push(0x8d),
        500 => out.push(0x8e),
        status => literal(PASSING, 8, itoa::Buffer::new().format(status).as_bytes(), out),
    }
    fields(&head.fields, out);
}

/// Writes fields: trailers.
pub fn fields(fields: &Fields, out: &mut Vec<u8>) {
    for (id, name, value) in fields.iter_ids() {
        line(id, name, value, out);
    }
}

/// Writes one field of a name that we know.
pub fn known(id: HeaderId, value: &[u8], out: &mut Vec<u8>) {
    debug_assert_ne!(id, HeaderId::Other);
    line(id, id.name().as_bytes(), value, out);
}

/// A line; one that HTTP/2 cannot carry is left out.
fn line(id: HeaderId, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    if memchr::memchr3(b'\r', b'\n', 0, value).is_some() {
        return;
    }
    match id {
        HeaderId::ContentLength => literal(PASSING, 28, value, out),
        HeaderId::ContentType => literal(PASSING, 31, value, out),
        HeaderId::Date => literal(PASSING, 33, value, out),
        HeaderId::Location => literal(PASSING, 46, value, out),
        HeaderId::Server => literal(PASSING, 54, value, out),
        HeaderId::UserAgent => literal(PASSING, 58, value, out),
        HeaderId::Other => {
            if !name.is_empty() && super::receive::is_name(name) {
                let is_secret = matches!(name, b"authorization" | b"proxy-authorization");
                named(if is_secret { NEVER } else { PASSING }, name, value, out);
            }
        }
        // Another value in every message: in a table it would push out what comes again.
        HeaderId::XRequestId => named(NEVER, name, value, out),
        _ => named(PASSING, name, value, out),
    }
}

/// A line whose name is that of an entry of the static table.
fn literal(representation: u8, index: u8, value: &[u8], out: &mut Vec<u8>) {
    integer(representation, 4, usize::from(index), out);
    text(value, out);
}

fn named(representation: u8, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(representation);
    text(name, out);
    text(value, out);
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    integer(0, 7, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// An integer behind the bits of `first`, with a prefix of so many bits (RFC 7541 §5.1).
fn integer(first: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let most = (1usize << prefix) - 1;
    if value < most {
        return out.push(first | value as u8);
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Decoder;
    use super::*;

    fn lines(block: &[u8]) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Decoder::default().decode(block, |_, name, value| all.push((text(name), text(value)))).unwrap();
        all
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut head = RequestHead::default();
        head.set_method("PUT");
        head.set_path("/a?b");
        head.set_authority("h:1");
        head.set_scheme("https");
        let long = "v".repeat(20_000);
        head.fields.append(b"x-long", long.as_bytes());
        head.fields.append(b"Content-Type", b"t");
        head.fields.append(b"x-request-id", b"1");
        head.fields.append(b"bad name", b"1");
        head.fields.append(b"x-bad", b"a\r\nb");
        let mut block = Vec::new();
        request(&head, Upgrade::None, &mut block).unwrap();
        let expected = [
            (":method", "PUT"),
            (":scheme", "https"),
            (":path", "/a?b"),
            (":authority", "h:1"),
            ("x-long", &long),
            ("content-type", "t"),
            ("x-request-id", "1"),
        ];
        assert_eq!(lines(&block), pairs(&expected));
    }

    #[test]
    fn tunnels_have_no_path_and_websockets_do() {
        let mut head = RequestHead::default();
        head.set_method("CONNECT");
        head.set_authority("h:1");
        let mut block = Vec::new();
        request(&head, Upgrade::Connect, &mut block).unwrap();
        assert_eq!(lines(&block), pairs(&[(":method", "CONNECT"), (":authority", "h:1")]));
        head.set_method("GET");
        head.set_path("/chat");
        head.fields.append(b"upgrade", b"websocket");
        head.fields.append(b"connection", b"upgrade");
        head.fields.append(b"sec-websocket-version", b"13");
        block.clear();
        request(&head, Upgrade::WebSocket, &mut block).unwrap();
        let expected = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "h:1"),
            ("sec-websocket-version", "13"),
        ];
        assert_eq!(lines(&block), pairs(&expected));
    }

    #[test]
    fn a_request_to_nobody_cannot_be_said() {
        let mut head = RequestHead::default();
        head.set_method("GET");
        head.set_path("/");
        assert_eq!(request(&head, Upgrade::None, &mut Vec::new()), Err(NoAuthority));
    }

    #[test]
    fn a_status_has_three_digits() {
        for status in [100, 200, 204, 206, 304, 400, 404, 418, 500, 503] {
            let mut block = Vec::new();
            response(&ResponseHead { status, ..ResponseHead::default() }, &mut block);
            assert_eq!(lines(&block), pairs(&[(":status", &status.to_string())]));
        }
    }
}
