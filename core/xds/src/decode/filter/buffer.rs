//! The buffer filter.

use selvedge_traffic::filter::{Buffer, BufferRoute};
use selvedge_xds_proto::envoy::extensions::filters::http::buffer::v3 as proto;

use crate::decode::Reason;

pub(super) fn filter(message: &proto::Buffer) -> Result<Buffer, Reason> {
    match message.max_request_bytes {
        Some(request_bytes_max @ 1..) => Ok(Buffer { request_bytes_max }),
        _ => Err(Reason::Missing("buffer.max_request_bytes")),
    }
}

pub(super) fn route(message: proto::BufferPerRoute) -> Result<BufferRoute, Reason> {
    use proto::buffer_per_route::Override;
    match message.r#override {
        Some(Override::Disabled(true)) => Ok(BufferRoute::Disabled),
        Some(Override::Buffer(buffer)) => filter(&buffer).map(BufferRoute::Buffer),
        Some(Override::Disabled(false)) | None => Err(Reason::Missing("buffer_per_route.override")),
    }
}
