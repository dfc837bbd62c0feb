//! What Google's gRPC library calls the server at the other end of a socket in the file system: the percent-encoded path,
//! `run%2Fxds.sock`. That is no authority as RFC 3986 has it, and h2 refuses the stream. AWS's Envoy image speaks by that
//! library, so on such sockets each `%` of an `:authority` becomes a `.` of the same length before h2 reads it.
//!
//! ```text
//! preface ─▶ frame head ─▶ payload ─▶ frame head …        HEADERS, CONTINUATION: the header block, byte by byte
//! block:   operation ─▶ [name] ─▶ value ─▶ operation …    (RFC 7541, section 6)
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table …
const AUTHORITY: u8 = 1;
/// … and in letters, as Google's library writes it.
const AUTHORITY_NAME: &[u8] = b":authority";

/// A stream whose incoming bytes are mended.
#[derive(Debug)]
pub(super) struct Mended<S> {
    stream: S,
    mender: Mender,
}

impl<S> Mended<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, mender: Mender::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.mender.handle_bytes(&mut buffer.filled_mut()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where in the connection the next byte is.
#[derive(Debug)]
enum Place {
    Preface {
        seen: usize,
    },
    Head {
        bytes: [u8; 9],
        seen: usize,
    },
    Payload {
        left: usize,
        block: Option<Block>,
    },
    /// It is no HTTP/2.
    Off,
}

/// Where in the payload of HEADERS or CONTINUATION.
#[derive(Clone, Copy, Debug)]
struct Block {
    padded: bool,
    /// Bytes of priority that are still to come.
    priority: usize,
    padding: usize,
}

#[derive(Debug)]
struct Mender {
    place: Place,
    /// A header block may go on in another frame.
    hpack: Hpack,
}

impl Default for Mender {
    fn default() -> Self {
        Self { place: Place::Preface { seen: 0 }, hpack: Hpack::Operation }
    }
}

impl Mender {
    fn handle_bytes(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if matches!(self.place, Place::Off) {
                return;
            }
            self.handle_byte(byte);
        }
    }

    fn handle_byte(&mut self, byte: &mut u8) {
        match &mut self.place {
            Place::Off => {}
            Place::Preface { seen } => {
                if PREFACE.get(*seen) != Some(byte) {
                    self.place = Place::Off;
                    return;
                }
                *seen += 1;
                if *seen == PREFACE.len() {
                    self.place = Place::Head { bytes: [0; 9], seen: 0 };
                }
            }
            Place::Head { bytes, seen } => {
                bytes[*seen] = *byte;
                *seen += 1;
                if *seen == bytes.len() {
                    let head = *bytes;
                    self.begin(head);
                }
            }
            Place::Payload { left, block } => {
                *left -= 1;
                if let Some(block) = block {
                    if std::mem::take(&mut block.padded) {
                        block.padding = usize::from(*byte);
                    } else if block.priority > 0 {
                        block.priority -= 1;
                    } else if *left >= block.padding {
                        self.hpack.handle_byte(byte);
                    }
                }
                if *left == 0 {
                    self.place = Place::Head { bytes: [0; 9], seen: 0 };
                }
            }
        }
    }

    fn begin(&mut self, [a, b, c, kind, flags, ..]: [u8; 9]) {
        let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let has = |flag: u8| kind == HEADERS && flags & flag != 0;
        if kind == HEADERS {
            self.hpack = Hpack::Operation;
        }
        let block = [HEADERS, CONTINUATION].contains(&kind).then_some(Block {
            padded: has(PADDED),
            priority: if has(PRIORITY) { 5 } else { 0 },
            padding: 0,
        });
        self.place =
            if left == 0 { Place::Head { bytes: [0; 9], seen: 0 } } else { Place::Payload { left, block } };
    }
}

/// Where in a header block. What is malformed is passed on, for h2 to refuse.
#[derive(Clone, Copy, Debug)]
enum Hpack {
    Operation,
    /// The rest of an index of several bytes, and what comes after it.
    Index {
        next: Next,
    },
    /// A string's length is about to come.
    Length {
        string: Text,
    },
    /// The rest of a length of several bytes.
    MoreLength {
        length: usize,
        shift: u32,
        string: Text,
        plain: bool,
    },
    Body {
        left: usize,
        string: Text,
        plain: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Operation,
    Value,
}

/// Which string it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// So many of its bytes have been those of [`AUTHORITY_NAME`]; `None` if one was not.
    Name {
        alike: Option<usize>,
    },
    Value,
    Authority,
}

impl Hpack {
    fn handle_byte(&mut self, byte: &mut u8) {
        *self = match *self {
            Self::Operation => Self::operation(*byte),
            Self::Index { next } if *byte & 0x80 != 0 => Self::Index { next },
            Self::Index { next: Next::Operation } => Self::Operation,
            Self::Index { next: Next::Value } => Self::Length { string: Text::Value },
            Self::Length { string } => {
                let (plain, length) = (*byte & 0x80 == 0, usize::from(*byte & 0x7f));
                if length == 0x7f {
                    Self::MoreLength { length, shift: 0, string, plain }
                } else {
                    Self::body(length, string, plain)
                }
            }
            Self::MoreLength { length, shift, string, plain } => {
                let more = usize::from(*byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX);
                let length = length.saturating_add(more);
                if *byte & 0x80 != 0 {
                    Self::MoreLength { length, shift: shift.saturating_add(7), string, plain }
                } else {
                    Self::body(length, string, plain)
                }
            }
            Self::Body { left, mut string, plain } => {
                match &mut string {
                    Text::Authority if plain && *byte == b'%' => *byte = b'.',
                    Text::Name { alike } => {
                        let is_next = |seen: &usize| plain && AUTHORITY_NAME.get(*seen) == Some(byte);
                        *alike = alike.filter(is_next).map(|seen| seen + 1);
                    }
                    Text::Authority | Text::Value => {}
                }
                Self::body(left.saturating_sub(1), string, plain)
            }
        };
    }

    fn operation(byte: u8) -> Self {
        let literal = |mask: u8| match byte & mask {
            0 => Self::Length { string: Text::Name { alike: Some(0) } },
            AUTHORITY => Self::Length { string: Text::Authority },
            index if index == mask => Self::Index { next: Next::Value },
            _ => Self::Length { string: Text::Value },
        };
        let number = |mask: u8| {
            if byte & mask == mask { Self::Index { next: Next::Operation } } else { Self::Operation }
        };
        match byte {
            0x80.. => number(0x7f),
            0x40.. => literal(0x3f),
            0x20.. => number(0x1f),
            _ => literal(0x0f),
        }
    }

    /// A string with so many bytes to come; without any, what comes after it.
    fn body(left: usize, string: Text, plain: bool) -> Self {
        match (left, string) {
            (0, Text::Name { alike }) => {
                let whole = alike == Some(AUTHORITY_NAME.len());
                Self::Length { string: if whole { Text::Authority } else { Text::Value } }
            }
            (0, _) => Self::Operation,
            _ => Self::Body { left, string, plain },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn text(value: &[u8]) -> Vec<u8> {
        [&[u8::try_from(value.len()).expect("short")], value].concat()
    }

    /// Mends in pieces of a size, and answers everything.
    fn mended(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut mender, mut bytes) = (Mender::default(), bytes.to_vec());
        bytes.chunks_mut(piece).for_each(|piece| mender.handle_bytes(piece));
        bytes
    }

    #[test]
    fn only_the_authority_is_mended_wherever_it_stands() {
        let long = [b'%'; 300];
        let length = [&[0x7f, 0xad, 0x01][..], &long].concat();
        // A path that has percent signs of its own, sizes and indices of 0x25, names in letters.
        let block = |authority: &[u8]| {
            [
                &[0x83, 0x25, 0xa5],
                &[0x44][..],
                &text(b"/a%2Fb"),
                &[0x41],
                &text(authority),
                &[0x40],
                &text(b"x-%"),
                &text(b"%"),
                &[0x40],
                &text(b":authority"),
                &text(authority),
                &[0x10],
                &text(b":authority-x"),
                &text(b"%"),
                &[0x00],
                &text(b":author"),
                &text(b"%"),
                &[0x0f, 0x25],
                &text(b"%%"),
                &[0x04],
                &length,
            ]
            .concat()
        };
        let connection = |authority: &[u8]| {
            let block = block(authority);
            let (first, rest) = block.split_at(9);
            let padded = [&[3][..], &[0x25; 5], &block, b"%%%"].concat();
            [
                PREFACE,
                &frame(4, 0, &[0, 3, 0, 0, 0, 0x25]),
                &frame(HEADERS, 0, first),
                &frame(CONTINUATION, 4, rest),
                &frame(0, 0, b"A%2F"),
                &frame(HEADERS, 4 | PADDED | PRIORITY, &padded),
                &frame(0, 1, b""),
                &frame(HEADERS, 4, &block),
            ]
            .concat()
        };
        for piece in [1, 2, 7, 4096] {
            assert_eq!(mended(&connection(b"run%2Fx.sock"), piece), connection(b"run.2Fx.sock"), "{piece}");
        }
    }

    #[test]
    fn what_is_no_http2_and_what_is_malformed_passes() {
        for bytes in [&b"GET /a%2Fb HTTP/1.1\r\nhost: a%2Fb\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXM%", b""] {
            assert_eq!(mended(bytes, 3), bytes);
        }
        // Lengths beyond all bounds neither overflow nor end the walk.
        let wild = [
            PREFACE,
            &frame(
                HEADERS,
                4,
                &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, b'x'],
            ),
        ]
        .concat();
        assert_eq!(mended(&wild, 1), wild);
    }
}
