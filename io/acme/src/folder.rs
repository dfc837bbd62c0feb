//! [`Documents`] in a folder, for the edges of one machine.
//!
//! A database has one process at a time. Edges have little to say to it and say it seldom, so each opens it for a call and closes
//! it again, and waits for the others: several run side by side, and one takes over from another, over one folder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_store::Store;
use selvedge_store::sqlite::{OpenError, Sqlite};

use crate::documents::{self, Asked, Change, Documents, Kept, Seen, Unavailable};

/// How often is looked whether the others are done.
const TURN_WAIT: Duration = Duration::from_millis(10);
/// How often at most: ten seconds.
const TURNS_MAX: u32 = 1000;

/// A folder, which is made when it is first written.
#[derive(Clone, Debug)]
pub struct Folder {
    path: Arc<Path>,
    /// One call of this process at a time: it would wait for itself.
    turn: Arc<Mutex<()>>,
}

impl Folder {
    /// The folder at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), turn: Arc::default() }
    }

    fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T, Unavailable> + Send + 'static,
    ) -> Asked<'_, T> {
        let own = self.clone();
        let called = tokio::task::spawn_blocking(move || {
            let _turn = own.turn.lock().unwrap_or_else(PoisonError::into_inner);
            call(&open(&own.path)?)
        });
        Box::pin(async { called.await.unwrap_or_else(|_| Err(Unavailable("a call did not end".into()))) })
    }
}

impl Documents for Folder {
    fn get(&self, key: &str) -> Asked<'_, Option<Kept>> {
        let key = key.to_owned();
        self.with(move |store| documents::get(store, &key))
    }

    fn commit(&self, seen: Option<Seen>, changes: Vec<Change>) -> Asked<'_, Option<u64>> {
        self.with(move |store| documents::commit(store, seen.as_ref(), &changes))
    }
}

/// Opens the database as soon as no other process has it.
fn open(path: &Path) -> Result<Sqlite, Unavailable> {
    for _ in 0..TURNS_MAX {
        match Sqlite::open(path) {
            Err(OpenError::InUse { .. }) => std::thread::sleep(TURN_WAIT),
            opened => return opened.map_err(|error| Unavailable(error.to_string())),
        }
    }
    Err(Unavailable(format!("{} is in use by another process for too long", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changed_since_it_was_seen_is_not_written_over() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(home.path().join("store"));
        let seen = |revision| Some(Seen { key: "acme/a".into(), revision });
        let put = |text: &'static str| vec![Change::put("acme/a", text), Change::put("acme/b", text)];
        let first = folder.commit(seen(0), put("one")).await.expect("the store is there");
        let first = first.expect("there was none");
        assert_eq!(folder.commit(seen(0), put("two")).await, Ok(None));
        let kept = folder.get("acme/b").await.expect("the store is there");
        assert_eq!(kept, Some(Kept { value: "one".into(), revision: first }));
        let second = folder.commit(seen(first), vec![Change::delete("acme/a")]).await;
        assert!(second.is_ok_and(|second| second > Some(first)));
        assert_eq!(folder.get("acme/a").await, Ok(None));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn several_have_their_turns() {
        let home = tempfile::tempdir().expect("a folder");
        // As processes are, they know nothing of each other.
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let folder = Folder::new(home.path().join("store"));
                tokio::spawn(async move {
                    for turn in 0..5 {
                        let change = vec![Change::put(format!("acme/{number}/{turn}"), "here")];
                        assert!(folder.commit(None, change).await.is_ok_and(|written| written.is_some()));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends");
        }
        let folder = Folder::new(home.path().join("store"));
        for (number, turn) in (0..4).flat_map(|number| (0..5).map(move |turn| (number, turn))) {
            let found = folder.get(&format!("acme/{number}/{turn}")).await.expect("the store is there");
            assert!(found.is_some(), "{number}/{turn}");
        }
    }
}
