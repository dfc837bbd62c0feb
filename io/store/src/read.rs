//! Reading documents, inside a transaction or from a snapshot.

use crate::{Document, Error, PAGE_MAX, Revision};

/// A consistent view of all documents.
pub trait Read {
    /// The revision this view stands at. Inside a transaction: the one it takes if it writes.
    fn revision(&self) -> Revision;

    /// The document under `key`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    fn get(&self, key: &str) -> Result<Option<Document>, Error>;

    /// Documents whose key starts with `prefix` and sorts after `after`, in key order, at most `limit`
    /// (and never more than [`PAGE_MAX`]). Pass the last key of a page as `after` to go on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error>;
}

impl dyn Read + '_ {
    /// Every document whose key starts with `prefix`, in key order, however many pages that takes. The caller
    /// answers for there not being too many.
    ///
    /// # Errors
    /// Those of [`Read::scan`].
    pub fn scan_all(&self, prefix: &str) -> Result<Vec<Document>, Error> {
        let mut all: Vec<Document> = Vec::new();
        loop {
            let page = self.scan(prefix, all.last().map(|last| last.key.as_str()), PAGE_MAX)?;
            let is_last = page.len() < PAGE_MAX;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}
