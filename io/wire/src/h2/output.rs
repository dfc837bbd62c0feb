//! What is to be written: frames in one buffer, so that those of many streams leave with one system call.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use crate::buffer::Buffers;
use crate::io::Io;

/// Bytes that wait to be written before bodies wait as well; heads and answers to the peer's frames may add to them.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// The longest frame that every peer takes (RFC 9113 §4.2); we send and take none longer.
pub const FRAME_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    buffers: Buffers,
}

impl Output {
    pub(super) fn new(buffers: Buffers) -> Self {
        Self { bytes: Vec::new(), sent: 0, buffers }
    }

    fn room_made(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = self.buffers.scratch();
        }
        &mut self.bytes
    }

    /// Adds bytes that are no frame.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.room_made().extend_from_slice(bytes);
    }

    /// Adds a frame whose payload comes in one or two parts.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[&[u8]]) {
        let len = payload.iter().map(|part| part.len()).sum();
        let bytes = self.room_made();
        bytes.extend_from_slice(&head(len, kind, flags, stream));
        for part in payload {
            bytes.extend_from_slice(part);
        }
    }

    /// Adds a header block that `write` writes, in as many frames as it takes: `flags` are those of the first, without
    /// `END_HEADERS`. Nothing is added where `write` fails.
    pub(super) fn block<E>(
        &mut self,
        flags: u8,
        stream: u32,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        use selvedge_http::h2::frames::{flag, kind};
        let bytes = self.room_made();
        let start = bytes.len();
        bytes.extend_from_slice(&[0; HEAD_BYTES]);
        if let Err(error) = write(bytes) {
            bytes.truncate(start);
            return Err(error);
        }
        let len = bytes.len() - start - HEAD_BYTES;
        if len <= FRAME_BYTES_MAX {
            let first = head(len, kind::HEADERS, flags | flag::END_HEADERS, stream);
            bytes[start..start + HEAD_BYTES].copy_from_slice(&first);
            return Ok(());
        }
        let block = bytes.split_off(start + HEAD_BYTES);
        bytes.truncate(start);
        let pieces = block.len().div_ceil(FRAME_BYTES_MAX);
        for (nth, piece) in block.chunks(FRAME_BYTES_MAX).enumerate() {
            let (kind, flags) = if nth == 0 { (kind::HEADERS, flags) } else { (kind::CONTINUATION, 0) };
            let last = if nth + 1 == pieces { flag::END_HEADERS } else { 0 };
            self.frame(kind, flags | last, stream, &[piece]);
        }
        Ok(())
    }

    /// Bytes of bodies that may be added.
    pub(super) fn room(&self) -> usize {
        OUTPUT_BYTES_MAX.saturating_sub(self.bytes.len() - self.sent)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes everything.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, io: &mut Io) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let part = [IoSlice::new(&self.bytes[self.sent..])];
            self.sent += ready!(io.poll_write(cx, &part))?;
        }
        self.sent = 0;
        if self.bytes.capacity() > 0 {
            self.bytes.clear();
            self.buffers.give_back(std::mem::take(&mut self.bytes));
        }
        Poll::Ready(Ok(()))
    }
}

const HEAD_BYTES: usize = 9;

/// The head of a frame, whose payload is no longer than [`FRAME_BYTES_MAX`].
fn head(len: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD_BYTES] {
    let [_, high, middle, low] = (len as u32).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    [high, middle, low, kind, flags, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use selvedge_http::h2::frames::{Frames, flag, kind};

    use super::*;

    #[test]
    fn a_long_block_goes_on_in_frames_of_its_own() {
        for len in [0, 1, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 3 * FRAME_BYTES_MAX] {
            let mut output = Output::new(Buffers::default());
            output.frame(kind::PING, 0, 0, &[&[0; 8]]);
            let wrote: Result<(), ()> = output.block(flag::END_STREAM, 3, |out| {
                out.extend(vec![7; len]);
                Ok(())
            });
            assert_eq!(wrote, Ok(()));
            let mut frames = Vec::new();
            Frames::default().feed(&output.bytes, |frame| frames.push(frame));
            let headers = &frames[1..];
            assert_eq!(headers.iter().map(|frame| frame.len as usize).sum::<usize>(), len);
            assert_eq!(headers.len(), len.div_ceil(FRAME_BYTES_MAX).max(1));
            let (first, last) = (headers[0], headers[headers.len() - 1]);
            assert_eq!((first.kind, first.has(flag::END_STREAM)), (kind::HEADERS, true));
            assert!(last.has(flag::END_HEADERS) && headers.iter().all(|frame| frame.stream == 3));
            assert_eq!(headers.iter().filter(|frame| frame.has(flag::END_HEADERS)).count(), 1);
        }
    }

    #[test]
    fn a_block_that_cannot_be_written_leaves_nothing() {
        let mut output = Output::new(Buffers::default());
        output.frame(kind::PING, 0, 0, &[&[0; 8]]);
        let before = output.bytes.clone();
        let failed = output.block(0, 1, |out| {
            out.push(1);
            Err(())
        });
        assert_eq!((failed, output.bytes), (Err(()), before));
    }
}
