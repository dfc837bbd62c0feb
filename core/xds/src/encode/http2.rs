//! What is said about HTTP/2 on either side.

use selvedge_traffic::{Http2Keepalive, Http2Settings};
use selvedge_xds_proto::envoy::config::core::v3::{Http2ProtocolOptions, KeepaliveSettings};
use selvedge_xds_proto::envoy::r#type::v3::Percent;

use super::duration;

pub(super) fn options(settings: Http2Settings, extended_connect: bool) -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        max_concurrent_streams: settings.streams_max,
        initial_stream_window_size: settings.stream_window_bytes,
        initial_connection_window_size: settings.connection_window_bytes,
        allow_connect: extended_connect,
        connection_keepalive: settings.keepalive.map(keepalive),
    }
}

fn keepalive(keepalive: Http2Keepalive) -> KeepaliveSettings {
    let Http2Keepalive { interval, timeout, jitter_percent, idle_interval } = keepalive;
    let jitter = || Percent { value: jitter_percent.into() };
    KeepaliveSettings {
        interval: interval.map(duration::encode),
        timeout: Some(duration::encode(timeout)),
        interval_jitter: (jitter_percent != Http2Keepalive::JITTER_PERCENT_DEFAULT).then(jitter),
        connection_idle_interval: idle_interval.map(duration::encode),
    }
}
