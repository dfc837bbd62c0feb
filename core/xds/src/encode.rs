//! From traffic types to Envoy's messages.

mod access_log;
pub(crate) mod cluster;
mod duration;
mod endpoint;
mod health;
mod http;
mod listener;
mod matching;
mod retry;
pub(crate) mod route;
mod source;
mod tcp;
mod tls;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use selvedge_traffic::{Resource, ResourceKind};
use xxhash_rust::xxh3::xxh3_64;

use crate::type_url;

pub use source::SDS_CLUSTER;

/// A resource as it goes over the wire; cheap to clone, so that many proxies share one encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub kind: ResourceKind,
    pub name: Arc<str>,
    /// A hash of the content, 16 hexadecimal digits: equal resources have equal versions on every replica and after
    /// every restart.
    pub version: Arc<str>,
    /// The encoded message, without its `Any`.
    pub value: Bytes,
}

/// Encodes a resource.
pub fn encode(resource: &Resource) -> Encoded {
    let value = match resource {
        Resource::Cluster(cluster) => cluster::encode(cluster).encode_to_vec(),
        Resource::Endpoints(assignment) => endpoint::assignment(assignment).encode_to_vec(),
        Resource::Listener(listener) => listener::encode(listener).encode_to_vec(),
        Resource::Routes(table) => route::table(table).encode_to_vec(),
    };
    Encoded::new(resource.kind(), resource.name(), value.into())
}

impl Encoded {
    /// A resource that is already encoded.
    pub fn new(kind: ResourceKind, name: &str, value: Bytes) -> Self {
        let version = format!("{:016x}", xxh3_64(&value));
        Self { kind, name: name.into(), version: version.into(), value }
    }

    pub fn type_url(&self) -> &'static str {
        type_url::of(self.kind)
    }
}
