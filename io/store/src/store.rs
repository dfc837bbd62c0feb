//! The door of this room: the trait that every backend implements.

use crate::{Abort, Change, LimitExceeded, Read, Revision, Subscription, Transaction, Wake};

/// How many revisions the change feed keeps unless the backend's options say otherwise.
///
/// An entry is a key and a few bytes, so this is tens of megabytes at the worst; a reader that has been away for
/// longer gets [`Error::Compacted`] and starts again from a snapshot.
pub const RETAINED_REVISIONS: u64 = 100_000;

/// Revisioned documents with a change feed. See the [crate's page](crate) for the model.
///
/// All methods may block on disk or network.
pub trait Store: Send + Sync {
    /// Runs `f` in one serialisable transaction and returns once its writes are durable.
    ///
    /// `f` may be run more than once (a backend may have to retry), so it sets its outputs and never adds to
    /// them. A transaction that wrote nothing takes no revision.
    ///
    /// # Errors
    /// [`Error::Refused`] when `f` returned [`Abort::Refused`]; [`Error::Uncertain`] when the outcome is
    /// unknown; any other error means that nothing was written.
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error>;

    /// A view of the last durable revision that stays as it is until dropped. Hold it briefly: a long-lived one
    /// keeps the backend from reclaiming space.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error>;

    /// The changes of the revisions after `after`, in order of revision and key.
    ///
    /// Whole revisions only: the page ends with the first revision that reaches `limit` entries (at most
    /// [`PAGE_MAX`](crate::PAGE_MAX)). An empty page means that `after` is the last revision.
    ///
    /// # Errors
    /// [`Error::Compacted`] when the feed no longer reaches back to `after`, [`Error::Ahead`] when the store
    /// has never been at `after` (it was replaced by an older copy), and the backend's own failures.
    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error>;

    /// Has `wake` called after commits, until the subscription is dropped.
    ///
    /// A hint and no more: calls may be merged, spurious, or lost with the connection to a remote backend, so a
    /// reader also polls [`Store::changes`] now and then. `wake` runs on the committing thread; it must be
    /// quick and must not call the store.
    fn subscribe(&self, wake: Wake) -> Subscription;
}

/// An acknowledged transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The revision it made, or the one it read at if it wrote nothing.
    pub revision: Revision,
}

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The transaction's own closure refused. Nothing was written.
    #[error("the transaction was refused by its caller")]
    Refused,
    /// A bound of the store. Nothing was written; the same call fails again.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The store cannot be reached or is overloaded. Nothing was written; worth trying again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// No space is left on the disk, or within the store's own bound. Nothing was written.
    #[error("the store is full")]
    Full,
    /// The write was under way when the store failed: it may have happened or not. Read before repeating it.
    #[error("the outcome of the write is unknown: {0}")]
    Uncertain(String),
    /// What is stored is damaged. Nothing was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The change feed starts after the revision asked for.
    #[error("changes after revision {after} were asked for, but the feed keeps only those after {oldest}")]
    Compacted {
        /// The position of the reader.
        after: Revision,
        /// The oldest position from which the feed is whole.
        oldest: Revision,
    },
    /// The reader has seen more than the store holds.
    #[error("changes after revision {after} were asked for, but the store stands at {last}")]
    Ahead {
        /// The position of the reader.
        after: Revision,
        /// The store's last revision.
        last: Revision,
    },
}

/// Why [`dyn Store::write`](trait.Store.html#method.write) wrote nothing, or does not know whether it did.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The caller's own reason.
    Refused(E),
    /// The store's.
    Store(Error),
}

impl<E> From<Error> for WriteError<E> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl dyn Store + '_ {
    /// [`Store::transact`] for a closure with a result and a refusal of its own.
    ///
    /// # Errors
    /// [`WriteError::Refused`] with what `f` refused with, or [`WriteError::Store`] as [`Store::transact`].
    pub fn write<T, E>(
        &self,
        mut f: impl FnMut(&mut dyn Transaction) -> Result<T, WriteError<E>>,
    ) -> Result<(T, Revision), WriteError<E>> {
        let mut outcome: Option<Result<T, E>> = None;
        let committed = self.transact(&mut |tx| match f(tx) {
            Ok(value) => {
                outcome = Some(Ok(value));
                Ok(())
            }
            Err(WriteError::Refused(reason)) => {
                outcome = Some(Err(reason));
                Err(Abort::Refused)
            }
            Err(WriteError::Store(error)) => Err(Abort::Failed(error)),
        });
        match (committed, outcome) {
            (Ok(Committed { revision }), Some(Ok(value))) => Ok((value, revision)),
            (Err(Error::Refused), Some(Err(reason))) => Err(WriteError::Refused(reason)),
            (Err(error), _) => Err(WriteError::Store(error)),
            (Ok(_), _) => unreachable!("a backend commits only after the closure returned Ok"),
        }
    }

    /// The last durable revision.
    ///
    /// # Errors
    /// Those of [`Store::snapshot`].
    pub fn revision(&self) -> Result<Revision, Error> {
        Ok(self.snapshot()?.revision())
    }
}
