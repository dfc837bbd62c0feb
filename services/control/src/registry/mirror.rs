//! The registry in memory, never behind the store.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use selvedge_registry::document::{Key, PREFIX};
use selvedge_registry::{Snapshot, Touched};
use selvedge_store::{Error, PAGE_MAX, Revision, Store};

/// Reads the change feed when it is asked, so that whoever wrote reads what they wrote.
pub struct Mirror {
    store: Arc<dyn Store>,
    // A lock and not a swapped snapshot: to copy tens of thousands of instances for each change would cost more than the
    // short wait of readers while a change is taken.
    state: RwLock<State>,
}

/// The registry at a revision.
#[derive(Default)]
pub struct State {
    pub snapshot: Snapshot,
    position: Option<Revision>,
}

impl Mirror {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, state: RwLock::default() }
    }

    /// The registry as the store has it. May block on the store; must not be called inside a transaction.
    ///
    /// # Errors
    /// The store's.
    pub fn read(&self) -> Result<RwLockReadGuard<'_, State>, Error> {
        let wanted = self.store.revision()?;
        let is_fresh = |state: &State| state.position.is_some_and(|position| position >= wanted);
        // Nothing panics between the parts of a change.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if is_fresh(&state) {
            return Ok(state);
        }
        drop(state);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !is_fresh(&state) {
            state.catch_up(&*self.store)?;
        }
        drop(state);
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The registry as it was last read, without a look at the store.
    pub fn last_read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads what is new; what it was about.
    ///
    /// # Errors
    /// The store's. Nothing is lost: the next call reads it.
    pub fn catch_up(&mut self, store: &dyn Store) -> Result<Vec<Touched>, Error> {
        let Some(position) = self.position else { return self.load(store) };
        match self.follow(store, position) {
            Err(Error::Compacted { .. } | Error::Ahead { .. }) => self.load(store),
            other => other,
        }
    }

    fn load(&mut self, store: &dyn Store) -> Result<Vec<Touched>, Error> {
        let view = store.snapshot()?;
        let mut snapshot = Snapshot::at(view.revision().number());
        let mut touched = Vec::new();
        for document in view.scan_all(PREFIX)? {
            if let Some(key) = Key::parse(&document.key) {
                let revision = document.modified.number();
                touched.push(snapshot.apply(&key, Some(&document.value), revision));
            }
        }
        self.position = Some(view.revision());
        self.snapshot = snapshot;
        Ok(touched)
    }

    fn follow(&mut self, store: &dyn Store, position: Revision) -> Result<Vec<Touched>, Error> {
        let view = store.snapshot()?;
        let mut changed: BTreeMap<String, Revision> = BTreeMap::new();
        let mut after = position;
        while after < view.revision() {
            let page = store.changes(after, PAGE_MAX)?;
            let Some(last) = page.last() else { break };
            after = last.revision;
            let ours = page.into_iter().filter(|change| change.key.starts_with(PREFIX));
            changed.extend(ours.map(|change| (change.key, change.revision)));
        }
        let mut read = Vec::with_capacity(changed.len());
        for (stored, revision) in changed {
            if let Some(key) = Key::parse(&stored) {
                read.push((key, view.get(&stored)?, revision));
            }
        }
        let apply = |(key, document, revision): (Key, Option<selvedge_store::Document>, Revision)| {
            let value = document.as_ref().map(|document| &document.value[..]);
            self.snapshot.apply(&key, value, revision.number())
        };
        let touched = read.into_iter().map(apply).collect();
        self.position = Some(view.revision());
        Ok(touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_store::WriteError;
    use selvedge_store::memory::Memory;

    fn put(store: &dyn Store, key: &Key, value: Option<&str>) {
        let written: Result<_, WriteError<()>> = store.write(|tx| {
            match value {
                Some(value) => tx.put(&key.to_string(), value.to_owned().into())?,
                None => drop(tx.delete(&key.to_string())?),
            }
            Ok(())
        });
        written.expect("it is written");
    }

    #[test]
    fn a_reader_sees_what_was_written_before_and_after_it_was_made() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let tags = Key::Tags("ns-1".into());
        put(&*store, &tags, Some(r#"{"a":"1"}"#));
        let mirror = Mirror::new(Arc::clone(&store));
        let shown = |mirror: &Mirror| {
            let state = mirror.read().expect("it reads");
            state.snapshot.tags("ns-1").map(|tags| tags["a"].clone())
        };
        assert_eq!(shown(&mirror).as_deref(), Some("1"));
        put(&*store, &tags, Some(r#"{"a":"2"}"#));
        assert_eq!(shown(&mirror).as_deref(), Some("2"));
        put(&*store, &tags, None);
        assert_eq!(shown(&mirror), None);
    }
}
