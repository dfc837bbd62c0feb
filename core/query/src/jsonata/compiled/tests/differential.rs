//! Expressions by chance, by the library and by the program.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::super::{Bounds, Expression};
use super::both;
use super::generate::Chance;

/// Expressions of one run. `SELVEDGE_JSONATA_ROUNDS` makes it longer, `SELVEDGE_JSONATA_SEED` another one.
const ROUNDS: u64 = 4_000;

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by whoever runs the test")]
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn a_program_has_the_value_that_the_library_has() {
    let first = number("SELVEDGE_JSONATA_SEED", 1);
    // A busy machine is no difference.
    let bounds = Bounds { time_ms: 20_000, ..Bounds::default() };
    let (mut answered, mut valued, mut something) = (0, 0, 0);
    let rounds = number("SELVEDGE_JSONATA_ROUNDS", ROUNDS);
    for seed in first..first + rounds {
        let mut chance = Chance(seed);
        let depth = 1 + chance.below(3);
        let text = chance.expression(depth, &mut Vec::new());
        let Ok(expression) = Expression::parse(&text) else { continue };
        let (input, variables) = (chance.object(3), chance.variables());
        // The library adds to the arguments of `$substring` without a look, which is an error in a build that checks.
        let outcomes = catch_unwind(AssertUnwindSafe(|| both(&expression, &input, &variables, bounds)));
        let Ok((library, program)) = outcomes else {
            assert!(text.contains("$substring("), "seed {seed}: {text}");
            continue;
        };
        valued += usize::from(library.is_ok());
        if let Some(Ok(found)) = program {
            something += usize::from(found.is_some());
            answered += 1;
            assert_eq!(library, Ok(found), "seed {seed}: {text}\ninput {input}\nvariables {variables}");
        }
    }
    // One that gives up all the time is right as well, and useless.
    assert!(answered * 2 > valued, "{answered} of {valued}");
    assert!(something as u64 * 5 > rounds, "{something} of {rounds}");
}
