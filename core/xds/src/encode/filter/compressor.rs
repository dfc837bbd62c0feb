//! The compressor filter, for responses.

use selvedge_traffic::filter::compressor::LENGTH_MIN_DEFAULT;
use selvedge_traffic::filter::{Coding, Compressor, CompressorRoute};
use selvedge_xds_proto::envoy::config::core::v3::TypedExtensionConfig;
use selvedge_xds_proto::envoy::extensions::compression::{brotli, gzip, zstd};
use selvedge_xds_proto::envoy::extensions::filters::http::compressor::v3 as proto;

use crate::any::pack;

pub(super) fn filter(compressor: &Compressor) -> proto::Compressor {
    let (name, config) = match compressor.coding {
        Coding::Gzip { level } => {
            ("gzip", pack(&gzip::compressor::v3::Gzip { compression_level: level.into() }))
        }
        Coding::Brotli { quality } => {
            ("brotli", pack(&brotli::compressor::v3::Brotli { quality: Some(quality.into()) }))
        }
        Coding::Zstd { level } => {
            ("zstd", pack(&zstd::compressor::v3::Zstd { compression_level: Some(level.into()) }))
        }
    };
    let length_min = compressor.length_min;
    proto::Compressor {
        compressor_library: Some(TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) }),
        request_direction_config: None,
        response_direction_config: Some(proto::compressor::ResponseDirectionConfig {
            common_config: Some(proto::compressor::CommonDirectionConfig {
                enabled: None,
                min_content_length: (length_min != LENGTH_MIN_DEFAULT).then_some(length_min),
                content_type: compressor.content_types.clone(),
            }),
            disable_on_etag_header: compressor.not_with_etag,
            remove_accept_encoding_header: compressor.remove_accept_encoding,
            uncompressible_response_codes: compressor
                .not_for_statuses
                .iter()
                .copied()
                .map(u32::from)
                .collect(),
        }),
        choose_first: compressor.choose_first,
    }
}

pub(super) fn route(route: CompressorRoute) -> proto::CompressorPerRoute {
    match route {
        CompressorRoute::Disabled => proto::CompressorPerRoute {
            r#override: Some(proto::compressor_per_route::Override::Disabled(true)),
        },
    }
}
