//! Turns at writing: many transactions, one sync.
//!
//! Each caller runs its transaction on its own thread, under the lock. Whoever finishes while others are waiting for the lock leaves
//! the batch open for them and waits for its verdict; whoever finishes with nobody waiting makes it durable for all. One sync thus
//! acknowledges as many transactions as piled up during the last one, and a lone writer never waits for company.

use crate::subscription::Subscribers;
use crate::{Abort, Error, Revision, Transaction};
use std::any::Any;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What a transaction's caller does in it.
pub(super) type Body<'a> = dyn FnMut(&mut dyn Transaction) -> Result<(), Abort> + 'a;

/// What became of one transaction before its batch was decided.
pub(super) type Outcome = Result<Result<Revision, Error>, Box<dyn Any + Send>>;

/// What writes, one transaction at a time, into a batch that is open for more.
pub(super) trait Batches {
    /// Takes a place in the open batch, or opens one.
    fn join(&mut self) -> Result<Arc<Verdict>, Error>;
    /// Runs one transaction in it; one that fails leaves nothing. A panic is caught, so that no batch is left half made.
    fn run(&mut self, body: &mut Body<'_>) -> Outcome;
    /// Whether the batch takes no more: bounds the wait of the first under a steady stream.
    fn is_full(&self) -> bool;
    /// Makes the open batch durable. Gives back the store's last revision if it moved.
    fn commit(&mut self) -> Option<Revision>;
}

/// Who writes next.
pub(super) struct Turns<S> {
    session: Mutex<S>,
    /// Callers that want the lock and do not have it.
    waiting: AtomicUsize,
}

/// How a batch ended; everyone in it waits here.
#[derive(Default)]
pub(super) struct Verdict {
    outcome: Mutex<Option<Result<(), Error>>>,
    decided: Condvar,
}

// === impl Turns ===

impl<S: Batches> Turns<S> {
    pub(super) fn new(session: S) -> Self {
        Self { session: Mutex::new(session), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn transact(&self, body: &mut Body<'_>, subscribers: &Subscribers) -> Result<Revision, Error> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // A panic under this lock is caught before it can leave a batch half made.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);

        let verdict = session.join()?;
        let outcome = session.run(body);
        let committed = if self.waiting.load(Ordering::SeqCst) == 0 || session.is_full() {
            session.commit()
        } else {
            None
        };
        drop(session);
        if let Some(revision) = committed {
            subscribers.wake(revision);
        }
        let decided = verdict.wait();
        match outcome {
            Err(panic) => resume_unwind(panic),
            Ok(outcome) => decided.and(outcome),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    pub(super) fn decide(&self, outcome: Result<(), Error>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.decided.notify_all();
    }

    pub(super) fn wait(&self) -> Result<(), Error> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = self.decided.wait_while(outcome, |outcome| outcome.is_none());
        decided.unwrap_or_else(PoisonError::into_inner).clone().expect("the wait ends with a verdict")
    }
}
