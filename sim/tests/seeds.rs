//! A thousand worlds. `SEED=n` tells the story of one; `SEEDS=n` sets how many there are.

use selvedge_sim::seed::{self, Run};
use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const SEEDS: u64 = 1000;
/// One seed in so many runs twice.
const TWICE_EVERY: u64 = 20;

#[test]
fn no_seed_breaks_the_rules() {
    if let Some(seed) = from_env("SEED") {
        let Run { trace, failure } = seed::run(seed);
        say(&trace.join("\n"));
        assert_eq!(failure, None, "SEED={seed}");
        return;
    }
    let seeds = from_env("SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut failures = BTreeMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&next, seeds))).collect();
        for worker in workers {
            failures.extend(worker.join().expect("a seed that panics has said so"));
        }
    });
    for (seed, failure) in &failures {
        say(&format!("SEED={seed} fails: {failure}"));
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds fail; SEED=n tells how", failures.len());
}

fn work(next: &AtomicU64, seeds: u64) -> Vec<(u64, String)> {
    let mut failures = Vec::new();
    loop {
        let seed = next.fetch_add(1, Ordering::SeqCst);
        if seed >= seeds {
            return failures;
        }
        let told = Told(seed);
        let run = seed::run(seed);
        if seed.is_multiple_of(TWICE_EVERY) && seed::run(seed).trace != run.trace {
            failures.push((seed, "the second run tells another story".to_owned()));
        }
        failures.extend(run.failure.map(|failure| (seed, failure.to_string())));
        std::mem::forget(told);
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
