//! What is said about HTTP/2 on either side.

use selvedge_traffic::Http2Settings;
use selvedge_xds_proto::envoy::config::core::v3::Http2ProtocolOptions;

pub(super) fn options(settings: Http2Settings, extended_connect: bool) -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        max_concurrent_streams: settings.streams_max,
        initial_stream_window_size: settings.stream_window_bytes,
        initial_connection_window_size: settings.connection_window_bytes,
        allow_connect: extended_connect,
    }
}
