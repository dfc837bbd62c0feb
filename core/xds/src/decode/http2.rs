//! What is said about HTTP/2 on either side.

use std::ops::RangeInclusive;
use std::time::Duration;

use selvedge_traffic::{Http2Keepalive, Http2Settings};
use selvedge_xds_proto::envoy::config::core::v3::{Http2ProtocolOptions, KeepaliveSettings};

use super::{Reason, balancing, duration};

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
        keepalive: message.connection_keepalive.map(keepalive).transpose()?,
    })
}

/// The least length of time of each kind.
const KEEPALIVE_MIN: Duration = Duration::from_millis(1);

fn keepalive(message: KeepaliveSettings) -> Result<Http2Keepalive, Reason> {
    let long_enough = |field, span: Option<prost_types::Duration>| match duration::optional(field, span)? {
        Some(span) if span < KEEPALIVE_MIN => {
            Err(Reason::Invalid { field, value: format!("{span:?}"), expected: "is less than 1 ms" })
        }
        span => Ok(span),
    };
    const TIMEOUT: &str = "http2_protocol_options.connection_keepalive.timeout";
    let jitter = balancing::percent(
        "http2_protocol_options.connection_keepalive.interval_jitter",
        message.interval_jitter,
        Http2Keepalive::JITTER_PERCENT_DEFAULT.into(),
    )?;
    Ok(Http2Keepalive {
        interval: long_enough("http2_protocol_options.connection_keepalive.interval", message.interval)?,
        timeout: long_enough(TIMEOUT, message.timeout)?.ok_or(Reason::Missing(TIMEOUT))?,
        // A part of a per cent is nobody's.
        jitter_percent: jitter.round() as u32,
        idle_interval: long_enough(
            "http2_protocol_options.connection_keepalive.connection_idle_interval",
            message.connection_idle_interval,
        )?,
    })
}
