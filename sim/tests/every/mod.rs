//! Every seed of many, on all cores; a seed that fails is named, also by its panic.

use std::env;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// One seed in so many runs twice.
pub(crate) const TWICE_EVERY: u64 = 20;

/// Lets `failures` of each seed below `seeds` be none.
pub(crate) fn seed_holds(seeds: u64, failures: impl Fn(u64) -> Vec<String> + Sync) {
    let next = AtomicU64::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds {
                return found;
            }
            let told = Told(seed);
            found.extend(failures(seed).into_iter().map(|failure| (seed, failure)));
            std::mem::forget(told);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut found: Vec<(u64, String)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a seed that panics has said so"))
            .collect()
    });
    found.sort();
    for (seed, failure) in &found {
        say(&format!("SEED={seed} fails: {failure}"));
    }
    assert!(found.is_empty(), "{} failures in {seeds} seeds; SEED=n tells how", found.len());
}

/// Names the seed when a panic unwinds past it.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        say(&format!("SEED={} panics", self.0));
    }
}

pub(crate) fn from_env(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

pub(crate) fn say(text: &str) {
    // Past libtest's capture: a seed must be seen.
    writeln!(io::stderr(), "{text}").expect("standard error is open");
}
