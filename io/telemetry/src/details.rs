//! Response code details (`%RESPONSE_CODE_DETAILS%`): which part of the proxy gave the answer, and why.

pub const CORS_RESPONSE: &str = "cors_response";
pub const FAULT_FILTER_ABORT: &str = "fault_filter_abort";
pub const VIA_UPSTREAM: &str = "via_upstream";
pub const ROUTE_NOT_FOUND: &str = "route_not_found";
pub const CLUSTER_NOT_FOUND: &str = "cluster_not_found";
pub const NO_HEALTHY_UPSTREAM: &str = "no_healthy_upstream";
pub const DIRECT_RESPONSE: &str = "direct_response";
pub const RESPONSE_TIMEOUT: &str = "response_timeout";
pub const UPSTREAM_PER_TRY_TIMEOUT: &str = "upstream_per_try_timeout";
pub const UPSTREAM_PER_TRY_IDLE_TIMEOUT: &str = "upstream_per_try_idle_timeout";
pub const UPSTREAM_MAX_STREAM_DURATION_REACHED: &str = "upstream_max_stream_duration_reached";
pub const DOWNSTREAM_REMOTE_DISCONNECT: &str = "downstream_remote_disconnect";
/// What Envoy says of a connection that it cuts off because its filter chain was removed, though it has progressed.
pub const CONFIGURATION_GONE: &str =
    "downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)";
pub const STREAM_IDLE_TIMEOUT: &str = "stream_idle_timeout";
/// Ours: a breaker with states stands before every host that was drawn.
pub const BREAKER_OPEN_ENDPOINT: &str = "breaker_open{endpoint}";
/// Ours: … before the cluster.
pub const BREAKER_OPEN_CLUSTER: &str = "breaker_open{cluster}";
pub const MAX_DURATION_TIMEOUT: &str = "max_duration_timeout";
pub const REQUEST_OVERALL_TIMEOUT: &str = "request_overall_timeout";
pub const REQUEST_HEADER_TIMEOUT: &str = "request_header_timeout";
pub const REQUEST_PAYLOAD_TOO_LARGE: &str = "request_payload_too_large";
pub const REQUEST_PAYLOAD_EXCEEDED_RETRY_BUFFER_LIMIT: &str = "request_payload_exceeded_retry_buffer_limit";
pub const MISSING_HOST_HEADER: &str = "missing_host_header";
pub const LOW_VERSION: &str = "low_version";
pub const ABSOLUTE_PATH_REJECTED: &str = "absolute_path_rejected";
pub const PATH_NORMALIZATION_FAILED: &str = "path_normalization_failed";
pub const UPGRADE_FAILED: &str = "upgrade_failed";
pub const WEBSOCKET_HANDSHAKE_UNSUCCESSFUL: &str = "websocket_handshake_unsuccessful";
pub const HTTP1_CODEC_ERROR: &str = "http1.codec_error";
pub const HTTP1_INVALID_TRANSFER_ENCODING: &str = "http1.invalid_transfer_encoding";
pub const HTTP1_CONTENT_LENGTH_AND_CHUNKED: &str = "http1.content_length_and_chunked_not_allowed";
pub const HTTP1_HEADERS_TOO_LARGE: &str = "http1.headers_too_large";
pub const HTTP1_TOO_MANY_HEADERS: &str = "http1.too_many_headers";

/// The upstream went away before its response began: `upstream_reset_before_response_started{reason|transport}`.
pub fn upstream_reset_before_response(reason: &str, transport: Option<&str>) -> String {
    reset("upstream_reset_before_response_started", reason, transport)
}

/// The upstream went away in the middle of its response: `upstream_reset_after_response_started{reason|transport}`.
pub fn upstream_reset_after_response(reason: &str, transport: Option<&str>) -> String {
    reset("upstream_reset_after_response_started", reason, transport)
}

/// Details never hold a blank: Envoy writes an underscore for it.
fn reset(what: &str, reason: &str, transport: Option<&str>) -> String {
    let mut text = format!("{what}{{{reason}");
    if let Some(transport) = transport {
        text.push('|');
        text.push_str(transport);
    }
    text.push('}');
    text.replace(' ', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_names_its_reason_and_the_transport_failure_without_blanks() {
        assert_eq!(
            upstream_reset_before_response(
                "remote connection failure",
                Some("delayed connect error: Connection refused")
            ),
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        );
        assert_eq!(
            upstream_reset_after_response("connection termination", None),
            "upstream_reset_after_response_started{connection_termination}"
        );
    }
}
