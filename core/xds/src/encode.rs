//! From traffic types to Envoy's messages.

mod access;
mod access_log;
mod balancing;
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
pub(crate) mod metadata;
mod network_filter;
mod proxy_protocol;
mod rate_limit;
mod retry;
pub(crate) mod route;
mod source;
mod tcp;
mod text;
pub(crate) mod tls;
mod tracing;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use selvedge_traffic::{Discovery, Resource, ResourceKind, ResourceRef};
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
    /// Of a cluster whose endpoints are discovered: the name under which they are asked for.
    pub endpoints: Option<Arc<str>>,
}

/// Encodes a resource.
pub fn encode(resource: &Resource) -> Encoded {
    encode_ref(resource.as_ref())
}

/// Encodes a resource that somebody else has.
pub fn encode_ref(resource: ResourceRef<'_>) -> Encoded {
    let value = value(resource);
    let version = format!("{:016x}", xxh3_64(&value));
    Encoded {
        endpoints: endpoints(resource),
        ..Encoded::received(resource.kind(), resource.name(), &version, value.into())
    }
}

/// Encodes a resource that has come with this version.
pub fn encode_received(resource: ResourceRef<'_>, version: &str) -> Encoded {
    Encoded::received(resource.kind(), resource.name(), version, value(resource).into())
}

fn value(resource: ResourceRef<'_>) -> Vec<u8> {
    match resource {
        ResourceRef::Cluster(cluster) => cluster::encode(cluster).encode_to_vec(),
        ResourceRef::Endpoints(assignment) => endpoint::assignment(assignment).encode_to_vec(),
        ResourceRef::Listener(listener) => listener::encode(listener).encode_to_vec(),
        ResourceRef::Routes(table) => route::table(table).encode_to_vec(),
    }
}

/// The endpoint resource of a cluster.
fn endpoints(resource: ResourceRef<'_>) -> Option<Arc<str>> {
    let ResourceRef::Cluster(cluster) = resource else { return None };
    let Discovery::Eds { service_name } = &cluster.discovery else { return None };
    Some(if service_name.is_empty() { cluster.name.as_str() } else { service_name }.into())
}

impl Encoded {
    /// A resource as it came, under the version that its sender gave it.
    pub fn received(kind: ResourceKind, name: &str, version: &str, value: Bytes) -> Self {
        Self { kind, name: name.into(), version: version.into(), value, endpoints: None }
    }

    pub fn type_url(&self) -> &'static str {
        type_url::of(self.kind)
    }
}
