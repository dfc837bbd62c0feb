//! Content codings: bodies that become smaller as they pass.

use std::io::Write;
use std::task::{Context, Poll, ready};

use flate2::Compression;
use flate2::write::GzEncoder;
use selvedge_traffic::filter::Coding;
use selvedge_wire::channel::{Channel, Content};

use super::body::{Broken, sink};

/// Bytes of a body that are compressed at a time: the most that one turn of a worker is held up by.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// A level that is fast and small enough, where none is said (zlib's and zstd's own).
const GZIP_LEVEL_DEFAULT: u32 = 6;
/// Brotli's window: what Envoy takes by default, 256 KiB.
const BROTLI_WINDOW_BITS: u32 = 18;
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Compresses one body.
pub(crate) struct Encoder {
    kind: Kind,
    /// How much of what was made has been sent.
    sent: usize,
    finished: bool,
    /// Something was put in since the last flush.
    dirty: bool,
}

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Done(Vec<u8>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("finished", &self.finished).finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder; `None` if the library has no memory for one.
    pub(crate) fn new(coding: Coding) -> Option<Self> {
        let kind = match coding {
            Coding::Gzip { level } => {
                let level = if level == 0 { GZIP_LEVEL_DEFAULT } else { u32::from(level) };
                Kind::Gzip(GzEncoder::new(Vec::new(), Compression::new(level)))
            }
            Coding::Brotli { quality } => Kind::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                u32::from(quality),
                BROTLI_WINDOW_BITS,
            ))),
            Coding::Zstd { level } => {
                Kind::Zstd(zstd::stream::write::Encoder::new(Vec::new(), i32::from(level)).ok()?)
            }
        };
        Some(Self { kind, sent: 0, finished: false, dirty: false })
    }

    /// Compresses a whole body at once.
    pub(crate) fn all(mut self, body: &[u8]) -> Vec<u8> {
        self.push(body);
        self.finish();
        match self.kind {
            Kind::Done(made) => made,
            _ => Vec::new(),
        }
    }

    /// Writing into a vector does not fail.
    fn push(&mut self, bytes: &[u8]) {
        let _ = match &mut self.kind {
            Kind::Gzip(encoder) => encoder.write_all(bytes),
            Kind::Brotli(encoder) => encoder.write_all(bytes),
            Kind::Zstd(encoder) => encoder.write_all(bytes),
            Kind::Done(_) => Ok(()),
        };
        self.dirty = true;
    }

    /// What was put in can be read at the other end.
    fn flush(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let _ = match &mut self.kind {
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Brotli(encoder) => encoder.flush(),
            Kind::Zstd(encoder) => encoder.flush(),
            Kind::Done(_) => Ok(()),
        };
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let kind = std::mem::replace(&mut self.kind, Kind::Done(Vec::new()));
        self.kind = Kind::Done(match kind {
            Kind::Gzip(encoder) => encoder.finish().unwrap_or_default(),
            Kind::Brotli(encoder) => encoder.into_inner(),
            Kind::Zstd(encoder) => encoder.finish().unwrap_or_default(),
            Kind::Done(made) => made,
        });
    }

    fn made(&mut self) -> &mut Vec<u8> {
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Zstd(encoder) => encoder.get_mut(),
            Kind::Done(made) => made,
        }
    }

    /// Sends what has been made.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Channel,
        sent: &mut u64,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let at = self.sent;
            let made = self.made();
            if at == made.len() {
                made.clear();
                self.sent = 0;
                return Poll::Ready(Ok(()));
            }
            let count = ready!(to.poll_send(cx, &made[at..], false)).map_err(sink)?;
            self.sent += count;
            *sent += count as u64;
        }
    }
}

/// Sends a response's body on, compressed, with its trailers, until all of it has left. `sent` counts what leaves, and
/// `stalled` tells whether it is the receiver who is waited for.
pub(crate) fn poll_relay(
    cx: &mut Context<'_>,
    encoder: &mut Encoder,
    from: &mut Channel,
    to: &mut Channel,
    ended: &mut bool,
    sent: &mut u64,
    stalled: &mut bool,
) -> Poll<Result<(), Broken>> {
    *stalled = false;
    while !*ended {
        if encoder.poll_drain(cx, to, sent)?.is_pending() {
            *stalled = true;
            return Poll::Pending;
        }
        if encoder.finished {
            to.end(from.trailers()).map_err(sink)?;
            *ended = true;
            break;
        }
        match from.poll_content(cx) {
            Poll::Ready(Err(error)) => {
                let _ = to.poll_flush(cx).map_err(sink)?;
                return Poll::Ready(Err(Broken::Source(error)));
            }
            Poll::Ready(Ok(Content::End)) => encoder.finish(),
            Poll::Ready(Ok(Content::Bytes)) => {
                let length = from.content().len().min(PIECE_BYTES_MAX);
                encoder.push(&from.content()[..length]);
                from.consume(length);
            }
            // The upstream pauses: the client gets what there is.
            Poll::Pending if encoder.dirty => encoder.flush(),
            Poll::Pending => {
                *stalled = to.poll_flush(cx).map_err(sink)?.is_pending();
                return Poll::Pending;
            }
        }
    }
    let flushed = to.poll_flush(cx).map_err(sink);
    *stalled = flushed.is_pending();
    flushed
}
