//! `cargo xtask test`: sets up everything that the tests need on a Debian machine with Rust, and runs them all.
//!
//! A step is one way of testing; each is a function that says what it does, and tells how many tests it ran. All run
//! even when one fails, so that one run shows everything; the last line is `N passed, N failed`. What passed only at
//! another attempt is named under its step: see [`attempts`].

mod attempts;
mod command;
mod fuzz;
mod image;
mod lighttpd;
mod setup;
mod steps;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use steps::STEPS;

/// How many tests a step ran. A step that does not count its tests is one test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    /// The names of those that failed and passed at another attempt; they are among the passed ones.
    flaky: Vec<String>,
}

/// What became of a step.
#[derive(Debug)]
struct Outcome {
    name: &'static str,
    verdict: Verdict,
    count: Count,
    took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed(String),
    /// The step has nothing to run here, and why.
    Skipped(String),
}

/// Runs the steps that `only` names, all when it is empty, except those that `skip` names.
///
/// # Errors
/// When a name is unknown.
pub(crate) fn run(root: &Path, only: &[String], skip: &[String], fail_fast: bool) -> Result<crate::Verdict> {
    for name in only.iter().chain(skip) {
        let known = STEPS.iter().any(|step| step.name == name);
        ensure!(known, "no step is called {name}: see cargo xtask test --list");
    }
    let chosen = |name: &str| {
        let named = |names: &[String]| names.iter().any(|other| other == name);
        (only.is_empty() || named(only)) && !named(skip)
    };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for step in STEPS.iter().filter(|step| chosen(step.name)) {
        println!("\n=== {}: {} ===", step.name, step.about);
        let begun = Instant::now();
        let outcome = Outcome::of(step.name, (step.run)(root), begun.elapsed());
        let failed = matches!(outcome.verdict, Verdict::Failed(_));
        println!("--- {}", outcome.line());
        outcomes.push(outcome);
        if failed && fail_fast {
            break;
        }
    }
    println!("\n=== summary ===");
    for outcome in &outcomes {
        println!("{}", outcome.line());
    }
    let sum = |part: fn(&Count) -> u64| outcomes.iter().map(|outcome| part(&outcome.count)).sum::<u64>();
    let (passed, failed) = (sum(|count| count.passed), sum(|count| count.failed));
    println!("{passed} passed, {failed} failed");
    let any_failed = outcomes.iter().any(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    Ok(if any_failed { crate::Verdict::Bad } else { crate::Verdict::Good })
}

/// Prints the steps.
pub(crate) fn list() {
    for step in STEPS {
        println!("{:<14}{}", step.name, step.about);
    }
}

/// The causes in one line; anyhow's own way may add a backtrace.
fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

// === impl Outcome ===

impl Outcome {
    fn of(name: &'static str, result: Result<steps::Report>, took: Duration) -> Self {
        match result {
            Ok(steps::Report::Ran(count)) => {
                let count =
                    if (count.passed, count.failed) == (0, 0) { Count { passed: 1, ..count } } else { count };
                Self { name, verdict: Verdict::Passed, count, took }
            }
            Ok(steps::Report::Skipped(why)) => {
                Self { name, verdict: Verdict::Skipped(why), count: Count::default(), took }
            }
            Err(error) => {
                let count = attempts::count_of(&error);
                Self { name, verdict: Verdict::Failed(causes(&error)), count, took }
            }
        }
    }

    fn line(&self) -> String {
        let seconds = self.took.as_secs_f32();
        let Count { passed, failed, flaky } = &self.count;
        let mut line = match &self.verdict {
            Verdict::Passed => format!("{:<14}{seconds:>7.1} s  ok       {passed} passed", self.name),
            Verdict::Skipped(why) => format!("{:<14}{seconds:>7.1} s  skipped  {why}", self.name),
            Verdict::Failed(why) => {
                format!("{:<14}{seconds:>7.1} s  FAILED   {passed} passed, {failed} failed: {why}", self.name)
            }
        };
        for name in flaky {
            line.push_str(&format!("\n{:<25}FLAKY    {name}", ""));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_counts_nothing_is_one_test() {
        let outcome = Outcome::of("fmt", Ok(steps::Report::Ran(Count::default())), Duration::ZERO);
        assert_eq!(outcome.count, Count::of(1, 0));
        let outcome = Outcome::of("fmt", Err(anyhow::anyhow!("why")), Duration::ZERO);
        assert_eq!(outcome.count, Count::of(0, 1));
        let outcome = Outcome::of("fmt", Ok(steps::Report::Skipped("why".into())), Duration::ZERO);
        assert_eq!(outcome.count, Count::default());
    }

    #[test]
    fn who_passed_at_another_attempt_is_named_and_fails_nothing() {
        let count = Count { passed: 7, failed: 0, flaky: vec!["dns.py".into()] };
        let outcome = Outcome::of("conformance", Ok(steps::Report::Ran(count)), Duration::ZERO);
        assert_eq!(outcome.verdict, Verdict::Passed);
        assert!(outcome.line().ends_with("FLAKY    dns.py"), "{}", outcome.line());
    }

    #[test]
    fn an_unknown_step_is_refused() {
        assert!(run(Path::new("."), &["nothing".into()], &[], false).is_err());
    }
}
