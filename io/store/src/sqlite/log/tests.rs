//! A log beside the simplest thing that could be right, with a database that lags behind and a disk that fails.

use super::file::Medium;
use super::*;
use crate::sqlite::{Options, Sqlite, Workload, Writing, open};
use crate::{Document, Store};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

const KEYS: [&str; 7] = ["a", "a/b", "a/b/c", "a0", "b", "b/é", "c"];

/// Key → created, modified, value.
type Documents = BTreeMap<String, (u64, u64, String)>;

fn open_log(dir: &Path) -> Sqlite {
    Options { workload: Workload::Log, ..Options::default() }.open(dir).expect("it opens")
}

fn log_of(store: &Sqlite) -> &Log {
    match &store.writer {
        Writing::Log(log) => log,
        Writing::Followed(_) => panic!("a log was opened"),
    }
}

/// What a kill would leave.
fn copy(dir: &Path) -> tempfile::TempDir {
    let killed = tempfile::tempdir().expect("a temporary folder");
    for file in ["store.sqlite3", "store.sqlite3-wal", "store.log"] {
        if dir.join(file).is_file() {
            fs::copy(dir.join(file), killed.path().join(file)).expect("it is copied");
        }
    }
    killed
}

fn put(store: &dyn Store, key: &str, value: &str) -> Result<Revision, Error> {
    let value = Bytes::copy_from_slice(value.as_bytes());
    store.transact(&mut |tx| Ok(tx.put(key, value.clone())?)).map(|committed| committed.revision)
}

fn shown(documents: Vec<Document>) -> Documents {
    let show = |found: Document| {
        let value = String::from_utf8(found.value.to_vec()).expect("these tests write text");
        (found.key, (found.created.number(), found.modified.number(), value))
    };
    documents.into_iter().map(show).collect()
}

/// Everything, in pages of all sizes and key by key.
fn check(view: &dyn Read, expected: &Documents, what: &str) {
    for limit in 1..=KEYS.len() + 1 {
        let (mut all, mut after): (Vec<Document>, Option<String>) = (Vec::new(), None);
        loop {
            let page = view.scan("", after.as_deref(), limit).expect("it reads");
            after = page.last().map(|last| last.key.clone());
            let is_last = page.len() < limit;
            all.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(&shown(all), expected, "{what}, pages of {limit}");
    }
    for prefix in ["a", "a/", "b", "c/"] {
        let below: Documents = expected
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, found)| (key.clone(), found.clone()))
            .collect();
        assert_eq!(shown(view.scan_all(prefix).expect("it reads")), below, "{what}, below {prefix}");
    }
    for key in KEYS {
        let found = shown(view.get(key).expect("it reads").into_iter().collect());
        assert_eq!(found.get(key), expected.get(key), "{what}, {key}");
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[test]
fn views_and_restarts_agree_with_a_model_wherever_the_database_is() {
    for seed in 0..5 {
        let mut chance = Chance(seed);
        let mut dir = tempfile::tempdir().expect("a temporary folder");
        let mut store = open_log(dir.path());
        let (mut model, mut last) = (Documents::new(), 0);
        for _ in 0..4 {
            let mut views = Vec::new();
            for step in 0..40 {
                let revision = last + 1;
                let mut next = model.clone();
                let writes: Vec<(&str, Option<String>)> = (0..=chance.below(3))
                    .map(|_| {
                        let key = KEYS[usize::try_from(chance.below(7)).expect("it is small")];
                        (key, (chance.below(3) > 0).then(|| format!("{revision}/{}", chance.below(99))))
                    })
                    .collect();
                let mut is_write = false;
                for (key, value) in &writes {
                    match value {
                        Some(value) => {
                            let created = next.get(*key).map_or(revision, |found| found.0);
                            next.insert((*key).to_owned(), (created, revision, value.clone()));
                            is_write = true;
                        }
                        None => is_write |= next.remove(*key).is_some(),
                    }
                }
                let is_refused = chance.below(8) == 0;
                let expected = next.clone();
                let outcome = store.transact(&mut |tx| {
                    for (key, value) in &writes {
                        match value {
                            Some(value) => tx.put(key, Bytes::copy_from_slice(value.as_bytes()))?,
                            None => drop(tx.delete(key)?),
                        }
                    }
                    check(&*tx, &expected, "within the transaction");
                    if is_refused { Err(Abort::Refused) } else { Ok(()) }
                });
                if is_refused {
                    assert_eq!(outcome, Err(Error::Refused));
                } else {
                    last += u64::from(is_write);
                    model = next;
                    assert_eq!(outcome.expect("it is written").revision, Revision::new(last));
                }
                match chance.below(6) {
                    0 => log_of(&store).core.apply(last).expect("it is applied"),
                    1 => views.push((store.snapshot().expect("it reads"), model.clone(), last)),
                    2 if !views.is_empty() => drop(views.swap_remove(0)),
                    _ => {}
                }
                for (view, expected, at) in &views {
                    assert_eq!(view.revision(), Revision::new(*at));
                    check(&**view, expected, &format!("seed {seed}, step {step}, a view of revision {at}"));
                }
                check(&*store.snapshot().expect("it reads"), &model, &format!("seed {seed}, step {step}"));
            }
            drop(views);
            if chance.below(2) == 0 {
                // Killed: the copy is what is there.
                dir = copy(dir.path());
            }
            drop(store);
            store = open_log(dir.path());
            let view = store.snapshot().expect("it reads");
            assert_eq!(view.revision(), Revision::new(last), "seed {seed}, after a restart");
            check(&*view, &model, &format!("seed {seed}, after a restart"));
        }
        assert!(last > 100, "there was little to compare");
    }
}

/// A disk that fails when it is told to.
struct Failing {
    file: fs::File,
    fails: Arc<AtomicBool>,
    kind: io::ErrorKind,
    /// What is written gets there nevertheless.
    is_written: bool,
}

impl Medium for Failing {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) && !self.is_written {
            return Err(self.kind.into());
        }
        Medium::write_at(&self.file, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(self.kind.into());
        }
        self.file.sync_data()
    }
}

#[test]
fn what_the_file_failed_did_not_happen_whatever_is_in_it_and_the_database_goes_on() {
    for (kind, is_written) in [(io::ErrorKind::StorageFull, false), (io::ErrorKind::Other, true)] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        drop(open_log(dir.path()));
        let (path, data) = (dir.path().join("store.log"), dir.path().join("store.sqlite3"));
        let fails = Arc::new(AtomicBool::new(false));
        let file = fs::File::options().write(true).open(&path).expect("it is there");
        let file = LogFile::new(
            Box::new(Failing { file, fails: Arc::clone(&fails), kind, is_written }),
            file::Place::default(),
        );
        let connections = [open::connect(&data).unwrap(), open::connect(&data).unwrap()];
        let log = Log::over(connections, file, Revision::ZERO, Vec::new()).unwrap();
        let (readers, subscribers) = (Readers::new(data), Subscribers::default());
        let write =
            |key: &str| log.transact(&mut |tx| Ok(tx.put(key, Bytes::from_static(b"x"))?), &subscribers);
        write("before").unwrap();
        fails.store(true, Ordering::SeqCst);
        let refused = write("failed").unwrap_err();
        match kind {
            io::ErrorKind::StorageFull => assert_eq!(refused, Error::Full),
            _ => assert!(matches!(refused, Error::Unavailable(_)), "{refused}"),
        }
        let keys = |view: &dyn Read| -> Vec<String> {
            view.scan_all("").unwrap().into_iter().map(|found| found.key).collect()
        };
        assert_eq!(keys(&*log.snapshot(&readers).unwrap()), ["before"]);
        // As a kill leaves it: the record may well be in the file.
        let killed = copy(dir.path());
        assert_eq!(keys(&*open_log(killed.path()).snapshot().unwrap()), ["before"]);
        let last = write("after").expect("the database takes it");
        assert!(last > Revision::new(2), "the failed one's revision is not taken again");
        let killed = copy(dir.path());
        assert_eq!(keys(&*open_log(killed.path()).snapshot().unwrap()), ["after", "before"]);
    }
}

#[test]
fn a_log_that_is_damaged_is_told_and_not_passed_over() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open_log(dir.path());
    let killed = copy(dir.path());
    put(&store, "a", "1").unwrap();
    put(&store, "b", "2").unwrap();
    // The database has neither, and the first one's record is bent.
    let mut log = fs::read(dir.path().join("store.log")).unwrap();
    log[40] ^= 1;
    fs::write(killed.path().join("store.log"), log).unwrap();
    for workload in [Workload::Log, Workload::Followed] {
        let refused = Options { workload, ..Options::default() }.open(killed.path()).err();
        let refused = refused.expect("it is damaged").to_string();
        assert!(refused.contains("store.log") && refused.contains("damage before revision 2"), "{refused}");
    }
}

#[test]
fn a_batch_that_is_too_large_for_the_file_and_many_that_fill_it_are_all_there() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = open_log(dir.path());
    let large = "x".repeat(1 << 20);
    for number in 0..20 {
        put(&store, &format!("large/{number:02}"), &large).unwrap();
        put(&store, &format!("half/{number:02}"), &large[..500_000]).unwrap();
    }
    let killed = copy(dir.path());
    for place in [dir.path(), killed.path()] {
        let again = if place == dir.path() { None } else { Some(open_log(place)) };
        let view = again.as_ref().unwrap_or(&store).snapshot().unwrap();
        assert_eq!(view.scan("large/", None, 100).unwrap().len(), 20);
        assert_eq!(view.scan("half/", None, 100).unwrap().len(), 20);
        assert!(view.scan_all("").unwrap().iter().all(|found| found.value.len() >= 500_000));
    }
}

#[test]
fn what_is_deleted_makes_room_in_a_full_log() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = Options { workload: Workload::Log, bytes_max: 512 << 10, ..Options::default() };
    let store = options.open(dir.path()).unwrap();
    let value = "x".repeat(20_000);
    let mut written = 0;
    // The database says so when it gets it.
    while put(&store, &format!("{written:03}"), &value).is_ok() {
        written += 1;
        let _ = log_of(&store).core.apply(written);
        assert!(written < 100, "it never fills");
    }
    assert_eq!(put(&store, "beyond", &value), Err(Error::Full));
    let view = store.snapshot().unwrap();
    assert_eq!(
        view.scan_all("").unwrap().len() as u64,
        written,
        "all that was acknowledged, and nothing else"
    );
    drop(view);
    // Also after a restart.
    drop(store);
    let store = options.open(dir.path()).unwrap();
    assert_eq!(store.snapshot().unwrap().scan_all("").unwrap().len() as u64, written);
    for number in 0..5 {
        store.transact(&mut |tx| Ok(tx.delete(&format!("{number:03}")).map(drop)?)).expect("a delete");
    }
    put(&store, "beyond", &value).expect("there is room again");
    assert_eq!(store.snapshot().unwrap().scan_all("").unwrap().len() as u64, written - 4);
}
