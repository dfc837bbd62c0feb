//! What a response says, decoded.

use std::collections::{BTreeSet, HashSet};

use selvedge_traffic::{Discovery, Network, Resource, ResourceKind, RouteSource};
use selvedge_xds_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;

use super::Unanswered;
use crate::{Encoded, decode, type_url};

/// Longest text of a NACK, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// A change to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub kind: ResourceKind,
    /// To be given back to [`super::ClientSession::handle_applied`].
    pub nonce: String,
    pub changed: Vec<Received>,
    /// Names that are gone, or that never were: whoever waits for one need wait no longer.
    pub removed: Vec<String>,
    /// What could not be decoded, to be logged: the NACK names it without further doing.
    pub refused: Vec<Refused>,
    /// … as it came, of those that are of the response's kind.
    pub undecodable: Vec<Encoded>,
}

/// A resource that was decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub resource: Resource,
    /// As it came, to be kept on disk.
    pub encoded: Encoded,
}

/// A resource that is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub resource: String,
    pub reason: String,
}

pub(super) fn read(kind: ResourceKind, message: DeltaDiscoveryResponse) -> (Update, Unanswered) {
    let mut changed = Vec::new();
    let mut received = Vec::new();
    let (mut refused, mut undecodable) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for resource in message.resources {
        let any = resource.resource.unwrap_or_default();
        if !seen.insert(resource.name.clone()) {
            refused
                .push(Refused { reason: format!("duplicate {} found", noun(kind)), resource: resource.name });
            continue;
        }
        if any.type_url != type_url::of(kind) {
            let reason = format!("type URL {:?} does not match the response's", any.type_url);
            refused.push(Refused { resource: resource.name, reason });
            continue;
        }
        match decode(kind, &any.value) {
            Err(rejection) => {
                undecodable.push(Encoded::received(
                    kind,
                    &resource.name,
                    &resource.version,
                    any.value.into(),
                ));
                refused.push(Refused { resource: resource.name, reason: rejection.reason.to_string() });
            }
            Ok(decoded) if decoded.name() != resource.name => {
                let reason = format!("the resource calls itself {:?}", decoded.name());
                undecodable.push(Encoded::received(
                    kind,
                    &resource.name,
                    &resource.version,
                    any.value.into(),
                ));
                refused.push(Refused { resource: resource.name, reason });
            }
            Ok(decoded) => {
                let encoded = Encoded::received(kind, &resource.name, &resource.version, any.value.into());
                received.push((encoded.clone(), references(&decoded)));
                changed.push(Received { resource: decoded, encoded });
            }
        }
    }
    let removed = message.removed_resources;
    let update = Update {
        kind,
        nonce: message.nonce,
        changed,
        removed: removed.clone(),
        refused: refused.clone(),
        undecodable,
    };
    (update, Unanswered { kind, received, removed, refused })
}

/// The resources of another kind without which this one cannot work.
pub(super) fn references(resource: &Resource) -> BTreeSet<String> {
    match resource {
        Resource::Cluster(cluster) => match &cluster.discovery {
            Discovery::Eds { service_name } if service_name.is_empty() => {
                BTreeSet::from([cluster.name.clone()])
            }
            Discovery::Eds { service_name } => BTreeSet::from([service_name.clone()]),
            _ => BTreeSet::new(),
        },
        Resource::Listener(listener) => listener
            .chains
            .iter()
            .chain(&listener.default_chain)
            .filter_map(|chain| match &chain.network {
                Network::Http(connection) => match &connection.routes {
                    RouteSource::Rds(name) => Some(name.clone()),
                    RouteSource::Inline(_) => None,
                },
                Network::Tcp(_) => None,
            })
            .collect(),
        Resource::Endpoints(_) | Resource::Routes(_) => BTreeSet::new(),
    }
}

/// The text of a NACK, worded as Envoy's, so that one reader understands both.
pub(super) fn error_detail(kind: ResourceKind, refused: &[Refused]) -> Option<String> {
    if refused.is_empty() {
        return None;
    }
    let each: Vec<String> =
        refused.iter().map(|refused| format!("{}: {}", refused.resource, refused.reason)).collect();
    let mut text = format!("Error adding/updating {}(s) {}", noun(kind), each.join(", "));
    if text.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    Some(text)
}

fn noun(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cluster => "cluster",
        ResourceKind::Endpoints => "endpoint assignment",
        ResourceKind::Listener => "listener",
        ResourceKind::Routes => "route configuration",
    }
}
