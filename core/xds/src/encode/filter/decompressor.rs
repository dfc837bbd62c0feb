//! The decompressor filter.

use selvedge_traffic::filter::{Decompressor, PackedBy, Unpack};
use selvedge_xds_proto::envoy::config::core::v3::{RuntimeFeatureFlag, TypedExtensionConfig};
use selvedge_xds_proto::envoy::extensions::compression::{brotli, gzip, zstd};
use selvedge_xds_proto::envoy::extensions::filters::http::decompressor::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::decompressor::v3::decompressor::{
    CommonDirectionConfig, RequestDirectionConfig, ResponseDirectionConfig,
};

use crate::any::pack;

pub(super) fn filter(filter: &Decompressor) -> proto::Decompressor {
    let (name, config) = match filter.coding {
        PackedBy::Gzip { ratio_max } => {
            let gzip = gzip::decompressor::v3::Gzip {
                max_inflate_ratio: ratio_max,
                ..gzip::decompressor::v3::Gzip::default()
            };
            ("gzip", pack(&gzip))
        }
        PackedBy::Brotli => ("brotli", pack(&brotli::decompressor::v3::Brotli::default())),
        PackedBy::Zstd => ("zstd", pack(&zstd::decompressor::v3::Zstd::default())),
    };
    proto::Decompressor {
        decompressor_library: Some(TypedExtensionConfig {
            name: name.to_owned(),
            typed_config: Some(config),
        }),
        request_direction_config: Some(RequestDirectionConfig {
            common_config: Some(direction(filter.requests)),
            advertise_accept_encoding: Some(filter.advertise),
        }),
        response_direction_config: Some(ResponseDirectionConfig {
            common_config: Some(direction(filter.responses)),
        }),
    }
}

fn direction(unpack: Option<Unpack>) -> CommonDirectionConfig {
    CommonDirectionConfig {
        enabled: Some(RuntimeFeatureFlag {
            default_value: Some(unpack.is_some()),
            runtime_key: String::new(),
        }),
        ignore_no_transform_header: unpack.is_some_and(|unpack| unpack.ignore_no_transform),
    }
}
