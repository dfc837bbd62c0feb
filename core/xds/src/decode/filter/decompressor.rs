//! The decompressor filter.

use selvedge_traffic::filter::{Decompressor, PackedBy, Unpack};
use selvedge_xds_proto::envoy::config::core::v3::TypedExtensionConfig;
use selvedge_xds_proto::envoy::extensions::compression::{brotli, gzip, zstd};
use selvedge_xds_proto::envoy::extensions::filters::http::decompressor::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::decompressor::v3::decompressor::CommonDirectionConfig;

use crate::any::holds;
use crate::decode::Reason;
use crate::decode::bounds::{unknown, unpack};

pub(super) fn filter(message: proto::Decompressor) -> Result<Decompressor, Reason> {
    let library = message.decompressor_library.ok_or(Reason::Missing("decompressor.decompressor_library"))?;
    let requests = message.request_direction_config.unwrap_or_default();
    let responses = message.response_direction_config.unwrap_or_default();
    Ok(Decompressor {
        coding: coding(&library)?,
        requests: direction(requests.common_config),
        responses: direction(responses.common_config),
        advertise: requests.advertise_accept_encoding.unwrap_or(true),
    })
}

/// What nothing is said about is unpacked.
fn direction(common: Option<CommonDirectionConfig>) -> Option<Unpack> {
    let common = common.unwrap_or_default();
    let off = common.enabled.is_some_and(|flag| flag.default_value == Some(false));
    (!off).then_some(Unpack { ignore_no_transform: common.ignore_no_transform_header })
}

/// The sizes of windows and pieces are not ours to choose.
fn coding(library: &TypedExtensionConfig) -> Result<PackedBy, Reason> {
    let any = library.typed_config.as_ref();
    let Some(config) = any else { return Err(unknown(&library.name, any)) };
    if holds::<gzip::decompressor::v3::Gzip>(config) {
        let gzip: gzip::decompressor::v3::Gzip = unpack(config)?;
        return match gzip.max_inflate_ratio {
            Some(ratio) if !(1..=1032).contains(&ratio) => Err(Reason::Invalid {
                field: "gzip.max_inflate_ratio",
                value: ratio.to_string(),
                expected: "is not in 1..=1032",
            }),
            ratio_max => Ok(PackedBy::Gzip { ratio_max }),
        };
    }
    if holds::<brotli::decompressor::v3::Brotli>(config) {
        return Ok(PackedBy::Brotli);
    }
    if holds::<zstd::decompressor::v3::Zstd>(config) {
        let zstd: zstd::decompressor::v3::Zstd = unpack(config)?;
        if !zstd.dictionaries.is_empty() {
            let (field, value) = ("zstd.dictionaries", zstd.dictionaries.len().to_string());
            return Err(Reason::Unsupported { field, value });
        }
        return Ok(PackedBy::Zstd);
    }
    Err(unknown(&library.name, any))
}
