//! The state-of-the-world form of discovery, as Envoy speaks it.
//!
//! Clusters and listeners are asked for as a whole, and what an answer leaves out is gone; endpoints and routes are
//! asked for by name. Each answer is acknowledged with its version and nonce; a request that asks for other names
//! repeats them. (xDS protocol, "Basic Protocol Overview".)

use crate::chance::Chance;
use crate::config::{assignment_of, tables_of};
use crate::moment::Moment;
use bytes::Bytes;
use prost::Message as _;
use selvedge_traffic::{Resource, ResourceKind};
use selvedge_xds::client::{Received, Update};
use selvedge_xds::{Encoded, decode, type_url};
use selvedge_xds_proto::envoy::config::core::v3::Node;
use selvedge_xds_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The longest wait before a connection is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

pub(super) struct WorldSession {
    node: String,
    chance: Chance,
    failures: u32,
    /// `None` while connected.
    retry_at: Option<Moment>,
    is_introduced: bool,
    is_listening: bool,
    channels: BTreeMap<ResourceKind, Channel>,
    requests: VecDeque<Bytes>,
    updates: VecDeque<Update>,
}

/// One type of resource.
#[derive(Default)]
struct Channel {
    /// The first request of this stream has gone out.
    is_open: bool,
    version: String,
    nonce: String,
    /// What is asked for by name.
    names: BTreeSet<String>,
    /// What is held, and what of another type each needs.
    held: BTreeMap<String, BTreeSet<String>>,
}

impl WorldSession {
    pub(super) fn new(node: &str, chance: Chance) -> Self {
        Self {
            node: node.to_owned(),
            chance,
            failures: 0,
            retry_at: Some(Moment::START),
            is_introduced: false,
            is_listening: false,
            channels: ResourceKind::ALL.map(|kind| (kind, Channel::default())).into(),
            requests: VecDeque::new(),
            updates: VecDeque::new(),
        }
    }

    pub(super) fn next_timeout(&self, now: Moment) -> Option<Moment> {
        self.retry_at.map(|at| at.max(now))
    }

    pub(super) fn connected(&mut self) {
        self.retry_at = None;
        self.is_introduced = false;
        ResourceKind::ALL.into_iter().for_each(|kind| self.open(kind));
    }

    pub(super) fn disconnected(&mut self, now: Moment) {
        let most = (Duration::from_millis(500) * (1 << self.failures.min(6))).min(BACKOFF_MAX);
        self.failures += 1;
        self.retry_at = Some(now + self.chance.between(Duration::ZERO, most));
        self.requests.clear();
        self.updates.clear();
        for channel in self.channels.values_mut() {
            channel.is_open = false;
            channel.nonce.clear();
        }
    }

    pub(super) fn listen(&mut self) {
        self.is_listening = true;
        self.open(ResourceKind::Listener);
        self.open(ResourceKind::Routes);
    }

    pub(super) fn response(&mut self, bytes: &Bytes) -> Result<(), String> {
        let message = DiscoveryResponse::decode(&bytes[..]).map_err(|error| error.to_string())?;
        let kind = type_url::kind(&message.type_url).ok_or("an unknown type")?;
        self.failures = 0;
        let channel = self.channels.entry(kind).or_default();
        let mut changed = Vec::new();
        let mut arrived = BTreeMap::new();
        for any in message.resources {
            let resource = decode(kind, &any.value).map_err(|rejection| rejection.to_string())?;
            let name = resource.name().to_owned();
            arrived.insert(name.clone(), needs(&resource));
            let encoded = Encoded::received(kind, &name, &message.version_info, any.value.into());
            changed.push(Received { resource, encoded });
        }
        let mut removed = Vec::new();
        if is_whole(kind) {
            removed.extend(channel.held.keys().filter(|name| !arrived.contains_key(*name)).cloned());
            channel.held = arrived;
        } else {
            channel.held.extend(arrived);
        }
        channel.version = message.version_info;
        channel.nonce.clone_from(&message.nonce);
        let (refused, undecodable) = (Vec::new(), Vec::new());
        let nonce = message.nonce;
        self.updates.push_back(Update { kind, nonce, changed, removed, refused, undecodable });
        Ok(())
    }

    /// The answer of `nonce` is in force.
    pub(super) fn applied(&mut self, nonce: &str) {
        let kinds = self.channels.iter();
        let Some(kind) = kinds.into_iter().find(|(_, it)| it.nonce == nonce).map(|(&kind, _)| kind) else {
            return;
        };
        self.request(kind);
        for (from, to) in
            [(ResourceKind::Cluster, ResourceKind::Endpoints), (ResourceKind::Listener, ResourceKind::Routes)]
        {
            if from == kind {
                let names = self.channels[&from].held.values().flatten().cloned().collect();
                self.want(to, names);
            }
        }
    }

    pub(super) fn poll_update(&mut self) -> Option<Update> {
        self.updates.pop_front()
    }

    pub(super) fn poll_request(&mut self) -> Option<Bytes> {
        self.requests.pop_front()
    }

    fn want(&mut self, kind: ResourceKind, names: BTreeSet<String>) {
        let channel = self.channels.entry(kind).or_default();
        if channel.names == names {
            return;
        }
        channel.held.retain(|name, _| names.contains(name));
        channel.names = names;
        if channel.is_open {
            self.request(kind);
        } else {
            self.open(kind);
        }
    }

    /// Sends the first request of a type, if there is anything to ask for.
    fn open(&mut self, kind: ResourceKind) {
        let is_early = !self.is_listening && matches!(kind, ResourceKind::Listener | ResourceKind::Routes);
        let channel = self.channels.entry(kind).or_default();
        let is_empty = !is_whole(kind) && channel.names.is_empty();
        if self.retry_at.is_none() && !is_early && !is_empty && !channel.is_open {
            channel.is_open = true;
            self.request(kind);
        }
    }

    fn request(&mut self, kind: ResourceKind) {
        let is_first = !std::mem::replace(&mut self.is_introduced, true);
        let channel = &self.channels[&kind];
        let request = DiscoveryRequest {
            node: is_first.then(|| Node { id: self.node.clone(), ..Node::default() }),
            type_url: type_url::of(kind).to_owned(),
            resource_names: channel.names.iter().cloned().collect(),
            version_info: channel.version.clone(),
            response_nonce: channel.nonce.clone(),
            ..DiscoveryRequest::default()
        };
        self.requests.push_back(request.encode_to_vec().into());
    }
}

fn is_whole(kind: ResourceKind) -> bool {
    matches!(kind, ResourceKind::Cluster | ResourceKind::Listener)
}

/// The resources of another type that this one cannot work without.
fn needs(resource: &Resource) -> BTreeSet<String> {
    let names = match resource {
        Resource::Cluster(cluster) => assignment_of(cluster).into_iter().collect(),
        Resource::Listener(listener) => tables_of(listener),
        Resource::Endpoints(_) | Resource::Routes(_) => Vec::new(),
    };
    names.into_iter().map(str::to_owned).collect()
}
