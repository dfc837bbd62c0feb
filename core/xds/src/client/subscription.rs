//! What is asked for of one kind, and what is held.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_traffic::ResourceKind;
use selvedge_xds_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::type_url;

#[derive(Debug)]
pub(super) struct Subscription {
    type_url: &'static str,
    /// Asked for without names: all that there are.
    is_wildcard: bool,
    /// The first request of this kind went out on the current stream.
    pub(super) introduced: bool,
    /// The names asked for; without meaning for kinds that are asked for as a whole.
    wanted: BTreeSet<String>,
    held: BTreeMap<String, Held>,
}

#[derive(Debug)]
struct Held {
    version: String,
    /// Names of resources of another kind that this one needs.
    references: BTreeSet<String>,
}

impl Subscription {
    pub(super) fn new(kind: ResourceKind) -> Self {
        let is_wildcard = matches!(kind, ResourceKind::Cluster | ResourceKind::Listener);
        Self::of(type_url::of(kind), is_wildcard)
    }

    /// Of secrets.
    pub(super) fn of_secrets() -> Self {
        Self::of(type_url::SECRET, false)
    }

    fn of(type_url: &'static str, is_wildcard: bool) -> Self {
        Self { type_url, is_wildcard, introduced: false, wanted: BTreeSet::new(), held: BTreeMap::new() }
    }

    pub(super) fn hold(&mut self, name: &str, version: &str, references: BTreeSet<String>) {
        self.held.insert(name.to_owned(), Held { version: version.to_owned(), references });
    }

    pub(super) fn release(&mut self, name: &str) {
        self.held.remove(name);
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.held.iter().map(|(name, held)| (name.as_str(), held.version.as_str()))
    }

    /// All that the held resources refer to.
    pub(super) fn references(&self) -> BTreeSet<String> {
        self.held.values().flat_map(|held| held.references.iter().cloned()).collect()
    }

    /// The request that opens this kind on a stream.
    pub(super) fn introduce(&mut self) -> Option<DeltaDiscoveryRequest> {
        if self.introduced || !self.is_wildcard && self.wanted.is_empty() {
            return None;
        }
        self.introduced = true;
        Some(DeltaDiscoveryRequest {
            type_url: self.type_url.to_owned(),
            resource_names_subscribe: self.wanted.iter().cloned().collect(),
            initial_resource_versions: self
                .versions()
                .map(|(name, version)| (name.to_owned(), version.to_owned()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Changes the names asked for; the request that says so, if a stream is open and anything changed.
    pub(super) fn want(
        &mut self,
        wanted: BTreeSet<String>,
        connected: bool,
    ) -> Option<DeltaDiscoveryRequest> {
        // What was brought along from disk may be more than what is asked for.
        self.held.retain(|name, _| wanted.contains(name));
        if wanted == self.wanted {
            return None;
        }
        let before = std::mem::replace(&mut self.wanted, wanted);
        let gone: Vec<String> = before.difference(&self.wanted).cloned().collect();
        if !connected {
            return None;
        }
        if !self.introduced {
            return self.introduce();
        }
        Some(DeltaDiscoveryRequest {
            type_url: self.type_url.to_owned(),
            resource_names_subscribe: self.wanted.difference(&before).cloned().collect(),
            resource_names_unsubscribe: gone,
            ..DeltaDiscoveryRequest::default()
        })
    }
}
