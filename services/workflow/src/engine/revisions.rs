//! Revisions of machines that nobody refers to any more leave.
//!
//! A revision is referred to by its machine while it is the current one, by versions, and by executions, which go on by it and may be
//! driven on by it. Finding the latter means reading the machine's executions, so it is done only where a machine has many revisions
//! beside those that it and its versions have, and again only when there are twice as many as were left. One leaves when two looks
//! in turn found nobody, and nothing has written it in between: what was about to start from it has started by then.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use selvedge_store::{Document, Error as StoreError, PAGE_MAX, Read, Revision as StoreRevision};

use super::Engine;
use crate::record::{self, ExecutionRecord, Machine, Version, key};

/// How many revisions of a machine may be there beside its own and its versions', before it is looked whether anybody refers to them.
pub const REVISIONS_SPARE_MAX: usize = 100;

/// What was found by the last look.
#[derive(Default)]
pub(super) struct Spare(Mutex<Found>);

#[derive(Default)]
struct Found {
    /// Revisions that nobody referred to, by their key, and when they were written last.
    unused: HashMap<String, StoreRevision>,
    /// From how many spare ones on a machine is looked at.
    from: HashMap<String, usize>,
}

impl Spare {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Removes what nobody refers to since the last look; gives back how many left.
    pub(super) fn sweep_revisions(&self) -> Result<u64, StoreError> {
        let before = std::mem::take(&mut self.spare.found().unused);
        let (mut after, mut count): (Option<String>, u64) = (None, 0);
        let mut of_machine: Vec<Document> = Vec::new();
        loop {
            let page = self.store.snapshot()?.scan("revision/", after.as_deref(), PAGE_MAX)?;
            let is_last = page.len() < PAGE_MAX;
            after = page.last().map(|last| last.key.clone());
            for found in page {
                let is_next = of_machine.first().is_some_and(|first| machine_of(first) != machine_of(&found));
                if is_next {
                    count += self.sweep_revisions_of(&std::mem::take(&mut of_machine), &before)?;
                }
                // The definition is not needed, and may be long.
                of_machine.push(Document { value: bytes::Bytes::new(), ..found });
            }
            if is_last {
                return Ok(count + self.sweep_revisions_of(&of_machine, &before)?);
            }
        }
    }

    fn sweep_revisions_of(
        &self,
        revisions: &[Document],
        before: &HashMap<String, StoreRevision>,
    ) -> Result<u64, StoreError> {
        // What has a colon is of map runs' children: each run writes it anew if it is not there, and may be about to start some.
        let Some(machine) = revisions.first().map(machine_of).filter(|machine| !machine.contains(':')) else {
            return Ok(0);
        };
        let own = own_revisions(&*self.store.snapshot()?, machine)?;
        let spare: Vec<&Document> = revisions.iter().filter(|found| !own.contains(&*found.key)).collect();
        let from = self.spare.found().from.get(machine).copied().unwrap_or(REVISIONS_SPARE_MAX + 1);
        let is_told = spare.iter().any(|found| before.contains_key(&found.key));
        if spare.len() < from && !is_told {
            return Ok(0);
        }
        let used = self.revisions_of_executions(machine)?;
        let unused: Vec<&Document> =
            spare.iter().copied().filter(|found| !used.contains(&*found.key)).collect();
        let mut count = 0;
        for found in &unused {
            if before.get(&found.key) == Some(&found.modified) {
                count += u64::from(self.remove_revision(machine, found)?);
            } else {
                self.spare.found().unused.insert(found.key.clone(), found.modified);
            }
        }
        let left = spare.len() - unused.len();
        self.spare.found().from.insert(machine.to_owned(), (left * 2).max(REVISIONS_SPARE_MAX + 1));
        Ok(count)
    }

    /// The keys of the revisions that a machine's executions refer to.
    fn revisions_of_executions(&self, machine: &str) -> Result<HashSet<String>, StoreError> {
        let mut used = HashSet::new();
        let (prefix, mut after): (_, Option<String>) = (format!("execution/{machine}/"), None);
        loop {
            let page = self.store.snapshot()?.scan(&prefix, after.as_deref(), PAGE_MAX)?;
            for found in &page {
                let record: ExecutionRecord = record::decode(found)?;
                used.insert(key::revision(machine, &record.revision));
            }
            if page.len() < PAGE_MAX {
                return Ok(used);
            }
            after = page.last().map(|last| last.key.clone());
        }
    }

    fn remove_revision(&self, machine: &str, found: &Document) -> Result<bool, StoreError> {
        let id = found.key.rsplit('/').next().unwrap_or_default();
        let mut is_removed = false;
        self.store.transact(&mut |tx| {
            is_removed = false;
            let stands = tx.get(&found.key)?.is_some_and(|now| now.modified == found.modified);
            if !stands || own_revisions(&*tx, machine)?.contains(&found.key) {
                return Ok(());
            }
            for part in tx.scan(&key::definitions(machine, id), None, PAGE_MAX)? {
                tx.delete(&part.key)?;
            }
            is_removed = tx.delete(&found.key)?;
            Ok(())
        })?;
        Ok(is_removed)
    }
}

fn machine_of(found: &Document) -> &str {
    found.key.split('/').nth(1).unwrap_or_default()
}

/// The keys of the revisions that a machine and its versions are.
fn own_revisions(view: &(impl Read + ?Sized), machine: &str) -> Result<HashSet<String>, StoreError> {
    let mut own = HashSet::new();
    if let Some(found) = view.get(&key::machine(machine))? {
        let found: Machine = record::decode(&found)?;
        own.insert(key::revision(machine, &found.revision));
    }
    let mut after: Option<String> = None;
    loop {
        let page = view.scan(&format!("version/{machine}/"), after.as_deref(), PAGE_MAX)?;
        for found in &page {
            let version: Version = record::decode(found)?;
            own.insert(key::revision(machine, &version.revision));
        }
        if page.len() < PAGE_MAX {
            return Ok(own);
        }
        after = page.last().map(|last| last.key.clone());
    }
}
