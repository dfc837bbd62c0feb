//! From a write to every proxy that it concerns.
//!
//! ```text
//!   store ─▶ Feed ─▶ handle_feed ──┐                         ┌─▶ poll_output  (messages, ends of streams)
//!   streams ─▶ handle_connected,   ├─▶ Publisher: meshes ────┼─▶ poll_write   (who is an endpoint where)
//!     _message, _disconnected ─────┘   targets, streams      └─▶ report
//! ```
//! The publisher is a state machine without a clock, a socket or a thread: the server drives it from a thread of its own
//! ([`run`]), the simulation in virtual time. A *target* is a proxy's description (all sidecars of a node that intercept
//! share one); it is translated again only when something that its translation looked at has changed.

mod directory;
mod endpoints;
pub mod feed;
mod intern;
mod mesh;
mod node_id;
pub mod registry;
mod report;
pub mod run;
mod secrets;
mod stream;
mod target;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use selvedge_model::{Key, Kind, Snapshot};
use selvedge_store::Vault;
use selvedge_translate::Proxy;
use selvedge_xds::server::{Event, Form, Scope};

pub use feed::{Feed, FeedEvent};
pub use registry::Write;
pub use report::Report;

use crate::certificates::Found;
use endpoints::Sources;
use intern::Intern;
use mesh::Mesh;
use registry::{Place, Registry};
use secrets::Certificates;
use stream::{Attachment, Stream};

/// A stream's number, given by whoever accepts it; never used twice.
pub type StreamId = u64;

/// How much one publisher takes on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this replica is: a name that no other process has or had.
    pub replica: String,
    /// Streams at a time.
    pub streams_max: usize,
    /// Streams at a time of one virtual node or gateway; App Mesh's quota was 50.
    pub streams_per_node_max: usize,
    /// Where proxies reach this replica for what is not discovery: the rate-limit service. `None`: nobody knows.
    pub address: Option<SocketAddr>,
    /// What the keys of certificates are sealed with.
    pub vault: Vault,
}

impl Settings {
    pub fn new(replica: impl Into<String>) -> Self {
        Self {
            replica: replica.into(),
            streams_max: 10_000,
            streams_per_node_max: 2_000,
            address: None,
            vault: Vault::default(),
        }
    }
}

/// What is to be done with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send { stream: StreamId, message: Bytes },
    End { stream: StreamId, end: End },
}

/// Why a stream ends, by gRPC's status as App Mesh gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// 3: the node is not known, or the request is not fine.
    InvalidArgument(String),
    /// 8: over a quota.
    ResourceExhausted(String),
}

/// The control plane's knowledge of its proxies, and what they are to have.
pub struct Publisher {
    settings: Settings,
    /// The first reading of the store is complete.
    loaded: bool,
    meshes: BTreeMap<String, Mesh>,
    streams: BTreeMap<StreamId, Stream>,
    registry: Registry,
    registered: selvedge_registry::Snapshot,
    certificates: Certificates,
    intern: Intern,
    timers: BTreeMap<StreamId, Instant>,
    /// Targets of which registered endpoints came, went or changed, each served before the output after it.
    moved: BTreeSet<(String, Proxy)>,
    moved_since: Option<Instant>,
    /// Targets to be translated anew, likewise.
    pending: BTreeSet<(String, Proxy)>,
    pending_since: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Publisher {
    pub fn new(settings: Settings) -> Self {
        let registry = Registry::new(&settings.replica);
        Self {
            settings,
            loaded: false,
            meshes: BTreeMap::new(),
            streams: BTreeMap::new(),
            registry,
            registered: selvedge_registry::Snapshot::default(),
            certificates: Certificates::default(),
            intern: Intern::default(),
            timers: BTreeMap::new(),
            moved: BTreeSet::new(),
            moved_since: None,
            pending: BTreeSet::new(),
            pending_since: None,
            outputs: VecDeque::new(),
        }
    }

    /// Whether the store has been read, so that streams are answered.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Something was read from the store.
    pub fn handle_feed(&mut self, now: Instant, event: FeedEvent) {
        match event {
            FeedEvent::Mesh { name, snapshot, changed } => self.handle_mesh(now, &name, snapshot, &changed),
            FeedEvent::Endpoint { place, held } => self.registry.handle_document(now, place, held),
            FeedEvent::Beat { replica } => self.registry.handle_beat(now, replica),
            FeedEvent::Registry(snapshot) => {
                self.registered = *snapshot;
                let all = self.meshes.iter().flat_map(|(name, mesh)| {
                    mesh.targets.keys().map(move |proxy| (name.clone(), proxy.clone()))
                });
                self.moved.extend(all);
                self.moved_since = Some(now);
            }
            FeedEvent::Registered { key, value, revision } => {
                let mut services = directory::services(&self.registered, &key);
                self.registered.apply(&key, value.as_deref(), revision);
                services.extend(directory::services(&self.registered, &key));
                for (name, mesh) in &self.meshes {
                    let callers = mesh.callers_of(&services).into_iter();
                    self.moved.extend(callers.map(|proxy| (name.clone(), proxy)));
                }
                self.moved_since = Some(now);
            }
            FeedEvent::Certificate { key, found } => self.handle_certificate(now, key, found),
            FeedEvent::ReadUpTo(revision) => self.registry.handle_position(revision.number()),
            FeedEvent::Loaded => {
                self.loaded = true;
                self.refresh_endpoints(now);
                let waiting: Vec<StreamId> = self.streams.keys().copied().collect();
                for id in waiting {
                    self.attach(now, id);
                }
            }
        }
        self.refresh_endpoints(now);
    }

    /// A stream was opened; nothing is known of it yet.
    pub fn handle_connected(&mut self, now: Instant, id: StreamId, peer: IpAddr, form: Form, scope: Scope) {
        if self.streams.len() >= self.settings.streams_max {
            let end = End::ResourceExhausted(format!("{} streams are open already", self.streams.len()));
            self.outputs.push_back(Output::End { stream: id, end });
            return;
        }
        self.streams.insert(id, Stream::new(now, peer, form, scope));
    }

    /// Nobody else can read a stream, or be at its other end: private keys may be sent on it. Without this word that is so
    /// for peers on this machine alone.
    pub fn handle_confided(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_private = true;
        }
    }

    /// A message came on a stream.
    pub fn handle_message(&mut self, now: Instant, id: StreamId, message: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if let Err(fault) = stream.session.handle_request(message) {
            self.end(now, id, End::InvalidArgument(fault.to_string()));
            return;
        }
        if stream.attachment.is_none() {
            self.attach(now, id);
        }
        self.pump(now, id);
    }

    /// A stream is over. `orderly`: the proxy closed it, and so says that it is leaving; otherwise it may come back.
    pub fn handle_disconnected(&mut self, now: Instant, id: StreamId, orderly: bool) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.timers.remove(&id);
        if let Some(place) = stream.place {
            self.registry.disconnect(now, &place, orderly);
        }
        if let Some(Attachment { mesh, proxy }) = stream.attachment
            && let Some(mesh) = self.meshes.get_mut(&mesh)
        {
            mesh.detach(&proxy, id);
        }
        self.refresh_endpoints(now);
    }

    /// This replica is about to end its streams itself: whose they were stay endpoints, for another replica, or the
    /// next process, to take over.
    pub fn handle_drain(&mut self) {
        self.registry.freeze();
    }

    /// The time of [`Self::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<StreamId> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.timers.remove(&id);
            self.pump(now, id);
        }
        self.registry.handle_timeout(now);
        self.refresh_endpoints(now);
        self.intern.sweep();
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.values().copied().chain(self.registry.next_timeout()).min()
    }

    /// The next thing to do with a stream.
    ///
    /// A change that concerns many proxies is worked off here, one at a time, so that the first need not wait for the
    /// last.
    pub fn poll_output(&mut self) -> Option<Output> {
        while self.outputs.is_empty() {
            if let (Some((mesh, proxy)), Some(since)) = (self.moved.pop_first(), self.moved_since) {
                self.refresh(since, &mesh, &proxy);
                continue;
            }
            let (mesh, proxy) = self.pending.pop_first()?;
            let since = self.pending_since?;
            self.republish(since, &mesh, &proxy);
        }
        self.outputs.pop_front()
    }

    /// Documents to be written, if any. What fails is asked for again later.
    pub fn poll_write(&mut self, now: Instant) -> Vec<Write> {
        if self.loaded { self.registry.poll_write(now) } else { Vec::new() }
    }

    /// The store refused a place that was asked for, to which its proxy has no right any more.
    pub fn handle_refusal(&mut self, now: Instant, place: &Place) {
        self.registry.handle_refusal(now, place);
    }

    fn handle_mesh(&mut self, now: Instant, name: &str, snapshot: Option<Snapshot>, changed: &[Key]) {
        let snapshot =
            snapshot.map(|snapshot| Snapshot { certificates: self.certificates.known(), ..snapshot });
        let Some(snapshot) = snapshot else {
            if let Some(mesh) = self.meshes.remove(name) {
                for id in mesh.streams() {
                    self.end(now, id, End::InvalidArgument(format!("Mesh {name} is not found")));
                }
            }
            return;
        };
        let touched: BTreeSet<Proxy> = match self.meshes.get_mut(name) {
            None => {
                self.meshes.insert(name.to_owned(), Mesh::new(snapshot));
                return;
            }
            Some(mesh) => mesh.replace(snapshot, changed),
        };
        self.pending.extend(touched.into_iter().map(|proxy| (name.to_owned(), proxy)));
        self.pending_since = Some(now);
    }

    /// A certificate or an authority came, changed or went.
    fn handle_certificate(&mut self, now: Instant, key: String, found: Option<Found>) {
        let (arns, has_changed) = self.certificates.handle(key, found);
        if arns.is_empty() {
            return;
        }
        let mut holders = Vec::new();
        for (name, mesh) in &mut self.meshes {
            if has_changed {
                mesh.snapshot.certificates = self.certificates.known();
            }
            for (proxy, target) in &mesh.targets {
                let translation = &target.translation;
                if has_changed && translation.certificates.iter().any(|arn| arns.contains(arn)) {
                    self.pending.insert((name.clone(), proxy.clone()));
                }
                if translation.secrets.iter().any(|secret| secrets::concerns(secret, &arns)) {
                    holders.push((name.clone(), proxy.clone()));
                }
            }
        }
        if has_changed {
            self.pending_since = Some(now);
        }
        for (mesh, proxy) in holders {
            for id in self.give_secrets(&mesh, &proxy) {
                self.pump(now, id);
            }
        }
    }

    /// Gives a target's streams the secrets that its translation names, as they are: those streams that may have them.
    fn give_secrets(&mut self, mesh: &str, proxy: &Proxy) -> Vec<StreamId> {
        let target = self.meshes.get(mesh).and_then(|mesh| mesh.targets.get(proxy));
        let Some(target) = target else { return Vec::new() };
        let secrets = self.certificates.secrets(&target.translation.secrets);
        let ids: Vec<StreamId> = target.streams.iter().copied().collect();
        for id in &ids {
            if let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.is_private) {
                stream.session.set_secrets(Arc::clone(&secrets));
            }
        }
        ids
    }

    /// Translates a target anew, and tells its streams if anything came of it.
    fn republish(&mut self, now: Instant, name: &str, proxy: &Proxy) {
        let Some(mesh) = self.meshes.get_mut(name) else { return };
        if !mesh.has(proxy) {
            let gone = mesh.streams_of(proxy);
            let text = missing(&proxy.key(name));
            for id in gone {
                self.end(now, id, End::InvalidArgument(text.clone()));
            }
            return;
        }
        let sources =
            Sources { sidecars: &self.registry, registered: &self.registered, own: self.settings.address };
        if let Some((view, streams)) = mesh.retranslate(proxy, sources, &mut self.intern) {
            self.give_secrets(name, proxy);
            self.show(now, &view, &streams);
        }
    }

    /// Follows endpoints that came or went.
    fn refresh_endpoints(&mut self, now: Instant) {
        while let Some((mesh_name, node)) = self.registry.poll_changed() {
            if !self.loaded {
                continue;
            }
            let Some(mesh) = self.meshes.get(&mesh_name) else { continue };
            for proxy in mesh.users_of(&node) {
                self.refresh(now, &mesh_name, &proxy);
            }
        }
    }

    /// Tells a target's streams of its endpoints, if they are others than before.
    fn refresh(&mut self, now: Instant, mesh: &str, proxy: &Proxy) {
        let Some(mesh) = self.meshes.get_mut(mesh) else { return };
        let sources =
            Sources { sidecars: &self.registry, registered: &self.registered, own: self.settings.address };
        if let Some((view, streams)) = mesh.refresh(proxy, sources, &mut self.intern) {
            self.show(now, &view, &streams);
        }
    }

    fn show(&mut self, now: Instant, view: &Arc<selvedge_xds::View>, streams: &[StreamId]) {
        for id in streams {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.session.set_view(view.clone());
                stream.shown_at = now;
            }
            self.pump(now, *id);
        }
    }

    /// Finds out who a stream is, and gives it what it is to have.
    fn attach(&mut self, now: Instant, id: StreamId) {
        if !self.loaded {
            return;
        }
        let Some(stream) = self.streams.get(&id) else { return };
        let Some(node) = stream.session.node() else { return };
        let Some(key) = node_id::parse(&node.id) else {
            let text = format!(
                "The node id {:?} names neither a virtual node nor a virtual gateway",
                shortened(&node.id)
            );
            return self.end(now, id, End::InvalidArgument(text));
        };
        let locality = node.locality.clone();
        let proxy = match Proxy::of(&key, &serde_json::Value::Object(node.metadata.clone())) {
            Ok(proxy) => Proxy { in_zone: !locality.zone.is_empty(), ..proxy },
            Err(invalid) => return self.end(now, id, End::InvalidArgument(invalid.to_string())),
        };
        let peer = stream.peer;
        let Some(mesh) = self.meshes.get_mut(&key.mesh).filter(|mesh| mesh.has(&proxy)) else {
            return self.end(now, id, End::InvalidArgument(missing(&key)));
        };
        if mesh.streams_of_resource(&proxy) >= self.settings.streams_per_node_max {
            let text = format!(
                "{} {} has {} streams already",
                key.kind, key.name, self.settings.streams_per_node_max
            );
            return self.end(now, id, End::ResourceExhausted(text));
        }
        let place = (key.kind == Kind::VirtualNode).then(|| Place::of(&key, &proxy, peer));
        if let Some(place) = &place {
            self.registry.connect(now, place, &locality);
        }
        let sources =
            Sources { sidecars: &self.registry, registered: &self.registered, own: self.settings.address };
        let view = mesh.attach(&proxy, id, sources, &mut self.intern);
        self.give_secrets(&key.mesh, &proxy);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.attachment = Some(Attachment { mesh: key.mesh, proxy });
            stream.place = place;
            stream.shown_at = now;
            stream.session.set_view(view);
        }
        self.refresh_endpoints(now);
        self.pump(now, id);
    }

    /// Takes what a session has to say.
    fn pump(&mut self, now: Instant, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        while let Some(message) = stream.session.poll_response(now) {
            self.outputs.push_back(Output::Send { stream: id, message });
        }
        match stream.session.next_timeout() {
            Some(at) => drop(self.timers.insert(id, at)),
            None => drop(self.timers.remove(&id)),
        }
        while let Some(event) = stream.session.poll_event() {
            stream.handle_event(now, &event);
            if event == Event::SecretsRejected {
                let node = stream.session.node().map(|node| node.id.as_str()).unwrap_or_default();
                for (secret, message) in stream.session.rejected_secrets() {
                    tracing::warn!(node, secret, message, "a proxy rejected a secret");
                }
            }
            if let Event::Rejected { kind, revision } = event {
                let node = stream.session.node().map(|node| node.id.as_str()).unwrap_or_default();
                for rejected in stream.session.rejected().filter(|rejected| rejected.kind == kind) {
                    let (name, message) = (&rejected.name, &rejected.message);
                    tracing::warn!(
                        node,
                        revision,
                        resource = name,
                        message,
                        "a proxy rejected its configuration"
                    );
                }
            }
        }
    }

    fn end(&mut self, now: Instant, id: StreamId, end: End) {
        self.outputs.push_back(Output::End { stream: id, end });
        self.handle_disconnected(now, id, false);
    }
}

/// What App Mesh says of a node that it does not know.
fn missing(key: &Key) -> String {
    format!("{} {} in mesh {} is not found", key.kind, key.name, key.mesh)
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
