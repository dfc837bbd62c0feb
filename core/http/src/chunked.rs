//! The chunked coding (RFC 9112 §7.1), piece by piece: the decoder says which of the bytes at hand are framing and which
//! are content, and never holds any.
//!
//! ```text
//! "5;ext=1\r\nhello\r\n0\r\nname: value\r\n\r\n"
//!  framing    content framing ------------------> end
//! ```

/// The longest chunk-size line, its extensions included.
pub const SIZE_LINE_BYTES_MAX: u32 = 1024;
/// Extension bytes in all lines of one body: many tiny chunks with long extensions cost more to read than to send.
pub const EXTENSION_BYTES_MAX: u32 = 16 * 1024;
/// Trailer section bytes of one body.
pub const TRAILER_BYTES_MAX: u32 = 16 * 1024;

/// Chunk framing that breaks the grammar or a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("a chunk size that is not hexadecimal")]
    BadSize,
    #[error("a chunk size beyond 2^60")]
    SizeTooLarge,
    #[error("a line end that is not CRLF")]
    BadLineEnd,
    #[error("chunk extensions beyond the limit")]
    ExtensionsTooLong,
    #[error("a control character in a chunk extension")]
    BadExtension,
    #[error("a trailer line that is no field")]
    BadTrailer,
    #[error("trailers beyond the limit")]
    TrailersTooLong,
}

/// What the bytes at hand begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Framing bytes to skip.
    pub skip: usize,
    /// Content bytes behind them; tell the decoder with [`Decoder::take`] once they are used, in one or more parts.
    pub content: usize,
    /// The body ended with the skipped bytes.
    pub end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
    },
    SizeFeed {
        value: u64,
    },
    Content {
        left: u64,
    },
    ContentReturn,
    ContentFeed,
    /// At the first byte of a trailer line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerFeed,
    EndFeed,
    Done,
}

/// Reads one chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    state: State,
    line: u32,
    extensions: u32,
    trailers: u32,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, line: 0, extensions: 0, trailers: 0 }
    }
}

impl Decoder {
    /// Reads framing until content or the end. `skip` bytes are done with, whatever else is returned; without content and
    /// end, more bytes are needed.
    ///
    /// # Errors
    /// When the framing is not what RFC 9112 §7.1 says, or exceeds a limit of this module.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        let mut at = 0;
        loop {
            if let State::Content { left } = self.state {
                let here = (bytes.len() - at) as u64;
                return Ok(Step { skip: at, content: here.min(left) as usize, end: false });
            }
            if self.state == State::Done {
                return Ok(Step { skip: at, content: 0, end: true });
            }
            let Some(&byte) = bytes.get(at) else {
                return Ok(Step { skip: at, content: 0, end: false });
            };
            at += 1;
            self.state = self.after(byte)?;
        }
    }

    /// Notes that `len` content bytes have been used.
    pub fn take(&mut self, len: usize) {
        if let State::Content { left } = &mut self.state {
            *left = left.saturating_sub(len as u64);
            if *left == 0 {
                self.state = State::ContentReturn;
            }
        }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn after(&mut self, byte: u8) -> Result<State, ChunkError> {
        Ok(match self.state {
            State::Size { value, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if value >> 56 != 0 => return Err(ChunkError::SizeTooLarge),
                (Some(_), _) if digits >= 16 => return Err(ChunkError::SizeTooLarge),
                (Some(digit), _) => State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 },
                (None, b'\r') if digits > 0 => State::SizeFeed { value },
                (None, b';' | b' ' | b'\t') if digits > 0 => self.extension(value)?,
                _ => return Err(ChunkError::BadSize),
            },
            State::Extension { value } => match byte {
                b'\r' => State::SizeFeed { value },
                b'\n' => return Err(ChunkError::BadLineEnd),
                byte if is_control(byte) => return Err(ChunkError::BadExtension),
                _ => self.extension(value)?,
            },
            State::SizeFeed { value } => {
                self.line = 0;
                match (byte, value) {
                    (b'\n', 0) => State::TrailerStart,
                    (b'\n', left) => State::Content { left },
                    _ => return Err(ChunkError::BadLineEnd),
                }
            }
            State::ContentReturn if byte == b'\r' => State::ContentFeed,
            State::ContentFeed if byte == b'\n' => State::Size { value: 0, digits: 0 },
            State::TrailerStart if byte == b'\r' => State::EndFeed,
            State::TrailerStart | State::TrailerName | State::TrailerValue => {
                self.trailers += 1;
                if self.trailers > TRAILER_BYTES_MAX {
                    return Err(ChunkError::TrailersTooLong);
                }
                match (self.state, byte) {
                    (_, b'\n') => return Err(ChunkError::BadLineEnd),
                    (State::TrailerName, b':') => State::TrailerValue,
                    (State::TrailerValue, b'\r') => State::TrailerFeed,
                    (State::TrailerValue, byte) if !is_control(byte) => State::TrailerValue,
                    (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => State::TrailerName,
                    _ => return Err(ChunkError::BadTrailer),
                }
            }
            State::TrailerFeed if byte == b'\n' => State::TrailerStart,
            State::EndFeed if byte == b'\n' => State::Done,
            _ => return Err(ChunkError::BadLineEnd),
        })
    }

    fn extension(&mut self, value: u64) -> Result<State, ChunkError> {
        self.line += 1;
        self.extensions += 1;
        if self.line > SIZE_LINE_BYTES_MAX || self.extensions > EXTENSION_BYTES_MAX {
            return Err(ChunkError::ExtensionsTooLong);
        }
        Ok(State::Extension { value })
    }
}

/// Whether a byte may not stand in a field's value (RFC 9110 §5.5).
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Whether a byte may stand in a field's name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What closes every chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The empty chunk and the empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the size line of a chunk with `len` bytes; `len` must not be 0, which would end the body.
pub fn encode_size(len: usize, out: &mut Vec<u8>) {
    debug_assert_ne!(len, 0);
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (digit * 4) & 0xf]);
    }
    out.extend_from_slice(CHUNK_END);
}

#[cfg(test)]
#[expect(clippy::type_complexity, reason = "rows of a table")]
mod tests {
    use super::*;

    /// Decodes `bytes` given in pieces of `piece` bytes; the content and what was left over.
    fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let mut decoder = Decoder::default();
        let (mut content, mut at, mut seen) = (Vec::new(), 0, 0);
        while seen < bytes.len() {
            seen = (seen + piece).min(bytes.len());
            loop {
                let step = decoder.step(&bytes[at..seen])?;
                at += step.skip;
                content.extend_from_slice(&bytes[at..at + step.content]);
                at += step.content;
                decoder.take(step.content);
                if step.end {
                    return Ok((content, at, true));
                }
                if step.content == 0 {
                    break;
                }
            }
        }
        Ok((content, at, false))
    }

    #[test]
    fn bodies_and_their_ends() {
        let rows: &[(&[u8], Result<(&[u8], usize, bool), ChunkError>)] = &[
            (b"0\r\n\r\n", Ok((b"", 5, true))),
            (b"3\r\nabc\r\n0\r\n\r\nGET", Ok((b"abc", 13, true))),
            (b"3;a=b\r\nabc\r\n00\r\n\r\n", Ok((b"abc", 18, true))),
            (b"A\r\n0123456789\r\n0\r\nx: y\r\nz: w\r\n\r\n", Ok((b"0123456789", 32, true))),
            (b"3\r\nab", Ok((b"ab", 5, false))),
            (b"zz\r\n", Err(ChunkError::BadSize)),
            (b"\r\n", Err(ChunkError::BadSize)),
            (b"-1\r\n", Err(ChunkError::BadSize)),
            (b"0x3\r\nabc", Err(ChunkError::BadSize)),
            (b"3\nabc", Err(ChunkError::BadSize)),
            (b"3\r\nabcd\r\n", Err(ChunkError::BadLineEnd)),
            (b"3;a\nabc", Err(ChunkError::BadLineEnd)),
            (b"0\r\nx: y\n\r\n", Err(ChunkError::BadLineEnd)),
            (b"3;\0\r\nabc\r\n", Err(ChunkError::BadExtension)),
            (b"0\r\nno colon\r\n\r\n", Err(ChunkError::BadTrailer)),
            (b"0\r\n: y\r\n\r\n", Err(ChunkError::BadTrailer)),
            (b"0\r\nx: y\r\n z\r\n\r\n", Err(ChunkError::BadTrailer)),
            (b"0\r\nx: \0\r\n\r\n", Err(ChunkError::BadTrailer)),
            (b"ffffffffffffffff\r\n", Err(ChunkError::SizeTooLarge)),
            (b"00000000000000000\r\n", Err(ChunkError::SizeTooLarge)),
        ];
        for (bytes, expected) in rows {
            let expected = expected.map(|(content, at, end)| (content.to_vec(), at, end));
            for piece in 1..=bytes.len() {
                assert_eq!(decode(bytes, piece), expected, "{:?} by {piece}", String::from_utf8_lossy(bytes));
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("1;{}\r\n", "x".repeat(SIZE_LINE_BYTES_MAX as usize));
        assert_eq!(decode(long.as_bytes(), 7), Err(ChunkError::ExtensionsTooLong));
        let many = "1;xxxxxxxxxxxxxxx\r\na\r\n".repeat(EXTENSION_BYTES_MAX as usize / 16 + 1);
        assert_eq!(decode(many.as_bytes(), 4096), Err(ChunkError::ExtensionsTooLong));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(TRAILER_BYTES_MAX as usize / 4));
        assert_eq!(decode(trailers.as_bytes(), 4096), Err(ChunkError::TrailersTooLong));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for sizes in [&[1usize, 15, 16, 17][..], &[255, 256, 4095, 4096, 65_536], &[]] {
            let (mut wire, mut sent) = (Vec::new(), Vec::new());
            for &size in sizes {
                encode_size(size, &mut wire);
                let content: Vec<u8> = (0..size).map(|i| i as u8).collect();
                wire.extend_from_slice(&content);
                wire.extend_from_slice(CHUNK_END);
                sent.extend_from_slice(&content);
            }
            wire.extend_from_slice(LAST_CHUNK);
            for piece in [1, 3, 1000, wire.len()] {
                assert_eq!(decode(&wire, piece), Ok((sent.clone(), wire.len(), true)));
            }
        }
    }
}
