//! Reading, on connections beside the writer's.

use super::{failure, open, sql};
use crate::{Change, Document, Error, Operation, PAGE_MAX, Read, Revision};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most snapshots alive at once; one more waits.
const SNAPSHOTS_MAX: usize = 64;
/// Connections kept open while nobody reads.
const IDLE_MAX: usize = 8;
/// How long a snapshot waits for another one to be dropped.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The connections of all readers.
pub(super) struct Readers {
    file: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    lent: usize,
}

/// A read transaction; SQLite shows it the file as of its first read.
pub(super) struct Snapshot<'a> {
    readers: &'a Readers,
    /// `None` only while being dropped.
    connection: Option<Connection>,
    revision: Revision,
}

// === impl Readers ===

impl Readers {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, pool: Mutex::default(), returned: Condvar::new() }
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot<'_>, Error> {
        let mut snapshot =
            Snapshot { readers: self, connection: Some(self.borrow()?), revision: Revision::ZERO };
        let connection = snapshot.connection();
        connection.execute_batch(sql::BEGIN_READ).map_err(|error| failure::definite(&error))?;
        // Reading something is what makes the view stand still.
        snapshot.revision = counter(connection, "revision")?;
        Ok(snapshot)
    }

    fn borrow(&self) -> Result<Connection, Error> {
        let (mut pool, waited) = self
            .returned
            .wait_timeout_while(self.pool(), WAIT_MAX, |pool| pool.lent >= SNAPSHOTS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(Error::Unavailable(format!("{SNAPSHOTS_MAX} snapshots are open")));
        }
        pool.lent += 1;
        if let Some(connection) = pool.idle.pop() {
            return Ok(connection);
        }
        drop(pool);
        open::connect(&self.file).map_err(|error| {
            self.give_back(None);
            failure::definite(&error)
        })
    }

    fn give_back(&self, connection: Option<Connection>) {
        let mut pool = self.pool();
        pool.lent -= 1;
        if pool.idle.len() < IDLE_MAX {
            pool.idle.extend(connection);
        }
        drop(pool);
        self.returned.notify_one();
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Nothing between the pool's changes can panic.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Snapshot ===

impl Snapshot<'_> {
    /// The feed as of this snapshot; see [`Store::changes`](crate::Store::changes).
    pub(super) fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        let oldest = counter(self.connection(), "compacted")?;
        if after < oldest {
            return Err(Error::Compacted { after, oldest });
        }
        if after > self.revision {
            return Err(Error::Ahead { after, last: self.revision });
        }
        self.read_changes(after, limit).map_err(|error| failure::definite(&error))
    }

    fn read_changes(&self, after: Revision, limit: usize) -> rusqlite::Result<Vec<Change>> {
        let mut statement = self.connection().prepare_cached(sql::CHANGES)?;
        let mut rows = statement.query([as_sql(after)])?;
        let mut page: Vec<Change> = Vec::new();
        while let Some(row) = rows.next()? {
            let revision = revision_at(row, 0)?;
            if page.len() >= limit && page.last().is_some_and(|last| last.revision != revision) {
                break;
            }
            let operation = if row.get(2)? { Operation::Put } else { Operation::Delete };
            page.push(Change { revision, key: row.get(1)?, operation });
        }
        Ok(page)
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("the connection leaves only when the snapshot is dropped")
    }
}

impl Read for Snapshot<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        get(self.connection(), key)
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        scan(self.connection(), prefix, after, limit)
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // A connection that cannot end its transaction is closed, not lent again.
        let reusable = self.connection.take().filter(|connection| {
            connection.is_autocommit() || connection.execute_batch(sql::ROLLBACK).is_ok()
        });
        self.readers.give_back(reusable);
    }
}

// === queries, shared with the writer's transactions ===

pub(super) fn get(connection: &Connection, key: &str) -> Result<Option<Document>, Error> {
    let query = || {
        let mut statement = connection.prepare_cached(sql::GET)?;
        let found = statement.query_row([key], |row| {
            Ok(Document {
                key: key.to_owned(),
                value: Bytes::from(row.get::<_, Vec<u8>>(0)?),
                created: revision_at(row, 1)?,
                modified: revision_at(row, 2)?,
            })
        });
        found.optional()
    };
    query().map_err(|error: rusqlite::Error| failure::definite(&error))
}

pub(super) fn scan(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Document>, Error> {
    let limit = limit.min(PAGE_MAX);
    let (statement, bound) = match after {
        Some(after) if after >= prefix => (sql::SCAN_AFTER, after),
        _ => (sql::SCAN_FROM, prefix),
    };
    let query = || {
        let mut statement = connection.prepare_cached(statement)?;
        let mut rows = statement.query([bound])?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            if page.len() >= limit || !key.starts_with(prefix) {
                break;
            }
            let value = Bytes::from(row.get::<_, Vec<u8>>(1)?);
            page.push(Document { key, value, created: revision_at(row, 2)?, modified: revision_at(row, 3)? });
        }
        Ok(page)
    };
    query().map_err(|error: rusqlite::Error| failure::definite(&error))
}

pub(super) fn counter(connection: &Connection, name: &str) -> Result<Revision, Error> {
    let query = || connection.prepare_cached(sql::COUNTER)?.query_row([name], |row| revision_at(row, 0));
    query().map_err(|error: rusqlite::Error| failure::definite(&error))
}

fn revision_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Revision> {
    let number: i64 = row.get(column)?;
    u64::try_from(number)
        .map(Revision::new)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// A revision as a bound parameter. One beyond an `i64` can only be a position nobody has reached.
pub(super) fn as_sql(revision: Revision) -> i64 {
    i64::try_from(revision.number()).unwrap_or(i64::MAX)
}
