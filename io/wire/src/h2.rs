//! HTTP/2: settings, streams as channels, and header lists as heads.

mod client;
mod connection;
mod keepalive;
mod output;
mod server;
mod settings;
mod stream;
mod streams;

use std::future::poll_fn;

pub use client::{Client, ClientConnection, connect};
pub use connection::{CONTINUATIONS_MAX, Error, INTERIM_WAITING_MAX, RESETS_REMEMBERED_MAX};
pub use output::{FRAME_BYTES_MAX, OUTPUT_BYTES_MAX};
pub use selvedge_traffic::Http2Settings;
pub use server::{Accepted, Server};
pub use stream::Http2Stream;

use crate::io::Io;

/// Streams that a peer may have open at once on one connection (Envoy's default).
pub const CONCURRENT_STREAMS_MAX: u32 = 1024;
/// Receive window of a stream: 16 MiB, as Envoy announces it.
pub const STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Receive window of a connection: 24 MiB, as Envoy announces it.
pub const CONNECTION_WINDOW_BYTES: u32 = 24 * 1024 * 1024;
/// Header list of a request: as for HTTP/1.
pub const HEADER_LIST_BYTES_MAX: u32 = 60 * 1024;
/// Header list of a response: as for HTTP/1.
const RESPONSE_HEADER_LIST_BYTES_MAX: u32 = 80 * 1024;

/// Takes a connection that begins with the HTTP/2 preface; with `extended_connect` a client is told that it may ask for
/// another protocol on a stream (RFC 8441).
///
/// # Errors
/// When the preface is another, or never comes.
pub async fn serve(io: Io, extended_connect: bool, settings: Http2Settings) -> Result<Server, Error> {
    let mut server = Server::new(io, extended_connect, settings);
    poll_fn(|cx| server.poll_preface(cx)).await?;
    Ok(server)
}
