//! The proxy's end of an aggregated delta stream.
//!
//! ```text
//!              handle_connected                 handle_response        handle_applied
//!  Waiting ───────────────────────▶ Connected ──────────────────▶ … ──────────────────▶ ACK or NACK
//!     ▲       (at next_timeout)         │          poll_update
//!     └─────────────────────────────────┘
//!              handle_disconnected: what is held stays; back-off with jitter
//! ```
//! Clusters are asked for at once, endpoints of the clusters that are held, listeners after [`ClientSession::listen`],
//! routes of the listeners that are held. Requests are taken by [`ClientSession::poll_request`].

mod backoff;
mod secrets;
mod subscription;
mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use selvedge_traffic::ResourceKind;
use selvedge_xds_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use selvedge_xds_proto::google::rpc::Status;

use crate::secret::{self, SecretUpdate};
use crate::{Encoded, Node, type_url};
use backoff::Backoff;
pub use secrets::{DELTA_SECRETS_METHOD, SECRETS_METHOD, SecretSession};
use subscription::Subscription;
pub use update::{Received, Refused, Update};

/// The method of the stream that this session speaks on.
pub const DELTA_METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A response that cannot be made sense of; the stream is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    #[error("malformed response: {0}")]
    Malformed(String),
    #[error("a response of the type {0:?}, which was not asked for")]
    UnknownType(String),
}

/// A proxy's discovery session, over any number of streams.
#[derive(Debug)]
pub struct ClientSession {
    node: Node,
    backoff: Backoff,
    connection: Connection,
    /// Indexed by the kind's place in [`ResourceKind::ALL`].
    subscriptions: [Subscription; 4],
    listening: bool,
    requests: VecDeque<DeltaDiscoveryRequest>,
    updates: VecDeque<Update>,
    /// Responses that the proxy has not yet applied, by nonce.
    unanswered: BTreeMap<String, Unanswered>,
    secrets: Subscription,
    secret_updates: VecDeque<SecretUpdate>,
}

#[derive(Debug)]
enum Connection {
    Waiting { retry_at: Option<Instant> },
    Connected { introduced: bool },
}

/// What is recorded when the proxy has applied a response.
#[derive(Debug)]
struct Unanswered {
    kind: ResourceKind,
    received: Vec<(Encoded, BTreeSet<String>)>,
    removed: Vec<String>,
    refused: Vec<Refused>,
}

impl ClientSession {
    /// A session that may connect at once; `seed` feeds the jitter of its back-off.
    pub fn new(node: Node, seed: u64) -> Self {
        Self {
            node,
            backoff: Backoff::new(seed),
            connection: Connection::Waiting { retry_at: None },
            subscriptions: ResourceKind::ALL.map(Subscription::new),
            listening: false,
            requests: VecDeque::new(),
            updates: VecDeque::new(),
            unanswered: BTreeMap::new(),
            secrets: Subscription::of_secrets(),
            secret_updates: VecDeque::new(),
        }
    }

    /// Takes what a former process had accepted, so that only differences travel. Before the first connection.
    pub fn restore(&mut self, resources: impl IntoIterator<Item = Encoded>) {
        for encoded in resources {
            if let Ok(resource) = crate::decode(encoded.kind, &encoded.value) {
                let references = update::references(&resource);
                self.subscription(encoded.kind).hold(&encoded.name, &encoded.version, references);
            }
        }
        self.refresh_references();
        self.requests.clear();
    }

    /// Asks for listeners too: to be called when the clusters have been initialised. Later calls change nothing.
    pub fn listen(&mut self) {
        if !self.listening {
            self.listening = true;
            if self.is_connected() {
                self.introduce(ResourceKind::Listener);
                self.introduce(ResourceKind::Routes);
            }
        }
    }

    /// Asks for exactly these secrets from here on.
    pub fn want_secrets(&mut self, names: BTreeSet<String>) {
        if let Some(request) = self.secrets.want(names, self.is_connected()) {
            self.requests.push_back(request);
        }
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.connection, Connection::Connected { .. })
    }

    /// When the next attempt to connect is due; `None` while connected. A time that has passed means at once.
    pub fn next_timeout(&self, now: Instant) -> Option<Instant> {
        match self.connection {
            Connection::Connected { .. } => None,
            Connection::Waiting { retry_at } => Some(retry_at.unwrap_or(now)),
        }
    }

    /// A stream is open: the requests that open it are queued, with the versions that are held.
    pub fn handle_connected(&mut self) {
        self.connection = Connection::Connected { introduced: false };
        self.requests.clear();
        self.unanswered.clear();
        self.introduce(ResourceKind::Cluster);
        self.introduce(ResourceKind::Endpoints);
        if self.listening {
            self.introduce(ResourceKind::Listener);
            self.introduce(ResourceKind::Routes);
        }
        if let Some(request) = self.secrets.introduce() {
            self.requests.push_back(request);
        }
    }

    /// The stream ended, or could not be opened. What is held stays in force.
    pub fn handle_disconnected(&mut self, now: Instant) {
        let retry_at = now + self.backoff.next();
        self.connection = Connection::Waiting { retry_at: Some(retry_at) };
        self.requests.clear();
        self.unanswered.clear();
        self.updates.clear();
        self.secret_updates.clear();
        self.secrets.introduced = false;
        for subscription in &mut self.subscriptions {
            subscription.introduced = false;
        }
    }

    /// A message came; what it says is taken by [`Self::poll_update`], or by [`Self::poll_secrets`].
    ///
    /// # Errors
    /// When it is no response to anything that was asked: the stream is to be closed and reopened.
    pub fn handle_response(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        let message = DeltaDiscoveryResponse::decode(bytes)
            .map_err(|error| StreamFault::Malformed(error.to_string()))?;
        if message.type_url == type_url::SECRET {
            self.backoff.reset();
            self.secret_updates.push_back(secret::read_delta(message));
            return Ok(());
        }
        let kind = type_url::kind(&message.type_url)
            .ok_or_else(|| StreamFault::UnknownType(message.type_url.clone()))?;
        self.backoff.reset();
        let (update, unanswered) = update::read(kind, message);
        self.unanswered.insert(update.nonce.clone(), unanswered);
        self.updates.push_back(update);
        Ok(())
    }

    /// The next change to apply; [`Self::handle_applied`] must follow.
    pub fn poll_update(&mut self) -> Option<Update> {
        self.updates.pop_front()
    }

    /// The proxy has applied the update of `nonce`, all but `refused`: an ACK is queued, or a NACK that names every
    /// resource that was refused, here or by decoding. Only what was accepted counts as held.
    pub fn handle_applied(&mut self, nonce: &str, refused: Vec<Refused>) {
        // An update of a stream that ended meanwhile needs no answer, and the next stream will bring it again.
        let Some(mut unanswered) = self.unanswered.remove(nonce) else { return };
        unanswered.refused.extend(refused);
        let kind = unanswered.kind;
        let names: BTreeSet<&str> =
            unanswered.refused.iter().map(|refused| refused.resource.as_str()).collect();
        let subscription = &mut self.subscriptions[kind as usize];
        for (encoded, references) in unanswered.received {
            if !names.contains(encoded.name.as_ref()) {
                subscription.hold(&encoded.name, &encoded.version, references);
            }
        }
        for name in &unanswered.removed {
            subscription.release(name);
        }
        self.requests.push_back(DeltaDiscoveryRequest {
            type_url: type_url::of(kind).to_owned(),
            response_nonce: nonce.to_owned(),
            error_detail: update::error_detail(kind, &unanswered.refused)
                .map(|message| Status { code: 3, message }),
            ..DeltaDiscoveryRequest::default()
        });
        self.refresh_references();
    }

    /// The next secrets to put in force; [`Self::handle_secrets_applied`] must follow.
    pub fn poll_secrets(&mut self) -> Option<SecretUpdate> {
        self.secret_updates.pop_front()
    }

    /// The proxy has put the secrets of `update` in force, all but `refused`, those that could not be decoded among them.
    pub fn handle_secrets_applied(&mut self, update: &SecretUpdate, refused: &[Refused]) {
        for received in &update.changed {
            let name = &received.secret.name;
            if !refused.iter().any(|refused| refused.resource == *name) {
                self.secrets.hold(name, &received.version, BTreeSet::new());
            }
        }
        for name in &update.removed {
            self.secrets.release(name);
        }
        self.requests.push_back(DeltaDiscoveryRequest {
            type_url: type_url::SECRET.to_owned(),
            response_nonce: update.nonce.clone(),
            error_detail: secret::error_detail(refused),
            ..DeltaDiscoveryRequest::default()
        });
    }

    /// The next message to send.
    pub fn poll_request(&mut self) -> Option<Bytes> {
        let Connection::Connected { introduced } = &mut self.connection else { return None };
        let mut request = self.requests.pop_front()?;
        if !*introduced {
            *introduced = true;
            request.node = Some(self.node.encode());
        }
        Some(request.encode_to_vec().into())
    }

    /// The versions that are held of a kind, by name.
    pub fn held(&self, kind: ResourceKind) -> impl Iterator<Item = (&str, &str)> {
        self.subscriptions[kind as usize].versions()
    }

    fn subscription(&mut self, kind: ResourceKind) -> &mut Subscription {
        &mut self.subscriptions[kind as usize]
    }

    /// The first request of a kind on this stream. One that names resources waits until there are any.
    fn introduce(&mut self, kind: ResourceKind) {
        if let Some(request) = self.subscription(kind).introduce() {
            self.requests.push_back(request);
        }
    }

    /// Follows what clusters and listeners refer to.
    fn refresh_references(&mut self) {
        for (from, to) in
            [(ResourceKind::Cluster, ResourceKind::Endpoints), (ResourceKind::Listener, ResourceKind::Routes)]
        {
            let wanted = self.subscriptions[from as usize].references();
            let connected = self.is_connected() && (to != ResourceKind::Routes || self.listening);
            if let Some(request) = self.subscription(to).want(wanted, connected) {
                self.requests.push_back(request);
            }
        }
    }
}
