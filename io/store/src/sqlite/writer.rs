//! Writing: many transactions, one commit.
//!
//! A transaction runs in its [turn](super::turns) inside a `SAVEPOINT` of a surrounding SQL transaction, the *batch*.
//!
//! A transaction in a batch sees the writes of those before it, and therefore shares their fate: when the
//! commit fails they all fail, refused and read-only ones included. The first of a batch has nobody before it: it runs
//! without a savepoint, and takes the batch with it when it is refused.

use super::reader::{as_sql, counter, get, scan};
use super::turns::{Batches, Body, Outcome, Turns, Verdict};
use super::{failure, sql};
use crate::limit::Allowance;
use crate::{Abort, Document, Error, Operation, Read, Revision, Transaction};
use bytes::Bytes;
use rusqlite::{Connection, params};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The most transactions that one commit acknowledges; bounds the wait of the first under a steady stream.
const BATCH_MAX: usize = 256;

/// Transactions of a followed store take turns.
pub(super) type Writer = Turns<Session>;

/// The writer's connection, and the batch that is open on it.
pub(super) struct Session {
    connection: Connection,
    retained: u64,
    batch: Option<Open>,
}

struct Open {
    verdict: Arc<Verdict>,
    /// The last revision taken, by a batch before or in this one.
    revision: Revision,
    /// The revision at the batch's beginning.
    durable: Revision,
    transactions: usize,
}

struct SqliteTransaction<'a> {
    connection: &'a Connection,
    /// The revision this transaction takes if it writes.
    revision: Revision,
    allowance: Allowance,
    doom: Option<Error>,
}

// === impl Session ===

impl Session {
    /// Writes over `connection`; the feed keeps so many revisions.
    pub(super) fn new(connection: Connection, retained: u64) -> Self {
        Self { connection, retained, batch: None }
    }

    /// Drops what the feed need not keep.
    fn compact(&self, last: Revision) -> rusqlite::Result<()> {
        let Some(newest) = last.number().checked_sub(self.retained).filter(|&newest| newest > 0) else {
            return Ok(());
        };
        let newest = Revision::new(newest);
        self.connection.prepare_cached(sql::COMPACT)?.execute([as_sql(newest)])?;
        set_counter(&self.connection, "compacted", newest)
    }

    fn give_up(&mut self, reason: Error) {
        if !self.connection.is_autocommit() {
            // Should this fail too, the next BEGIN does as well, and says so to its caller.
            drop(self.connection.execute_batch(sql::ROLLBACK));
        }
        self.decide(Err(reason));
    }

    fn decide(&mut self, outcome: Result<(), Error>) {
        if let Some(batch) = self.batch.take() {
            batch.verdict.decide(outcome);
        }
    }
}

impl Batches for Session {
    fn join(&mut self) -> Result<Arc<Verdict>, Error> {
        let batch = match &mut self.batch {
            Some(batch) => batch,
            empty => {
                let begun = run(&self.connection, sql::BEGIN_WRITE);
                begun.map_err(|error| failure::definite(&error))?;
                let durable = counter(&self.connection, "revision").inspect_err(|_| {
                    // Nothing was written; should even this fail, the next BEGIN tells.
                    drop(self.connection.execute_batch(sql::ROLLBACK));
                })?;
                let verdict = Arc::default();
                empty.insert(Open { verdict, revision: durable, durable, transactions: 0 })
            }
        };
        batch.transactions += 1;
        Ok(Arc::clone(&batch.verdict))
    }

    fn is_full(&self) -> bool {
        self.batch.as_ref().is_none_or(|batch| batch.transactions >= BATCH_MAX)
    }

    /// In a savepoint if there were others before it.
    fn run(&mut self, body: &mut Body<'_>) -> Outcome {
        let batch = self.batch.as_mut().expect("join comes before run");
        let is_first = batch.transactions == 1;
        if !is_first && let Err(error) = run(&self.connection, sql::SAVEPOINT) {
            return Ok(Err(failure::definite(&error)));
        }
        let mut transaction = SqliteTransaction {
            connection: &self.connection,
            revision: batch.revision.next(),
            allowance: Allowance::default(),
            doom: None,
        };
        let verdict = catch_unwind(AssertUnwindSafe(|| body(&mut transaction)));
        let (revision, has_written) = (transaction.revision, transaction.allowance.is_used());
        let outcome = match (transaction.doom.take(), verdict) {
            (_, Err(panic)) => Err(panic),
            (Some(doom), Ok(_)) => Ok(Err(doom)),
            (None, Ok(Ok(()))) => Ok(Ok(if has_written { revision } else { batch.revision })),
            (None, Ok(Err(Abort::Refused))) => Ok(Err(Error::Refused)),
            (None, Ok(Err(Abort::Failed(error)))) => Ok(Err(error)),
        };
        if self.connection.is_autocommit() {
            // Some failures (a full disk, for one) make SQLite drop the whole batch.
            let reason = match &outcome {
                Ok(Err(error)) => error.clone(),
                _ => Error::Unavailable("the storage engine gave up the batch".to_owned()),
            };
            self.decide(Err(reason));
            return outcome;
        }
        let is_kept = matches!(outcome, Ok(Ok(_)));
        let ended = match (is_first, is_kept) {
            (true, true) => Ok(()),
            (true, false) => {
                // Nobody else is in the batch. Should this fail, the next BEGIN does as well.
                drop(self.connection.execute_batch(sql::ROLLBACK));
                self.decide(Ok(()));
                return outcome;
            }
            (false, true) => run(&self.connection, sql::RELEASE),
            (false, false) => self.connection.execute_batch(sql::ROLLBACK_TO),
        };
        match ended {
            Ok(()) if is_kept => batch.revision = if has_written { revision } else { batch.revision },
            Ok(()) => {}
            Err(error) => self.give_up(failure::definite(&error)),
        }
        outcome
    }

    fn commit(&mut self) -> Option<Revision> {
        let batch = self.batch.as_ref()?;
        let (revision, durable) = (batch.revision, batch.durable);
        let seal = || {
            if revision > durable {
                set_counter(&self.connection, "revision", revision)?;
                self.compact(revision)?;
            }
            run(&self.connection, sql::COMMIT)
        };
        match seal() {
            Ok(()) => {
                self.decide(Ok(()));
                (revision > durable).then_some(revision)
            }
            Err(error) => {
                self.give_up(failure::of_commit(&error));
                None
            }
        }
    }
}

/// Runs a statement that is parsed once.
pub(super) fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

fn set_counter(connection: &Connection, name: &str, value: Revision) -> rusqlite::Result<()> {
    connection.prepare_cached(sql::SET_COUNTER)?.execute(params![name, as_sql(value)]).map(drop)
}

// === impl SqliteTransaction ===

impl SqliteTransaction<'_> {
    fn doomed<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.doom.get_or_insert_with(|| error.clone());
        }
        result
    }

    fn write(&mut self, key: &str, value: &[u8], operation: Operation) -> Result<(), Error> {
        self.allowance.charge(key, value)?;
        let statements = || -> rusqlite::Result<()> {
            let revision = as_sql(self.revision);
            match operation {
                Operation::Put => {
                    self.connection.prepare_cached(sql::PUT)?.execute(params![key, value, revision])?
                }
                Operation::Delete => self.connection.prepare_cached(sql::DELETE)?.execute([key])?,
            };
            let is_put = operation == Operation::Put;
            self.connection.prepare_cached(sql::RECORD)?.execute(params![revision, key, is_put])?;
            Ok(())
        };
        statements().map_err(|error| failure::definite(&error))
    }
}

impl Read for SqliteTransaction<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        get(self.connection, key)
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        scan(self.connection, prefix, after, limit)
    }
}

impl Transaction for SqliteTransaction<'_> {
    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Error> {
        let written = self.write(key, &value, Operation::Put);
        self.doomed(written)
    }

    fn delete(&mut self, key: &str) -> Result<bool, Error> {
        let found = get(self.connection, key);
        if self.doomed(found)?.is_none() {
            return Ok(false);
        }
        let written = self.write(key, &[], Operation::Delete);
        self.doomed(written).map(|()| true)
    }
}
