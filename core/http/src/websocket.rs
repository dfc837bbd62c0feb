//! WebSocket frames (RFC 6455 §5), as a server reads and writes them.
//!
//! ```text
//! 81 85 37 fa 21 3d 7f 9f 4d 51 58      the text "Hello" of a client, masked
//! 81 05 48 65 6c 6c 6f                  the same of a server
//! ```

/// The longest payload of a control frame.
pub const CONTROL_BYTES_MAX: usize = 125;
/// What is appended to a client's key before it is hashed (§1.3).
pub const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// What a client may not send: the connection ends with status 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("a frame that is not masked")]
    Unmasked,
    #[error("bits or a kind that nobody agreed on")]
    Unknown,
    #[error("a control frame in parts, or of more than {CONTROL_BYTES_MAX} bytes")]
    Control,
    #[error("a part of a message that was not begun, or a message within another")]
    Order,
    #[error("a length beyond 2^63")]
    Length,
}

/// Whether the client goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Open,
    /// It has closed, and the answer to that is written.
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    left: u64,
    mask: [u8; 4],
    /// Bytes of it that were unmasked.
    at: usize,
}

/// Reads a client's frames. Content is passed on as it comes: nothing waits for the end of a message.
#[derive(Debug, Default)]
pub struct Decoder {
    frame: Option<Frame>,
    in_message: bool,
    control: Vec<u8>,
}

impl Decoder {
    /// Reads `input`; content goes to `content`, what is to be answered to `reply`. Answers how much was read: a part of a
    /// frame's head waits for the rest.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn read(
        &mut self,
        input: &[u8],
        content: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(usize, Progress), Violation> {
        let mut read = 0;
        loop {
            let Some(mut frame) = self.frame.take() else {
                let Some((frame, len)) = self.head(&input[read..])? else {
                    return Ok((read, Progress::Open));
                };
                read += len;
                self.frame = Some(frame);
                continue;
            };
            let here = input.len() - read;
            let take = here.min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            let control = is_control(frame.opcode);
            let out = if control { &mut self.control } else { &mut *content };
            out.extend(
                input[read..read + take]
                    .iter()
                    .enumerate()
                    .map(|(index, byte)| byte ^ frame.mask[(frame.at + index) % 4]),
            );
            read += take;
            frame.at = (frame.at + take) % 4;
            frame.left -= take as u64;
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok((read, Progress::Open));
            }
            if control {
                let payload = std::mem::take(&mut self.control);
                match frame.opcode {
                    Opcode::Ping => write(Opcode::Pong, &payload, reply),
                    Opcode::Close => {
                        // Its status comes back.
                        write(Opcode::Close, payload.get(..2).unwrap_or_default(), reply);
                        return Ok((read, Progress::Closed));
                    }
                    _ => {}
                }
            }
        }
    }

    fn head(&mut self, input: &[u8]) -> Result<Option<(Frame, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = input else { return Ok(None) };
        let fin = first & FIN != 0;
        let opcode = match first & !FIN {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(Violation::Unknown),
        };
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let (left, extended) = match second & !MASKED {
            126 => match rest.first_chunk::<2>() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        if left > u64::MAX / 2 {
            return Err(Violation::Length);
        }
        if is_control(opcode) {
            if !fin || left > CONTROL_BYTES_MAX as u64 {
                return Err(Violation::Control);
            }
        } else {
            if self.in_message != (opcode == Opcode::Continuation) {
                return Err(Violation::Order);
            }
        }
        let Some(mask) = rest[extended..].first_chunk::<4>() else { return Ok(None) };
        if !is_control(opcode) {
            self.in_message = !fin;
        }
        Ok(Some((Frame { opcode, left, mask: *mask, at: 0 }, 2 + extended + 4)))
    }
}

fn is_control(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong)
}

/// Writes a whole frame of a server.
pub fn write(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let number = match opcode {
        Opcode::Continuation => 0x0,
        Opcode::Text => 0x1,
        Opcode::Binary => 0x2,
        Opcode::Close => 0x8,
        Opcode::Ping => 0x9,
        Opcode::Pong => 0xa,
    };
    out.push(FIN | number);
    match payload.len() {
        len @ 0..126 => out.push(len as u8),
        len @ 126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

    #[test]
    fn a_masked_text_is_read_however_it_is_cut() {
        for cut in 0..HELLO.len() {
            let (mut decoder, mut content, mut reply) = (Decoder::default(), Vec::new(), Vec::new());
            let (read, _) = decoder.read(&HELLO[..cut], &mut content, &mut reply).unwrap();
            let (rest, progress) = decoder.read(&HELLO[read..], &mut content, &mut reply).unwrap();
            assert_eq!((read + rest, progress), (HELLO.len(), Progress::Open));
            assert_eq!((content.as_slice(), reply.len()), (&b"Hello"[..], 0), "{cut}");
        }
    }

    #[test]
    fn pings_are_answered_within_a_message_and_a_close_ends_it() {
        let zero = [0; 4];
        let frame =
            |first: u8, payload: &[u8]| [&[first, 0x80 | payload.len() as u8], &zero[..], payload].concat();
        let input = [
            frame(0x01, b"a"),
            frame(0x89, b"p"),
            frame(0x00, b"b"),
            frame(0x8a, b""),
            frame(0x80, b"c"),
            frame(0x88, &[0x03, 0xe8, b'x']),
        ]
        .concat();
        let (mut content, mut reply) = (Vec::new(), Vec::new());
        let (read, progress) = Decoder::default().read(&input, &mut content, &mut reply).unwrap();
        assert_eq!((read, progress), (input.len(), Progress::Closed));
        assert_eq!(content, b"abc");
        assert_eq!(reply, [0x8a, 1, b'p', 0x88, 2, 0x03, 0xe8]);
    }

    #[test]
    fn what_no_client_may_send_is_refused() {
        let rows: [(&[u8], Violation); 9] = [
            (&[0x81, 0x01, b'a'], Violation::Unmasked),
            (&[0xc1, 0x80, 0, 0, 0, 0], Violation::Unknown),
            (&[0x83, 0x80, 0, 0, 0, 0], Violation::Unknown),
            (&[0x09, 0x80, 0, 0, 0, 0], Violation::Control),
            (&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], Violation::Control),
            (&[0x80, 0x80, 0, 0, 0, 0], Violation::Order),
            (&[0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0], Violation::Order),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::Length),
            (&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Violation::Length),
        ];
        for (input, expected) in rows {
            let found = Decoder::default().read(input, &mut Vec::new(), &mut Vec::new());
            assert_eq!(found, Err(expected), "{input:x?}");
        }
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (len, head) in [
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_535, vec![0x82, 126, 0xff, 0xff]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            write(Opcode::Binary, &vec![7; len], &mut out);
            assert!(out.starts_with(&head) && out.len() == head.len() + len, "{len}");
        }
    }
}
