//! FastCGI 1.0 records, both ways.
//!
//! ```text
//! version 1 │ type │ request id (2) │ content length (2) │ padding length │ reserved │ content │ padding
//! ```
//! One request a connection: its id is always 1.

/// The length of a record's head.
pub const RECORD_HEAD_BYTES: usize = 8;
/// The most content of one record.
pub const CONTENT_BYTES_MAX: usize = 65_535;

const VERSION: u8 = 1;
const REQUEST_ID: u16 = 1;

/// What the application is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Responder = 1,
    Authorizer = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    BeginRequest = 1,
    EndRequest = 3,
    Params = 4,
    Stdin = 5,
    Stdout = 6,
    Stderr = 7,
}

fn record_head(kind: Kind, length: usize, out: &mut Vec<u8>) {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let id = REQUEST_ID.to_be_bytes();
    out.extend_from_slice(&[VERSION, kind as u8, id[0], id[1], length[0], length[1], 0, 0]);
}

/// Begins a request that ends its connection, and gives it its variables.
pub fn begin<'a>(role: Role, variables: impl Iterator<Item = (&'a str, &'a [u8])>, out: &mut Vec<u8>) {
    record_head(Kind::BeginRequest, 8, out);
    out.extend_from_slice(&[0, role as u8, 0, 0, 0, 0, 0, 0]);
    let mut list = Vec::with_capacity(2048);
    for (name, value) in variables {
        length(name.len(), &mut list);
        length(value.len(), &mut list);
        list.extend_from_slice(name.as_bytes());
        list.extend_from_slice(value);
    }
    for part in list.chunks(CONTENT_BYTES_MAX) {
        record_head(Kind::Params, part.len(), out);
        out.extend_from_slice(part);
    }
    record_head(Kind::Params, 0, out);
}

fn length(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let long = u32::try_from(length).unwrap_or(u32::MAX >> 1) | 0x8000_0000;
            out.extend_from_slice(&long.to_be_bytes());
        }
    }
}

/// Announces `length` bytes of the body, at most [`CONTENT_BYTES_MAX`]; 0 ends it.
pub fn stdin_head(length: usize, out: &mut Vec<u8>) {
    debug_assert!(length <= CONTENT_BYTES_MAX);
    record_head(Kind::Stdin, length, out);
}

/// A part of the application's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Partial,
    /// So many bytes are framing and can be skipped.
    Skip(usize),
    /// So many bytes of the response are at the front.
    Stdout(usize),
    /// So many bytes for the log are.
    Stderr(usize),
    /// The request is over; `ok` as the application says.
    End { ok: bool },
}

/// An answer that is no FastCGI: 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the application does not speak FastCGI")]
pub struct FastCgiError;

/// Reads the application's records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    kind: u8,
    content: usize,
    padding: usize,
}

impl Decoder {
    /// What stands at the front of `bytes`; tell [`Decoder::take`] about content that was used. Skipped bytes need no telling.
    ///
    /// # Errors
    /// [`FastCgiError`].
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, FastCgiError> {
        if self.content == 0 && self.padding > 0 {
            let skip = self.padding.min(bytes.len());
            self.padding -= skip;
            return Ok(if skip == 0 { Step::Partial } else { Step::Skip(skip) });
        }
        if self.content == 0 {
            let Some(head) = bytes.get(..RECORD_HEAD_BYTES) else { return Ok(Step::Partial) };
            if head[0] != VERSION {
                return Err(FastCgiError);
            }
            let content = usize::from(u16::from_be_bytes([head[4], head[5]]));
            if head[1] == Kind::EndRequest as u8 {
                let Some(body) = bytes.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + 8) else {
                    return Ok(Step::Partial);
                };
                return Ok(Step::End { ok: body[4] == 0 });
            }
            *self = Self { kind: head[1], content, padding: usize::from(head[6]) };
            return Ok(Step::Skip(RECORD_HEAD_BYTES));
        }
        let here = self.content.min(bytes.len());
        Ok(match self.kind {
            _ if here == 0 => Step::Partial,
            kind if kind == Kind::Stdout as u8 => Step::Stdout(here),
            kind if kind == Kind::Stderr as u8 => Step::Stderr(here),
            // Whatever else an application may say is not for us.
            _ => {
                self.content -= here;
                Step::Skip(here)
            }
        })
    }

    /// Notes that `len` bytes of content were used.
    pub fn take(&mut self, len: usize) {
        self.content = self.content.saturating_sub(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content, log, and how it ended.
    type Decoded = (Vec<u8>, Vec<u8>, Option<bool>);

    /// Reads an answer that comes in pieces.
    fn decode(bytes: &[u8], piece: usize) -> Result<Decoded, FastCgiError> {
        let (mut decoder, mut at, mut seen) = (Decoder::default(), 0, 0);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match decoder.step(&bytes[at..seen])? {
                Step::Partial if seen == bytes.len() => return Ok((out, err, None)),
                Step::Partial => seen = (seen + piece).min(bytes.len()),
                Step::Skip(len) => at += len,
                Step::Stdout(len) => {
                    out.extend_from_slice(&bytes[at..at + len]);
                    at += len;
                    decoder.take(len);
                }
                Step::Stderr(len) => {
                    err.extend_from_slice(&bytes[at..at + len]);
                    at += len;
                    decoder.take(len);
                }
                Step::End { ok } => return Ok((out, err, Some(ok))),
            }
        }
    }

    #[test]
    fn answers_in_any_pieces() {
        let bytes = [
            &b"\x01\x06\0\x01\0\x05\x03\0hello\0\0\0"[..],
            b"\x01\x07\0\x01\0\x03\0\0oop",
            b"\x01\x0b\0\0\0\x02\0\0xx",
            b"\x01\x06\0\x01\0\0\0\0",
            b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
        ]
        .concat();
        for piece in 1..=bytes.len() {
            assert_eq!(
                decode(&bytes, piece),
                Ok((b"hello".to_vec(), b"oop".to_vec(), Some(true))),
                "{piece}"
            );
        }
        assert_eq!(decode(b"HTTP/1.1 200 OK\r\n\r\n", 5), Err(FastCgiError));
        assert_eq!(decode(&bytes[..12], 5).unwrap().2, None, "closed in the middle");
    }

    #[test]
    fn a_request() {
        let mut out = Vec::new();
        let long = vec![b'v'; 200];
        begin(Role::Responder, [("A", &b"b"[..]), ("L", &long)].into_iter(), &mut out);
        assert_eq!(&out[..16], b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0");
        assert_eq!(&out[16..28], b"\x01\x04\0\x01\0\xd2\0\0\x01\x01Ab");
        assert_eq!(&out[28..34], b"\x01\x80\0\0\xc8L");
        assert_eq!(&out[out.len() - 8..], b"\x01\x04\0\x01\0\0\0\0");
        let mut end = Vec::new();
        stdin_head(0, &mut end);
        assert_eq!(end, b"\x01\x05\0\x01\0\0\0\0");
    }
}
