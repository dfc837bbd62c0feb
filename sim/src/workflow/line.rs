//! A worker's way to the store: where it is cut off, stands still, or is lied to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use selvedge_store::memory::Memory;
use selvedge_store::{
    Abort, Change, Committed, Document, Error, Read, Revision, Store, Subscription, Transaction, Wake,
};

use crate::chance::Chance;

/// Where the engine keeps the epoch of the worker that may write.
const EPOCH: &str = "worker";
/// A store that breaks its word does so once in so many transactions.
const LIES_IN: usize = 12;

/// A defect that a run has to find: the proof that its promises can be broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// The store keeps its word.
    #[default]
    Nothing,
    /// Every worker believes that it is the last one that took over.
    NoFence,
    /// Transactions are acknowledged and not written.
    Forgets,
    /// A transaction's events are lost, and the rest of it is written.
    TearsHistories,
    /// A transaction whose outcome is unknown is called undone.
    CallsDoubtUndone,
    /// A transaction's entry in the audit trail is lost.
    TearsAudit,
    /// What is decided about an approval is lost, and the rest of its transaction is written.
    TearsApprovals,
    /// Parts of large values are written as something else.
    SpoilsBlobs,
}

impl Planted {
    /// The keys below which writes are lost, or spoilt.
    fn torn(self) -> Option<&'static str> {
        match self {
            Self::TearsHistories => Some("history/"),
            Self::TearsAudit => Some("audit/"),
            Self::TearsApprovals => Some("approval/"),
            Self::SpoilsBlobs => Some("blob-part/"),
            Self::Nothing | Self::NoFence | Self::Forgets | Self::CallsDoubtUndone => None,
        }
    }
}

/// Before a durable step, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Before,
    After,
}

/// What happens to the worker there.
pub(super) enum Strike {
    Die,
    /// Nothing of it moves, while this is done.
    StandStill(Box<dyn FnOnce() + Send>),
}

struct Armed {
    steps: usize,
    place: Place,
    strike: Strike,
}

pub(super) struct Line {
    store: Arc<Memory>,
    is_cut: AtomicBool,
    armed: Mutex<Option<Armed>>,
    planted: Planted,
    chance: Mutex<Chance>,
    /// The epoch that this worker wrote when it took over.
    epoch: Mutex<Option<Bytes>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(super) fn new(store: Arc<Memory>, planted: Planted, chance: Chance) -> Self {
        Self {
            store,
            is_cut: AtomicBool::new(false),
            armed: Mutex::new(None),
            planted,
            chance: Mutex::new(chance),
            epoch: Mutex::new(None),
        }
    }

    /// `kill -9`: nothing of the worker reaches the store any more.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        lock(&self.armed).take();
    }

    /// Whether another took over after this worker did, even one that did not come to serve.
    pub(super) fn is_superseded(&self) -> bool {
        let found = self.store.snapshot().and_then(|view| view.get(EPOCH));
        found.is_ok_and(|found| found.map(|found| found.value) != *lock(&self.epoch))
    }

    /// Has nothing happen any more.
    pub(super) fn disarm(&self) {
        lock(&self.armed).take();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    /// Has `strike` happen at the durable step after the next `steps`.
    pub(super) fn arm(&self, steps: usize, place: Place, strike: Strike) {
        *lock(&self.armed) = Some(Armed { steps, place, strike });
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_cut() { Err(Error::Unavailable("the worker is dead".into())) } else { Ok(()) }
    }

    /// What strikes at this step.
    fn pass(&self) -> Option<(Place, Strike)> {
        let mut armed = lock(&self.armed);
        let found = armed.as_mut()?;
        // Others are stepped meanwhile, which a runtime does not do within another.
        if matches!(found.strike, Strike::StandStill(_)) && tokio::runtime::Handle::try_current().is_ok() {
            return None;
        }
        if found.steps > 0 {
            found.steps -= 1;
            return None;
        }
        armed.take().map(|armed| (armed.place, armed.strike))
    }

    fn lies(&self) -> bool {
        lock(&self.chance).below(LIES_IN) == 0
    }

    fn write(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        let planted = self.planted;
        let torn = planted.torn().filter(|_| self.lies());
        let forgets = planted == Planted::Forgets && self.lies();
        let mut is_whole = false;
        let done = self.store.transact(&mut |tx| {
            is_whole = false;
            f(&mut Seen { tx, line: self, torn })?;
            is_whole = true;
            if forgets { Err(Abort::Refused) } else { Ok(()) }
        });
        match done {
            Err(Error::Refused) if forgets && is_whole => Ok(Committed { revision: Revision::ZERO }),
            Err(Error::Uncertain(reason)) if planted == Planted::CallsDoubtUndone => {
                Err(Error::Unavailable(reason))
            }
            done => done,
        }
    }
}

impl Store for Line {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        self.check()?;
        let strike = match self.pass() {
            Some((Place::Before, Strike::Die)) => {
                self.cut();
                return Err(Error::Unavailable("the worker died before the step".into()));
            }
            Some((Place::Before, Strike::StandStill(meanwhile))) => {
                meanwhile();
                None
            }
            Some((Place::After, strike)) => Some(strike),
            None => None,
        };
        let done = self.write(f);
        match strike {
            Some(Strike::Die) => {
                self.cut();
                return Err(Error::Uncertain("the worker died after the step".into()));
            }
            Some(Strike::StandStill(meanwhile)) => meanwhile(),
            None => {}
        }
        done
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error> {
        self.check()?;
        self.store.snapshot()
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        self.check()?;
        self.store.changes(after, limit)
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.store.subscribe(wake)
    }
}

/// A transaction as the worker sees it.
struct Seen<'a> {
    tx: &'a mut dyn Transaction,
    line: &'a Line,
    torn: Option<&'static str>,
}

impl Read for Seen<'_> {
    fn revision(&self) -> Revision {
        self.tx.revision()
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        let mut found = self.tx.get(key)?;
        if key == EPOCH
            && self.line.planted == Planted::NoFence
            && let (Some(document), Some(own)) = (&mut found, &*lock(&self.line.epoch))
        {
            document.value = own.clone();
        }
        Ok(found)
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        self.tx.scan(prefix, after, limit)
    }
}

impl Transaction for Seen<'_> {
    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Error> {
        if key == EPOCH {
            *lock(&self.line.epoch) = Some(value.clone());
        }
        match self.torn.filter(|torn| key.starts_with(torn)) {
            None => self.tx.put(key, value),
            Some(_) if self.line.planted == Planted::SpoilsBlobs => self.tx.put(key, "\"spoilt\"".into()),
            Some(_) => Ok(()),
        }
    }

    fn delete(&mut self, key: &str) -> Result<bool, Error> {
        self.tx.delete(key)
    }
}
