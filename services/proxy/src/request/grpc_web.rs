//! gRPC as browsers speak it: they cannot read trailers, so these come at the end of the body, and some cannot read
//! binary content, so all of it is text (the gRPC-Web protocol, `PROTOCOL-WEB.md`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_http::fields::Fields;

use super::coding::Undecodable;

/// The frame that holds the trailers has this bit set.
const TRAILERS: u8 = 0x80;

/// A request's body, from text.
#[derive(Debug, Default)]
pub(crate) struct Untext {
    /// Less than four characters that wait for others.
    rest: Vec<u8>,
}

impl Untext {
    /// Each part of a body may end with padding of its own.
    pub(super) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        self.rest.extend_from_slice(text);
        let whole = self.rest.len() / 4 * 4;
        let mut decoded = [0; 3];
        for group in self.rest[..whole].chunks_exact(4) {
            let len = STANDARD.decode_slice(group, &mut decoded).map_err(|_| Undecodable::Base64)?;
            out.extend_from_slice(&decoded[..len]);
        }
        self.rest.drain(..whole);
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Undecodable> {
        if self.rest.is_empty() { Ok(()) } else { Err(Undecodable::Base64Length) }
    }
}

/// A response's body, with its trailers behind it.
#[derive(Debug, Default)]
pub(crate) struct Respond {
    text: bool,
    /// Less than three bytes that wait for others, so that no padding stands in the middle.
    rest: Vec<u8>,
}

impl Respond {
    pub(crate) fn new(text: bool) -> Self {
        Self { text, rest: Vec::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !self.text {
            return out.extend_from_slice(bytes);
        }
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / 3 * 3;
        out.extend_from_slice(STANDARD.encode(&self.rest[..whole]).as_bytes());
        self.rest.drain(..whole);
    }

    /// Whether there were trailers to put in.
    pub(super) fn finish(&mut self, trailers: Option<&Fields>, out: &mut Vec<u8>) -> bool {
        if let Some(trailers) = trailers {
            let mut lines = Vec::new();
            for (name, value) in trailers.iter() {
                lines.extend_from_slice(name.as_bytes());
                lines.push(b':');
                lines.extend_from_slice(value);
                lines.extend_from_slice(b"\r\n");
            }
            let length = u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes();
            let frame = [&[TRAILERS], &length[..], &lines].concat();
            self.push(&frame, out);
        }
        if !self.rest.is_empty() {
            out.extend_from_slice(STANDARD.encode(std::mem::take(&mut self.rest)).as_bytes());
        }
        trailers.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_however_it_is_cut() {
        let message = b"\0\0\0\0\x05hello, and more";
        // Two parts, each with padding of its own.
        let text = [STANDARD.encode(&message[..7]), STANDARD.encode(&message[7..])].concat();
        for size in 1..text.len() {
            let (mut untext, mut out) = (Untext::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                untext.push(piece, &mut out).unwrap();
            }
            assert_eq!((out.as_slice(), untext.finish()), (&message[..], Ok(())), "{size}");
        }
        let mut out = Vec::new();
        assert_eq!(Untext::default().push(b"a*==", &mut out), Err(Undecodable::Base64));
        let mut cut = Untext::default();
        cut.push(b"abc", &mut out).unwrap();
        assert_eq!(cut.finish(), Err(Undecodable::Base64Length));
    }

    #[test]
    fn trailers_come_behind_the_messages() {
        let mut trailers = Fields::default();
        trailers.append(b"grpc-status", b"0");
        trailers.append(b"grpc-message", b"fine");
        let frame = b"\x80\0\0\0\x22grpc-status:0\r\ngrpc-message:fine\r\n";
        for text in [false, true] {
            let (mut respond, mut out) = (Respond::new(text), Vec::new());
            for byte in b"\0\0\0\0\x02hi" {
                respond.push(&[*byte], &mut out);
            }
            assert!(respond.finish(Some(&trailers), &mut out));
            let out = if text { STANDARD.decode(&out).unwrap() } else { out };
            assert_eq!(out, [&b"\0\0\0\0\x02hi"[..], frame].concat(), "{text}");
        }
        let mut out = Vec::new();
        assert!(!Respond::new(true).finish(None, &mut out) && out.is_empty());
    }
}
