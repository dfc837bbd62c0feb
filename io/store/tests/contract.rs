//! What every backend promises, checked against each: `sqlite` in a temporary folder, once with a feed and once with a log, and
//! `memory` in memory.

#[path = "contract/documents.rs"]
mod documents;
#[path = "contract/feed.rs"]
mod feed;
#[path = "contract/leases.rs"]
mod leases;
#[path = "contract/model.rs"]
mod model;
#[path = "contract/transactions.rs"]
mod transactions;

use bytes::Bytes;
use selvedge_store::memory::Memory;
use selvedge_store::sqlite::{Options, Workload};
use selvedge_store::{Error, RETAINED_REVISIONS, Revision, Store, Transaction, WriteError};
use tempfile::TempDir;

/// A fresh store of some backend.
struct Fixture {
    store: Box<dyn Store>,
    _dir: Option<TempDir>,
}

/// Makes a [`Fixture`] whose feed keeps so many revisions.
type Make = fn(u64) -> Fixture;

fn memory(retained: u64) -> Fixture {
    Fixture { store: Box::new(Memory::new().retaining(retained)), _dir: None }
}

fn sqlite(retained: u64) -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = Options { retained_revisions: retained, ..Options::default() };
    let store = options.open(dir.path()).expect("an empty folder opens");
    Fixture { store: Box::new(store), _dir: Some(dir) }
}

/// The same file, acknowledged by a log; it has no feed.
fn log(_retained: u64) -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = Options { workload: Workload::Log, ..Options::default() };
    let store = options.open(dir.path()).expect("an empty folder opens");
    Fixture { store: Box::new(store), _dir: Some(dir) }
}

impl Fixture {
    fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Writes in one transaction; `None` deletes.
    fn write(&self, writes: &[(&str, Option<&str>)]) -> Result<Revision, Error> {
        write(self.store(), writes)
    }

    fn put(&self, key: &str, value: &str) -> Revision {
        self.write(&[(key, Some(value))]).expect("a plain write succeeds")
    }

    fn value(&self, key: &str) -> Option<String> {
        let document = self.store().snapshot().and_then(|view| view.get(key)).expect("reading succeeds");
        document.map(|document| text(&document.value))
    }
}

fn write(store: &dyn Store, writes: &[(&str, Option<&str>)]) -> Result<Revision, Error> {
    let written = store.write(|tx| apply(tx, writes).map_err(WriteError::<()>::from));
    match written {
        Ok(((), revision)) => Ok(revision),
        Err(WriteError::Store(error)) => Err(error),
        Err(WriteError::Refused(())) => unreachable!("nothing here refuses"),
    }
}

fn apply(tx: &mut dyn Transaction, writes: &[(&str, Option<&str>)]) -> Result<(), Error> {
    for (key, value) in writes {
        match value {
            Some(value) => tx.put(key, Bytes::copy_from_slice(value.as_bytes()))?,
            None => drop(tx.delete(key)?),
        }
    }
    Ok(())
}

fn text(value: &Bytes) -> String {
    String::from_utf8(value.to_vec()).expect("these tests write text")
}

/// One `#[test]` per fact and backend.
macro_rules! contract {
    (all { $($module:ident: $($fact:ident),+ $(,)?;)+ } feed { $($feed:ident: $($of_feed:ident),+ $(,)?;)+ }) => {
        mod on_log {
            $($(#[test] fn $fact() { super::$module::$fact(super::log); })+)+
        }
        contract! { each: $($module: $($fact),+;)+ $($feed: $($of_feed),+;)+ }
    };
    (each: $($module:ident: $($fact:ident),+;)+) => {
        mod on_memory {
            $($(#[test] fn $fact() { super::$module::$fact(super::memory); })+)+
        }
        mod on_sqlite {
            $($(#[test] fn $fact() { super::$module::$fact(super::sqlite); })+)+
        }
    };
}

contract! {
    all {
    documents: a_new_store_is_empty_at_revision_zero, created_survives_overwriting_and_not_deleting,
        scans_page_in_byte_order, a_snapshot_stays_as_it_was, bounds_are_enforced_and_doom_the_transaction;
    transactions: a_transaction_reads_its_own_writes, a_refused_transaction_leaves_nothing,
        a_transaction_that_writes_nothing_takes_no_revision, a_panic_leaves_the_store_usable,
        concurrent_increments_are_all_counted, an_error_ignored_by_the_closure_still_rolls_back;
    leases: a_lease_has_one_holder_until_its_time_is_over, a_lease_is_renewed_in_its_epoch_and_given_back;
    }
    feed {
    feed: one_entry_a_key_in_order, pages_end_with_whole_revisions, old_revisions_are_compacted,
        a_reader_from_the_future_is_told, subscribers_hear_of_commits_until_dropped,
        concurrent_writers_leave_no_gap;
    model: agrees_with_the_reference_model;
    }
}

#[test]
fn the_default_retention_is_the_documented_one() {
    assert_eq!(Options::default().retained_revisions, RETAINED_REVISIONS);
}
