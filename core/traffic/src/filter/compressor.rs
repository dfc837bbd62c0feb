//! Responses that become smaller on their way.

use serde::Serialize;

/// Envoy's `envoy.filters.http.compressor`, for responses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compressor {
    pub coding: Coding,
    /// A shorter response stays as it is; Envoy's default is 30.
    pub length_min: u32,
    /// Media types that are compressed; empty stands for [`CONTENT_TYPES`].
    pub content_types: Vec<String>,
    /// A response with an entity tag stays as it is; otherwise a strong tag is taken off.
    pub not_with_etag: bool,
    /// The upstream is not told what the client accepts.
    pub remove_accept_encoding: bool,
    /// Responses of these statuses stay as they are.
    pub not_for_statuses: Vec<u16>,
    /// Where the client likes several codings equally well, this one.
    pub choose_first: bool,
}

/// What a route says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CompressorRoute {
    Disabled,
}

/// A way of making bytes fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Coding {
    /// 0 is the library's default, else 1..=9.
    Gzip { level: u8 },
    /// 0..=11.
    Brotli { quality: u8 },
    /// 1..=22.
    Zstd { level: u8 },
}

/// A response's shortest length where nothing is said.
pub const LENGTH_MIN_DEFAULT: u32 = 30;

/// What is compressed where nothing is said.
pub const CONTENT_TYPES: [&str; 8] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/plain",
    "text/xml",
];

impl Coding {
    /// The word of `content-encoding`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli { .. } => "br",
            Self::Zstd { .. } => "zstd",
        }
    }
}

impl Compressor {
    /// Whether responses of a media type are compressed; one without a type is.
    pub fn takes(&self, content_type: Option<&str>) -> bool {
        let Some(content_type) = content_type else { return true };
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let is_it = |known: &str| known.eq_ignore_ascii_case(media);
        match self.content_types.is_empty() {
            true => CONTENT_TYPES.iter().any(|known| is_it(known)),
            false => self.content_types.iter().any(|known| is_it(known)),
        }
    }
}
