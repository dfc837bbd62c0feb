//! HTTP/2: settings, streams as channels, and header lists as heads.

mod guarded;
mod headers;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use selvedge_http::h2::meter::Side;

pub use guarded::{Guarded, Watch};
pub use headers::{
    request_head, request_message, response_head, response_message, upgrade, websocket_message,
};
pub use selvedge_traffic::Http2Settings;
pub use stream::Http2Stream;

use crate::io::Io;

/// Streams that a peer may have open at once on one connection (Envoy's default).
pub const CONCURRENT_STREAMS_MAX: u32 = 1024;
/// Receive window of a stream: 16 MiB, as Envoy announces it.
pub const STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Receive window of a connection: 24 MiB, as Envoy announces it.
pub const CONNECTION_WINDOW_BYTES: u32 = 24 * 1024 * 1024;
/// Bytes of one stream that may wait to be sent.
pub const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Header list of a request: as for HTTP/1.
pub const HEADER_LIST_BYTES_MAX: u32 = 60 * 1024;
/// Header list of a response: as for HTTP/1.
const RESPONSE_HEADER_LIST_BYTES_MAX: u32 = 80 * 1024;
/// Streams that a client may reset before they were accepted: a guard against rapid reset (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 500;
/// Streams that a peer may make us reset by breaking the protocol on them ("MadeYouReset", CVE-2025-8671), over the life of
/// a connection. Said here although it is the library's default: a guard must not vanish with a default.
const LOCAL_RESETS_MAX: usize = 1024;
/// How long the id of a reset stream is remembered, so that late frames are no error.
const RESET_MEMORY: Duration = Duration::from_secs(5);

/// The server half of a connection; drive it by accepting.
pub type Server = h2::server::Connection<Guarded, Bytes>;
/// The sending half of a client connection; cheap to clone.
pub type Client = h2::client::SendRequest<Bytes>;
/// The other half of a client connection; a task must drive it.
pub type ClientConnection = h2::client::Connection<Guarded, Bytes>;

/// Takes a connection that begins with the HTTP/2 preface; with `extended_connect` a client is told that it may ask for
/// another protocol on a stream (RFC 8441). Look at the watch whenever the connection was polled.
///
/// # Errors
/// When the preface or the first SETTINGS are wrong.
pub async fn serve(
    io: Io,
    extended_connect: bool,
    settings: Http2Settings,
) -> Result<(Server, Watch), h2::Error> {
    let io = Guarded::new(io, Side::Client);
    let watch = io.watch();
    let mut builder = h2::server::Builder::new();
    if extended_connect {
        builder.enable_connect_protocol();
    }
    let server = builder
        .max_concurrent_streams(settings.streams_max.unwrap_or(CONCURRENT_STREAMS_MAX))
        .initial_window_size(settings.stream_window_bytes.unwrap_or(STREAM_WINDOW_BYTES))
        .initial_connection_window_size(settings.connection_window_bytes.unwrap_or(CONNECTION_WINDOW_BYTES))
        .header_table_size(4096)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .reset_stream_duration(RESET_MEMORY)
        .handshake(io)
        .await?;
    Ok((server, watch))
}

/// Opens HTTP/2 on a connection by prior knowledge.
///
/// # Errors
/// When the connection breaks.
pub async fn connect(io: Io, settings: Http2Settings) -> Result<(Client, ClientConnection), h2::Error> {
    h2::client::Builder::new()
        .initial_window_size(settings.stream_window_bytes.unwrap_or(STREAM_WINDOW_BYTES))
        .initial_connection_window_size(settings.connection_window_bytes.unwrap_or(CONNECTION_WINDOW_BYTES))
        .header_table_size(4096)
        .max_header_list_size(RESPONSE_HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .enable_push(false)
        .reset_stream_duration(RESET_MEMORY)
        .handshake(Guarded::new(io, Side::Server))
        .await
}
