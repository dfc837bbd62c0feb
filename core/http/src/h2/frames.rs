//! The frames of a byte stream that arrives in any pieces (RFC 9113 §4.1).
//!
//! ```text
//! 00 00 04 | 03 | 00 | 00 00 00 01 | 00 00 00 08
//! length   type flags  stream        payload: for RST_STREAM its code
//! ```

/// Types of frames (RFC 9113 §6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
}

const HEAD_BYTES: usize = 9;
/// The longest part of a payload that is looked at: the code of RST_STREAM.
const PEEK_BYTES: usize = 4;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    /// Payload bytes, without padding.
    pub len: u32,
    /// The code of RST_STREAM.
    pub code: Option<u32>,
}

impl Frame {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Finds frames; holds no more than a head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    skip: u32,
    held: u8,
    head: [u8; HEAD_BYTES + PEEK_BYTES],
}

impl Frames {
    /// A stream that begins with so many bytes that are no frame: a preface.
    pub fn after(skip: u32) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Takes the next bytes, and calls `seen` for each frame that begins in them.
    pub fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let held = usize::from(self.held);
            let needed = if held < HEAD_BYTES { HEAD_BYTES } else { HEAD_BYTES + peek(&self.head) };
            let taken = bytes.len().min(needed - held);
            self.head[held..held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken as u8;
            bytes = &bytes[taken..];
            let held = usize::from(self.held);
            if held < HEAD_BYTES || held < HEAD_BYTES + peek(&self.head) {
                continue;
            }
            let (frame, rest) = read(&self.head);
            (self.held, self.skip) = (0, rest);
            seen(frame);
        }
    }
}

fn payload_len(head: &[u8]) -> u32 {
    u32::from_be_bytes([0, head[0], head[1], head[2]])
}

/// How much of the payload must be known as well.
fn peek(head: &[u8]) -> usize {
    let wanted = match head[3] {
        kind::RST_STREAM => PEEK_BYTES,
        kind::DATA | kind::HEADERS if head[4] & flag::PADDED != 0 => 1,
        _ => 0,
    };
    wanted.min(payload_len(head) as usize)
}

/// A frame, and how much of its payload is still to come.
fn read(head: &[u8; HEAD_BYTES + PEEK_BYTES]) -> (Frame, u32) {
    let (len, peeked) = (payload_len(head), peek(head));
    let (frame_kind, flags) = (head[3], head[4]);
    let padded = frame_kind != kind::RST_STREAM && peeked == 1;
    let padding = if padded { 1 + u32::from(head[HEAD_BYTES]) } else { 0 };
    let code = (frame_kind == kind::RST_STREAM && peeked == PEEK_BYTES)
        .then(|| u32::from_be_bytes([head[9], head[10], head[11], head[12]]));
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
    let frame = Frame { kind: frame_kind, flags, stream, len: len.saturating_sub(padding), code };
    (frame, len - peeked as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &[u8], piece: usize) -> Vec<Frame> {
        let (mut frames, mut all) = (Frames::after(3), Vec::new());
        for part in bytes.chunks(piece) {
            frames.feed(part, |frame| all.push(frame));
        }
        all
    }

    #[test]
    fn every_cut_shows_the_same_frames() {
        let bytes = b"PRI\
            \0\0\0\x04\0\0\0\0\0\
            \0\0\x05\0\x01\0\0\0\x01hello\
            \0\0\x05\0\x08\0\0\0\x01\x04abcd\
            \0\0\x04\x03\0\0\0\0\x01\0\0\0\x08\
            \0\0\x01\x03\0\0\0\0\x01\0\
            \0\0\0\x08\0\0\0\0\0";
        let frame = |kind, flags, len, code| {
            let stream = u32::from(!matches!(kind, kind::SETTINGS | kind::WINDOW_UPDATE));
            Frame { kind, flags, stream, len, code }
        };
        let expected = [
            frame(kind::SETTINGS, 0, 0, None),
            frame(kind::DATA, 1, 5, None),
            frame(kind::DATA, 8, 0, None),
            frame(kind::RST_STREAM, 0, 4, Some(8)),
            frame(kind::RST_STREAM, 0, 1, None),
            frame(kind::WINDOW_UPDATE, 0, 0, None),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(seen(bytes, piece), expected, "by {piece}");
        }
    }
}
