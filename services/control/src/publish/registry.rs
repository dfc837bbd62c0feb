//! Who is an endpoint where.
//!
//! A sidecar that is connected as a virtual node is an endpoint of that node. What is known is kept in the store, so
//! that a restart or another replica serves the same endpoints and no proxy ever loses one by a control plane's restart:
//!
//! ```text
//! selvedge-endpoints/<mesh>/<node>/<address>     {"replica": "…", "epoch": 3}    whose stream says that it lives
//!                                                {"epoch": 3}                    it is gone; kept for a while
//! selvedge-replica/<replica>                     {"beat": 7}                     changes while that replica lives
//! selvedge-endpoints-forgotten                   {"revision": 99}                no place that was gone later is forgotten
//! ```
//! A stream that its proxy closes ends the endpoint at once. One that breaks leaves it for [`GRACE`]: the proxy may have
//! lost only its connection. The endpoints of a replica that is gone stay for [`DEAD_AFTER`], the time that their proxies
//! have to connect elsewhere.
//!
//! A sidecar that connects anew, here or at another replica, holds its place under a higher epoch than whoever held it
//! before. From then on the word of the session before counts for nothing: a replica that stood still, or was cut off,
//! can neither keep an endpoint alive that has moved on nor bring back one that is gone. Its stream counts again when it
//! has outlived every connection that might be dead ([`PROVEN_AFTER`]) and nobody else holds the place.

mod document;
mod entry;
mod place;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_traffic::Locality;

pub use document::{ENDPOINTS_PREFIX, Held, REPLICAS_PREFIX, Write, held, place_of, write};
pub use place::{Place, Spot};

use entry::Entry;

/// How long an endpoint stays whose stream broke.
pub const GRACE: Duration = Duration::from_secs(5);

/// How often a replica with endpoints says that it lives.
pub const BEAT: Duration = Duration::from_secs(10);

/// How long a replica may say nothing, or a new one wait for its predecessor's proxies.
pub const DEAD_AFTER: Duration = Duration::from_secs(30);

/// How long a stream whose word does not count must live to be believed again: longer than the server's keep-alive leaves
/// one whose proxy is gone.
pub const PROVEN_AFTER: Duration = Duration::from_secs(60);

/// How long the epoch of an endpoint that is gone is kept, so that nobody who held it before brings it back.
pub const GONE_KEPT: Duration = Duration::from_secs(600);

/// Most endpoints that are gone of which the epoch is kept; the eldest go first.
pub const GONE_MAX: usize = 10_000;

/// When a write that was not seen to happen is asked for again.
const WRITE_AGAIN: Duration = Duration::from_secs(2);

/// How long writes are gathered: a fleet that connects is one transaction, not thousands.
pub const GATHER: Duration = Duration::from_millis(20);

/// Most documents that one transaction writes.
const WRITES_MAX: usize = 1000;

pub(super) struct Registry {
    replica: Arc<str>,
    entries: BTreeMap<Place, Entry>,
    /// When each replica was last seen to live.
    replicas: BTreeMap<Arc<str>, Instant>,
    /// Those whose documents are to be cleared away.
    dead: BTreeSet<Arc<str>>,
    beats: u64,
    beat_at: Option<Instant>,
    changed: BTreeSet<(String, String)>,
    /// Places of which the store keeps nothing but the epoch, and when that may go.
    gone: VecDeque<(Instant, Place, u64)>,
    /// Those of which it may go.
    forgotten: Vec<(Place, u64)>,
    /// When what is due is to be written, if anything may be.
    write_at: Option<Instant>,
    /// The earliest of all deadlines of entries and replicas, while nothing has changed.
    deadline: Cell<Option<Option<Instant>>>,
    /// Nothing is written and nobody is given up any more.
    frozen: bool,
    /// Up to which of the store's revisions it was told what the store has.
    position: u64,
}

impl Registry {
    pub(super) fn new(replica: &str) -> Self {
        Self {
            replica: replica.into(),
            entries: BTreeMap::new(),
            replicas: BTreeMap::new(),
            dead: BTreeSet::new(),
            beats: 0,
            beat_at: None,
            changed: BTreeSet::new(),
            gone: VecDeque::new(),
            forgotten: Vec::new(),
            write_at: None,
            deadline: Cell::new(None),
            frozen: false,
            position: 0,
        }
    }

    /// Where a node's instances are, in a stable order.
    pub(super) fn places<'a>(
        &'a self,
        mesh: &'a str,
        node: &'a str,
    ) -> impl Iterator<Item = (&'a Place, &'a Locality)> {
        let own = move |place: &Place| place.mesh == mesh && place.node == node;
        self.entries
            .range(Place::first(mesh, node)..)
            .take_while(move |(place, _)| own(place))
            .filter(|(_, entry)| self.lives(entry))
            .map(|(place, entry)| (place, &entry.locality))
    }

    /// A stream says that an instance lives, and where it stands.
    pub(super) fn connect(&mut self, now: Instant, place: &Place, locality: &Locality) {
        self.touch(now);
        let existed = self.exists(place);
        let entry = self.entries.entry(place.clone()).or_default();
        entry.connect(now, &self.replica, self.position);
        if entry.locality != *locality {
            entry.locality.clone_from(locality);
            self.changed.insert((place.mesh.clone(), place.node.clone()));
        }
        self.beat_at.get_or_insert(now);
        self.note(place, existed);
    }

    /// Such a stream is over.
    pub(super) fn disconnect(&mut self, now: Instant, place: &Place, orderly: bool) {
        if self.frozen {
            return;
        }
        self.touch(now);
        let existed = self.exists(place);
        let Some(entry) = self.entries.get_mut(place) else { return };
        entry.disconnect(now, orderly);
        self.note(place, existed);
        self.forget(place);
    }

    /// The store has a document, or has it no more.
    pub(super) fn handle_document(&mut self, now: Instant, place: Place, held: Option<Held>) {
        self.touch(now);
        let existed = self.exists(&place);
        if let Some(owner) = held.as_ref().and_then(|held| held.owner.as_deref())
            && *owner != *self.replica
        {
            self.replicas.entry(owner.into()).or_insert(now);
        }
        if let Some(Held { owner: None, epoch, .. }) = held {
            self.gone.push_back((now + GONE_KEPT, place.clone(), epoch));
            if self.gone.len() > GONE_MAX {
                self.forgotten.extend(self.gone.pop_front().map(|(_, place, epoch)| (place, epoch)));
            }
        }
        let position = self.position;
        self.entries.entry(place.clone()).or_default().handle_document(now, &self.replica, held, position);
        self.note(&place, existed);
        self.forget(&place);
    }

    /// All that the store had at that revision has been told.
    pub(super) fn handle_position(&mut self, position: u64) {
        if self.position == 0 {
            // Who connected before anything was read made no claim that could be too late.
            self.entries.values_mut().for_each(|entry| entry.seen = position);
        }
        self.position = position;
    }

    /// The store refused to give the place.
    pub(super) fn handle_refusal(&mut self, now: Instant, place: &Place) {
        self.touch(now);
        let existed = self.exists(place);
        if let Some(entry) = self.entries.get_mut(place) {
            entry.refuse(now);
        }
        self.note(place, existed);
        self.forget(place);
    }

    /// Another replica says that it lives.
    pub(super) fn handle_beat(&mut self, now: Instant, replica: String) {
        if *replica == *self.replica {
            return;
        }
        self.touch(now);
        let replica: Arc<str> = replica.into();
        if self.replicas.insert(replica.clone(), now).is_none() {
            // It was given up and lives after all: so do the endpoints that only it vouches for.
            self.dead.remove(&replica);
            let revived = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.owner.as_ref() == Some(&replica) && !entry.is_vouched_for());
            self.changed.extend(revived.map(|(place, _)| (place.mesh.clone(), place.node.clone())));
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.frozen {
            return;
        }
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        self.touch(now);
        for entry in self.entries.values_mut() {
            // What was asked for was not seen to happen.
            entry.asked_at = entry.asked_at.filter(|asked| now < *asked + WRITE_AGAIN);
        }
        let over: Vec<Place> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.grace_until.is_some_and(|until| until <= now))
            .map(|(place, _)| place.clone())
            .collect();
        for place in over {
            let existed = self.exists(&place);
            if let Some(entry) = self.entries.get_mut(&place) {
                entry.end_grace();
            }
            self.note(&place, existed);
            self.forget(&place);
        }
        let proven = |entry: &Entry| entry.proven_at.is_some_and(|at| at <= now);
        let proven: Vec<Place> =
            self.entries.iter().filter(|(_, entry)| proven(entry)).map(|(place, _)| place.clone()).collect();
        for place in proven {
            let existed = self.exists(&place);
            if let Some(entry) = self.entries.get_mut(&place) {
                entry.believe(self.position);
            }
            self.note(&place, existed);
        }
        while let Some((_, place, epoch)) = self.gone.pop_front_if(|(at, ..)| *at <= now) {
            self.forgotten.push((place, epoch));
        }
        self.bury(now);
    }

    /// Gives up the endpoints of replicas that have said nothing for too long.
    fn bury(&mut self, now: Instant) {
        let dead: BTreeSet<Arc<str>> = self
            .replicas
            .iter()
            .filter(|(_, seen)| **seen + DEAD_AFTER <= now)
            .map(|(replica, _)| replica.clone())
            .collect();
        let of_the_dead = |entry: &Entry| entry.owner.as_ref().is_some_and(|owner| dead.contains(owner));
        let orphans: Vec<(Place, bool)> = self
            .entries
            .iter()
            .filter(|(_, entry)| of_the_dead(entry))
            .map(|(place, entry)| (place.clone(), self.lives(entry)))
            .collect();
        self.replicas.retain(|replica, _| !dead.contains(replica));
        self.dead.extend(dead.iter().cloned());
        for (place, existed) in &orphans {
            self.note(place, *existed);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.frozen {
            return None;
        }
        [self.deadline(), self.write_at, self.beat_at].into_iter().flatten().min()
    }

    /// Leaves everything as it is, in the store and for those who are still served.
    pub(super) fn freeze(&mut self) {
        self.frozen = true;
    }

    /// A node whose endpoints differ.
    pub(super) fn poll_changed(&mut self) -> Option<(String, String)> {
        self.changed.pop_first()
    }

    /// What the store should be told, if anything.
    pub(super) fn poll_write(&mut self, now: Instant) -> Vec<Write> {
        let mut writes = Vec::new();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.frozen || !due(self.write_at) && !due(self.beat_at) {
            return writes;
        }
        self.touch(now);
        self.write_at = None;
        for (place, entry) in &mut self.entries {
            if writes.len() >= WRITES_MAX {
                self.write_at = Some(now);
                break;
            }
            if entry.asked_at.is_some() {
                continue;
            }
            let ours = entry.owner.as_ref() == Some(&self.replica);
            let wanted = entry.claim.filter(|_| entry.streams > 0 || ours && entry.grace_until.is_some());
            let write = match (wanted, &entry.owner) {
                (Some(claim), _) if ours && claim == entry.epoch => None,
                (Some(epoch), _) => {
                    let replica = self.replica.to_string();
                    let locality = entry.locality.clone();
                    Some(Write::Register { place: place.clone(), replica, epoch, seen: entry.seen, locality })
                }
                // A replica that lives answers for its own documents.
                (None, Some(owner)) if ours || !self.replicas.contains_key(owner) => {
                    let (owner, epoch) = (owner.to_string(), entry.epoch);
                    Some(Write::Remove { place: place.clone(), owner, epoch, given_up: !ours })
                }
                _ => None,
            };
            entry.asked_at = write.as_ref().map(|_| now);
            writes.extend(write);
        }
        let room = WRITES_MAX.saturating_sub(writes.len()).min(self.forgotten.len());
        writes.extend(self.forgotten.drain(..room).map(|(place, epoch)| Write::Sweep { place, epoch }));
        if !self.forgotten.is_empty() {
            self.write_at = Some(now);
        }
        for replica in std::mem::take(&mut self.dead) {
            writes.push(Write::Forget { replica: replica.to_string() });
        }
        if self.beat_at.is_some_and(|at| at <= now) {
            let lives = self.entries.values().any(|entry| entry.streams > 0);
            self.beat_at = lives.then(|| now + BEAT);
            if lives {
                self.beats += 1;
                writes.push(Write::Beat { replica: self.replica.to_string(), count: self.beats });
            }
        }
        writes
    }

    /// The earliest deadline of an entry or a replica.
    fn deadline(&self) -> Option<Instant> {
        if let Some(known) = self.deadline.get() {
            return known;
        }
        let graces = self.entries.values().filter_map(|entry| entry.grace_until);
        let retries =
            self.entries.values().filter_map(|entry| entry.asked_at).map(|asked| asked + WRITE_AGAIN);
        let deaths = self.replicas.values().map(|seen| *seen + DEAD_AFTER);
        let proofs = self.entries.values().filter_map(|entry| entry.proven_at);
        let gone = self.gone.front().map(|(at, ..)| *at);
        let deadline = graces.chain(retries).chain(deaths).chain(proofs).chain(gone).min();
        self.deadline.set(Some(deadline));
        deadline
    }

    /// Something is about to change: deadlines are no longer known, and there may be something to write.
    fn touch(&mut self, now: Instant) {
        self.deadline.set(None);
        self.write_at.get_or_insert(now + GATHER);
    }

    fn exists(&self, place: &Place) -> bool {
        self.entries.get(place).is_some_and(|entry| self.lives(entry))
    }

    fn lives(&self, entry: &Entry) -> bool {
        entry.is_vouched_for() || entry.owner.as_ref().is_some_and(|owner| self.replicas.contains_key(owner))
    }

    fn note(&mut self, place: &Place, existed: bool) {
        if self.exists(place) != existed {
            self.changed.insert((place.mesh.clone(), place.node.clone()));
        }
    }

    /// Drops an entry of which nothing is left, neither here nor in the store.
    fn forget(&mut self, place: &Place) {
        if self.entries.get(place).is_some_and(Entry::is_nothing) {
            self.entries.remove(place);
        }
    }
}

/// The value of a document, for those who write one.
fn json(value: &serde_json::Value) -> Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests;
