//! A replica of the control plane: the real operations and the real publisher, over a store that may fail.

use crate::chance::Chance;
use crate::client::{Answer, Request};
use crate::intent::MESH;
use crate::moment::{Clock, Moment};
use crate::network::ConnectionId;
use bytes::Bytes;
use selvedge_aws::operations::appmesh::{NOT_FOUND, SERVICE};
use selvedge_aws::operations::find_in;
use selvedge_aws::{Call, Protocol};
use selvedge_control::operations::load_mesh;
use selvedge_control::operations::{Context, Settings, perform};
use selvedge_model::Snapshot;
use selvedge_model::{Timestamp, Value};
use selvedge_store::Error as StoreError;
use selvedge_store::Store as _;
use selvedge_store::memory::Memory;
use selvedge_traffic::{LoadAssignment, Resource};
use selvedge_translate::{Proxy, translate};
use selvedge_xds::ServerSession;
use selvedge_xds::server::{Form, Scope, View};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The wall clock at the beginning of every run: 2026-10-01T00:00:00Z, in milliseconds.
const EPOCH_MILLIS: u64 = 1_790_812_800_000;

/// A running replica.
pub struct ControlPlane {
    store: Arc<Memory>,
    clock: Clock,
    settings: Settings,
    chance: Chance,
    streams: BTreeMap<ConnectionId, ServerSession>,
    outbox: VecDeque<(ConnectionId, Bytes)>,
    retry_at: Option<Moment>,
}

impl ControlPlane {
    /// A replica that has just come up.
    pub fn start(store: Arc<Memory>, clock: Clock, chance: Chance) -> Self {
        Self {
            store,
            clock,
            settings: Settings::default(),
            chance,
            streams: BTreeMap::new(),
            outbox: VecDeque::new(),
            retry_at: None,
        }
    }

    /// A proxy has opened a stream.
    pub fn opened(&mut self, _now: Moment, id: ConnectionId) {
        self.streams.insert(id, ServerSession::new(Form::Delta, Scope::Aggregated));
    }

    /// A proxy has sent something.
    pub fn received(&mut self, now: Moment, id: ConnectionId, bytes: &Bytes) {
        let Some(session) = self.streams.get_mut(&id) else { return };
        session.handle_request(bytes).expect("proxies speak the protocol");
        if session.revision().is_none() {
            self.publish(now);
        }
        self.drain(now);
    }

    /// A stream is over.
    pub fn closed(&mut self, _now: Moment, id: ConnectionId) {
        self.streams.remove(&id);
    }

    /// The store has changed, perhaps.
    pub fn hear(&mut self, now: Moment) {
        self.publish(now);
        self.drain(now);
    }

    /// Its time has come.
    pub fn wake(&mut self, now: Moment) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.publish(now);
        }
        self.drain(now);
    }

    /// When it wants [`ControlPlane::wake`].
    pub fn next_timeout(&self, _now: Moment) -> Option<Moment> {
        let sessions =
            self.streams.values().filter_map(ServerSession::next_timeout).map(|at| self.clock.moment(at));
        sessions.chain(self.retry_at).min()
    }

    /// The next message to send.
    pub fn poll(&mut self) -> Option<(ConnectionId, Bytes)> {
        self.outbox.pop_front()
    }

    fn publish(&mut self, now: Moment) {
        self.retry_at = Some(now + Duration::from_secs(1));
        let Ok(snapshot) = self.store.snapshot() else { return };
        let Ok(mesh) = load_mesh(&*snapshot, MESH) else { return };
        for session in self.streams.values_mut() {
            let Some(node) = session.node() else { continue };
            let view = view_of(&node.id, mesh.as_ref());
            session.set_view(Arc::new(view));
        }
    }

    fn drain(&mut self, now: Moment) {
        for (&id, session) in &mut self.streams {
            while let Some(bytes) = session.poll_response(self.clock.instant(now)) {
                self.outbox.push_back((id, bytes));
            }
            while session.poll_event().is_some() {}
        }
    }

    /// Does what a client asks.
    pub fn call(&mut self, now: Moment, request: &Request) -> Answer {
        let (name, mut input) = match request {
            Request::Write { intent, .. } => (intent.operation, intent.input.clone()),
            Request::Read(subject) => subject.describe(),
        };
        let operation = find_in(&SERVICE, name).expect("intents name App Mesh's operations");
        if let (Request::Write { token, .. }, Some(member)) = (request, operation.idempotency_token) {
            input[member] = token.as_str().into();
        }
        let Value::Object(input) = input else { unreachable!("an input is an object") };
        let call = Call { service: &SERVICE, operation, input, protocol: Protocol::RestJson1 };
        let context = Context { now: wall_clock(now), uid: self.uid(), region: None };
        match perform(&*self.store, &self.settings, &context, &call) {
            Ok(output) => Answer::Done(output),
            Err(failed) => match failed.cause {
                Some(StoreError::Uncertain(_)) => Answer::Unknown,
                Some(_) => Answer::Unavailable,
                None if failed.error.shape == NOT_FOUND && matches!(request, Request::Read(_)) => {
                    Answer::Absent
                }
                None => Answer::Refused(failed.error.to_string()),
            },
        }
    }

    fn uid(&mut self) -> String {
        let (high, low) = (self.chance.next(), self.chance.next());
        uuid::Uuid::from_u64_pair(high, low).to_string()
    }
}

fn wall_clock(now: Moment) -> Timestamp {
    let millis = u64::try_from(now.since_start().as_millis()).expect("a run is short");
    Timestamp(EPOCH_MILLIS + millis)
}

/// Everything that the proxy of `node` is to have.
pub(crate) fn resources_of(node: &str, mesh: Option<&Snapshot>) -> Vec<Resource> {
    let Some(mesh) = mesh else { return Vec::new() };
    let (kind, name) = node.rsplit_once('/').expect("a node id has parts");
    let proxy = if kind.ends_with("virtualGateway") { Proxy::gateway(name) } else { Proxy::node(name) };
    let translation = translate(mesh, &proxy);
    let endpoints = translation.endpoints.keys().map(|cluster| {
        Resource::Endpoints(LoadAssignment { cluster: cluster.clone(), ..LoadAssignment::default() })
    });
    let endpoints: Vec<_> = endpoints.collect();
    translation.resources.into_iter().chain(endpoints).collect()
}

fn view_of(node: &str, mesh: Option<&Snapshot>) -> View {
    let revision = mesh.map_or(0, |mesh| mesh.revision);
    View::new(revision, resources_of(node, mesh).iter().map(|it| Arc::new(selvedge_xds::encode(it))))
}
