//! The embedded backend: one SQLite file in a folder that one process owns.
//!
//! Write-ahead log, `synchronous=FULL`: an acknowledged transaction survives `kill -9` and a power cut (as far
//! as the disk keeps its word on `fsync`). Writers share one connection and one `COMMIT` for as many transactions
//! as were waiting ([`writer`]); readers have connections of their own ([`reader`]) and never wait for writers.
//! The statements stand in [`sql`], the tables in [`schema`]: the only two files that know the dialect.
//!
//! ```text
//! DIR/store.lock        held (flock) while a process has the store open
//! DIR/store.sqlite3     the documents and the feed; with -wal and -shm beside it while open
//! ```

mod failure;
mod open;
mod reader;
mod schema;
mod sql;
mod writer;

pub use open::{BYTES_MAX, OpenError, Options, Workload};
pub use schema::SCHEMA_VERSION;

use crate::subscription::Subscribers;
use crate::{
    Abort, Change, Committed, Error, PAGE_MAX, Read, Revision, Store, Subscription, Transaction, Wake,
};
use reader::Readers;
use std::fs::File;
use std::path::Path;
use writer::Writer;

/// An open SQLite store.
pub struct Sqlite {
    writer: Writer,
    readers: Readers,
    subscribers: Subscribers,
    // Last, so that the connections are closed before another process may open the store.
    _lock: File,
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
        self.writer.transact(f, &self.subscribers).map(|revision| Committed { revision })
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error> {
        Ok(Box::new(self.readers.snapshot()?))
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        self.readers.snapshot()?.changes(after, limit.clamp(1, PAGE_MAX))
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.subscribers.add(wake)
    }
}
