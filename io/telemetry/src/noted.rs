//! Which clusters may have something to tell: of thousands a scrape looks at these alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The names of clusters that were called, that are probed, or not all of whose hosts have been well. Workers add one with the
/// first request of a cluster, so that the lock is none of a request's.
#[derive(Debug, Default)]
pub(crate) struct Noted(Mutex<BTreeSet<Arc<str>>>);

/// One cluster's way to be noted.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) name: Arc<str>,
    pub(crate) noted: Arc<Noted>,
}

impl Noted {
    /// Calls `visit` with each name in order; those for which it says no are forgotten.
    pub(crate) fn retain(&self, mut visit: impl FnMut(&Arc<str>) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| visit(name));
    }
}

impl Note {
    pub(crate) fn take(&self) {
        let mut names = self.noted.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.contains(&self.name) {
            names.insert(Arc::clone(&self.name));
        }
    }
}
