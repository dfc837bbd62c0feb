//! Bodies that are unpacked on their way.

use serde::Serialize;

/// Envoy's `envoy.filters.http.decompressor`: one coding, either direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decompressor {
    pub coding: PackedBy,
    /// `None` leaves requests as they are.
    pub requests: Option<Unpack>,
    /// `None` leaves responses as they are.
    pub responses: Option<Unpack>,
    /// Upstreams are told that the coding is accepted.
    pub advertise: bool,
}

/// What is unpacked of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unpack {
    /// Even what says `cache-control: no-transform`.
    pub ignore_no_transform: bool,
}

/// How bytes were made fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PackedBy {
    /// How many times its own size a body may become, 1..=1032; `None` is [`RATIO_MAX`].
    Gzip {
        ratio_max: Option<u32>,
    },
    Brotli,
    Zstd,
}

/// How many times its own size a body may become: what grows more was made to be a bomb.
pub const RATIO_MAX: u32 = 100;

impl PackedBy {
    /// The word of `content-encoding`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// How many times its own size a body may become.
    pub fn ratio_max(self) -> u32 {
        match self {
            Self::Gzip { ratio_max: Some(ratio) } => ratio,
            _ => RATIO_MAX,
        }
    }
}
