//! Content codings: bodies that become what they were, within bounds.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use selvedge_traffic::filter::PackedBy;
use zstd::stream::raw::{DParameter, Operation};

use super::Undecodable;

/// Bytes that may come out of however few: short texts of one letter are no bombs.
const FREE_BYTES: u64 = 64 * 1024;
/// The largest window of Zstandard, as RFC 9659 has it for HTTP: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const ZSTD_BUFFER_BYTES: usize = 8 * 1024;
const BROTLI_BUFFER_BYTES: usize = 4096;

/// How much a body may grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many times its own size it may become.
    pub(crate) ratio_max: u32,
    /// How long it may become; `None` where its receiver takes it as it comes.
    pub(crate) bytes_max: Option<u64>,
}

/// Unpacks one body.
pub(crate) enum Decoder {
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Brotli(Box<brotli::DecompressorWriter<Bounded>>),
    Zstd(Box<Zstandard>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

/// Where the libraries write to: it refuses what is too much, in the middle of their work.
#[derive(Debug)]
pub(crate) struct Bounded {
    limits: Limits,
    bytes: Vec<u8>,
    taken: u64,
    given: u64,
    burst: bool,
}

impl Bounded {
    fn most(&self) -> u64 {
        let by_ratio = self.taken.saturating_mul(self.limits.ratio_max.into()).max(FREE_BYTES);
        self.limits.bytes_max.map_or(by_ratio, |most| by_ratio.min(most))
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.given += bytes.len() as u64;
        if self.given > self.most() {
            self.burst = true;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// A decoder; `None` if the library has no memory for one.
    pub(crate) fn new(coding: PackedBy, limits: Limits) -> Option<Self> {
        let bounded = Bounded { limits, bytes: Vec::new(), taken: 0, given: 0, burst: false };
        Some(match coding {
            PackedBy::Gzip { .. } => Self::Gzip(Box::new(MultiGzDecoder::new(bounded))),
            PackedBy::Brotli => {
                Self::Brotli(Box::new(brotli::DecompressorWriter::new(bounded, BROTLI_BUFFER_BYTES)))
            }
            PackedBy::Zstd => Self::Zstd(Box::new(Zstandard::new(bounded)?)),
        })
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        self.inner().taken += bytes.len() as u64;
        let written = match self {
            Self::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        };
        self.settle(written, out)
    }

    /// The body is whole; what is missing at its end is as wrong as what is false within.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let ended = match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.close(),
            Self::Zstd(decoder) => decoder.close(),
        };
        self.settle(ended, out)
    }

    fn settle(&mut self, done: io::Result<()>, out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let inner = self.inner();
        if inner.burst {
            inner.bytes.clear();
            return Err(Undecodable::TooMuch);
        }
        out.append(&mut inner.bytes);
        done.map_err(|_| Undecodable::Malformed)
    }

    fn inner(&mut self) -> &mut Bounded {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => &mut decoder.out,
        }
    }
}

/// The library's own stream, which tells whether a frame has ended.
pub(crate) struct Zstandard {
    library: zstd::stream::raw::Decoder<'static>,
    out: Bounded,
    /// Within a frame.
    open: bool,
}

impl Zstandard {
    fn new(out: Bounded) -> Option<Self> {
        let mut library = zstd::stream::raw::Decoder::new().ok()?;
        library.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
        Some(Self { library, out, open: false })
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut room = [0; ZSTD_BUFFER_BYTES];
        loop {
            let step = self.library.run_on_buffers(bytes, &mut room)?;
            bytes = &bytes[step.bytes_read..];
            self.out.write_all(&room[..step.bytes_written])?;
            if step.bytes_read > 0 || step.bytes_written > 0 {
                self.open = step.remaining > 0;
            }
            if bytes.is_empty() && step.bytes_written < room.len() {
                return Ok(());
            }
        }
    }

    fn close(&self) -> io::Result<()> {
        if self.open { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::filter::Coding;

    use super::super::{Coder, Encoder, PIECE_BYTES_MAX, Stage};
    use super::*;

    const ALL: [(Coding, PackedBy); 3] = [
        (Coding::Gzip { level: 6 }, PackedBy::Gzip { ratio_max: None }),
        (Coding::Brotli { quality: 5 }, PackedBy::Brotli),
        (Coding::Zstd { level: 3 }, PackedBy::Zstd),
    ];
    const LIMITS: Limits = Limits { ratio_max: 100, bytes_max: Some(8 * 1024 * 1024) };

    fn packed(coding: Coding, body: &[u8]) -> Vec<u8> {
        let mut coder = Coder::default();
        coder.add(Stage::Encode(Encoder::new(coding).unwrap()));
        coder.all(body)
    }

    /// What came out, piece by piece, and how it ended.
    fn unpacked(by: PackedBy, body: &[u8], limits: Limits) -> (Vec<u8>, usize, Result<(), Undecodable>) {
        let mut decoder = Decoder::new(by, limits).unwrap();
        let (mut all, mut largest) = (Vec::new(), 0);
        for piece in body.chunks(PIECE_BYTES_MAX) {
            let mut out = Vec::new();
            let pushed = decoder.push(piece, &mut out);
            largest = largest.max(out.len());
            all.append(&mut out);
            if pushed.is_err() {
                return (all, largest, pushed);
            }
        }
        let finished = decoder.finish(&mut all);
        (all, largest, finished)
    }

    #[test]
    fn what_was_packed_comes_out_as_it_was() {
        let text: Vec<u8> =
            (0..50_000_u32).flat_map(|number| number.wrapping_mul(number).to_string().into_bytes()).collect();
        for (coding, by) in ALL {
            let (out, _, ended) = unpacked(by, &packed(coding, &text), LIMITS);
            assert_eq!((out == text, ended), (true, Ok(())), "{by:?}");
            let (out, _, ended) = unpacked(by, &packed(coding, b""), LIMITS);
            assert_eq!((out.len(), ended), (0, Ok(())), "{by:?}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_inside_the_library() {
        let zeros = vec![0; 12 * 1024 * 1024];
        for (coding, by) in ALL {
            let bomb = packed(coding, &zeros);
            assert!(bomb.len() * 200 < zeros.len(), "{by:?}: {} bytes", bomb.len());
            let (out, _, ended) = unpacked(by, &bomb, LIMITS);
            assert_eq!(ended, Err(Undecodable::TooMuch), "{by:?}");
            assert!(out.len() as u64 <= 8 * 1024 * 1024, "{by:?}: {}", out.len());
            // Where only the ratio counts: what there is never exceeds it.
            let (out, _, ended) = unpacked(by, &bomb, Limits { bytes_max: None, ..LIMITS });
            assert_eq!(ended, Err(Undecodable::TooMuch), "{by:?}");
            assert!(out.len() <= bomb.len() * 100 + 64 * 1024, "{by:?}: {}", out.len());
        }
    }

    #[test]
    fn a_long_body_that_does_not_grow_much_passes_where_only_the_ratio_counts() {
        let mut state = 1_u32;
        let noise: Vec<u8> = (0..9 * 1024 * 1024)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        for (coding, by) in ALL {
            let body = packed(coding, &noise);
            let (out, _, ended) = unpacked(by, &body, Limits { bytes_max: None, ..LIMITS });
            assert_eq!((out.len(), ended), (noise.len(), Ok(())), "{by:?}");
            let (_, _, ended) = unpacked(by, &body, LIMITS);
            assert_eq!(ended, Err(Undecodable::TooMuch), "{by:?}");
        }
    }

    #[test]
    fn what_is_not_packed_or_cut_is_refused() {
        for (coding, by) in ALL {
            let (_, _, ended) = unpacked(by, b"plain text, and not packed at all", LIMITS);
            assert_eq!(ended, Err(Undecodable::Malformed), "{by:?}");
            let whole = packed(coding, &[7; 5000]);
            let (_, _, ended) = unpacked(by, &whole[..whole.len() - 3], LIMITS);
            assert_eq!(ended, Err(Undecodable::Malformed), "{by:?} cut");
        }
    }
}
