//! Connections between hosts that can be slow, silent or broken.
//!
//! A connection is what TCP gives: what arrives is in order and whole, and a connection that loses anything is
//! lost. So *loss* breaks a connection with all it carries, *delay* differs from parcel to parcel, *reordering*
//! happens between connections, and a *partition* holds back what is sent (as retransmission does) until it
//! heals or a keep-alive gives up. A partition has a direction: replies can be lost where requests arrive.
//!
//! The network decides and the world's schedule carries out: every method that sends returns through `Schedule`
//! an [`Arrival`], which comes back to [`Network::arrive`] when its time has come.

use crate::chance::Chance;
use crate::moment::Moment;
use crate::schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// The fastest and slowest way of one parcel.
const LATENCY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(40));
/// How long a connection bears silence: a keep-alive of 30 s with 5 s for its answer, roughly.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(35));

/// A machine of the simulated world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Somebody who uses the API.
    Client(u8),
    /// A replica of the control plane.
    Control(u8),
    /// A sidecar.
    Proxy(u8),
}

/// Names a connection for as long as the run lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// A number that no other connection of the run has.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The connection of that number.
    pub(crate) const fn of(number: u64) -> Self {
        Self(number)
    }
}

/// One thing that comes out at an end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel<M> {
    /// The other side has connected.
    Open,
    /// The other side has sent something.
    Message(M),
    /// The connection is over, by the other side's will or by accident.
    Close,
}

/// A parcel on its way; hand it to [`Network::arrive`].
#[derive(Clone, Debug)]
pub struct Arrival<M> {
    /// The connection it travels on.
    pub connection: ConnectionId,
    /// Where it comes from.
    pub from: Host,
    /// Where it goes to.
    pub to: Host,
    /// What it is.
    pub parcel: Parcel<M>,
}

/// All connections of the world.
#[derive(Debug)]
pub struct Network<M> {
    connections: BTreeMap<ConnectionId, Connection<M>>,
    /// Directions in which nothing passes.
    blocked: BTreeSet<(Host, Host)>,
    opened: u64,
    chance: Chance,
}

#[derive(Debug)]
struct Connection<M> {
    /// Who connected, and to whom. A lane is named after the end it leads to.
    ends: [End<M>; 2],
    /// Whether keep-alives are running out.
    is_suspect: bool,
    /// Whether all it carries is lost.
    is_broken: bool,
}

#[derive(Debug)]
struct End<M> {
    host: Host,
    is_open: bool,
    /// When the last parcel sent to this end arrives: the next one comes after it.
    busy_until: Moment,
    /// Parcels that a partition holds back.
    held: VecDeque<Parcel<M>>,
}

// === impl Network ===

impl<M> Network<M> {
    /// A network without connections, whose delays are drawn from `chance`.
    pub fn new(chance: Chance) -> Self {
        Self { connections: BTreeMap::new(), blocked: BTreeSet::new(), opened: 0, chance }
    }

    /// Connects; `to` meets [`Parcel::Open`] if nothing stands between.
    pub fn connect<E: From<Arrival<M>>>(
        &mut self,
        now: Moment,
        from: Host,
        to: Host,
        schedule: &mut Schedule<E>,
    ) -> ConnectionId {
        let id = ConnectionId(self.opened);
        self.opened += 1;
        let end = |host| End { host, is_open: true, busy_until: Moment::START, held: VecDeque::new() };
        self.connections
            .insert(id, Connection { ends: [end(from), end(to)], is_suspect: false, is_broken: false });
        self.dispatch(now, id, from, Parcel::Open, schedule);
        id
    }

    /// Sends, unless the connection is over.
    pub fn send<E: From<Arrival<M>>>(
        &mut self,
        now: Moment,
        id: ConnectionId,
        from: Host,
        message: M,
        schedule: &mut Schedule<E>,
    ) {
        if self.is_open(id, from) {
            self.dispatch(now, id, from, Parcel::Message(message), schedule);
        }
    }

    /// Closes `by`'s end; the other side learns of it after what was sent before.
    pub fn close<E: From<Arrival<M>>>(
        &mut self,
        now: Moment,
        id: ConnectionId,
        by: Host,
        schedule: &mut Schedule<E>,
    ) {
        if self.is_open(id, by) {
            self.dispatch(now, id, by, Parcel::Close, schedule);
            self.shut(id, by);
        }
    }

    /// Breaks a connection with all it carries; each side learns of it in its own time.
    pub fn reset<E: From<Arrival<M>>>(&mut self, now: Moment, id: ConnectionId, schedule: &mut Schedule<E>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.is_broken = true;
        for to in connection.ends.each_ref().map(|end| end.host) {
            let at = now + self.latency();
            schedule.push(at, Arrival { connection: id, from: to, to, parcel: Parcel::Close }.into());
        }
    }

    /// The host is gone: its ends are closed. The others learn of it, as its machine or a neighbour tells them.
    pub fn crash<E: From<Arrival<M>>>(&mut self, now: Moment, host: Host, schedule: &mut Schedule<E>) {
        for id in self.connections_of(host) {
            self.close(now, id, host, schedule);
        }
    }

    /// From here on nothing passes from `from` to `to`. What is silent for too long is given up.
    pub fn block<E: From<Arrival<M>>>(
        &mut self,
        now: Moment,
        from: Host,
        to: Host,
        schedule: &mut Schedule<E>,
    ) {
        if !self.blocked.insert((from, to)) {
            return;
        }
        for id in self.connections_of(from) {
            if self.connections[&id].ends.iter().any(|end| end.host == to) {
                self.keep_alive(now, id, schedule);
            }
        }
    }

    /// Everything passes again; what was held back goes on its way.
    pub fn heal<E: From<Arrival<M>>>(&mut self, now: Moment, schedule: &mut Schedule<E>) {
        self.blocked.clear();
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            for lane in 0..2 {
                let Some(connection) = self.connections.get_mut(&id) else { break };
                connection.is_suspect = false;
                let from = connection.ends[1 - lane].host;
                let held = std::mem::take(&mut connection.ends[lane].held);
                for parcel in held {
                    self.dispatch(now, id, from, parcel, schedule);
                }
            }
        }
    }

    /// Whether anything is held apart.
    pub fn is_partitioned(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Every connection of which an end at `host` is open, oldest first.
    pub fn connections_of(&self, host: Host) -> Vec<ConnectionId> {
        let is_his = |end: &End<M>| end.host == host && end.is_open;
        let mut ids = Vec::new();
        for (&id, connection) in &self.connections {
            if connection.ends.iter().any(is_his) {
                ids.push(id);
            }
        }
        ids
    }

    /// Every connection between the two, oldest first.
    pub fn connections_between(&self, one: Host, other: Host) -> Vec<ConnectionId> {
        let between = |connection: &&Connection<M>| {
            let [from, to] = connection.ends.each_ref().map(|end| end.host);
            (from, to) == (one, other) || (to, from) == (one, other)
        };
        self.connections.iter().filter(|(_, connection)| between(connection)).map(|(&id, _)| id).collect()
    }

    /// What `arrival` brings to its host, or nothing: it came too late, or is held back by a partition.
    pub fn arrive<E: From<Arrival<M>>>(
        &mut self,
        now: Moment,
        arrival: Arrival<M>,
        schedule: &mut Schedule<E>,
    ) -> Option<Parcel<M>> {
        let Arrival { connection: id, from, to, parcel } = arrival;
        if from == to {
            return self.give_up(now, id, to, schedule).then_some(parcel);
        }
        let connection = self.connections.get_mut(&id).filter(|connection| !connection.is_broken)?;
        let end = connection.end_mut(to);
        if !end.is_open {
            return None;
        }
        if self.blocked.contains(&(from, to)) || !end.held.is_empty() {
            end.held.push_back(parcel);
            return None;
        }
        if matches!(parcel, Parcel::Close) {
            self.shut(id, to);
        }
        Some(parcel)
    }

    /// What `host` finds out by itself: the connection broke, or its keep-alive ran out and all is silent still.
    fn give_up<E: From<Arrival<M>>>(
        &mut self,
        now: Moment,
        id: ConnectionId,
        host: Host,
        schedule: &mut Schedule<E>,
    ) -> bool {
        let Some(connection) = self.connections.get(&id) else { return false };
        let other = connection.opposite(host);
        let is_silent = self.blocked.contains(&(host, other)) || self.blocked.contains(&(other, host));
        let is_given_up = (connection.is_broken || is_silent) && self.is_open(id, host);
        if is_given_up {
            self.close(now, id, host, schedule);
        }
        is_given_up
    }

    fn is_open(&self, id: ConnectionId, host: Host) -> bool {
        self.connections.get(&id).is_some_and(|it| it.ends.iter().any(|end| end.host == host && end.is_open))
    }

    /// Closes one end, and forgets the connection after the second.
    fn shut(&mut self, id: ConnectionId, host: Host) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.end_mut(host).is_open = false;
        if connection.ends.iter().all(|end| !end.is_open) {
            self.connections.remove(&id);
        }
    }

    fn dispatch<E: From<Arrival<M>>>(
        &mut self,
        now: Moment,
        id: ConnectionId,
        from: Host,
        parcel: Parcel<M>,
        schedule: &mut Schedule<E>,
    ) {
        let latency = self.latency();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = connection.end_opposite(from);
        let at = (now + latency).max(end.busy_until + Duration::from_micros(1));
        end.busy_until = at;
        let to = end.host;
        schedule.push(at, Arrival { connection: id, from, to, parcel }.into());
        if self.blocked.contains(&(from, to)) {
            self.keep_alive(now, id, schedule);
        }
    }

    /// Each side of a silenced connection gives up in its own time, unless the world heals before.
    fn keep_alive<E: From<Arrival<M>>>(&mut self, now: Moment, id: ConnectionId, schedule: &mut Schedule<E>) {
        let Some(connection) = self.connections.get_mut(&id).filter(|it| !it.is_suspect) else { return };
        connection.is_suspect = true;
        for to in connection.ends.each_ref().map(|end| end.host) {
            // From a host to itself: nothing stands between.
            let at = now + self.chance.between(KEEP_ALIVE.0, KEEP_ALIVE.1);
            schedule.push(at, Arrival { connection: id, from: to, to, parcel: Parcel::Close }.into());
        }
    }

    fn latency(&mut self) -> Duration {
        // Most parcels are quick and a few are slow, so that connections overtake one another.
        let most = if self.chance.hits(100) { LATENCY.1 } else { LATENCY.1 / 10 };
        self.chance.between(LATENCY.0, most)
    }
}

// === impl Connection ===

impl<M> Connection<M> {
    fn end_mut(&mut self, host: Host) -> &mut End<M> {
        let index = usize::from(self.ends[0].host != host);
        &mut self.ends[index]
    }

    fn end_opposite(&mut self, host: Host) -> &mut End<M> {
        let index = usize::from(self.ends[0].host == host);
        &mut self.ends[index]
    }

    fn opposite(&self, host: Host) -> Host {
        self.ends[usize::from(self.ends[0].host == host)].host
    }
}

// === impl Host ===

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Client(number) => format!("client-{number}"),
            Self::Control(number) => format!("control-{number}"),
            Self::Proxy(number) => format!("proxy-{number}"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Host = Host::Client(0);
    const CONTROL: Host = Host::Control(0);

    struct World {
        network: Network<u32>,
        schedule: Schedule<Arrival<u32>>,
        now: Moment,
    }

    impl World {
        fn connected() -> (Self, ConnectionId) {
            let mut world = Self {
                network: Network::new(Chance::new(1)),
                schedule: Schedule::default(),
                now: Moment::START,
            };
            let id = world.network.connect(world.now, CLIENT, CONTROL, &mut world.schedule);
            assert_eq!(world.run(1), [(CONTROL, Parcel::Open)]);
            (world, id)
        }

        fn send(&mut self, id: ConnectionId, from: Host, message: u32) {
            self.network.send(self.now, id, from, message, &mut self.schedule);
        }

        fn run(&mut self, seconds: u64) -> Vec<(Host, Parcel<u32>)> {
            let until = self.now + Duration::from_secs(seconds);
            let mut arrived = Vec::new();
            while let Some((at, arrival)) = self.schedule.pop(until) {
                let to = arrival.to;
                let parcel = self.network.arrive(at, arrival, &mut self.schedule);
                arrived.extend(parcel.map(|parcel| (to, parcel)));
            }
            self.now = until;
            arrived
        }
    }

    #[test]
    fn a_connection_keeps_its_order() {
        let (mut world, id) = World::connected();
        (0..100).for_each(|number| world.send(id, CLIENT, number));
        let expected: Vec<_> = (0..100).map(|number| (CONTROL, Parcel::Message(number))).collect();
        assert_eq!(world.run(60), expected);
    }

    #[test]
    fn what_was_sent_before_a_close_arrives_before_it() {
        let (mut world, id) = World::connected();
        world.send(id, CONTROL, 1);
        world.network.close(world.now, id, CONTROL, &mut world.schedule);
        world.send(id, CONTROL, 2);
        assert_eq!(world.run(1), [(CLIENT, Parcel::Message(1)), (CLIENT, Parcel::Close)]);
        assert_eq!(world.network.connections_between(CLIENT, CONTROL), []);
    }

    #[test]
    fn a_reset_loses_what_is_under_way() {
        let (mut world, id) = World::connected();
        world.send(id, CLIENT, 1);
        world.network.reset(world.now, id, &mut world.schedule);
        let mut arrived = world.run(1);
        arrived.sort_by_key(|(host, _)| *host);
        assert_eq!(arrived, [(CLIENT, Parcel::Close), (CONTROL, Parcel::Close)]);
    }

    #[test]
    fn a_partition_that_heals_in_time_only_delays() {
        let (mut world, id) = World::connected();
        world.network.block(world.now, CLIENT, CONTROL, &mut world.schedule);
        (0..5).for_each(|number| world.send(id, CLIENT, number));
        world.send(id, CONTROL, 9);
        assert_eq!(world.run(1), [(CLIENT, Parcel::Message(9))], "the other direction is open");
        world.network.heal(world.now, &mut world.schedule);
        let expected: Vec<_> = (0..5).map(|number| (CONTROL, Parcel::Message(number))).collect();
        assert_eq!(world.run(60), expected);
    }

    #[test]
    fn a_partition_that_lasts_closes_both_ends() {
        let (mut world, id) = World::connected();
        world.network.block(world.now, CLIENT, CONTROL, &mut world.schedule);
        world.network.block(world.now, CONTROL, CLIENT, &mut world.schedule);
        world.send(id, CLIENT, 1);
        let mut arrived = world.run(60);
        arrived.sort_by_key(|(host, _)| *host);
        assert_eq!(arrived, [(CLIENT, Parcel::Close), (CONTROL, Parcel::Close)]);
        world.network.heal(world.now, &mut world.schedule);
        assert_eq!(world.run(60), []);
    }

    #[test]
    fn a_side_that_gave_up_alone_tells_the_other_after_healing() {
        let (mut world, _) = World::connected();
        world.network.block(world.now, CLIENT, CONTROL, &mut world.schedule);
        let mut told = Vec::new();
        while told.is_empty() {
            told = world.run(1);
        }
        world.network.heal(world.now, &mut world.schedule);
        told.extend(world.run(60));
        told.sort_by_key(|(host, _)| *host);
        assert_eq!(told, [(CLIENT, Parcel::Close), (CONTROL, Parcel::Close)]);
    }

    #[test]
    fn a_crash_closes_every_connection_of_the_host() {
        let (mut world, _) = World::connected();
        world.network.crash(world.now, CONTROL, &mut world.schedule);
        assert_eq!(world.run(1), [(CLIENT, Parcel::Close)]);
        assert_eq!(world.network.connections_of(CONTROL), []);
    }
}
