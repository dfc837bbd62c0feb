//! What is particular to the SQLite backend: its folder, its file, its start-up and its end.

use bytes::Bytes;
use rusqlite::Connection;
use selvedge_store::sqlite::{OpenError, Options, SCHEMA_VERSION, Sqlite, Workload};
use selvedge_store::{Abort, Error, Revision, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn data_file(dir: &Path) -> PathBuf {
    dir.join("store.sqlite3")
}

/// A closed store with enough documents to fill many pages.
fn filled(dir: &Path) {
    let store = Sqlite::open(dir).expect("an empty folder opens");
    for number in 0..200 {
        let value = Bytes::from(vec![b'x'; 1000]);
        store
            .transact(&mut |tx| tx.put(&format!("key/{number}"), value.clone()).map_err(Abort::from))
            .expect("writing succeeds");
    }
}

#[test]
fn documents_feed_and_retention_survive_reopening() {
    let dir = folder();
    filled(dir.path());
    let store = Options { retained_revisions: 5, ..Options::default() }.open(dir.path()).unwrap();
    assert_eq!(store.changes(Revision::ZERO, 500).unwrap().len(), 200);
    let committed = store.transact(&mut |tx| tx.put("last", Bytes::new()).map_err(Abort::from)).unwrap();
    assert_eq!(committed.revision, Revision::new(201));
    assert!(matches!(store.changes(Revision::ZERO, 500), Err(Error::Compacted { .. })));
    assert_eq!(store.snapshot().unwrap().scan_all("key/").unwrap().len(), 200);
}

#[test]
fn a_store_is_open_only_once() {
    let dir = folder();
    let store = Sqlite::open(dir.path()).unwrap();
    let second = Sqlite::open(dir.path()).err().expect("the folder is taken");
    assert!(matches!(second, OpenError::InUse { .. }));
    assert!(second.to_string().ends_with("another process is using it"), "{second}");
    drop(store);
    assert!(Sqlite::open(dir.path()).is_ok());
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = folder();
    filled(dir.path());
    let newer = SCHEMA_VERSION + 1;
    let raw = Connection::open(data_file(dir.path())).unwrap();
    raw.pragma_update(None, "user_version", newer).unwrap();
    drop(raw);
    let before = fs::read(data_file(dir.path())).unwrap();
    let refused = Sqlite::open(dir.path()).err().expect("a later release wrote this");
    assert!(matches!(refused, OpenError::NewerSchema { found, known: SCHEMA_VERSION, .. } if found == newer));
    assert_eq!(fs::read(data_file(dir.path())).unwrap(), before);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let dir = folder();
    let raw = Connection::open(data_file(dir.path())).unwrap();
    raw.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(raw);
    let before = fs::read(data_file(dir.path())).unwrap();
    assert!(matches!(Sqlite::open(dir.path()), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::read(data_file(dir.path())).unwrap(), before);
}

#[test]
fn a_damaged_file_is_named_as_such() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 5] = [
        ("emptied", Vec::clear),
        ("not a database", |file| *file = b"something else entirely, and long enough to look at".repeat(9)),
        ("cut in half", |file| file.truncate(file.len() / 2)),
        ("cut within the header", |file| file.truncate(50)),
        ("overwritten in the middle", |file| {
            let middle = file.len() / 2;
            file[middle..middle + 8192].fill(0xff);
        }),
    ];
    for (name, damage) in damages {
        let dir = folder();
        filled(dir.path());
        let mut file = fs::read(data_file(dir.path())).unwrap();
        damage(&mut file);
        fs::write(data_file(dir.path()), file).unwrap();
        let refused = Sqlite::open(dir.path()).err().unwrap_or_else(|| panic!("{name}: opened"));
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{name}: {refused:?}");
        assert!(refused.to_string().contains("store.sqlite3"), "{name}: {refused}");
    }
}

#[test]
fn a_full_store_refuses_writes_whole_and_goes_on_when_there_is_room() {
    let dir = folder();
    let store = Options { bytes_max: 512 << 10, ..Options::default() }.open(dir.path()).unwrap();
    let put = |key: String, bytes: usize| {
        let value = Bytes::from(vec![b'x'; bytes]);
        store.transact(&mut |tx| {
            tx.put(&format!("{key}/first"), value.clone())?;
            tx.put(&format!("{key}/second"), value.clone())?;
            Ok::<_, Abort>(())
        })
    };
    let written = (0..).take_while(|number| put(number.to_string(), 20_000).is_ok()).count();
    assert!(written > 3, "{written} transactions fit");
    assert_eq!(put("beyond".to_owned(), 20_000), Err(Error::Full));

    // Whoever reads goes on meanwhile.
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| store.snapshot().map(|view| view.revision()));
        let writer = scope.spawn(|| put("large".to_owned(), 200_000));
        assert_eq!(reader.join().unwrap(), Ok(Revision::new(written as u64)));
        assert_eq!(writer.join().unwrap(), Err(Error::Full));
    });
    let view = store.snapshot().unwrap();
    assert_eq!(view.scan_all("").unwrap().len(), 2 * written, "nothing is half there");
    drop(view);
    for key in ["0/first", "0/second", "1/first", "1/second"] {
        store.transact(&mut |tx| tx.delete(key).map(drop).map_err(Abort::from)).expect("a delete makes room");
    }
    let revision = put("beyond".to_owned(), 20_000).expect("there is room again").revision;
    assert_eq!(revision, Revision::new(written as u64 + 5), "what failed took no revision");
}

#[test]
fn the_folder_is_the_owners_alone() {
    let dir = folder();
    let nested = dir.path().join("a/b");
    let _store = Sqlite::open(&nested).unwrap();
    assert_eq!(fs::metadata(&nested).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = folder();
    let occupied = dir.path().join("file");
    fs::write(&occupied, "").unwrap();
    assert!(matches!(Sqlite::open(&occupied), Err(OpenError::Folder { .. })));
}

#[test]
fn an_empty_folder_opens_at_once() {
    // The best of several, so that a busy machine does not fail it: the bound is on our work.
    let best = (0..5).map(|_| {
        let dir = folder();
        let begun = Instant::now();
        let _store = Sqlite::open(dir.path()).unwrap();
        begun.elapsed()
    });
    let best = best.min().expect("five runs");
    assert!(best < Duration::from_millis(50), "opening took {best:?}");
}

#[test]
fn a_log_has_no_feed_and_says_so() {
    let dir = folder();
    let put = |store: &Sqlite, key: &str| {
        let put = &mut |tx: &mut dyn selvedge_store::Transaction| Ok::<_, Abort>(tx.put(key, Bytes::new())?);
        store.transact(put).unwrap().revision
    };
    let log = Options { workload: Workload::Log, ..Options::default() }.open(dir.path()).unwrap();
    put(&log, "a");
    let last = put(&log, "b");
    let compacted = Error::Compacted { after: Revision::ZERO, oldest: last };
    assert_eq!(log.changes(Revision::ZERO, 10), Err(compacted.clone()));
    assert_eq!(log.changes(last, 10), Ok(Vec::new()));
    drop(log);
    // Opened as a store that is followed, its feed begins where the log ended.
    let followed = Sqlite::open(dir.path()).unwrap();
    put(&followed, "c");
    assert_eq!(followed.changes(Revision::ZERO, 10), Err(compacted));
    assert_eq!(followed.changes(last, 10).unwrap().len(), 1);
}

#[test]
fn a_log_that_was_killed_takes_no_revision_twice() {
    let (dir, killed) = (folder(), folder());
    let open = |dir: &Path| Options { workload: Workload::Log, ..Options::default() }.open(dir).unwrap();
    let put = |store: &Sqlite, key: &str| {
        let put = &mut |tx: &mut dyn selvedge_store::Transaction| Ok::<_, Abort>(tx.put(key, Bytes::new())?);
        store.transact(put).unwrap().revision
    };
    let log = open(dir.path());
    let refused = log.transact(&mut |tx| {
        tx.put("refused", Bytes::new())?;
        Err(Abort::Refused)
    });
    assert_eq!(refused, Err(Error::Refused));
    let last = [put(&log, "a"), put(&log, "b")][1];
    assert_eq!((last, log.snapshot().unwrap().revision()), (Revision::new(2), last));
    // As a kill leaves it: nothing has been closed.
    for file in ["store.sqlite3", "store.sqlite3-wal", "store.log"] {
        fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }
    let again = open(killed.path());
    let view = again.snapshot().unwrap();
    assert_eq!(view.get("b").unwrap().unwrap().modified, last);
    assert!(view.get("refused").unwrap().is_none());
    drop(view);
    let next = put(&again, "c");
    assert!(next > last, "{next} after {last}");
    assert_eq!(again.snapshot().unwrap().get("c").unwrap().unwrap().created, next);
    // Closed in peace, it is the same.
    drop(log);
    assert_eq!(put(&open(dir.path()), "c"), last.next());
}
