//! A thousand worlds. `SEED=n` tells the story of one; `SEEDS=n` sets how many there are.

mod every;

use every::{TWICE_EVERY, from_env, say};
use selvedge_sim::seed::{self, Run};

const SEEDS: u64 = 1000;

#[test]
fn no_seed_breaks_the_rules() {
    if let Some(seed) = from_env("SEED") {
        let Run { trace, failure } = seed::run(seed);
        say(&trace.join("\n"));
        assert_eq!(failure, None, "SEED={seed}");
        return;
    }
    every::seed_holds(from_env("SEEDS").unwrap_or(SEEDS), |seed| {
        let run = seed::run(seed);
        let mut failures = Vec::new();
        if seed.is_multiple_of(TWICE_EVERY) && seed::run(seed).trace != run.trace {
            failures.push("the second run tells another story".to_owned());
        }
        failures.extend(run.failure.map(|failure| failure.to_string()));
        failures
    });
}
