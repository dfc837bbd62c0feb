//! A store that is written all the time: acknowledged by a file of its own, and brought into the database by and by.
//!
//! A transaction runs on its caller's thread, under the writer's lock, over what is in the database and what is pending. Its batch –
//! shared in [turns](super::turns) – is one record of the [log's file](file), written at once and synced once; then it is
//! acknowledged. A thread brings what is pending into the database, many batches in one transaction of `synchronous=FULL`
//! ([`apply`]); the revision that the database is at is written with it, and what the file has after that is what a start brings in
//! first.
//!
//! ```text
//! transact → run → record → write, fdatasync → acknowledged, pending → … → applied: BEGIN, writes, revision, COMMIT (synced)
//!                                                └─ views: the database, over it what is pending
//! ```
//!
//! Where the database cannot take what is pending, nothing more is acknowledged by the file but deletes, which make room: a write goes
//! to the database with all that is pending, and its caller is told what comes of it. The same holds for a batch that is too large for
//! the file, and for good once the file has failed.

mod apply;

mod file;
mod pending;
mod shared;
#[cfg(test)]
mod tests;
mod transaction;
mod view;

pub use file::LOG_BYTES;

use super::reader::Readers;
use super::turns::{Batches, Body, Outcome, Turns, Verdict};
use crate::subscription::Subscribers;
use crate::{Abort, Error, Read, Revision};
use file::{AppendError, Found, LogFile, Record, Write};
use rusqlite::Connection;
use shared::Core;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use transaction::LogTransaction;
use view::View;

/// The most transactions that one sync acknowledges.
const BATCH_MAX: usize = 256;
/// A batch of more bytes goes to the database itself.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// What views that are open may keep in memory; beyond it a write waits for them to be closed …
pub const KEPT_BYTES_MAX: usize = 64 << 20;
/// … for so long.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The writer of a log.
pub(super) struct Log {
    core: Arc<Core>,
    turns: Turns<Session>,
    applier: Option<JoinHandle<()>>,
}

/// What the one who writes has.
struct Session {
    core: Arc<Core>,
    /// For what transactions read.
    connection: Connection,
    /// None once it has failed.
    file: Option<LogFile>,
    record: Record,
    batch: Option<Open>,
    /// The last revision taken.
    taken: u64,
    /// The database has this revision or not: nobody knows.
    in_doubt: Option<u64>,
}

/// The batch that is open.
struct Open {
    verdict: Arc<Verdict>,
    transactions: usize,
    /// Nothing has been put: it makes room.
    is_deletes: bool,
}

/// What a log's file has that the database, which is at `revision`, does not.
///
/// # Errors
/// The outer one is the file's; the inner one says what is missing in it.
pub(super) fn pending(path: &Path, revision: Revision) -> io::Result<Result<Pending, String>> {
    Ok(file::replay(path, revision.number())?.map(Pending))
}

/// What has been acknowledged by a log's file alone.
pub(super) struct Pending(Found);

impl Pending {
    /// Brings it into the database at once.
    pub(super) fn bring_in(self, connection: &Connection) -> Result<(), Error> {
        shared::bring_in(connection, self.0.writes)
    }
}

impl Log {
    /// Writes by `connection`, which is at `revision`; `path` is the file, which has what is pending.
    pub(super) fn open(
        [connection, reading]: [Connection; 2],
        path: &Path,
        revision: Revision,
        pending: Pending,
    ) -> io::Result<Self> {
        let file = LogFile::create(path, pending.0.place)?;
        Self::over([connection, reading], file, revision, pending.0.writes)
    }

    fn over(
        [connection, reading]: [Connection; 2],
        file: LogFile,
        revision: Revision,
        pending: Vec<Write>,
    ) -> io::Result<Self> {
        let core = Arc::new(Core::new(connection, revision, pending));
        let taken = core.shared().last;
        let session = Session {
            core: Arc::clone(&core),
            connection: reading,
            file: Some(file),
            record: Record::new(),
            batch: None,
            taken,
            in_doubt: None,
        };
        let applier = apply::start(&core)?;
        Ok(Self { core, turns: Turns::new(session), applier: Some(applier) })
    }

    pub(super) fn transact(&self, body: &mut Body<'_>, subscribers: &Subscribers) -> Result<Revision, Error> {
        self.turns.transact(body, subscribers)
    }

    pub(super) fn snapshot<'a>(&'a self, readers: &'a Readers) -> Result<Box<dyn Read + 'a>, Error> {
        Ok(Box::new(View::open(&self.core, readers)?))
    }

    /// The last revision that is acknowledged.
    pub(super) fn revision(&self) -> Revision {
        Revision::new(self.core.shared().last)
    }
}

impl Drop for Log {
    /// What is pending is brought into the database; should that fail, the file has it.
    fn drop(&mut self) {
        self.core.shared().is_closing = true;
        self.core.work.notify_all();
        if let Some(applier) = self.applier.take() {
            // It panics only where it has a defect; the file has everything.
            drop(applier.join());
        }
    }
}

// === impl Session ===

impl Batches for Session {
    fn join(&mut self) -> Result<Arc<Verdict>, Error> {
        self.resolve()?;
        let batch = self.batch.get_or_insert_with(|| {
            self.record.clear();
            Open { verdict: Arc::default(), transactions: 0, is_deletes: true }
        });
        batch.transactions += 1;
        Ok(Arc::clone(&batch.verdict))
    }

    fn run(&mut self, body: &mut Body<'_>) -> Outcome {
        let revision = self.taken + 1;
        let mut transaction = LogTransaction::new(&self.core, &self.connection, revision);
        let verdict = catch_unwind(AssertUnwindSafe(|| body(&mut transaction)))?;
        let finished = transaction.finish();
        let writes = match (finished, verdict) {
            (Err(doom), _) => return Ok(Err(doom)),
            (Ok(_), Err(Abort::Refused)) => return Ok(Err(Error::Refused)),
            (Ok(_), Err(Abort::Failed(error))) => return Ok(Err(error)),
            (Ok(writes), Ok(())) => writes,
        };
        if !writes.is_empty() {
            self.taken = revision;
            self.take(writes);
        }
        Ok(Ok(Revision::new(self.taken)))
    }

    fn is_full(&self) -> bool {
        self.record.len() >= RECORD_BYTES_MAX
            || self.batch.as_ref().is_none_or(|batch| batch.transactions >= BATCH_MAX)
    }

    fn commit(&mut self) -> Option<Revision> {
        let batch = self.batch.take()?;
        let last = self.core.shared().last;
        if self.taken == last {
            batch.verdict.decide(Ok(()));
            return None;
        }
        let sealed = self.seal(last, batch.is_deletes);
        let mut shared = self.core.shared();
        if sealed.is_err() {
            let last = shared.last.max(shared.applied);
            shared.layer.take_back(last);
            self.taken = self.taken.min(last);
        }
        drop(shared);
        let revision = sealed.is_ok().then_some(Revision::new(self.taken));
        batch.verdict.decide(sealed);
        revision
    }
}

impl Session {
    /// Finds out what the database has, where a commit left that open.
    fn resolve(&mut self) -> Result<(), Error> {
        let Some(attempted) = self.in_doubt else { return Ok(()) };
        let found = self.core.counter()?;
        let mut shared = self.core.shared();
        if found >= attempted {
            (shared.last, shared.applied) = (attempted, attempted);
        }
        self.taken = shared.last;
        drop(shared);
        self.in_doubt = None;
        Ok(())
    }

    /// Adds what a transaction wrote to the batch, and to the layer, where only later transactions see it.
    fn take(&mut self, writes: Vec<Write>) {
        let batch = self.batch.as_mut().expect("join comes before run");
        let mut shared = self.core.shared();
        for Write { revision, key, value } in writes {
            batch.is_deletes &= value.is_none();
            self.record.push(revision, &key, value.as_deref());
            shared.layer.write(&key, value, revision);
        }
    }

    /// By the file, or by the database where that does not do.
    fn seal(&mut self, last: u64, is_deletes: bool) -> Result<(), Error> {
        self.wait_for_views()?;
        let revisions = [last + 1, self.taken];
        loop {
            let (applied, failure) = {
                let shared = self.core.shared();
                (shared.applied, shared.failure.clone())
            };
            let is_fit = self.record.len() <= RECORD_BYTES_MAX
                && (failure.is_none() || (is_deletes && failure == Some(Error::Full)));
            let Some(file) = self.file.as_mut().filter(|_| is_fit) else { return self.direct() };
            match file.append(&mut self.record, revisions, applied) {
                Ok(()) => {
                    let mut shared = self.core.shared();
                    let is_first = shared.last == shared.applied;
                    shared.last = self.taken;
                    if is_first || shared.layer.bytes() >= apply::APPLY_BYTES {
                        self.core.work.notify_all();
                    }
                    return Ok(());
                }
                Err(AppendError::Busy(_)) if failure.is_some() => return self.direct(),
                Err(AppendError::Busy(wanted)) => {
                    let mut shared = self.core.shared();
                    shared.is_wanted = true;
                    self.core.work.notify_all();
                    let is_waiting =
                        |shared: &mut shared::Shared| shared.applied < wanted && shared.failure.is_none();
                    drop(
                        self.core.done.wait_while(shared, is_waiting).unwrap_or_else(PoisonError::into_inner),
                    );
                }
                Err(AppendError::Io(error)) => return Err(self.give_file_up(&error)),
            }
        }
    }

    /// Brings all that is pending into the database, and the batch with it.
    fn direct(&mut self) -> Result<(), Error> {
        let applied = self.core.apply(self.taken);
        match &applied {
            Ok(()) => self.core.shared().last = self.taken,
            Err(Error::Uncertain(_)) => self.in_doubt = Some(self.taken),
            Err(_) => {}
        }
        applied
    }

    /// The file may have the batch or not. With all that was pending before, the database takes the batch's revisions, without its
    /// writes: so the file's record of it counts no more.
    fn give_file_up(&mut self, error: &io::Error) -> Error {
        self.file = None;
        let taken = self.taken;
        {
            let mut shared = self.core.shared();
            let last = shared.last;
            shared.layer.take_back(last);
        }
        match self.core.apply(taken) {
            Ok(()) => {
                self.core.shared().last = taken;
                match error.kind() {
                    io::ErrorKind::StorageFull => Error::Full,
                    _ => Error::Unavailable(format!("the log could not be written: {error}")),
                }
            }
            Err(other) => {
                self.in_doubt = Some(taken);
                Error::Uncertain(format!("the log could not be written: {error}; then {other}"))
            }
        }
    }

    /// Waits while views that are open keep more than may be kept.
    fn wait_for_views(&self) -> Result<(), Error> {
        let shared = self.core.shared();
        if shared.layer.bytes() <= KEPT_BYTES_MAX {
            return Ok(());
        }
        self.core.work.notify_all();
        let is_much = |shared: &mut shared::Shared| shared.layer.bytes() > KEPT_BYTES_MAX;
        let (shared, waited) = self
            .core
            .done
            .wait_timeout_while(shared, WAIT_MAX, is_much)
            .unwrap_or_else(PoisonError::into_inner);
        drop(shared);
        match waited.timed_out() {
            false => Ok(()),
            true => Err(Error::Unavailable("snapshots that are open keep too much in memory".to_owned())),
        }
    }
}
