//! `kill -9` under concurrent write load, again and again.
//!
//! The test starts itself as a second process that writes from several threads and reports each acknowledged
//! transaction on its standard output; kills that process at a random moment; opens the store; and compares it
//! with what was acknowledged. `SEED` repeats the same moments (as far as two processes can), `KILLS` sets how
//! many there are.

use bytes::Bytes;
use selvedge_store::sqlite::{OpenError, Options, Sqlite, Workload};
use selvedge_store::{Abort, Operation, PAGE_MAX, Read, Revision, Store};
use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const TEST: &str = "no_acknowledged_write_is_lost_to_kill_9";
const TEST_OF_LOG: &str = "no_acknowledged_write_of_a_log_is_lost_to_kill_9";
/// Names the store's folder to the writing process.
const DIR: &str = "SELVEDGE_KILL9_DIR";
const KILLS: u64 = 100;
const WRITERS: u64 = 6;
/// Each writer keeps this many documents of its past, so that transactions delete as well.
const KEPT: u64 = 5;
const RESTART_MAX: Duration = Duration::from_secs(1);
/// The longest a writing process is let run before it is killed.
const LIFE_MAX_MS: u64 = 80;

#[test]
fn no_acknowledged_write_of_a_log_is_lost_to_kill_9() {
    if let Some(dir) = env::var_os(DIR) {
        return write_until_killed(&open_log(Path::new(&dir)).expect("the store opens"));
    }
    let seed = from_env("SEED").unwrap_or_else(clock_seed);
    let kills = from_env("KILLS").unwrap_or(KILLS);
    report(&format!("SEED={seed} KILLS={kills}"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut chance, mut turns, mut count) = (Chance(seed), BTreeMap::<u64, u64>::new(), 0);
    for kill in 0..kills {
        let acknowledged = one_life(dir.path(), &mut chance, TEST_OF_LOG);
        count += acknowledged.len() as u64;
        let last = acknowledged.iter().map(|ack| ack.revision).max().unwrap_or(Revision::ZERO);
        for Ack { writer, turn, .. } in acknowledged {
            let known = turns.entry(writer).or_default();
            *known = turn.max(*known);
        }
        let store = open_log(dir.path()).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        let view = store.snapshot().expect("the store reads");
        assert!(view.revision() >= last, "kill {kill}: revision {last} was acknowledged");
        let mut all = 0;
        for writer in 0..WRITERS {
            // What was under way when the kill came may be there as a whole, or not at all.
            let turn = number(view.as_ref(), &format!("{writer}/count")).expect("the store reads");
            let known = turns.insert(writer, turn).unwrap_or_default();
            assert!(turn == known || turn == known + 1, "kill {kill}: {writer} is at {turn} after {known}");
            check_writer(view.as_ref(), writer, turn, kill);
            all += turn;
        }
        assert_eq!(view.revision().number(), all, "kill {kill}: each turn took one revision");
    }
    report(&format!("{kills} kills, {count} acknowledged"));
    assert!(count > kills, "the load was too light to prove anything");
}

fn open_log(dir: &Path) -> Result<Sqlite, OpenError> {
    Options { workload: Workload::Log, ..Options::default() }.open(dir)
}

#[test]
fn no_acknowledged_write_is_lost_to_kill_9() {
    if let Some(dir) = env::var_os(DIR) {
        return write_until_killed(&Sqlite::open(Path::new(&dir)).expect("the store opens"));
    }
    let seed = from_env("SEED").unwrap_or_else(clock_seed);
    let kills = from_env("KILLS").unwrap_or(KILLS);
    report(&format!("SEED={seed} KILLS={kills}"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut chance = Chance(seed);
    let mut witness = Witness::default();
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let acknowledged = one_life(dir.path(), &mut chance, TEST);
        let begun = Instant::now();
        let store = Sqlite::open(dir.path()).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        slowest = slowest.max(begun.elapsed());
        assert!(begun.elapsed() < RESTART_MAX, "kill {kill}: opening took {:?}", begun.elapsed());
        witness.examine(&store, &acknowledged, kill);
    }
    report(&format!(
        "{kills} kills, {} transactions, {} acknowledged, slowest restart {slowest:?}",
        witness.revision.number(),
        witness.acknowledged
    ));
    assert!(witness.acknowledged > kills, "the load was too light to prove anything");
}

// === the writing process ===

fn write_until_killed(store: &Sqlite) {
    say("ready");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                loop {
                    let (turn, revision) = take_turn(store, writer);
                    say(&format!("ack {writer} {turn} {}", revision.number()));
                }
            });
        }
    });
}

/// One transaction over several documents: a counter, its mirror, and a log that loses its oldest entry.
fn take_turn(store: &dyn Store, writer: u64) -> (u64, Revision) {
    let mut turn = 0;
    let committed = store.transact(&mut |tx| {
        turn = number(tx, &format!("{writer}/count"))? + 1;
        let value = Bytes::from(turn.to_string());
        tx.put(&format!("{writer}/count"), value.clone())?;
        tx.put(&format!("{writer}/log/{turn:08}"), Bytes::from(vec![b'x'; 500]))?;
        tx.put(&format!("{writer}/mirror"), value)?;
        if let Some(old) = turn.checked_sub(KEPT) {
            tx.delete(&format!("{writer}/log/{old:08}"))?;
        }
        Ok::<_, Abort>(())
    });
    (turn, committed.expect("writing succeeds").revision)
}

fn say(line: &str) {
    // One write, so that a kill cannot cut a line that the reader would take for a whole one.
    let line = format!("\n:{line}\n");
    io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads until the end");
}

// === the killing process ===

/// An acknowledged transaction.
struct Ack {
    writer: u64,
    turn: u64,
    revision: Revision,
}

/// Lets a writing process live for a while, and returns what it acknowledged.
fn one_life(dir: &Path, chance: &mut Chance, test: &str) -> Vec<Ack> {
    let (mut child, lines) = start(dir, test);
    // Now and then the kill hits the opening of the store.
    if chance.below(5) > 0 {
        lines.recv().expect("the writer starts");
    }
    thread::sleep(Duration::from_micros(chance.below(LIFE_MAX_MS * 1000)));
    child.kill().expect("SIGKILL is delivered");
    child.wait().expect("the child is ours");
    lines.iter().filter_map(|line| parse(&line)).collect()
}

fn start(dir: &Path, test: &str) -> (Child, Receiver<String>) {
    let this: PathBuf = env::current_exe().expect("this test is a file");
    let mut child = Command::new(this)
        .args(["--exact", test, "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test starts itself");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if let Some(said) = line.strip_prefix(':') {
                // The receiver only goes away when the test has failed already.
                drop(sender.send(said.to_owned()));
            }
        }
    });
    (child, lines)
}

fn parse(line: &str) -> Option<Ack> {
    let mut words = line.strip_prefix("ack ")?.split(' ').map(str::parse);
    let mut next = || words.next()?.ok();
    Some(Ack { writer: next()?, turn: next()?, revision: Revision::new(next()?) })
}

/// What the store held after the kills so far.
#[derive(Default)]
struct Witness {
    revision: Revision,
    turns: BTreeMap<u64, u64>,
    acknowledged: u64,
}

impl Witness {
    fn examine(&mut self, store: &dyn Store, acknowledged: &[Ack], kill: u64) {
        let turns_of = self.follow_feed(store, kill);
        for Ack { writer, turn, revision } in acknowledged {
            let made = turns_of.get(revision);
            assert_eq!(made, Some(&(*writer, *turn)), "kill {kill}: revision {revision} was acknowledged");
        }
        self.acknowledged += acknowledged.len() as u64;
        let view = store.snapshot().expect("the store reads");
        assert_eq!(view.revision(), self.revision, "kill {kill}: the feed ends at the last revision");
        for writer in 0..WRITERS {
            let turn = self.turns.get(&writer).copied().unwrap_or(0);
            check_writer(view.as_ref(), writer, turn, kill);
        }
    }

    /// Reads the feed on from the last kill: every revision is the next one and one writer's whole transaction.
    fn follow_feed(&mut self, store: &dyn Store, kill: u64) -> BTreeMap<Revision, (u64, u64)> {
        let mut turns_of = BTreeMap::new();
        loop {
            let page = store.changes(self.revision, PAGE_MAX).expect("the feed reaches back");
            if page.is_empty() {
                return turns_of;
            }
            for transaction in page.chunk_by(|one, next| one.revision == next.revision) {
                let revision = transaction[0].revision;
                assert_eq!(revision, self.revision.next(), "kill {kill}: the feed has a gap");
                let writer = transaction[0].key.split('/').next().expect("a first word");
                let writer: u64 = writer.parse().expect("keys begin with the writer");
                let turn = self.turns.entry(writer).or_default();
                *turn += 1;
                let mut expected = vec![(format!("{writer}/count"), Operation::Put)];
                if let Some(old) = turn.checked_sub(KEPT).filter(|&old| old > 0) {
                    expected.push((format!("{writer}/log/{old:08}"), Operation::Delete));
                }
                expected.push((format!("{writer}/log/{turn:08}"), Operation::Put));
                expected.push((format!("{writer}/mirror"), Operation::Put));
                let found: Vec<_> =
                    transaction.iter().map(|change| (change.key.clone(), change.operation)).collect();
                assert_eq!(found, expected, "kill {kill}: revision {revision} is not one whole transaction");
                turns_of.insert(revision, (writer, *turn));
                self.revision = revision;
            }
        }
    }
}

/// The writer's documents are those of its transaction number `turn`, all of them and no others.
fn check_writer(view: &dyn Read, writer: u64, turn: u64, kill: u64) {
    let documents = view.scan_all(&format!("{writer}/")).expect("the store reads");
    let keys: Vec<&str> = documents.iter().map(|document| document.key.as_str()).collect();
    let mut expected = Vec::new();
    if turn > 0 {
        expected.push(format!("{writer}/count"));
        let oldest = turn.saturating_sub(KEPT - 1).max(1);
        expected.extend((oldest..=turn).map(|turn| format!("{writer}/log/{turn:08}")));
        expected.push(format!("{writer}/mirror"));
    }
    assert_eq!(keys, expected, "kill {kill}");
    for counter in ["count", "mirror"] {
        let found = number(view, &format!("{writer}/{counter}")).expect("the store reads");
        assert_eq!(found, turn, "kill {kill}: {writer}/{counter}");
    }
}

fn number(view: &(impl Read + ?Sized), key: &str) -> Result<u64, selvedge_store::Error> {
    let document = view.get(key)?;
    Ok(document.map_or(0, |document| {
        let text = std::str::from_utf8(&document.value).expect("numbers are text");
        text.parse().expect("numbers are written here")
    }))
}

// === chance ===

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

fn from_env(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn clock_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}

fn report(line: &str) {
    // Shown with --nocapture, and by libtest when the test fails.
    writeln!(io::stderr(), "kill9: {line}").expect("standard error is open");
}
