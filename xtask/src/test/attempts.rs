//! How often what failed is tried: the one place that says it for tests that cargo-nextest does not run.
//!
//! The policy is that of `.config/nextest.toml`, for its reason: conformance scripts run real sockets, processes and
//! proxies on whatever machine there is. One that passes at a second attempt is reported as FLAKY, by name, and is a bug
//! of the test; it does not hide what else a run has to say. So each script runs, whatever became of those before it,
//! and those that failed run once more when all have run. The differential scenarios do the same themselves.

use std::fmt;

use anyhow::Result;

use super::command::Failure;
use super::{Count, causes};

/// When more than so many fail, that is no coincidence: none is tried again, for that would only cost its time.
const AGAIN_MAX: usize = 8;

/// Some of several that failed at their last attempt.
#[derive(Debug)]
pub(super) struct Failures {
    names: Vec<String>,
    count: Count,
}

/// Runs each of `all` by `run`, and those that failed once more at the end. `name` says which one it is.
///
/// # Errors
/// [`Failures`] when one failed at its last attempt.
pub(super) fn run_all<T>(
    all: &[T],
    name: impl Fn(&T) -> String,
    mut run: impl FnMut(&T) -> Result<Count>,
) -> Result<Count> {
    let mut sum = Count::default();
    let mut failed = Vec::new();
    for one in all {
        match run(one) {
            Ok(count) => sum = sum.plus(count),
            Err(error) => failed.push((one, error)),
        }
    }
    if !failed.is_empty() && failed.len() <= AGAIN_MAX {
        for (one, first) in std::mem::take(&mut failed) {
            println!("\n{} failed ({}): once more", name(one), causes(&first));
            match run(one) {
                Ok(count) => {
                    println!("FLAKY    {}: its first attempt failed, and ended with", name(one));
                    show_tail(&first);
                    sum = sum.plus(count);
                    sum.flaky.push(name(one));
                }
                Err(error) => failed.push((one, error)),
            }
        }
    }
    if failed.is_empty() {
        return Ok(sum);
    }
    for (one, error) in &failed {
        println!("\nFAILED   {}: {}; it ended with", name(one), causes(error));
        show_tail(error);
        sum = sum.plus(count_of(error));
    }
    let names = failed.iter().map(|(one, _)| name(one)).collect();
    Err(Failures { names, count: sum }.into())
}

/// How many tests passed and failed where `error` came of it; at least one failed.
pub(super) fn count_of(error: &anyhow::Error) -> Count {
    let count = (error.downcast_ref::<Failure>().map(|failure| &failure.count))
        .or_else(|| error.downcast_ref::<Failures>().map(|failures| &failures.count));
    let count = count.cloned().unwrap_or_default();
    Count { failed: count.failed.max(1), ..count }
}

fn show_tail(error: &anyhow::Error) {
    let tail = error.downcast_ref::<Failure>().map(|failure| &*failure.tail).unwrap_or_default();
    for line in tail {
        println!("    {line}");
    }
}

// === impl Failures ===

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.names.join(", "))
    }
}

impl std::error::Error for Failures {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anyhow::anyhow;

    use super::*;

    /// Runs scripts that fail so many times before they pass; what came of it, and what ran in which order.
    fn ran(scripts: &[(&str, u32)]) -> (Result<Count>, Vec<String>) {
        let mut order = Vec::new();
        let mut failures: BTreeMap<&str, u32> = scripts.iter().copied().collect();
        let names: Vec<&str> = scripts.iter().map(|(name, _)| *name).collect();
        let result = run_all(
            &names,
            |name| (*name).to_owned(),
            |name| {
                order.push((*name).to_owned());
                let left = failures.get_mut(name).expect("each has its number");
                if *left == 0 {
                    return Ok(Count::of(10, 0));
                }
                *left -= 1;
                Err(anyhow!("exit status: 1"))
            },
        );
        (result, order)
    }

    #[test]
    fn all_run_whatever_became_of_those_before_them() {
        let (result, order) = ran(&[("a", 9), ("b", 0), ("c", 9), ("d", 0)]);
        assert_eq!(order, ["a", "b", "c", "d", "a", "c"], "those that failed, at the end");
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "a, c");
        assert_eq!(count_of(&error), Count::of(20, 2));
    }

    #[test]
    fn what_passes_at_its_second_attempt_is_flaky_and_fails_nothing() {
        let (result, order) = ran(&[("a", 1), ("b", 0)]);
        assert_eq!(order, ["a", "b", "a"]);
        assert_eq!(result.unwrap(), Count { passed: 20, failed: 0, flaky: vec!["a".to_owned()] });
    }

    #[test]
    fn a_flaky_one_is_named_beside_one_that_failed() {
        let (result, _) = ran(&[("a", 1), ("b", 2)]);
        let count = count_of(&result.unwrap_err());
        assert_eq!((count.passed, count.failed, count.flaky), (10, 1, vec!["a".to_owned()]));
    }

    #[test]
    fn what_passes_runs_once() {
        let (result, order) = ran(&[("a", 0), ("b", 0)]);
        assert_eq!((result.unwrap(), order.len()), (Count::of(20, 0), 2));
    }

    #[test]
    fn many_that_fail_are_not_tried_again() {
        let names: Vec<String> = (0..=AGAIN_MAX).map(|number| format!("{number}")).collect();
        let scripts: Vec<(&str, u32)> = names.iter().map(|name| (&**name, 1)).collect();
        let (result, order) = ran(&scripts);
        assert_eq!(order.len(), names.len());
        assert!(result.is_err());
    }
}
