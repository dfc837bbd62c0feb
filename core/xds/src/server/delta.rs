//! The incremental form: a response is what changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use selvedge_traffic::ResourceKind;
use selvedge_xds_proto::envoy::config::core::v3::Node;
use selvedge_xds_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::channel::{Answer, Channel, Gates};
use super::outstanding::Batch;
use super::subscription::Change;
use super::view::Collection;
use super::{Fault, RESPONSE_BYTES_MAX};
use crate::type_url;

/// A request of either form.
pub(super) struct Request {
    pub(super) node: Option<Node>,
    pub(super) type_url: String,
    pub(super) kind: Option<ResourceKind>,
    pub(super) answer: Option<Answer>,
    pub(super) change: Change,
}

pub(super) fn read(bytes: &[u8]) -> Result<Request, Fault> {
    let message =
        DeltaDiscoveryRequest::decode(bytes).map_err(|error| Fault::Malformed(error.to_string()))?;
    Ok(Request {
        node: message.node,
        kind: type_url::kind(&message.type_url),
        type_url: message.type_url,
        answer: (!message.response_nonce.is_empty()).then(|| Answer {
            nonce: message.response_nonce,
            error: message.error_detail.map(|status| status.message),
        }),
        change: Change::Edit {
            subscribe: message.resource_names_subscribe,
            unsubscribe: message.resource_names_unsubscribe,
            initial_versions: message.initial_resource_versions.into_iter().collect(),
        },
    })
}

/// What there is to send, if anything; a large change goes in pieces, each after the ACK of the one before.
pub(super) fn batch(channel: &Channel, collection: &Collection, gates: Gates) -> Option<Batch> {
    // The first answer of a stream waits for no other type: proxies ask in an order of their own, and wait for what they
    // do not have. What they bring along serves until its successor's turn has come.
    let first = channel.is_answer_due();
    let mut batch = Batch::default();
    let mut bytes = 0;
    for name in candidates(channel, collection) {
        let forced = channel.is_forced(name);
        match collection.get(name) {
            Some(encoded) => {
                let waits = gates.changes && (!first || channel.knows(name));
                if !forced && (waits || !channel.lacks(encoded)) {
                    continue;
                }
                bytes += encoded.value.len();
                if bytes > RESPONSE_BYTES_MAX && !batch.resources.is_empty() {
                    break;
                }
                batch.resources.push(encoded.clone());
            }
            None if forced => batch.removed.push(name.clone()),
            None if !gates.removals && channel.knows(name) => batch.removed.push(name.clone()),
            None => {}
        }
    }
    let empty = batch.resources.is_empty() && batch.removed.is_empty();
    // A wildcard over nothing is answered with nothing, so that the proxy need not wait.
    let nothing_at_all = channel.is_answer_due()
        && channel.subscription.is_wildcard()
        && channel.held_names().next().is_none();
    (!empty || nothing_at_all).then_some(batch)
}

fn candidates<'a>(channel: &'a Channel, collection: &'a Collection) -> BTreeSet<&'a Arc<str>> {
    let mut names: BTreeSet<&Arc<str>> = channel.subscription.names().chain(channel.forced()).collect();
    if channel.subscription.is_wildcard() {
        names.extend(collection.keys());
        names.extend(channel.held_names());
    }
    names
}
