//! What is said about HTTP/2 on either side.

use std::ops::RangeInclusive;

use selvedge_traffic::Http2Settings;
use selvedge_xds_proto::envoy::config::core::v3::Http2ProtocolOptions;

use super::Reason;

/// What Envoy takes, too: less than HTTP/2's own first window would have to be taken back.
const WINDOW_BYTES: RangeInclusive<u32> = 65_535..=i32::MAX as u32;
const STREAMS: RangeInclusive<u32> = 1..=i32::MAX as u32;

pub(super) fn settings(message: Http2ProtocolOptions) -> Result<Http2Settings, Reason> {
    let within = |field, value: Option<u32>, bounds: RangeInclusive<u32>, expected| match value {
        Some(value) if !bounds.contains(&value) => {
            Err(Reason::Invalid { field, value: value.to_string(), expected })
        }
        value => Ok(value),
    };
    Ok(Http2Settings {
        streams_max: within(
            "http2_protocol_options.max_concurrent_streams",
            message.max_concurrent_streams,
            STREAMS,
            "is not between 1 and 2147483647",
        )?,
        stream_window_bytes: within(
            "http2_protocol_options.initial_stream_window_size",
            message.initial_stream_window_size,
            WINDOW_BYTES,
            "is not between 65535 and 2147483647",
        )?,
        connection_window_bytes: within(
            "http2_protocol_options.initial_connection_window_size",
            message.initial_connection_window_size,
            WINDOW_BYTES,
            "is not between 65535 and 2147483647",
        )?,
    })
}
