//! A replica of the control plane: the real operations and the real publisher, over a store that may fail.

use crate::chance::Chance;
use crate::client::{Answer, Request};
use crate::moment::{Clock, Moment};
use crate::network::ConnectionId;
use bytes::Bytes;
use selvedge_aws::operations::appmesh::{NOT_FOUND, SERVICE};
use selvedge_aws::operations::find_in;
use selvedge_aws::{Call, Protocol};
use selvedge_control::operations::{Context, Settings, perform};
use selvedge_control::publish::{self, Feed, Publisher, registry};
use selvedge_model::{Timestamp, Value};
use selvedge_store::Error as StoreError;
use selvedge_store::memory::Memory;
use selvedge_xds::server::{Form, Scope};
use std::net::IpAddr;
use std::sync::Arc;

/// The wall clock at the beginning of every run: 2026-10-01T00:00:00Z, in milliseconds.
const EPOCH_MILLIS: u64 = 1_790_812_800_000;

/// A running replica.
pub struct ControlPlane {
    store: Arc<Memory>,
    clock: Clock,
    settings: Settings,
    chance: Chance,
    feed: Feed,
    publisher: Publisher,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The proxy ended it.
    Goodbye,
    /// It broke, and the proxy may come back.
    Broken,
}

/// What a control plane wants done with a proxy's stream.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send on it.
    Send(ConnectionId, Bytes),
    /// End it, and why.
    End(ConnectionId, String),
}

impl ControlPlane {
    /// A replica that has just come up.
    pub fn start(store: Arc<Memory>, clock: Clock, mut chance: Chance) -> Self {
        let replica = format!("{:016x}", chance.bits());
        let publisher = Publisher::new(publish::Settings::new(replica));
        Self { store, clock, settings: Settings::default(), chance, feed: Feed::new(), publisher }
    }

    /// A proxy has opened an aggregated stream of that form from the address `peer`.
    pub fn opened(&mut self, now: Moment, id: ConnectionId, peer: IpAddr, form: Form) {
        let now_there = self.clock.instant(now);
        self.publisher.handle_connected(now_there, id.number(), peer, form, Scope::Aggregated);
        self.catch_up(now);
    }

    /// A proxy has sent something.
    pub fn received(&mut self, now: Moment, id: ConnectionId, bytes: &Bytes) {
        self.publisher.handle_message(self.clock.instant(now), id.number(), bytes);
        self.catch_up(now);
    }

    /// It is about to end, and leaves things as they are for whoever comes after.
    pub fn drain(&mut self) {
        self.publisher.handle_drain();
    }

    /// A stream is over. Its goodbye may be followed by its breaking.
    pub fn closed(&mut self, now: Moment, id: ConnectionId, parting: Parting) {
        let is_orderly = parting == Parting::Goodbye;
        self.publisher.handle_disconnected(self.clock.instant(now), id.number(), is_orderly);
        self.catch_up(now);
    }

    /// The store has changed, perhaps.
    pub fn hear(&mut self, now: Moment) {
        self.feed.handle_wake(self.clock.instant(now));
    }

    /// Its time has come.
    pub fn wake(&mut self, now: Moment) {
        self.catch_up(now);
    }

    /// When it wants [`ControlPlane::wake`].
    pub fn next_timeout(&self, now: Moment) -> Option<Moment> {
        let feed = self.feed.next_timeout().map_or(now, |at| self.clock.moment(at));
        let publisher = self.publisher.next_timeout().map(|at| self.clock.moment(at));
        publisher.into_iter().chain([feed]).min()
    }

    /// The next thing to do with a stream.
    pub fn poll(&mut self) -> Option<Output> {
        self.publisher.poll_output().map(|output| match output {
            publish::Output::Send { stream, message } => Output::Send(ConnectionId::of(stream), message),
            publish::Output::End { stream, end } => Output::End(ConnectionId::of(stream), format!("{end:?}")),
        })
    }

    /// Does all that is due, as the publisher's own thread does.
    fn catch_up(&mut self, now: Moment) {
        let now = self.clock.instant(now);
        if self.feed.next_timeout().is_none_or(|at| at <= now) {
            // What fails is read again later.
            let events = self.feed.poll(now, &*self.store).unwrap_or_default();
            events.into_iter().for_each(|event| self.publisher.handle_feed(now, event));
        }
        if self.publisher.next_timeout().is_some_and(|at| at <= now) {
            self.publisher.handle_timeout(now);
        }
        let writes = self.publisher.poll_write(now);
        // What fails is asked for again later.
        for place in registry::write(&*self.store, &writes).unwrap_or_default() {
            self.publisher.handle_refusal(now, &place);
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
        let (high, low) = (self.chance.bits(), self.chance.bits());
        uuid::Uuid::from_u64_pair(high, low).to_string()
    }
}

fn wall_clock(now: Moment) -> Timestamp {
    let millis = u64::try_from(now.since_start().as_millis()).expect("a run is short");
    Timestamp(EPOCH_MILLIS + millis)
}
