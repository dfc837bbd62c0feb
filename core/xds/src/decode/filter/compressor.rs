//! The compressor filter, for responses.

use selvedge_traffic::filter::compressor::LENGTH_MIN_DEFAULT;
use selvedge_traffic::filter::{Coding, Compressor, CompressorRoute};
use selvedge_xds_proto::envoy::config::core::v3::TypedExtensionConfig;
use selvedge_xds_proto::envoy::extensions::compression::{brotli, gzip, zstd};
use selvedge_xds_proto::envoy::extensions::filters::http::compressor::v3 as proto;

use crate::any::holds;
use crate::decode::Reason;
use crate::decode::bounds::{unknown, unpack};

/// The libraries' own defaults.
const BROTLI_QUALITY_DEFAULT: u32 = 3;
const ZSTD_LEVEL_DEFAULT: u32 = 3;

pub(super) fn filter(message: proto::Compressor) -> Result<Compressor, Reason> {
    let library = message.compressor_library.ok_or(Reason::Missing("compressor.compressor_library"))?;
    let requests = message.request_direction_config.and_then(|requests| requests.common_config);
    if requests.is_some_and(|common| common.enabled.is_some_and(|flag| flag.default_value == Some(true))) {
        let (field, value) = ("compressor.request_direction_config", "it is enabled".to_owned());
        return Err(Reason::Unsupported { field, value });
    }
    let responses = message.response_direction_config.unwrap_or_default();
    let common = responses.common_config.unwrap_or_default();
    if common.enabled.is_some_and(|flag| flag.default_value == Some(false)) {
        let (field, value) = ("compressor.response_direction_config.enabled", "false".to_owned());
        return Err(Reason::Unsupported { field, value });
    }
    let statuses = responses.uncompressible_response_codes.into_iter();
    Ok(Compressor {
        coding: coding(library)?,
        length_min: common.min_content_length.unwrap_or(LENGTH_MIN_DEFAULT),
        content_types: common.content_type,
        not_with_etag: responses.disable_on_etag_header,
        remove_accept_encoding: responses.remove_accept_encoding_header,
        not_for_statuses: statuses.filter_map(|status| u16::try_from(status).ok()).collect(),
        choose_first: message.choose_first,
    })
}

pub(super) fn route(message: &proto::CompressorPerRoute) -> Result<CompressorRoute, Reason> {
    match message.r#override {
        Some(proto::compressor_per_route::Override::Disabled(true)) => Ok(CompressorRoute::Disabled),
        _ => Err(Reason::Missing("compressor_per_route.disabled")),
    }
}

fn coding(library: TypedExtensionConfig) -> Result<Coding, Reason> {
    let any = library.typed_config.as_ref();
    let Some(config) = any else { return Err(unknown(&library.name, any)) };
    let bounded = |field, value: u32, most: u32| match u8::try_from(value) {
        Ok(level) if value <= most => Ok(level),
        _ => Err(Reason::Invalid { field, value: value.to_string(), expected: "is no level" }),
    };
    if holds::<gzip::compressor::v3::Gzip>(config) {
        let gzip: gzip::compressor::v3::Gzip = unpack(config)?;
        let level = u32::try_from(gzip.compression_level).unwrap_or(u32::MAX);
        return Ok(Coding::Gzip { level: bounded("gzip.compression_level", level, 9)? });
    }
    if holds::<brotli::compressor::v3::Brotli>(config) {
        let brotli: brotli::compressor::v3::Brotli = unpack(config)?;
        let quality = brotli.quality.unwrap_or(BROTLI_QUALITY_DEFAULT);
        return Ok(Coding::Brotli { quality: bounded("brotli.quality", quality, 11)? });
    }
    if holds::<zstd::compressor::v3::Zstd>(config) {
        let zstd: zstd::compressor::v3::Zstd = unpack(config)?;
        let level = zstd.compression_level.unwrap_or(ZSTD_LEVEL_DEFAULT);
        return Ok(Coding::Zstd { level: bounded("zstd.compression_level", level, 22)? });
    }
    Err(unknown(&library.name, any))
}
