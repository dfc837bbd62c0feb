//! Values of mod_deflate.

use std::sync::Arc;

use super::reading::{Reading, keyed, number, short, text, texts};
use crate::value::Value;

/// An encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentEncoding {
    /// `zstd`.
    Zstd,
    /// `br`.
    Brotli,
    /// `gzip`, `x-gzip`.
    Gzip,
    /// `deflate`, which is zlib's.
    Deflate,
}

/// What each library is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateParams {
    /// 0 to 11.
    pub brotli_quality: u8,
    /// 1 to 22; 3 is the library's.
    pub zstd_level: u8,
    /// 1 to 9; `None`: as `deflate.compression-level`.
    pub gzip_level: Option<u8>,
}

impl Default for DeflateParams {
    fn default() -> Self {
        Self { brotli_quality: 5, zstd_level: 3, gzip_level: None }
    }
}

/// Every encoding, as lighttpd's build has them.
pub(super) fn all() -> Arc<[ContentEncoding]> {
    use ContentEncoding::{Brotli, Deflate, Gzip, Zstd};
    Arc::from([Zstd, Brotli, Gzip, Deflate])
}

pub(super) fn encodings(value: &Value, reading: &mut Reading<'_>) -> Result<Arc<[ContentEncoding]>, String> {
    let names = texts(value, reading)?;
    if names.is_empty() {
        return Ok(all());
    }
    let mut found = Vec::new();
    for name in &*names {
        for (word, encoding) in [
            ("gzip", ContentEncoding::Gzip),
            ("deflate", ContentEncoding::Deflate),
            ("br", ContentEncoding::Brotli),
            ("zstd", ContentEncoding::Zstd),
        ] {
            if name.contains(word) && !found.contains(&encoding) {
                found.push(encoding);
            }
        }
    }
    Ok(found.into())
}

pub(super) fn level(value: &Value, reading: &mut Reading<'_>) -> Result<Option<u8>, String> {
    match short(value, reading)? {
        level @ 1..=9 => Ok(u8::try_from(level).ok()),
        u16::MAX => Ok(None),
        other => Err(format!("compression-level must be between 1 and 9: {other}")),
    }
}

/// A load in hundredths.
pub(super) fn load(value: &Value, reading: &mut Reading<'_>) -> Result<u32, String> {
    let text = match value {
        Value::Integer(number) => number.to_string().into(),
        value => text(value, reading)?,
    };
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let whole: u32 = whole.parse().map_err(|_| format!("{} is no load: {text}", reading.key))?;
    let part: u32 =
        format!("{part:0<2}")[..2].parse().map_err(|_| format!("{} is no load: {text}", reading.key))?;
    Ok(whole.saturating_mul(100).saturating_add(part))
}

pub(super) fn params(value: &Value, reading: &mut Reading<'_>) -> Result<DeflateParams, String> {
    let mut params = DeflateParams::default();
    for (key, value) in keyed(value, reading)?.iter() {
        let level = match value {
            Value::Integer(level) => u8::try_from(*level).ok(),
            Value::Text(text) => number(text).and_then(|level| u8::try_from(level).ok()),
            Value::List(_) => None,
        };
        match (key.map_or("", |key| &**key), level) {
            ("BROTLI_PARAM_QUALITY", Some(level @ 0..=11)) => params.brotli_quality = level,
            ("ZSTD_c_compressionLevel", Some(level @ 1..=22)) => params.zstd_level = level,
            ("gzip.level", Some(level @ 1..=9)) => params.gzip_level = Some(level),
            (
                name @ ("BROTLI_PARAM_LGWIN" | "BROTLI_PARAM_MODE" | "ZSTD_c_strategy" | "ZSTD_c_windowLog"
                | "gzip.windowBits" | "gzip.memLevel" | "gzip.strategy"),
                Some(_),
            ) => reading.warn(format!("deflate.params: {name} is of no consequence here")),
            (name @ ("BROTLI_PARAM_QUALITY" | "ZSTD_c_compressionLevel" | "gzip.level"), _) => {
                reading.warn(format!("invalid value for {name}"));
            }
            (name, _) => reading.warn(format!("unrecognized param: {name}")),
        }
    }
    Ok(params)
}
