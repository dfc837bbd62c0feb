//! Who may write: the worker that took over last.
//!
//! Taking over counts an epoch up. Whatever a worker writes – executions, machines, approvals, schedules, the audit trail – goes by
//! its [`Fenced`] store, which looks at the epoch in the same transaction. A worker that was paused and comes back after another has
//! taken over finds a later one, and writes nothing: what it did since did not happen, and its callers are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use selvedge_store::{
    Abort, Change, Committed, Error as StoreError, Read, Revision, Store, Subscription, Transaction, Wake,
};

/// Where the epoch stands.
const KEY: &str = "worker";

/// A store in which one worker may write, as long as no other has taken over.
pub(super) struct Fenced {
    store: Arc<dyn Store>,
    epoch: u64,
    /// Another has taken over; that is never undone.
    is_lost: AtomicBool,
}

impl Fenced {
    /// Takes everything over from whoever wrote before.
    ///
    /// # Errors
    /// When the store fails: then nobody knows who may write, and it has to be tried again.
    pub(super) fn take_over(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let mut taken = 0;
        store.transact(&mut |tx| {
            taken = epoch(tx)? + 1;
            tx.put(KEY, taken.to_string().into())?;
            Ok(())
        })?;
        Ok(Self { store, epoch: taken, is_lost: AtomicBool::new(false) })
    }

    /// Whether another worker is known to have taken over.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

impl Store for Fenced {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, StoreError> {
        self.store.transact(&mut |tx| {
            let (found, ours) = (epoch(tx)?, self.epoch);
            if found != ours {
                if !self.is_lost.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        epoch = ours,
                        by = found,
                        "another worker has taken over: this one does nothing any more"
                    );
                }
                let reason =
                    format!("another worker has taken over: it is epoch {found}, and ours was {ours}");
                return Err(StoreError::Unavailable(reason).into());
            }
            f(tx)
        })
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, StoreError> {
        self.store.snapshot()
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.store.changes(after, limit)
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.store.subscribe(wake)
    }
}

fn epoch(view: &(impl Read + ?Sized)) -> Result<u64, StoreError> {
    let Some(found) = view.get(KEY)? else { return Ok(0) };
    let parsed = std::str::from_utf8(&found.value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| StoreError::Corrupt("the worker's epoch is no number".to_owned()))
}
