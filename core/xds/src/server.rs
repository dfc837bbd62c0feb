//! The control plane's end of a stream.
//!
//! ```text
//!   handle_request ─┐                       ┌─▶ poll_response   (encoded, in order, one un-ACKed a type)
//!   set_view ───────┼─▶ channels, one a type ┤
//!   handle_timeout ─┘                       └─▶ poll_event      (acknowledged, rejected, settled)
//! ```
//! Rules that are kept: every subscription is answered at once, in whatever order types are asked for; what changes is
//! sent make before break (clusters, endpoints, listeners, routes, then what clusters and endpoints are gone);
//! endpoints follow every added or changed cluster; a rejected version is not sent again.

mod channel;
mod delta;
mod event;
mod order;
mod outstanding;
mod secrets;
mod sotw;
mod subscription;
mod view;
mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use selvedge_traffic::ResourceKind;

use crate::{Node, type_url};
use channel::{Channel, Gates};
pub use event::{Event, Rejected};
use order::{Order, Wait};
use secrets::SecretChannel;
pub use secrets::{Encoded as EncodedSecret, Secrets};
pub use view::View;

/// Most names that one stream may subscribe to in one type.
pub const SUBSCRIBED_NAMES_MAX: usize = 20_000;

/// Longest node id, in bytes.
pub const NODE_ID_BYTES_MAX: usize = 2048;

/// Largest node that is taken, in bytes; what it says of itself is kept as long as its stream.
pub const NODE_BYTES_MAX: usize = 64 << 10;

/// Longest name that may be subscribed to, in bytes.
pub const NAME_BYTES_MAX: usize = 2048;

/// A response of more resources is cut here, in bytes; one resource may still be longer. gRPC libraries refuse messages
/// above 4 MiB unless told otherwise.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// The two forms of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    StateOfTheWorld,
    Delta,
}

/// Which types a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All: the aggregated service.
    Aggregated,
    /// One: a service of its own.
    Only(ResourceKind),
}

/// Why a stream is to be closed: the client's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("malformed request: {0}")]
    Malformed(String),
    #[error("the first request names no node")]
    NodeMissing,
    #[error("the node is larger than {NODE_BYTES_MAX} bytes, or its id longer than {NODE_ID_BYTES_MAX}")]
    NodeTooLong,
    #[error("the type {0:?} is not served here")]
    TypeMismatch(String),
    #[error("more than {SUBSCRIBED_NAMES_MAX} names are subscribed to")]
    TooManyNames,
    #[error("a name of more than {NAME_BYTES_MAX} bytes is subscribed to")]
    NameTooLong,
}

/// One stream of one proxy.
#[derive(Debug)]
pub struct ServerSession {
    form: Form,
    scope: Scope,
    node: Option<Node>,
    view: Option<Arc<View>>,
    /// Indexed by the kind's place in [`ResourceKind::ALL`].
    channels: [Channel; 4],
    order: Order,
    nonces: u64,
    events: VecDeque<Event>,
    settled: Option<u64>,
    secrets: Arc<Secrets>,
    secret_channel: SecretChannel,
}

impl ServerSession {
    pub fn new(form: Form, scope: Scope) -> Self {
        Self {
            form,
            scope,
            node: None,
            view: None,
            channels: ResourceKind::ALL.map(Channel::new),
            order: Order::default(),
            nonces: 0,
            events: VecDeque::new(),
            settled: None,
            secrets: Arc::default(),
            secret_channel: SecretChannel::default(),
        }
    }

    /// Who is at the other end, once its first request has been handled.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The revision that is being delivered.
    pub fn revision(&self) -> Option<u64> {
        self.view.as_ref().map(|view| view.revision)
    }

    /// What the proxy has rejected and not accepted since.
    pub fn rejected(&self) -> impl Iterator<Item = Rejected> {
        self.channels.iter().flat_map(Channel::rejected)
    }

    /// The secrets that the proxy has refused and not accepted since: the name, and its words.
    pub fn rejected_secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secret_channel.rejected()
    }

    /// Whether the proxy asks for secrets.
    pub fn wants_secrets(&self) -> bool {
        self.secret_channel.is_introduced()
    }

    /// A message came.
    ///
    /// # Errors
    /// When the stream cannot go on.
    pub fn handle_request(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let request = match self.form {
            Form::StateOfTheWorld => sotw::read(bytes)?,
            Form::Delta => delta::read(bytes)?,
        };
        if self.node.is_none() {
            let node = request.node.ok_or(Fault::NodeMissing)?;
            if node.id.len() > NODE_ID_BYTES_MAX || node.encoded_len() > NODE_BYTES_MAX {
                return Err(Fault::NodeTooLong);
            }
            self.node = Some(Node::decode(node));
        }
        if self.scope == Scope::Aggregated && request.type_url == type_url::SECRET {
            if let Some(answer) = &request.answer
                && self.secret_channel.handle_answer(answer)
            {
                self.events.push_back(Event::SecretsRejected);
            }
            return self.secret_channel.subscribe(request.change);
        }
        let kind = match (self.scope, request.kind) {
            (Scope::Aggregated, Some(kind)) => kind,
            // A type that is not spoken here gets no answer; the others go on.
            (Scope::Aggregated, None) => return Ok(()),
            (Scope::Only(kind), requested) if requested == Some(kind) || request.type_url.is_empty() => kind,
            (Scope::Only(_), _) => return Err(Fault::TypeMismatch(request.type_url)),
        };
        let channel = &mut self.channels[kind as usize];
        if let Some(answer) = request.answer {
            channel.handle_answer(&answer, &mut self.events);
        }
        channel.subscribe(request.change)
    }

    /// What the proxy is to have from here on.
    pub fn set_view(&mut self, view: Arc<View>) {
        self.view = Some(view);
    }

    /// The secrets that the proxy may have from here on, if it asks for them.
    pub fn set_secrets(&mut self, secrets: Arc<Secrets>) {
        self.secrets = secrets;
    }

    /// The next message to send.
    pub fn poll_response(&mut self, now: Instant) -> Option<Bytes> {
        let view = self.view.clone()?;
        // Before the rest: whatever names a secret waits for it.
        let nonces = &mut self.nonces;
        let nonce = || {
            *nonces += 1;
            format!("{nonces:x}")
        };
        if let Some(message) = self.secret_channel.poll(&self.secrets, self.form, nonce) {
            return Some(message);
        }
        self.refresh_order(&view, now);
        for kind in ResourceKind::ALL {
            let gates = Gates {
                changes: self.order.holds_changes(kind, now),
                removals: self.order.holds_removals(kind, now),
            };
            let collection = view.of(kind);
            let channel = &self.channels[kind as usize];
            if !channel.is_ready() {
                continue;
            }
            let batch = match self.form {
                Form::StateOfTheWorld => sotw::batch(channel, collection, gates),
                Form::Delta => delta::batch(channel, collection, gates),
            };
            let Some(batch) = batch else {
                self.channels[kind as usize].nothing_to_say();
                continue;
            };
            if kind == ResourceKind::Cluster {
                self.force_endpoints(&batch);
            }
            self.nonces += 1;
            let nonce = format!("{:x}", self.nonces);
            let channel = &mut self.channels[kind as usize];
            let bytes = match self.form {
                Form::StateOfTheWorld => {
                    wire::sotw(kind, &sotw::version(channel, collection), &nonce, &batch)
                }
                Form::Delta => wire::delta(kind, &nonce, &batch),
            };
            channel.sent(nonce, view.revision, batch);
            return Some(bytes);
        }
        self.settle(&view);
        None
    }

    /// The next thing that became known about the proxy.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::poll_response`] should be asked again though nothing came: something waits for its turn until then.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.order.deadline()
    }

    /// A proxy that got a cluster waits for its endpoints, even if it knew them; Envoy in delta form does not ask again.
    fn force_endpoints(&mut self, batch: &outstanding::Batch) {
        let clusters = &self.channels[ResourceKind::Cluster as usize];
        let names: Vec<Arc<str>> = batch
            .resources
            .iter()
            .filter(|encoded| !clusters.holds(&encoded.name, &encoded.version))
            .filter_map(|encoded| encoded.endpoints.clone())
            .collect();
        let endpoints = &mut self.channels[ResourceKind::Endpoints as usize];
        for name in names {
            endpoints.force(&name);
        }
    }

    fn refresh_order(&mut self, view: &View, now: Instant) {
        let unsettled = |kind: ResourceKind| self.channels[kind as usize].is_unsettled(view.of(kind));
        let removes = |kind: ResourceKind| self.channels[kind as usize].removes(view.of(kind));
        let is_unsent = |kind: ResourceKind| self.channels[kind as usize].has_unsent_changes(view.of(kind));
        let stays_on = |kind: ResourceKind| self.channels[kind as usize].has_unsent_removals(view.of(kind));
        let below = [ResourceKind::Cluster, ResourceKind::Endpoints];
        let above = [ResourceKind::Listener, ResourceKind::Routes];
        let changes = above.into_iter().any(unsettled);
        let removals = below.into_iter().any(removes);
        // Listeners and routes that go, and those that a proxy which has just connected has not asked for yet, may use
        // what is to be removed. Without a listener there is no route to ask for.
        let listens = self.channels[ResourceKind::Listener as usize].held_names().next().is_some();
        let is_in_use = |kind: ResourceKind| {
            let channel = &self.channels[kind as usize];
            let is_unasked = !channel.is_introduced() && (kind == ResourceKind::Listener || listens);
            removes(kind) || channel.awaits_answer() || is_unasked
        };
        let is_rejected = |kind: ResourceKind| self.channels[kind as usize].rejected().next().is_some();
        let changes_wait = match changes {
            true if below.into_iter().any(is_unsent) => Wait::Blocked,
            true if below.into_iter().any(unsettled) || self.cold(view) => Wait::Bounded,
            _ => Wait::None,
        };
        let removals_wait = match removals {
            true if above.into_iter().any(|kind| is_unsent(kind) || stays_on(kind) || is_rejected(kind)) => {
                Wait::Blocked
            }
            true if changes || above.into_iter().any(is_in_use) => Wait::Bounded,
            _ => Wait::None,
        };
        match self.scope {
            Scope::Aggregated => self.order.refresh(now, changes_wait, removals_wait),
            // Other types travel on streams of their own: nothing can be known of them but that they take a while.
            Scope::Only(_) => {
                let removals_wait = if removals { Wait::Bounded } else { Wait::None };
                self.order.refresh(now, Wait::None, removals_wait);
            }
        }
    }

    /// Whether a cluster of the view still waits for its endpoints: its first, or those that follow its change.
    fn cold(&self, view: &View) -> bool {
        let endpoints = &self.channels[ResourceKind::Endpoints as usize];
        view.of(ResourceKind::Cluster)
            .values()
            .filter_map(|cluster| cluster.endpoints.as_deref())
            .any(|name| view.of(ResourceKind::Endpoints).contains_key(name) && endpoints.owes(name))
    }

    /// Tells once that the proxy has all of a revision.
    fn settle(&mut self, view: &View) {
        let introduced = |kind: ResourceKind| self.channels[kind as usize].is_introduced();
        let complete = match self.scope {
            // What a view holds of a kind must have been asked for, before "all" can be said.
            Scope::Aggregated => ResourceKind::ALL.into_iter().all(|kind| {
                introduced(kind)
                    || matches!(kind, ResourceKind::Endpoints | ResourceKind::Routes)
                        && view.of(kind).is_empty()
            }),
            Scope::Only(kind) => introduced(kind),
        };
        let quiet = self.secret_channel.is_quiet()
            && ResourceKind::ALL.into_iter().all(|kind| {
                let channel = &self.channels[kind as usize];
                !channel.awaits_answer()
                    && !channel.is_unsettled(view.of(kind))
                    && channel.rejected().next().is_none()
            });
        if complete && quiet && self.settled != Some(view.revision) {
            self.settled = Some(view.revision);
            self.events.push_back(Event::Settled { revision: view.revision });
        }
    }
}
