//! A view of a log: the database, and over it what the database does not have yet.

use super::super::reader;
use super::KEPT_BYTES_MAX;
use super::pending::scan_over;
use super::shared::Core;
use crate::{Document, Error, Read, Revision};

/// A view that stays as it is.
///
/// It notes how far the database is, then opens the database's own view, which is there or further on. What has been acknowledged
/// by then is in that view or in the layer, and the layer keeps it for as long as this view is open.
pub(super) struct View<'a> {
    core: &'a Core,
    floor: u64,
    /// None only before the view is complete.
    database: Option<reader::Snapshot<'a>>,
    revision: u64,
}

impl<'a> View<'a> {
    pub(super) fn open(core: &'a Core, readers: &'a reader::Readers) -> Result<Self, Error> {
        let (floor, last) = {
            let mut shared = core.shared();
            (shared.open_view(), shared.last)
        };
        let mut view = Self { core, floor, database: None, revision: last };
        let database = readers.snapshot()?;
        view.revision = last.max(database.revision().number());
        view.database = Some(database);
        Ok(view)
    }

    fn database(&self) -> &reader::Snapshot<'a> {
        self.database.as_ref().expect("a view that was opened has one")
    }
}

impl Read for View<'_> {
    fn revision(&self) -> Revision {
        Revision::new(self.revision)
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        let version = self.core.shared().layer.get(key, self.revision).cloned();
        let under = self.database().get(key)?;
        Ok(match version {
            Some(version) => version.document(key, under.map(|document| document.created)),
            None => under,
        })
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        scan_over(
            (prefix, after, limit),
            |after, upto, puts_max| {
                self.core.shared().layer.range(prefix, after, upto, (self.revision, puts_max))
            },
            |after, limit| self.database().scan(prefix, after, limit),
        )
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let mut shared = self.core.shared();
        let is_much = shared.layer.bytes() > KEPT_BYTES_MAX;
        shared.close_view(self.floor);
        if is_much {
            self.core.done.notify_all();
        }
    }
}
