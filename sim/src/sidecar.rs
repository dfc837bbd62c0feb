//! A proxy, as far as its configuration goes: the real discovery session and, in our own proxy, the real decisions.
//!
//! What the proxy's shell does with sockets, disk and clock is done here with virtual ones.

mod envoy;
mod own;
mod session;
mod world_session;

use crate::chance::Chance;
use crate::config::Config;
use crate::moment::{Clock, Moment};
use crate::network::ConnectionId;
use bytes::Bytes;
use envoy::Envoy;
use own::Own;
use selvedge_traffic::ResourceKind;
use selvedge_translate::ProxyKind;
use selvedge_xds::client::{Refused, Update};
use selvedge_xds::{ClientSession, Encoded, Node};
use session::Session;
use std::collections::VecDeque;
use world_session::WorldSession;

/// What a proxy's machine keeps through a crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    node: String,
    make: Make,
    /// The last good configuration; `None` if none was ever kept.
    accepted: Option<Vec<Encoded>>,
}

/// Whose proxy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Ours: warms clusters, holds routes back, keeps its configuration on disk.
    Own,
    /// One that does as Envoy does: whatever arrives is in force at once, and nothing is kept.
    Envoy,
    /// The same, and what travels is not the change but the whole.
    EnvoyOfTheWorld,
}

/// A running proxy.
pub struct Sidecar {
    session: Session,
    connection: Option<ConnectionId>,
    /// Which control plane to try next.
    choice: u8,
    engine: Engine,
    disk: Disk,
    effects: VecDeque<Effect>,
}

enum Engine {
    Own(Box<Own>),
    Envoy(Envoy),
}

/// What a proxy wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Connect to one of the control planes.
    Connect(u8),
    /// Send on a connection.
    Send(ConnectionId, Bytes),
    /// Close a connection.
    Close(ConnectionId),
    /// Write to disk.
    Keep(Disk),
    /// For the trace.
    Tell(String),
    /// It rejected something.
    Reject(String),
}

/// What an engine wants of the session around it.
enum Wish {
    Answer(String, Vec<Refused>),
    Listen,
    Tell(String),
}

// === impl Disk ===

impl Disk {
    /// The disk of a machine that was made to be that node's, such as `mesh/m/virtualNode/web`.
    pub fn new(node: &str, make: Make) -> Self {
        Self { node: node.to_owned(), make, accepted: None }
    }

    /// Whose proxy it is.
    pub fn make(&self) -> Make {
        self.make
    }

    /// The virtual node or gateway that the proxy stands for.
    pub fn resource(&self) -> (ProxyKind, &str) {
        match self.node.rsplit_once("/virtualGateway/") {
            Some((_, name)) => (ProxyKind::VirtualGateway, name),
            None => (ProxyKind::VirtualNode, self.node.rsplit('/').next().unwrap_or_default()),
        }
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// A proxy that has just come up.
    pub fn start(disk: Disk, clock: Clock, mut chance: Chance) -> Self {
        let session = match disk.make {
            Make::Own | Make::Envoy => {
                let node = Node { id: disk.node.clone(), cluster: disk.node.clone(), ..Node::default() };
                Session::Delta(Box::new(ClientSession::new(node, chance.bits())), clock)
            }
            Make::EnvoyOfTheWorld => Session::World(Box::new(WorldSession::new(&disk.node, chance.fork()))),
        };
        let choice = u8::try_from(chance.below(256)).expect("below 256");
        let engine = match disk.make {
            Make::Own => Engine::Own(Box::new(Own::new(clock, chance))),
            Make::Envoy | Make::EnvoyOfTheWorld => Engine::Envoy(Envoy::default()),
        };
        Self { session, connection: None, choice, engine, disk, effects: VecDeque::new() }
    }

    /// What it has in force.
    pub fn config(&self) -> &Config {
        match &self.engine {
            Engine::Own(own) => own.config(),
            Engine::Envoy(envoy) => envoy.config(),
        }
    }

    /// The connection that [`Effect::Connect`] asked for.
    pub fn connected(&mut self, connection: ConnectionId) {
        self.connection = Some(connection);
        self.session.connected();
        self.send();
    }

    /// A message from the control plane.
    pub fn received(&mut self, now: Moment, connection: ConnectionId, bytes: &Bytes) {
        if self.connection != Some(connection) {
            return;
        }
        match self.session.response(bytes) {
            Ok(()) => {
                if let Engine::Own(own) = &mut self.engine {
                    own.informed();
                }
                while let Some(update) = self.session.poll_update() {
                    self.apply(now, update);
                }
            }
            Err(fault) => {
                self.effects.push_back(Effect::Reject(format!("the stream: {fault}")));
                self.effects.push_back(Effect::Close(connection));
                self.closed(now, connection);
            }
        }
        self.send();
    }

    /// The connection is over.
    pub fn closed(&mut self, now: Moment, connection: ConnectionId) {
        if self.connection != Some(connection) {
            return;
        }
        self.connection = None;
        self.choice = self.choice.wrapping_add(1);
        self.session.disconnected(now);
        if let (Engine::Own(own), Some(accepted)) = (&mut self.engine, &self.disk.accepted)
            && own.restore(now, accepted)
        {
            self.session.restore(accepted.iter().cloned());
            self.effects.push_back(Effect::Tell("starts from its disk".to_owned()));
            self.carry_out();
        }
    }

    /// When it wants [`Sidecar::wake`].
    pub fn next_timeout(&self, now: Moment) -> Option<Moment> {
        let reconnect = self.session.next_timeout(now);
        let engine = match &self.engine {
            Engine::Own(own) => own.next_timeout(now),
            Engine::Envoy(_) => None,
        };
        [reconnect, engine].into_iter().flatten().min()
    }

    /// Its time has come.
    pub fn wake(&mut self, now: Moment) {
        if self.session.next_timeout(now).is_some_and(|at| at <= now) {
            self.effects.push_back(Effect::Connect(self.choice));
        }
        if let Engine::Own(own) = &mut self.engine {
            own.wake(now);
            if let Some(accepted) = own.save(now) {
                self.disk.accepted = Some(accepted);
                self.effects.push_back(Effect::Keep(self.disk.clone()));
            }
        }
        self.carry_out();
        self.send();
    }

    /// The next thing it wants done.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn apply(&mut self, now: Moment, update: Update) {
        self.effects.push_back(Effect::Tell(outline(&update)));
        for refused in &update.refused {
            self.effects.push_back(Effect::Reject(format!("{}: {}", refused.resource, refused.reason)));
        }
        match &mut self.engine {
            Engine::Own(own) => own.update(now, update),
            Engine::Envoy(envoy) => envoy.update(update),
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            let wish = match &mut self.engine {
                Engine::Own(own) => own.poll(),
                Engine::Envoy(envoy) => envoy.poll(),
            };
            match wish {
                Some(Wish::Listen) => self.session.listen(),
                Some(Wish::Tell(what)) => self.effects.push_back(Effect::Tell(what)),
                Some(Wish::Answer(nonce, refused)) => {
                    for it in &refused {
                        self.effects.push_back(Effect::Reject(format!("{}: {}", it.resource, it.reason)));
                    }
                    self.session.applied(&nonce, refused);
                }
                None => return,
            }
        }
    }

    fn send(&mut self) {
        let Some(connection) = self.connection else { return };
        while let Some(request) = self.session.poll_request() {
            self.effects.push_back(Effect::Send(connection, request));
        }
    }
}

/// `hears of clusters a b, not of c`.
fn outline(update: &Update) -> String {
    let changed = update.changed.iter().map(|received| received.encoded.name.as_ref());
    let changed: Vec<_> = changed.collect();
    let noun = match update.kind {
        ResourceKind::Cluster => "clusters",
        ResourceKind::Endpoints => "endpoints",
        ResourceKind::Listener => "listeners",
        ResourceKind::Routes => "routes",
    };
    let gone = if update.removed.is_empty() {
        String::new()
    } else {
        format!(", gone: {}", update.removed.join(" "))
    };
    format!(
        "hears of {noun}: {}{gone}",
        if changed.is_empty() { "none".to_owned() } else { changed.join(" ") }
    )
}
