//! Heads → bytes, in the order and spelling in which Envoy writes them.

use crate::framing::Framing;
use crate::head::{RequestHead, ResponseHead, Version};
use crate::known::HeaderId;
use crate::reason;

/// The answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Writes a request head. A length must stand among the fields already; chunking is announced here.
pub fn request(head: &RequestHead, framing: Framing, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method().as_bytes());
    out.push(b' ');
    match head.authority_bytes() {
        Some(authority) if head.method() == "CONNECT" => out.extend_from_slice(authority),
        _ => out.extend_from_slice(head.path_bytes()),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = head.authority_bytes() {
        field(b"host", authority, out);
    }
    head.fields.write(out);
    match framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None
            if !head.fields.contains(HeaderId::ContentLength) && !may_lack_length(head.method()) =>
        {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Methods whose requests say nothing about their length when they have no body.
fn may_lack_length(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "DELETE" | "TRACE" | "CONNECT")
}

/// Writes a response head. A length that stands among the fields is kept.
///
/// `framing` is that of the body as it will be written; [`Framing::None`] is announced as `content-length: 0` where the
/// status and the method of the request leave room for doubt.
pub fn response(head: &ResponseHead, framing: Framing, method: &str, close: bool, out: &mut Vec<u8>) {
    status_line(head.status, out);
    head.fields.write(out);
    if close && head.status != 101 {
        out.extend_from_slice(b"connection: close\r\n");
    }
    let tunnel = method == "CONNECT" && head.status / 100 == 2;
    let bodiless = head.status < 200 || head.status == 204 || head.status == 304 || tunnel;
    let length = || head.fields.contains(HeaderId::ContentLength);
    match framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None if !length() && !bodiless && method != "HEAD" => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim response.
pub fn interim(head: &ResponseHead, out: &mut Vec<u8>) {
    status_line(head.status, out);
    head.fields.write(out);
    out.extend_from_slice(b"\r\n");
}

fn status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason::phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a response head as web servers do: names in capitals, the version that the client speaks, and exactly the fields
/// that stand there; whoever calls has framed the body already.
pub fn web_response(head: &ResponseHead, out: &mut Vec<u8>) {
    if head.version == Version::Http11 && head.status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(if head.version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason::phrase(head.status).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    for (id, name, value) in head.fields.iter_ids() {
        match id {
            HeaderId::Other => capitalised(name, out),
            known => out.extend_from_slice(known.capitalised()),
        }
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn capitalised(name: &[u8], out: &mut Vec<u8>) {
    match name {
        b"etag" => return out.extend_from_slice(b"ETag"),
        b"www-authenticate" => return out.extend_from_slice(b"WWW-Authenticate"),
        _ => {}
    }
    let begin = out.len();
    out.extend_from_slice(name);
    let mut start = true;
    for byte in &mut out[begin..] {
        if start {
            byte.make_ascii_uppercase();
        }
        start = *byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_response_speaks_the_clients_version() {
        let mut head = ResponseHead { status: 206, version: Version::Http10, ..ResponseHead::default() };
        for (name, value) in
            [("content-type", "t"), ("etag", "\"1\""), ("www-authenticate", "Basic"), ("x-a", "")]
        {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
        let mut out = Vec::new();
        web_response(&head, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "HTTP/1.0 206 Partial Content\r\nContent-Type: t\r\nETag: \"1\"\r\nWWW-Authenticate: Basic\r\nX-A: \r\n\r\n"
        );
    }
}
