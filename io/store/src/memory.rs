//! The deterministic backend: documents in a map, failures on demand.
//!
//! Nothing outlives the value, but [`Memory::crash`] and [`Memory::recover`] play a server that dies and comes
//! back: what was committed is there again, what was not is gone. A [`Failpoints`] plan decides at every
//! [`Point`] whether a [`Fault`] strikes. With the same calls and the same plan, the same thing happens.

mod fault;
mod transaction;

pub use fault::{Failpoints, Fault, Point};

use crate::subscription::Subscribers;
use crate::{
    Abort, Change, Committed, Document, Error, Operation, PAGE_MAX, RETAINED_REVISIONS, Read, Revision,
    Store, Subscription, Transaction, Wake,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use transaction::MemoryTransaction;

/// Documents by key. Shared with snapshots and copied on the first write while one is alive.
type Documents = Arc<BTreeMap<String, Document>>;

/// A store in memory.
#[derive(Default)]
pub struct Memory {
    // Held for a whole transaction, so that they run one after another; `state` is only held for moments.
    writer: Mutex<()>,
    state: Mutex<State>,
    subscribers: Subscribers,
}

struct State {
    documents: Documents,
    revision: Revision,
    feed: BTreeMap<Revision, BTreeMap<String, Operation>>,
    /// The newest revision that the feed has dropped.
    compacted: Revision,
    retained: u64,
    is_crashed: bool,
    failpoints: Option<Box<dyn Failpoints>>,
}

struct Snapshot {
    documents: Documents,
    revision: Revision,
}

// === impl Memory ===

impl Memory {
    /// An empty store that never fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `revisions` in the feed (at least one) where the default is [`RETAINED_REVISIONS`].
    #[must_use]
    pub fn retaining(self, revisions: u64) -> Self {
        self.state().retained = revisions.max(1);
        self
    }

    /// From here on, `failpoints` decides what fails. `None` ends all failures but a crash.
    pub fn fail_with(&self, failpoints: Option<Box<dyn Failpoints>>) {
        self.state().failpoints = failpoints;
    }

    /// The server is gone: every call returns [`Error::Unavailable`] until [`Memory::recover`].
    pub fn crash(&self) {
        self.state().is_crashed = true;
    }

    /// Whether the server is gone.
    pub fn is_crashed(&self) -> bool {
        self.state().is_crashed
    }

    /// The server is back with all that was committed.
    pub fn recover(&self) {
        self.state().is_crashed = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change to the state is made in one go, so a panicking thread leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` over the present documents and returns what it wrote.
    fn attempt(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<BTreeMap<String, Option<Document>>, Error> {
        let (base, revision) = {
            let state = self.state();
            (Arc::clone(&state.documents), state.revision)
        };
        let mut transaction = MemoryTransaction::new(base, revision.next());
        let verdict = f(&mut transaction);
        let writes = transaction.finish()?;
        match verdict {
            Ok(()) => Ok(writes),
            Err(Abort::Refused) => Err(Error::Refused),
            Err(Abort::Failed(error)) => Err(error),
        }
    }
}

impl Store for Memory {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = self.state().strike(Point::Transact)?;
        if fault == Some(Fault::Retry) {
            // What a serialisation failure looks like: the closure runs, its writes vanish, it runs again.
            drop(self.attempt(f));
        }
        let writes = self.attempt(f)?;
        let mut state = self.state();
        if let Some(error) = state.before_commit(fault) {
            return Err(error);
        }
        let is_write = !writes.is_empty();
        if is_write {
            state.apply(writes);
        }
        let revision = state.revision;
        let outcome = state.after_commit(fault);
        let is_heard = is_write && !matches!(state.strike(Point::Wake), Ok(Some(Fault::LoseWake)));
        drop(state);
        if is_heard {
            self.subscribers.wake(revision);
        }
        outcome.map(|()| Committed { revision })
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error> {
        let mut state = self.state();
        state.strike(Point::Snapshot)?;
        Ok(Box::new(Snapshot { documents: Arc::clone(&state.documents), revision: state.revision }))
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        let mut state = self.state();
        state.strike(Point::Changes)?;
        if after < state.compacted {
            return Err(Error::Compacted { after, oldest: state.compacted });
        }
        if after > state.revision {
            return Err(Error::Ahead { after, last: state.revision });
        }
        let mut page = Vec::new();
        for (&revision, keys) in state.feed.range((Bound::Excluded(after), Bound::Unbounded)) {
            page.extend(keys.iter().map(|(key, &operation)| Change {
                revision,
                key: key.clone(),
                operation,
            }));
            if page.len() >= limit.clamp(1, PAGE_MAX) {
                break;
            }
        }
        Ok(page)
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.subscribers.add(wake)
    }
}

// === impl State ===

impl Default for State {
    fn default() -> Self {
        Self {
            documents: Documents::default(),
            revision: Revision::ZERO,
            feed: BTreeMap::new(),
            compacted: Revision::ZERO,
            retained: RETAINED_REVISIONS,
            is_crashed: false,
            failpoints: None,
        }
    }
}

impl State {
    /// Asks the plan about `point`: an error that strikes at once, or a fault to act on later.
    fn strike(&mut self, point: Point) -> Result<Option<Fault>, Error> {
        if self.is_crashed {
            return Err(Error::Unavailable("the store has crashed".to_owned()));
        }
        let fault = self.failpoints.as_mut().and_then(|plan| plan.strike(point));
        match fault {
            Some(Fault::Unavailable) => Err(Error::Unavailable("failpoint".to_owned())),
            Some(Fault::Corrupt) => Err(Error::Corrupt("failpoint".to_owned())),
            other => Ok(other),
        }
    }

    fn before_commit(&mut self, fault: Option<Fault>) -> Option<Error> {
        match fault? {
            Fault::Full => Some(Error::Full),
            Fault::TimeoutUndone => Some(Error::Uncertain("failpoint".to_owned())),
            Fault::CrashBeforeCommit => {
                self.is_crashed = true;
                Some(Error::Uncertain("the store crashed during the commit".to_owned()))
            }
            _ => None,
        }
    }

    fn after_commit(&mut self, fault: Option<Fault>) -> Result<(), Error> {
        match fault {
            Some(Fault::TimeoutDone) => Err(Error::Uncertain("failpoint".to_owned())),
            Some(Fault::CrashAfterCommit) => {
                self.is_crashed = true;
                Err(Error::Uncertain("the store crashed during the commit".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, writes: BTreeMap<String, Option<Document>>) {
        self.revision = self.revision.next();
        let documents = Arc::make_mut(&mut self.documents);
        let mut entries = BTreeMap::new();
        for (key, written) in writes {
            let operation = if written.is_some() { Operation::Put } else { Operation::Delete };
            match written {
                Some(document) => documents.insert(key.clone(), document),
                None => documents.remove(&key),
            };
            entries.insert(key, operation);
        }
        self.feed.insert(self.revision, entries);
        while self.feed.len() as u64 > self.retained {
            if let Some((dropped, _)) = self.feed.pop_first() {
                self.compacted = dropped;
            }
        }
    }
}

// === impl Snapshot ===

impl Read for Snapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        Ok(self.documents.get(key).cloned())
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        Ok(page(&self.documents, prefix, after).take(limit.min(PAGE_MAX)).cloned().collect())
    }
}

/// The documents of `prefix` that follow `after`, in key order.
fn page<'a>(
    documents: &'a BTreeMap<String, Document>,
    prefix: &'a str,
    after: Option<&'a str>,
) -> impl Iterator<Item = &'a Document> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    documents
        .range::<str, _>((start, Bound::Unbounded))
        .map(|(_, document)| document)
        .take_while(move |document| document.key.starts_with(prefix))
}
