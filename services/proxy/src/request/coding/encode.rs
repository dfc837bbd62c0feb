//! Content codings: bodies that become smaller.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use selvedge_traffic::filter::Coding;

/// A level that is fast and small enough, where none is said (zlib's and zstd's own).
const GZIP_LEVEL_DEFAULT: u32 = 6;
/// Brotli's window: what Envoy takes by default, 256 KiB.
const BROTLI_WINDOW_BITS: u32 = 18;
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Compresses one body. Writing into a vector does not fail.
pub(crate) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Done,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// An encoder; `None` if the library has no memory for one.
    pub(crate) fn new(coding: Coding) -> Option<Self> {
        Some(match coding {
            Coding::Gzip { level } => {
                let level = if level == 0 { GZIP_LEVEL_DEFAULT } else { u32::from(level) };
                Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(level)))
            }
            Coding::Brotli { quality } => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                u32::from(quality),
                BROTLI_WINDOW_BITS,
            ))),
            Coding::Zstd { level } => {
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), i32::from(level)).ok()?)
            }
        })
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let _ = match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Done => Ok(()),
        };
        self.take(out);
    }

    /// What was put in can be read at the other end.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let _ = match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Done => Ok(()),
        };
        self.take(out);
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = match std::mem::replace(self, Self::Done) {
            Self::Gzip(encoder) => encoder.finish().unwrap_or_default(),
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish().unwrap_or_default(),
            Self::Done => Vec::new(),
        };
        out.extend_from_slice(&rest);
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Gzip(encoder) => out.append(encoder.get_mut()),
            Self::Brotli(encoder) => out.append(encoder.get_mut()),
            Self::Zstd(encoder) => out.append(encoder.get_mut()),
            Self::Done => {}
        }
    }
}
