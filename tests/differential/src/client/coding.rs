//! What a compressed body says.

use std::io::Read;

use crate::client::Headers;

/// Bytes that a body is read to.
const BYTES_MAX: u64 = 1024 * 1024;

/// The body as text: decompressed if it is what its header says that it is.
pub(super) fn text(headers: &Headers, body: &[u8]) -> String {
    let coding = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
    let decoded = coding.and_then(|(_, coding)| decoded(coding, body));
    String::from_utf8_lossy(decoded.as_deref().unwrap_or(body)).into_owned()
}

fn decoded(coding: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(body).take(BYTES_MAX).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(body, 4096).take(BYTES_MAX).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(body).ok()?.take(BYTES_MAX).read_to_end(&mut out),
        _ => return None,
    };
    read.ok().map(|_| out)
}
