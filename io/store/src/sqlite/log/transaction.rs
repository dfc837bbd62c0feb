//! A transaction of a log: what it writes is in memory until its batch is sealed.

use super::super::reader;
use super::file::Write;
use super::pending::{Layer, scan_over};
use super::shared::Core;
use crate::limit::Allowance;
use crate::{Document, Error, Read, Revision, Transaction};
use bytes::Bytes;
use rusqlite::Connection;

pub(super) struct LogTransaction<'a> {
    core: &'a Core,
    /// For reading.
    connection: &'a Connection,
    /// The revision this transaction takes if it writes.
    revision: u64,
    own: Layer,
    writes: Vec<Write>,
    allowance: Allowance,
    doom: Option<Error>,
}

impl<'a> LogTransaction<'a> {
    pub(super) fn new(core: &'a Core, connection: &'a Connection, revision: u64) -> Self {
        let (own, allowance) = (Layer::default(), Allowance::default());
        Self { core, connection, revision, own, writes: Vec::new(), allowance, doom: None }
    }

    /// What it wrote, in order.
    ///
    /// # Errors
    /// The first one of any of its methods.
    pub(super) fn finish(self) -> Result<Vec<Write>, Error> {
        match self.doom {
            Some(doom) => Err(doom),
            None => Ok(self.writes),
        }
    }

    fn doomed<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.doom.get_or_insert_with(|| error.clone());
        }
        result
    }

    fn write(&mut self, key: &str, value: Option<Bytes>) -> Result<(), Error> {
        self.allowance.charge(key, value.as_deref().unwrap_or_default())?;
        self.own.write(key, value.clone(), self.revision);
        self.writes.push(Write { revision: self.revision, key: key.to_owned(), value });
        Ok(())
    }

    /// What the batch has over the database.
    fn get_under(&self, key: &str) -> Result<Option<Document>, Error> {
        // The writer is the only one who adds; what the applier takes away between these two looks is in the database then.
        let version = self.core.shared().layer.get(key, self.revision).cloned();
        match version {
            Some(version) if version.value.is_none() => Ok(None),
            Some(version) => {
                let under = reader::get(self.connection, key)?;
                Ok(version.document(key, under.map(|document| document.created)))
            }
            None => reader::get(self.connection, key),
        }
    }

    fn scan_under(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        scan_over(
            (prefix, after, limit),
            |after, upto, puts_max| {
                self.core.shared().layer.range(prefix, after, upto, (self.revision, puts_max))
            },
            |after, limit| reader::scan(self.connection, prefix, after, limit),
        )
    }
}

impl Read for LogTransaction<'_> {
    fn revision(&self) -> Revision {
        Revision::new(self.revision)
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        match self.own.get(key, self.revision) {
            Some(version) if version.value.is_none() => Ok(None),
            Some(version) => {
                let under = self.get_under(key)?;
                Ok(version.clone().document(key, under.map(|document| document.created)))
            }
            None => self.get_under(key),
        }
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        // The database is looked at before the layer: what is applied meanwhile must not leave the layer.
        let floor = self.core.shared().open_view();
        let page = scan_over(
            (prefix, after, limit),
            |after, upto, puts_max| self.own.range(prefix, after, upto, (self.revision, puts_max)),
            |after, limit| self.scan_under(prefix, after, limit),
        );
        self.core.shared().close_view(floor);
        page
    }
}

impl Transaction for LogTransaction<'_> {
    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Error> {
        let written = self.write(key, Some(value));
        self.doomed(written)
    }

    fn delete(&mut self, key: &str) -> Result<bool, Error> {
        let found = self.get(key);
        if self.doomed(found)?.is_none() {
            return Ok(false);
        }
        let written = self.write(key, None);
        self.doomed(written).map(|()| true)
    }
}
