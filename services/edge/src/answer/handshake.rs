//! The opening handshake of WebSockets (RFC 6455 §4), where one side of us speaks HTTP/1 and the other does not: on a stream of HTTP/2
//! there is neither a key nor an answer to it (RFC 8441 §5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selvedge_http::head::{ResponseHead, Version};
use selvedge_http::known::HeaderId;
use selvedge_http::websocket::GUID;
use sha1::{Digest as _, Sha1};

use crate::request::Exchange;

/// A key is so many bytes.
pub(super) const KEY_BYTES: usize = 16;

const KEY: &str = "sec-websocket-key";
const ACCEPT: &str = "sec-websocket-accept";

/// What proves that a key was read by somebody who speaks the protocol.
pub(super) fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Gives a wish that came on a stream the key that whoever answers it by HTTP/1 insists on. What a client of HTTP/2 calls a key is
/// none: the answer to it would not reach the client.
pub(super) fn make_key(x: &mut Exchange<'_>) {
    let mut key = [0; KEY_BYTES];
    for half in key.chunks_exact_mut(KEY_BYTES / 2) {
        half.copy_from_slice(&x.worker.random().to_be_bytes());
    }
    x.head.fields.set(KEY, STANDARD.encode(key).as_bytes());
}

/// Whether a `101` is the answer to the key that was made for a stream. Behind the mesh there may be a service that speaks HTTP/2 and
/// answers no key at all. What a client of HTTP/1 is answered, it judges by itself.
pub(super) fn agrees(x: &Exchange<'_>, head: &ResponseHead, behind_mesh: bool) -> bool {
    if !x.is_on_stream() {
        return true;
    }
    let upgrade = head.fields.get(HeaderId::Upgrade).unwrap_or_default();
    let expected = accept(x.header(KEY).unwrap_or_default());
    let accepted = head.fields.named(ACCEPT);
    upgrade.eq_ignore_ascii_case(b"websocket")
        && accepted.map_or(behind_mesh, |accepted| accepted == expected.as_bytes())
}

/// Answers the key of a client of HTTP/1, where a service that speaks HTTP/2 has agreed and has no answer to it.
pub(super) fn complete(x: &Exchange<'_>, head: &mut ResponseHead) {
    if x.head.version == Version::Http11
        && head.fields.named(ACCEPT).is_none()
        && head.fields.get(HeaderId::Upgrade).is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"))
        && let Some(key) = x.header(KEY)
    {
        let accept = accept(key);
        head.fields.append(ACCEPT.as_bytes(), accept.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_is_answered_as_the_standard_shows() {
        // RFC 6455 §1.3.
        assert_eq!(super::accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
