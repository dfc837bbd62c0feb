//! Who may write: the worker that took over last, or each worker in the shards that it holds.
//!
//! Taking over counts an epoch up. Whatever a worker writes – executions, machines, approvals, schedules, the audit trail – goes by
//! its [`Fenced`] store, which looks at the epoch in the same transaction. A worker that was paused and comes back after another has
//! taken over finds a later one, and writes nothing: what it did since did not happen, and its callers are told.
//!
//! Where several work at a time ([`Sharing`]), nobody takes over: each claims [shards](Shard) for a term, and a step of an execution
//! looks at the lease of its shard as well. A lease that another has claimed is found by the next step, or when it is to be renewed;
//! then the shard stops, and the others go on. A worker that takes the whole store over ends them all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use selvedge_store::{
    Abort, Change, Committed, Error as StoreError, Lease, LeaseError, Read, Revision, Store, Subscription,
    Transaction, Wake, WriteError,
};

use super::{LiveKey, Shard};

/// Where the epoch stands.
const KEY: &str = "worker";

/// That several workers have executions of one store at a time, and how one of them is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Its name, which no other has.
    pub holder: String,
    /// How long a shard is its own without a renewal, in milliseconds.
    pub term_ms: i64,
}

/// A store in which a worker may write, as long as no other has taken over.
pub(super) struct Fenced {
    store: Arc<dyn Store>,
    epoch: u64,
    /// Another has taken over; that is never undone.
    is_lost: AtomicBool,
    /// What it holds, where it shares the store.
    shards: Option<Shards>,
}

struct Shards {
    sharing: Sharing,
    held: Mutex<BTreeMap<Shard, Lease>>,
}

impl Fenced {
    /// Takes everything over from whoever wrote before; or, where the store is shared, joins the others with no shard yet.
    ///
    /// # Errors
    /// When the store fails: then nobody knows who may write, and it has to be tried again.
    pub(super) fn take_over(store: Arc<dyn Store>, sharing: Option<Sharing>) -> Result<Self, StoreError> {
        let mut taken = 0;
        store.transact(&mut |tx| {
            taken = epoch(tx)?;
            if sharing.is_none() {
                taken += 1;
                tx.put(KEY, taken.to_string().into())?;
            }
            Ok(())
        })?;
        let shards = sharing.map(|sharing| Shards { sharing, held: Mutex::default() });
        Ok(Self { store, epoch: taken, is_lost: AtomicBool::new(false), shards })
    }

    /// Whether another worker is known to have taken over.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Whether the executions of that shard are this worker's, as far as it knows.
    pub(super) fn holds(&self, shard: Shard) -> bool {
        self.shards.as_ref().is_none_or(|shards| shards.held().contains_key(&shard))
    }

    /// The same of an execution. Costs nothing where one worker has all.
    pub(super) fn holds_key(&self, key: &LiveKey) -> bool {
        self.shards.is_none() || self.holds(Shard::of_key(key))
    }

    /// The shards that it holds.
    pub(super) fn held(&self) -> Vec<Shard> {
        match &self.shards {
            Some(shards) => shards.held().keys().copied().collect(),
            None => Shard::all().collect(),
        }
    }

    /// Claims a shard from `now_ms` on; false where another holds it for the time being.
    pub(super) fn claim(&self, shard: Shard, now_ms: i64) -> Result<bool, StoreError> {
        let Some(shards) = &self.shards else { return Ok(true) };
        let Sharing { holder, term_ms } = &shards.sharing;
        let claimed = self
            .write(|tx| Lease::claim(tx, &shard.lease(), holder, now_ms, now_ms + term_ms).map_err(refusal));
        match claimed {
            Ok((lease, _)) => {
                shards.held().insert(shard, lease);
                Ok(true)
            }
            Err(WriteError::Refused(_)) => Ok(false),
            Err(WriteError::Store(error)) => Err(error),
        }
    }

    /// Keeps all that it holds for another term; gives back what it has lost.
    pub(super) fn renew(&self, now_ms: i64) -> Result<Vec<Shard>, StoreError> {
        let Some(shards) = &self.shards else { return Ok(Vec::new()) };
        let mut lost = Vec::new();
        let held: Vec<(Shard, Lease)> =
            shards.held().iter().map(|(shard, lease)| (*shard, lease.clone())).collect();
        for (shard, lease) in held {
            let until_ms = now_ms + shards.sharing.term_ms;
            match self.write(|tx| lease.clone().renew(tx, until_ms).map_err(refusal)) {
                Ok(_) => {}
                Err(WriteError::Refused(error)) => {
                    shards.lose(shard, &lease, &error);
                    lost.push(shard);
                }
                Err(WriteError::Store(error)) => return Err(error),
            }
        }
        Ok(lost)
    }

    /// Gives a shard back, for others to claim at once.
    pub(super) fn release(&self, shard: Shard) -> Result<(), StoreError> {
        let Some(lease) = self.shards.as_ref().and_then(|shards| shards.held().remove(&shard)) else {
            return Ok(());
        };
        match self.write(|tx| lease.clone().release(tx).map_err(refusal)) {
            // Somebody else has it already: it is given away either way.
            Ok(_) | Err(WriteError::Refused(_)) => Ok(()),
            Err(WriteError::Store(error)) => Err(error),
        }
    }

    /// A transaction of a step of that execution: only as long as its shard is held.
    pub(super) fn transact_of(
        &self,
        key: &LiveKey,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, StoreError> {
        let Some(shards) = &self.shards else { return self.transact(f) };
        let shard = Shard::of_key(key);
        let Some(lease) = shards.held().get(&shard).cloned() else {
            let reason = format!("the execution {key} is in shard {shard}, which this worker does not hold");
            return Err(StoreError::Unavailable(reason));
        };
        let mut lost = None;
        let outcome = self.transact(&mut |tx| {
            match lease.check(&*tx) {
                Ok(()) => lost = None,
                Err(LeaseError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    let reason = StoreError::Unavailable(error.to_string());
                    lost = Some(error);
                    return Err(reason.into());
                }
            }
            f(tx)
        });
        if let Some(error) = lost {
            shards.lose(shard, &lease, &error);
        }
        outcome
    }

    /// [`Fenced::transact_of`] for a closure with a result and a refusal of its own.
    pub(super) fn write_of<T, E>(
        &self,
        key: &LiveKey,
        f: impl FnMut(&mut dyn Transaction) -> Result<T, WriteError<E>>,
    ) -> Result<(T, Revision), WriteError<E>> {
        let own: &dyn Store = &OfKey { fenced: self, key };
        own.write(f)
    }

    fn write<T, E>(
        &self,
        f: impl FnMut(&mut dyn Transaction) -> Result<T, WriteError<E>>,
    ) -> Result<(T, Revision), WriteError<E>> {
        let own: &dyn Store = self;
        own.write(f)
    }
}

impl Shards {
    fn held(&self) -> MutexGuard<'_, BTreeMap<Shard, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a shard that another has, unless it has been claimed anew meanwhile.
    fn lose(&self, shard: Shard, lease: &Lease, error: &LeaseError) {
        let mut held = self.held();
        if held.get(&shard).is_some_and(|found| found.epoch == lease.epoch) {
            held.remove(&shard);
            tracing::error!(%shard, %error, "a shard is lost: its executions are another worker's");
        }
    }
}

fn refusal(error: LeaseError) -> WriteError<LeaseError> {
    match error {
        LeaseError::Store(error) => WriteError::Store(error),
        error => WriteError::Refused(error),
    }
}

/// The store, for the steps of one execution.
struct OfKey<'a> {
    fenced: &'a Fenced,
    key: &'a LiveKey,
}

impl Store for OfKey<'_> {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, StoreError> {
        self.fenced.transact_of(self.key, f)
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, StoreError> {
        self.fenced.snapshot()
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.fenced.changes(after, limit)
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.fenced.subscribe(wake)
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
