//! mod_wstunnel: WebSocket frames in front, bytes behind.

use std::ops::ControlFlow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::Upgrade;
use selvedge_http::websocket::{self, Decoder, Opcode, Progress};
use selvedge_wire::stream::Stream;

use super::backend::Held;
use super::handshake::{self, KEY_BYTES};
use super::tunnel::{Far, Tunnel};
use crate::request::{Body, Exchange, Response};

/// The version of the protocol that is spoken (RFC 6455 §4.1).
const VERSION: &str = "13";

/// What turns frames into bytes and back.
pub(crate) struct Frames {
    decoder: Decoder,
    /// A part of a frame's head, which waits for the rest.
    begun: Vec<u8>,
    kind: Opcode,
    /// How often the client is asked whether it is there.
    pub(crate) ping: Option<Duration>,
}

/// Judges a handshake: the answer that opens the tunnel, or breaks with the one that does not.
pub(crate) fn opened(x: &Exchange<'_>) -> ControlFlow<Response, Response> {
    let key = x.header("sec-websocket-key").unwrap_or_default();
    let is_key = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
    if x.head.method() != "GET"
        || x.facts.upgrade != Upgrade::WebSocket
        || x.facts.framing.has_body()
        || !is_key
    {
        return ControlFlow::Break(Response::status(400));
    }
    if x.header("sec-websocket-version").map(str::trim) != Some(VERSION) {
        return ControlFlow::Break(Response::status(426).field("sec-websocket-version", VERSION));
    }
    let origins = &x.conf.wstunnel.origins;
    let origin = x.header("origin").unwrap_or_default();
    if !origins.is_empty() && !origins.iter().any(|wanted| is_of(origin, wanted)) {
        return ControlFlow::Break(Response::status(403));
    }
    let mut response = Response::status(101);
    let fields = &mut response.head.fields;
    fields.append_id(HeaderId::Upgrade, b"websocket");
    fields.append(b"sec-websocket-accept", handshake::accept(key).as_bytes());
    // Of what noVNC's clients and their like offer, the one without another coding within.
    let offered = x.header("sec-websocket-protocol").unwrap_or_default();
    if offered.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("binary")) {
        fields.append(b"sec-websocket-protocol", b"binary");
    }
    ControlFlow::Continue(response)
}

/// Whether an origin is that of a host or beneath it: `https://a.example` is of `a.example` and of `example`.
fn is_of(origin: &str, wanted: &str) -> bool {
    origin.strip_suffix(wanted).is_some_and(|before| {
        before.is_empty() || before.ends_with(['.', '/']) || wanted.starts_with(['.', '/'])
    })
}

/// The tunnel to a program that was connected to.
pub(crate) fn tunnel(x: &Exchange<'_>, mut opened: Response, stream: Stream, held: Held) -> Response {
    let conf = &x.conf.wstunnel;
    let binary = conf.frame_type_binary || opened.head.fields.named("sec-websocket-protocol").is_some();
    let kind = if binary { Opcode::Binary } else { Opcode::Text };
    let ping = (conf.ping_interval > 0).then(|| Duration::from_secs(u64::from(conf.ping_interval)));
    let frames = Some(Frames { decoder: Decoder::default(), begun: Vec::new(), kind, ping });
    opened.from_backend = true;
    opened.body = Body::Tunnel(Box::new(Tunnel {
        far: Far::Stream(stream),
        early: bytes::Bytes::new(),
        frames,
        _held: held,
    }));
    opened
}

impl Frames {
    /// Takes a client's bytes: content goes on, answers go back. Whether the client goes on.
    pub(crate) fn take(&mut self, input: &[u8], there: &mut Vec<u8>, back: &mut Vec<u8>) -> bool {
        let mut begun = std::mem::take(&mut self.begun);
        let input = if begun.is_empty() {
            input
        } else {
            begun.extend_from_slice(input);
            &begun
        };
        match self.decoder.read(input, there, back) {
            Ok((read, Progress::Open)) => {
                // Less than the head of a frame: 14 bytes.
                self.begun = input[read..].to_vec();
                true
            }
            Ok((_, Progress::Closed)) => false,
            Err(error) => {
                tracing::debug!(%error, "a client breaks the WebSocket protocol");
                websocket::write(Opcode::Close, &1002u16.to_be_bytes(), back);
                false
            }
        }
    }

    /// Wraps what the program said.
    pub(crate) fn wrap(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 10);
        websocket::write(self.kind, bytes, &mut out);
        out
    }

    /// The program has ended.
    pub(crate) fn farewell(&self) -> Vec<u8> {
        let mut out = Vec::new();
        websocket::write(Opcode::Close, &1000u16.to_be_bytes(), &mut out);
        out
    }

    pub(crate) fn ask(&self) -> Vec<u8> {
        let mut out = Vec::new();
        websocket::write(Opcode::Ping, b"", &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn an_origin_is_of_its_host_and_of_what_that_is_in() {
        for (origin, wanted, expected) in [
            ("https://a.example", "a.example", true),
            ("https://a.example", "example", true),
            ("https://b-a.example", "a.example", false),
            ("https://a.example.evil", "a.example", false),
            ("", "a.example", false),
        ] {
            assert_eq!(is_of(origin, wanted), expected, "{origin} {wanted}");
        }
    }
}
