//! Hundreds of worlds with workflow workers. `SEED=n` tells the story of one; `SEEDS=n` sets how many there are.

mod every;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use every::{TWICE_EVERY, from_env, say};
use selvedge_sim::workflow::{self, Planted};

const SEEDS: u64 = 300;
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
    let (acknowledged, workers) = (AtomicU64::new(0), AtomicU64::new(0));
    every::seed_holds(seeds, |seed| {
        let run = workflow::run(seed, Planted::Nothing, None);
        let mut failures = Vec::new();
        if seed.is_multiple_of(TWICE_EVERY) && workflow::run(seed, Planted::Nothing, None).trace != run.trace
        {
            failures.push("the second run tells another story".to_owned());
        }
        acknowledged.fetch_add(run.acknowledged as u64, Ordering::SeqCst);
        workers.fetch_add(run.workers.into(), Ordering::SeqCst);
        failures.extend(run.failure);
        failures
    });
    // A world in which nothing happens keeps every promise.
    let (acknowledged, workers) = (acknowledged.into_inner(), workers.into_inner());
    assert!(acknowledged > 5 * seeds && workers > 3 * seeds, "{acknowledged} executions, {workers} workers");
}

#[test]
fn a_defect_that_is_planted_is_found() {
    for planted in [
        Planted::NoFence,
        Planted::Forgets,
        Planted::TearsHistories,
        Planted::CallsDoubtUndone,
        Planted::TearsAudit,
        Planted::TearsApprovals,
        Planted::SpoilsBlobs,
    ] {
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
