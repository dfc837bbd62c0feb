//! The buffer filter.

use selvedge_traffic::filter::{Buffer, BufferRoute};
use selvedge_xds_proto::envoy::extensions::filters::http::buffer::v3 as proto;

pub(super) fn filter(buffer: &Buffer) -> proto::Buffer {
    proto::Buffer { max_request_bytes: Some(buffer.request_bytes_max) }
}

pub(super) fn route(buffer: &BufferRoute) -> proto::BufferPerRoute {
    use proto::buffer_per_route::Override;
    proto::BufferPerRoute {
        r#override: Some(match buffer {
            BufferRoute::Disabled => Override::Disabled(true),
            BufferRoute::Buffer(buffer) => Override::Buffer(filter(buffer)),
        }),
    }
}
