//! A transaction as a layer of writes over the documents it began with.

use super::{Documents, page};
use crate::limit::Allowance;
use crate::{Document, Error, LimitExceeded, PAGE_MAX, Read, Revision, Transaction};
use bytes::Bytes;
use std::collections::BTreeMap;

pub(super) struct MemoryTransaction {
    base: Documents,
    /// The revision this transaction takes if it writes.
    revision: Revision,
    /// What stands under each key touched; `None` is a removal.
    writes: BTreeMap<String, Option<Document>>,
    allowance: Allowance,
    doom: Option<LimitExceeded>,
}

impl MemoryTransaction {
    pub(super) fn new(base: Documents, revision: Revision) -> Self {
        Self { base, revision, writes: BTreeMap::new(), allowance: Allowance::default(), doom: None }
    }

    /// The writes to apply, or what doomed them.
    pub(super) fn finish(self) -> Result<BTreeMap<String, Option<Document>>, Error> {
        match self.doom {
            Some(limit) => Err(limit.into()),
            None => Ok(self.writes),
        }
    }

    fn charge(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.allowance.charge(key, value).map_err(|limit| {
            self.doom.get_or_insert_with(|| limit.clone());
            limit.into()
        })
    }

    fn current(&self, key: &str) -> Option<&Document> {
        match self.writes.get(key) {
            Some(written) => written.as_ref(),
            None => self.base.get(key),
        }
    }
}

impl Read for MemoryTransaction {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        Ok(self.current(key).cloned())
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        // Keys of the base, overlaid by those written: small enough to merge in a map.
        let limit = limit.min(PAGE_MAX);
        let is_in_page = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let mut merged: BTreeMap<&str, &Document> = page(&self.base, prefix, after)
            .filter(|document| !self.writes.contains_key(&document.key))
            .take(limit)
            .map(|document| (document.key.as_str(), document))
            .collect();
        for (key, written) in self.writes.iter().filter(|(key, _)| is_in_page(key)) {
            if let Some(document) = written {
                merged.insert(key, document);
            }
        }
        Ok(merged.into_values().take(limit).cloned().collect())
    }
}

impl Transaction for MemoryTransaction {
    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Error> {
        self.charge(key, &value)?;
        let created = self.current(key).map_or(self.revision, |document| document.created);
        let document = Document { key: key.to_owned(), value, created, modified: self.revision };
        self.writes.insert(key.to_owned(), Some(document));
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<bool, Error> {
        if self.current(key).is_none() {
            return Ok(false);
        }
        self.charge(key, &[])?;
        self.writes.insert(key.to_owned(), None);
        Ok(true)
    }
}
