//! The embedded backend: one SQLite file in a folder that one process owns.
//!
//! Write-ahead log, `synchronous=FULL`: an acknowledged transaction survives `kill -9` and a power cut (as far
//! as the disk keeps its word on `fsync`). Writers share one connection and one `COMMIT` for as many transactions
//! as were waiting ([`turns`]); readers have connections of their own ([`reader`]) and never wait for writers.
//! The statements stand in [`sql`], the tables in [`schema`]: the only two files that know the dialect.
//!
//! ```text
//! DIR/store.lock        held (flock) while a process has the store open
//! DIR/store.sqlite3     the documents and the feed; with -wal and -shm beside it while open
//! DIR/store.log         of Workload::Log: what is acknowledged and not in the database yet
//! ```

mod failure;
mod log;
mod open;
mod reader;
mod schema;
mod sql;
mod turns;
mod writer;

pub use log::{KEPT_BYTES_MAX, LOG_BYTES};
pub use open::{BYTES_MAX, OpenError, Options, Workload};
pub use schema::SCHEMA_VERSION;

use crate::subscription::Subscribers;
use crate::{
    Abort, Change, Committed, Error, PAGE_MAX, Read, Revision, Store, Subscription, Transaction, Wake,
};
use log::Log;
use reader::Readers;
use std::fs::File;
use std::path::Path;
use writer::Writer;

/// An open SQLite store.
pub struct Sqlite {
    writer: Writing,
    readers: Readers,
    subscribers: Subscribers,
    // Last, so that the connections are closed before another process may open the store.
    _lock: File,
}

/// How it is written.
enum Writing {
    Followed(Writer),
    Log(Log),
}

impl Sqlite {
    /// Opens the store in `dir`, creating folder and store as needed, with default [`Options`].
    ///
    /// # Errors
    /// See [`OpenError`]; each is meant for the person who started the process.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Options::default().open(dir)
    }
}

impl Store for Sqlite {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        let committed = match &self.writer {
            Writing::Followed(writer) => writer.transact(f, &self.subscribers),
            Writing::Log(log) => log.transact(f, &self.subscribers),
        };
        committed.map(|revision| Committed { revision })
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error> {
        match &self.writer {
            Writing::Followed(_) => Ok(Box::new(self.readers.snapshot()?)),
            Writing::Log(log) => log.snapshot(&self.readers),
        }
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        let Writing::Log(log) = &self.writer else {
            return self.readers.snapshot()?.changes(after, limit.clamp(1, PAGE_MAX));
        };
        // It has no feed: whoever asks for one is told that it begins here.
        let last = log.revision();
        match after.cmp(&last) {
            std::cmp::Ordering::Less => Err(Error::Compacted { after, oldest: last }),
            std::cmp::Ordering::Equal => Ok(Vec::new()),
            std::cmp::Ordering::Greater => Err(Error::Ahead { after, last }),
        }
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.subscribers.add(wake)
    }
}
