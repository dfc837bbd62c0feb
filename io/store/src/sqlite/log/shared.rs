//! What the writer, the readers and the applier of a log share.

use super::super::reader::as_sql;
use super::super::{failure, sql};
use super::file::Write;
use super::pending::{Created, Layer, Version};
use crate::{Error, Revision};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The database's writer, and what it does not have yet.
pub(super) struct Core {
    /// Held while the database is written. Never taken while `shared` is held.
    connection: Mutex<Connection>,
    shared: Mutex<Shared>,
    /// There is something to apply.
    pub(super) work: Condvar,
    /// Something was applied, or failed to be.
    pub(super) done: Condvar,
}

/// How far everything is. The writer adds to it, the applier takes away.
pub(super) struct Shared {
    /// What is not in the database, or has to be there for a view of the time before it was.
    pub(super) layer: Layer,
    /// The last revision that is acknowledged.
    pub(super) last: u64,
    /// The last revision that is in the database.
    pub(super) applied: u64,
    /// Views that are open, by the revision that was in the database when they began.
    views: BTreeMap<u64, usize>,
    /// Why the last attempt to apply failed; none when it did not.
    pub(super) failure: Option<Error>,
    /// Somebody waits for it to be applied.
    pub(super) is_wanted: bool,
    pub(super) is_closing: bool,
}

impl Core {
    /// Over a database that is at that revision; `pending` is what it does not have.
    pub(super) fn new(connection: Connection, revision: Revision, pending: Vec<Write>) -> Self {
        let revision = revision.number();
        let last = pending.last().map_or(revision, |last| last.revision);
        let layer = layer_of(pending);
        Self {
            connection: Mutex::new(connection),
            shared: Mutex::new(Shared {
                layer,
                last,
                applied: revision,
                views: BTreeMap::new(),
                failure: None,
                is_wanted: false,
                is_closing: false,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing that is done under this lock panics half way.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the database up to a revision, in one transaction, durably.
    ///
    /// # Errors
    /// Those of a commit; then the database is as it was, but for deletes that may have gone before where it is full.
    pub(super) fn apply(&self, upto: u64) -> Result<(), Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let (after, last, writes) = {
            let shared = self.shared();
            (shared.applied, shared.last, shared.layer.between(shared.applied, upto))
        };
        if upto <= after {
            return Ok(());
        }
        let (puts, deletes): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|(_, version)| version.value.is_some());
        let mut applied = in_one(&connection, &deletes, &puts, Some(upto));
        if applied == Err(Error::Full) {
            // What is deleted makes room, and does no harm before its time where it is acknowledged: whoever reads looks at the
            // layer first.
            let (sure, others): (Vec<_>, Vec<_>) =
                deletes.into_iter().partition(|(_, version)| version.revision <= last);
            if !sure.is_empty() {
                applied = in_one(&connection, &sure, &[], None)
                    .and_then(|()| in_one(&connection, &others, &puts, Some(upto)));
            }
        }
        let mut shared = self.shared();
        shared.is_wanted = false;
        match applied {
            Ok(()) => {
                shared.applied = upto;
                shared.failure = None;
                shared.forget();
            }
            Err(ref error) => shared.failure = Some(error.clone()),
        }
        self.done.notify_all();
        applied
    }

    /// The revision that the database is at, by the database.
    pub(super) fn counter(&self) -> Result<u64, Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        super::super::reader::counter(&connection, "revision").map(Revision::number)
    }
}

impl Shared {
    /// Opens a view; it keeps what it has to find in the layer until [`Shared::close_view`] of what is given back.
    pub(super) fn open_view(&mut self) -> u64 {
        *self.views.entry(self.applied).or_default() += 1;
        self.applied
    }

    pub(super) fn close_view(&mut self, floor: u64) {
        if let Some(count) = self.views.get_mut(&floor) {
            *count -= 1;
            if *count == 0 {
                self.views.remove(&floor);
                self.forget();
            }
        }
    }

    /// Forgets what the database has, for all views as well.
    fn forget(&mut self) {
        let floor = self.views.keys().next().map_or(self.applied, |first| self.applied.min(*first));
        self.layer.forget(floor);
    }
}

fn layer_of(writes: Vec<Write>) -> Layer {
    let mut layer = Layer::default();
    writes.into_iter().for_each(|Write { revision, key, value }| layer.write(&key, value, revision));
    layer
}

/// Brings what a log's file has into the database at once.
pub(super) fn bring_in(connection: &Connection, pending: Vec<Write>) -> Result<(), Error> {
    let Some(upto) = pending.last().map(|last| last.revision) else { return Ok(()) };
    let writes = layer_of(pending).between(0, upto);
    let (puts, deletes): (Vec<_>, Vec<_>) =
        writes.into_iter().partition(|(_, version)| version.value.is_some());
    in_one(connection, &deletes, &puts, Some(upto))
}

type Writes = [(Arc<str>, Version)];

fn in_one(connection: &Connection, deletes: &Writes, puts: &Writes, upto: Option<u64>) -> Result<(), Error> {
    let statements = || -> rusqlite::Result<()> {
        super::super::writer::run(connection, sql::BEGIN_WRITE)?;
        let mut delete = connection.prepare_cached(sql::DELETE)?;
        for (key, _) in deletes {
            delete.execute([&**key])?;
        }
        let mut put = connection.prepare_cached(sql::PUT_CREATED)?;
        for (key, version) in puts {
            let created = match version.created {
                Created::At(revision) => {
                    // Another one has stood there.
                    delete.execute([&**key])?;
                    revision
                }
                Created::Inherited(revision) => revision,
            };
            let (created, modified) =
                (as_sql(Revision::new(created)), as_sql(Revision::new(version.revision)));
            put.execute(params![&**key, version.value.as_deref(), created, modified])?;
        }
        if let Some(upto) = upto {
            // There is no feed: whoever asks for one is told that it begins here.
            connection.prepare_cached(sql::SET_COUNTERS)?.execute([as_sql(Revision::new(upto))])?;
        }
        Ok(())
    };
    let outcome = match statements() {
        Ok(()) => {
            super::super::writer::run(connection, sql::COMMIT).map_err(|error| failure::of_commit(&error))
        }
        Err(error) => Err(failure::definite(&error)),
    };
    if outcome.is_err() && !connection.is_autocommit() {
        // Should this fail as well, the next BEGIN does, and says so.
        drop(connection.execute_batch(sql::ROLLBACK));
    }
    outcome
}
