//! What a page has become so far: text, and files that are included as they are.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Stop;
use crate::request::Body;
use crate::request::response::Source;

/// The most text that a page may become, without the files that are too large to be held.
pub(crate) const MADE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// An included file up to this size is read at once; a larger one is read as it is sent.
const HELD_BYTES_MAX: u64 = 64 * 1024;
/// What is read of a file at once.
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Made {
    parts: VecDeque<Part>,
    /// The text behind the last part.
    text: Vec<u8>,
    held: usize,
    length: u64,
}

#[derive(Debug)]
enum Part {
    Text(Bytes),
    File { file: File, offset: u64, end: u64 },
}

impl Made {
    pub(super) fn text(&mut self, text: &[u8]) -> Result<(), Stop> {
        self.held += text.len();
        if self.held > MADE_BYTES_MAX {
            return Err(Stop(format!("it became more than {MADE_BYTES_MAX} bytes")));
        }
        self.length += text.len() as u64;
        self.text.extend_from_slice(text);
        Ok(())
    }

    /// A file as it is, of `len` bytes.
    pub(super) fn file(&mut self, file: File, len: u64) -> Result<(), Stop> {
        if len <= HELD_BYTES_MAX {
            let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
            file.read_exact_at(&mut text, 0)?;
            return self.text(&text);
        }
        self.close_text();
        self.length += len;
        self.parts.push_back(Part::File { file, offset: 0, end: len });
        Ok(())
    }

    fn close_text(&mut self) {
        if !self.text.is_empty() {
            self.parts.push_back(Part::Text(std::mem::take(&mut self.text).into()));
        }
    }

    pub(super) fn body(mut self) -> Body {
        if self.parts.is_empty() {
            return Body::Bytes(self.text.into());
        }
        self.close_text();
        let length = self.length;
        Body::Stream(Box::new(Parts(self.parts)), Some(length))
    }
}

/// Parts that are read one after the other.
struct Parts(VecDeque<Part>);

impl Source for Parts {
    fn poll_next(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let next = match self.0.front_mut() {
            None => return Poll::Ready(Ok(None)),
            Some(Part::Text(text)) => std::mem::take(text),
            Some(Part::File { file, offset, end }) => {
                let wanted = usize::try_from(*end - *offset).unwrap_or(READ_BYTES).min(READ_BYTES);
                let mut bytes = vec![0; wanted];
                match file.read_at(&mut bytes, *offset) {
                    // It was cut since its length was told.
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Ok(len) => {
                        bytes.truncate(len);
                        *offset += len as u64;
                        if offset < end {
                            return Poll::Ready(Ok(Some(bytes.into())));
                        }
                        bytes.into()
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        };
        self.0.pop_front();
        Poll::Ready(Ok(Some(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: Body) -> (Vec<u8>, Option<u64>) {
        let length = body.length();
        let mut all = Vec::new();
        match body {
            Body::Bytes(bytes) => all.extend_from_slice(&bytes),
            Body::Stream(mut source, _) => {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                while let Poll::Ready(Ok(Some(bytes))) = source.poll_next(&mut cx) {
                    assert!(!bytes.is_empty());
                    all.extend_from_slice(&bytes);
                }
            }
            _ => unreachable!("a page is bytes or a stream"),
        }
        (all, length)
    }

    #[test]
    fn a_large_file_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        for len in [0, 1, HELD_BYTES_MAX, HELD_BYTES_MAX + 1, 3 * HELD_BYTES_MAX + 7] {
            let path = folder.path().join(len.to_string());
            let content = vec![b'f'; usize::try_from(len).unwrap()];
            std::fs::write(&path, &content).unwrap();
            let mut made = Made::default();
            made.text(b"before ").ok().unwrap();
            made.file(File::open(&path).unwrap(), len).ok().unwrap();
            made.text(b" behind").ok().unwrap();
            assert!(made.held <= 14 + usize::try_from(HELD_BYTES_MAX).unwrap());
            let expected = [b"before ".as_slice(), &content, b" behind"].concat();
            assert_eq!(all(made.body()), (expected, Some(len + 14)), "{len}");
        }
    }

    #[test]
    fn a_page_becomes_only_so_long() {
        let mut made = Made::default();
        let half = vec![0; MADE_BYTES_MAX / 2];
        assert!(made.text(&half).is_ok() && made.text(&half).is_ok());
        assert!(made.text(b"x").is_err());
    }
}
