//! TLS on a connection: the handshake by rustls, the records in our own buffers.
//!
//! ```text
//!            ClientHello ─▶ hello (what is asked for) ─▶ handshake (rustls, unbuffered) ─▶ session (records)
//!                                                             │ verify (core/identity)
//! ```
//! Once a handshake is over, rustls hands out the traffic secrets and keeps what key updates and tickets need. Records
//! are then opened where they lie in the connection's leased buffer and sealed straight into the one that is written, so
//! that an idle connection holds its keys and no buffer.

mod call;
mod client;
mod facts;
mod failure;
mod handshake;
pub mod hello;
#[cfg(test)]
mod hostile;
mod material;
mod provider;
mod record;
mod secret;
pub mod secrets;
mod server;
mod session;
mod verify;

pub use call::{CALL_TIMEOUT, Trust, TrustInvalid, TrustedStream};
pub use client::{ClientContext, ClientSettings, ClientTls};
pub use facts::{Facts, Tls};
pub use failure::Failure;
pub use handshake::{HANDSHAKE_TIMEOUT, accept, connect};
pub use material::{Material, MaterialInvalid};
#[cfg(test)]
pub(crate) use record::Cipher;
pub use secret::Secret;
pub use secrets::{FILE_BYTES_MAX, SecretInvalid, Secrets};
pub use selvedge_traffic::tls::{Curve, Suites};
pub use server::{ClientAuth, ServerContext, ServerSettings, ServerTls};
pub(crate) use session::Session;
