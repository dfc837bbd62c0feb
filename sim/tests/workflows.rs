//! Hundreds of worlds with workflow workers. `SEED=n` tells the story of one; `SEEDS=n` sets how many there are.

use std::env;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use selvedge_sim::workflow::{self, Planted};

const SEEDS: u64 = 300;
/// One seed in so many runs twice.
const TWICE_EVERY: u64 = 20;
/// Within so many seeds a planted defect is found.
const FOUND_WITHIN: u64 = 300;

#[test]
fn no_seed_loses_doubles_or_hurries_an_execution() {
    if let Some(seed) = from_env("SEED") {
        let run = workflow::run(seed, Planted::Nothing, Some(say));
        assert_eq!(run.failure, None, "SEED={seed}");
        return;
    }
    let seeds = from_env("SEEDS").unwrap_or(SEEDS);
    let (next, acknowledged, workers) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let live = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds {
                return failures;
            }
            let told = Told(seed);
            let run = workflow::run(seed, Planted::Nothing, None);
            if seed.is_multiple_of(TWICE_EVERY)
                && workflow::run(seed, Planted::Nothing, None).trace != run.trace
            {
                failures.push((seed, "the second run tells another story".to_owned()));
            }
            acknowledged.fetch_add(run.acknowledged as u64, Ordering::SeqCst);
            workers.fetch_add(run.workers.into(), Ordering::SeqCst);
            failures.extend(run.failure.map(|failure| (seed, failure)));
            std::mem::forget(told);
        }
    };
    let failures: Vec<(u64, String)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(live)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a seed that panics has said so"))
            .collect()
    });
    for (seed, failure) in &failures {
        say(&format!("SEED={seed} fails: {failure}"));
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds fail; SEED=n tells how", failures.len());
    // A world in which nothing happens keeps every promise.
    let (acknowledged, workers) = (acknowledged.into_inner(), workers.into_inner());
    assert!(acknowledged > 5 * seeds && workers > 3 * seeds, "{acknowledged} executions, {workers} workers");
}

#[test]
fn a_defect_that_is_planted_is_found() {
    for planted in [Planted::NoFence, Planted::Forgets, Planted::TearsHistories, Planted::CallsDoubtUndone] {
        let found = (0..FOUND_WITHIN).find_map(|seed| {
            // What is broken may break what finds it.
            match thread::spawn(move || workflow::run(seed, planted, None)).join() {
                Ok(run) => run.failure.map(|failure| (seed, failure)),
                Err(_) => Some((seed, "it panics".to_owned())),
            }
        });
        let Some((seed, failure)) = found else { panic!("{planted:?} is not found in {FOUND_WITHIN} seeds") };
        say(&format!("{planted:?} is found by seed {seed}: {failure}"));
    }
}

/// Names the seed when a panic unwinds past it.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        say(&format!("SEED={} panics", self.0));
    }
}

fn from_env(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn say(text: &str) {
    // Past libtest's capture: a seed must be seen.
    writeln!(io::stderr(), "{text}").expect("standard error is open");
}
