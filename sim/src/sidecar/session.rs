//! A proxy's end of discovery, in either form of the protocol.

use super::world_session::WorldSession;
use crate::moment::{Clock, Moment};
use bytes::Bytes;
use selvedge_xds::client::{Refused, Update};
use selvedge_xds::{ClientSession, Encoded};

/// One session over any number of streams.
pub(super) enum Session {
    /// What changed travels: our own proxy's session.
    Delta(Box<ClientSession>, Clock),
    /// All of a kind travels: Envoy's form where nothing else is asked for.
    World(Box<WorldSession>),
}

impl Session {
    pub(super) fn restore(&mut self, resources: impl IntoIterator<Item = Encoded>) {
        match self {
            Self::Delta(session, _) => session.restore(resources),
            // Nothing is kept by who speaks this form.
            Self::World(_) => {}
        }
    }

    pub(super) fn connected(&mut self) {
        match self {
            Self::Delta(session, _) => session.handle_connected(),
            Self::World(session) => session.connected(),
        }
    }

    pub(super) fn disconnected(&mut self, now: Moment) {
        match self {
            Self::Delta(session, clock) => session.handle_disconnected(clock.instant(now)),
            Self::World(session) => session.disconnected(now),
        }
    }

    /// # Errors
    /// What is wrong with the message.
    pub(super) fn response(&mut self, bytes: &Bytes) -> Result<(), String> {
        match self {
            Self::Delta(session, _) => session.handle_response(bytes).map_err(|fault| fault.to_string()),
            Self::World(session) => session.response(bytes),
        }
    }

    pub(super) fn applied(&mut self, nonce: &str, refused: Vec<Refused>) {
        match self {
            Self::Delta(session, _) => session.handle_applied(nonce, refused),
            Self::World(session) => session.applied(nonce),
        }
    }

    pub(super) fn listen(&mut self) {
        match self {
            Self::Delta(session, _) => session.listen(),
            Self::World(session) => session.listen(),
        }
    }

    pub(super) fn poll_update(&mut self) -> Option<Update> {
        match self {
            Self::Delta(session, _) => session.poll_update(),
            Self::World(session) => session.poll_update(),
        }
    }

    pub(super) fn poll_request(&mut self) -> Option<Bytes> {
        match self {
            Self::Delta(session, _) => session.poll_request(),
            Self::World(session) => session.poll_request(),
        }
    }

    /// When it wants to connect.
    pub(super) fn next_timeout(&self, now: Moment) -> Option<Moment> {
        match self {
            Self::Delta(session, clock) => {
                session.next_timeout(clock.instant(now)).map(|at| clock.moment(at))
            }
            Self::World(session) => session.next_timeout(now),
        }
    }
}
