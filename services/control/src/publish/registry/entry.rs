//! One place, as this replica knows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_traffic::Locality;

use super::document::Held;
use super::{GRACE, PROVEN_AFTER};

/// How long a stream that has just connected insists on its place, against a document that was on its way.
const INSISTS_FOR: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Entry {
    pub(super) streams: usize,
    /// Its last stream broke.
    pub(super) grace_until: Option<Instant>,
    /// Who wrote the document, as the store has it.
    pub(super) owner: Option<Arc<str>>,
    /// The document's epoch.
    pub(super) epoch: u64,
    /// The store keeps the epoch of an endpoint that is gone.
    is_gone: bool,
    /// The epoch under which this replica's streams hold the place, or want to; `None` when their word does not count.
    pub(super) claim: Option<u64>,
    /// The store's revision that had been read when that claim was made.
    pub(super) seen: u64,
    insists_until: Option<Instant>,
    /// When a stream whose word does not count is believed again.
    pub(super) proven_at: Option<Instant>,
    pub(super) asked_at: Option<Instant>,
    /// Where the instance stands; its own sidecar knows best.
    pub(super) locality: Locality,
}

impl Entry {
    /// A stream says that the instance lives.
    pub(super) fn connect(&mut self, now: Instant, replica: &Arc<str>, position: u64) {
        self.streams += 1;
        self.grace_until = None;
        self.proven_at = None;
        self.insists_until = Some(now + INSISTS_FOR);
        if self.owner.as_ref() != Some(replica) || self.claim != Some(self.epoch) {
            self.claim(position);
            self.asked_at = None;
        }
    }

    pub(super) fn disconnect(&mut self, now: Instant, orderly: bool) {
        self.streams = self.streams.saturating_sub(1);
        if self.streams > 0 {
            return;
        }
        self.proven_at = None;
        if orderly {
            self.claim = None;
        } else if self.claim.is_some() {
            self.grace_until = Some(now + GRACE);
        }
    }

    /// Whoever was waited for did not come back.
    pub(super) fn end_grace(&mut self) {
        self.grace_until = None;
        self.claim = None;
    }

    /// What the store has of the place; `None` when it has nothing.
    pub(super) fn handle_document(
        &mut self,
        now: Instant,
        replica: &Arc<str>,
        held: Option<Held>,
        position: u64,
    ) {
        let known = held.is_some();
        let (owner, epoch, locality) =
            held.map_or_else(Default::default, |held| (held.owner, held.epoch, held.locality));
        if self.streams == 0 && owner.is_some() {
            self.locality = locality;
        }
        let was_ours = self.owner.as_ref() == Some(replica);
        self.owner = owner.map(Into::into);
        self.epoch = epoch;
        self.is_gone = known && self.owner.is_none();
        self.asked_at = None;
        if self.owner.as_ref() == Some(replica) {
            return;
        }
        // A claim that is on its way to the store stands. One that another has outbid, or of which the store knows nothing
        // any more, was that of an earlier session.
        if self.claim.is_some_and(|claim| claim <= epoch || !known && (was_ours || claim > 1)) {
            if self.streams > 0 && self.insists_until.take().is_some_and(|until| now < until) {
                self.claim(position);
            } else {
                self.claim = None;
                self.grace_until = None;
            }
        }
        let is_free = self.owner.is_none() && self.claim.is_none() && self.streams > 0;
        self.proven_at = is_free.then(|| now + PROVEN_AFTER);
    }

    /// The store refused a claim of a place that it knows nothing of: the session may be one of long ago.
    pub(super) fn refuse(&mut self, now: Instant) {
        if self.owner.is_some() || self.is_gone || self.claim != Some(1) {
            // Its document says what became of the claim.
            return;
        }
        self.claim = None;
        self.grace_until = None;
        self.asked_at = None;
        self.proven_at = (self.streams > 0).then(|| now + PROVEN_AFTER);
    }

    /// Its stream has outlived every one that might be dead.
    pub(super) fn believe(&mut self, position: u64) {
        self.proven_at = None;
        self.claim(position);
    }

    fn claim(&mut self, position: u64) {
        self.claim = Some(self.epoch + 1);
        self.seen = position;
    }

    /// Whether one of this replica's streams says that the instance lives, or did so just now.
    pub(super) fn is_vouched_for(&self) -> bool {
        self.claim.is_some() && (self.streams > 0 || self.grace_until.is_some())
    }

    /// Whether nothing is left of it, neither here nor in the store.
    pub(super) fn is_nothing(&self) -> bool {
        self.streams == 0 && self.grace_until.is_none() && self.owner.is_none() && !self.is_gone
    }
}
