//! From Envoy's messages to traffic types.
//!
//! Strict about what cannot be honoured: an extension that is not known, a value out of bounds, a missing part, and a field
//! that nothing here acts on ([`crate::unspoken`]).

mod access;
mod access_log;
mod balancing;
mod bounds;
mod client;
mod cluster;
mod duration;
pub(crate) mod endpoint;
mod filter;
mod headers;
mod health;
mod http;
mod http2;
mod listener;
mod matching;
mod metadata;
mod network_filter;
mod proxy_protocol;
mod rate_limit;
mod retry;
mod route;
mod source;
mod tcp;
mod text;
pub(crate) mod tls;
mod tracing;

use prost::Message;
use selvedge_traffic::{Resource, ResourceKind};
use selvedge_xds_proto::envoy::config;

use crate::{type_url, unspoken};

/// A resource that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{type_url} {resource:?}: {reason}")]
pub struct Rejection {
    pub type_url: &'static str,
    /// The resource's name; empty if the message could not be read so far.
    pub resource: String,
    pub reason: Reason,
}

/// What is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("malformed message: {0}")]
    Malformed(String),
    #[error("no registered implementation for {name:?} with type URL {type_url:?}")]
    UnknownExtension { name: String, type_url: String },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field}: {value} {expected}")]
    Invalid { field: &'static str, value: String, expected: &'static str },
    #[error("{field}: {value} is not supported")]
    Unsupported { field: &'static str, value: String },
    /// A field that Envoy may act on and this proxy would not.
    #[error("{path} is set, and is not supported")]
    Unspoken { path: String },
}

/// Decodes the message inside a resource's `Any`.
///
/// # Errors
/// When the message is malformed or asks for what cannot be honoured; the rejection names resource and reason.
pub fn decode(kind: ResourceKind, value: &[u8]) -> Result<Resource, Rejection> {
    match kind {
        ResourceKind::Cluster => read(
            kind,
            value,
            |m: &config::cluster::v3::Cluster| m.name.clone(),
            |m| cluster::decode(m).map(Resource::Cluster),
        ),
        ResourceKind::Endpoints => read(
            kind,
            value,
            |m: &config::endpoint::v3::ClusterLoadAssignment| m.cluster_name.clone(),
            |m| endpoint::assignment(m).map(Resource::Endpoints),
        ),
        ResourceKind::Listener => read(
            kind,
            value,
            |m: &config::listener::v3::Listener| m.name.clone(),
            |m| listener::decode(m).map(Resource::Listener),
        ),
        ResourceKind::Routes => read(
            kind,
            value,
            |m: &config::route::v3::RouteConfiguration| m.name.clone(),
            |m| route::table(m).map(Resource::Routes),
        ),
    }
}

fn read<M: Message + Default>(
    kind: ResourceKind,
    value: &[u8],
    name: impl Fn(&M) -> String,
    decode: impl Fn(M) -> Result<Resource, Reason>,
) -> Result<Resource, Rejection> {
    let type_url = type_url::of(kind);
    let message = M::decode(value).map_err(|error| Rejection {
        type_url,
        resource: String::new(),
        reason: Reason::Malformed(error.to_string()),
    })?;
    let resource = name(&message);
    let decoded = decode(message).and_then(|decoded| match unspoken::find(message_name(type_url), value) {
        None => Ok(decoded),
        Some(path) => Err(Reason::Unspoken { path }),
    });
    decoded.map_err(|reason| Rejection { type_url, resource, reason })
}

fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}

/// Decodes a list that stays. Collected by an iterator it would be written over the messages in their own memory, which is
/// several times as much.
fn all<M, T>(messages: Vec<M>, decode: impl Fn(M) -> Result<T, Reason>) -> Result<Vec<T>, Reason> {
    let mut kept = Vec::with_capacity(messages.len());
    for message in messages {
        kept.push(decode(message)?);
    }
    Ok(kept)
}

/// A list that stays, without the room in which it grew.
fn exact<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}
