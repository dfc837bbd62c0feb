//! The discovery protocol (xDS v3) and the only room that knows protobuf.
//!
//! [`encode`] and [`decode`] carry `selvedge-traffic`'s types as Envoy's messages; [`ServerSession`] and [`ClientSession`]
//! are the two ends of a stream. They take and give encoded messages, so whoever moves the bytes needs no protobuf.

mod any;
pub mod client;
pub mod decode;
pub mod encode;
pub mod json;
mod node;
pub mod otlp;
pub mod rejected;
pub mod rpc;
pub mod secret;
pub mod server;
pub mod type_url;
pub mod unspoken;
mod wire;

pub use client::ClientSession;
pub use decode::{Reason, Rejection, decode};
pub use encode::{Encoded, encode, encode_received, encode_ref};
pub use node::Node;
pub use server::{ServerSession, View};
