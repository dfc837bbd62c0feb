//! HTTP/1 or HTTP/2, by the first bytes of a connection.

use std::future::poll_fn;
use std::io;

use crate::io::Io;

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Reads until the first bytes tell. They stay unread. `None` if the peer closed before.
///
/// # Errors
/// The socket's.
pub async fn http(io: &mut Io) -> io::Result<Option<Protocol>> {
    loop {
        if let Some(protocol) = decide(io.unread()) {
            return Ok(Some(protocol));
        }
        if poll_fn(|cx| io.poll_fill(cx)).await? == 0 {
            return Ok((!io.unread().is_empty()).then_some(Protocol::Http1));
        }
    }
}

fn decide(bytes: &[u8]) -> Option<Protocol> {
    let len = bytes.len().min(PREFACE.len());
    match bytes[..len] == PREFACE[..len] {
        false => Some(Protocol::Http1),
        true if len == PREFACE.len() => Some(Protocol::Http2),
        true => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_needed_whole() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (PREFACE, Some(Protocol::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Protocol::Http2)),
            (b"PUT / HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"G", Some(Protocol::Http1)),
            (b"\x16\x03", Some(Protocol::Http1)),
        ] {
            assert_eq!(decide(bytes), expected, "{bytes:?}");
        }
    }
}
