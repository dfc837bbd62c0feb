//! State of the world: a response is all listeners or clusters, or any part of the endpoints or routes asked for.

use std::sync::Arc;

use prost::Message;
use selvedge_traffic::{LoadAssignment, Resource, ResourceKind};
use selvedge_xds_proto::envoy::service::discovery::v3::DiscoveryRequest;
use xxhash_rust::xxh3::Xxh3;

use super::channel::{Answer, Channel, Gates};
use super::delta::Request;
use super::outstanding::Batch;
use super::subscription::Change;
use super::view::Collection;
use super::{Fault, RESPONSE_BYTES_MAX};
use crate::{Encoded, encode, type_url};

pub(super) fn read(bytes: &[u8]) -> Result<Request, Fault> {
    let message = DiscoveryRequest::decode(bytes).map_err(|error| Fault::Malformed(error.to_string()))?;
    Ok(Request {
        node: message.node,
        kind: type_url::kind(&message.type_url),
        type_url: message.type_url,
        // The first request of a stream may still carry an old error, without a nonce.
        answer: (!message.response_nonce.is_empty()).then(|| Answer {
            nonce: message.response_nonce,
            error: message.error_detail.map(|status| status.message),
        }),
        change: Change::Set(message.resource_names),
    })
}

/// What there is to send, if anything.
pub(super) fn batch(channel: &Channel, collection: &Collection, gates: Gates) -> Option<Batch> {
    match channel.kind() {
        ResourceKind::Cluster | ResourceKind::Listener => whole(channel, collection, gates),
        ResourceKind::Endpoints | ResourceKind::Routes => part(channel, collection, gates),
    }
}

/// Leaving a name out would remove it, so what must not go yet is repeated as it was.
fn whole(channel: &Channel, collection: &Collection, gates: Gates) -> Option<Batch> {
    let wanted: Vec<&Arc<Encoded>> =
        collection.values().filter(|encoded| channel.subscription.covers(&encoded.name)).collect();
    let gone = || {
        channel
            .held_names()
            .filter(|name| !collection.contains_key(*name) || !channel.subscription.covers(name))
    };
    let due = channel.is_answer_due()
        || channel.forced().next().is_some()
        || !gates.changes && wanted.iter().any(|encoded| channel.lacks(encoded))
        || !gates.removals && gone().next().is_some();
    if !due {
        return None;
    }
    let mut resources: Vec<Arc<Encoded>> = wanted.into_iter().cloned().collect();
    if gates.removals {
        resources.extend(gone().filter_map(|name| channel.held_encoding(name)).cloned());
    }
    Some(Batch { resources, removed: Vec::new(), whole: true })
}

fn part(channel: &Channel, collection: &Collection, gates: Gates) -> Option<Batch> {
    let mut batch = Batch::default();
    let mut bytes = 0;
    for name in channel.subscription.names() {
        let forced = channel.is_forced(name);
        let encoded = match collection.get(name) {
            Some(encoded) if forced || channel.lacks(encoded) && !gates.changes => encoded.clone(),
            Some(_) => continue,
            // An unanswered name would keep the proxy waiting for its initial fetch.
            None if channel.kind() == ResourceKind::Endpoints => {
                let empty = no_endpoints(name);
                if !forced && (gates.removals || !channel.knows(name) || !channel.lacks(&empty)) {
                    continue;
                }
                Arc::new(empty)
            }
            None => continue,
        };
        bytes += encoded.value.len();
        if bytes > RESPONSE_BYTES_MAX && !batch.resources.is_empty() {
            break;
        }
        batch.resources.push(encoded);
    }
    (!batch.resources.is_empty()).then_some(batch)
}

fn no_endpoints(name: &str) -> Encoded {
    encode(&Resource::Endpoints(LoadAssignment { cluster: name.to_owned(), ..LoadAssignment::default() }))
}

/// A hash of all that is asked for and there: the same on every replica and after every restart.
pub(super) fn version(channel: &Channel, collection: &Collection) -> String {
    let mut hash = Xxh3::new();
    for encoded in collection.values().filter(|encoded| channel.subscription.covers(&encoded.name)) {
        hash.update(encoded.name.as_bytes());
        hash.update(&[0]);
        hash.update(encoded.version.as_bytes());
    }
    format!("{:016x}", hash.digest())
}
