//! The deliberate differences: `differences.yaml` holds every one, each with its reason.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::compare::Mismatch;

/// A place where our proxy should show something else than Envoy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Scenarios as `suite: name`, as a regular expression over the whole.
    pub scenario: String,
    /// Places as [`Mismatch::place`] has them, as a regular expression over the whole.
    pub place: String,
    /// What our proxy must show there, where it is always the same.
    #[serde(default)]
    pub ours: Option<Value>,
    pub reason: String,
}

/// The list, and which of it was needed.
#[derive(Debug)]
pub struct Differences {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    difference: Difference,
    scenario: Regex,
    place: Regex,
    used: bool,
}

// === impl Differences ===

impl Differences {
    /// Reads the list.
    ///
    /// # Errors
    /// When it is malformed or an entry has no reason.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let listed: Vec<Difference> = serde_norway::from_str(text)?;
        let entries = listed.into_iter().map(Entry::new).collect::<Result<_>>()?;
        Ok(Self { entries })
    }

    /// Whether the list expects `mismatch` in `scenario`.
    pub fn expects(&mut self, scenario: &str, mismatch: &Mismatch) -> bool {
        let matching = |entry: &&mut Entry| {
            let ours = entry.difference.ours.as_ref();
            entry.scenario.is_match(scenario)
                && entry.place.is_match(&mismatch.place)
                && ours.is_none_or(|ours| *ours == mismatch.ours)
        };
        let mut expected = false;
        for entry in self.entries.iter_mut().filter(matching) {
            entry.used = true;
            expected = true;
        }
        expected
    }

    /// Entries that name a scenario that ran and that no mismatch needed: the planes agree, and the entry is stale.
    pub fn stale(&self, ran: &[String]) -> Vec<&Difference> {
        let stale = |entry: &&Entry| !entry.used && ran.iter().any(|name| entry.scenario.is_match(name));
        self.entries.iter().filter(stale).map(|entry| &entry.difference).collect()
    }
}

// === impl Entry ===

impl Entry {
    fn new(difference: Difference) -> Result<Self> {
        ensure!(difference.reason.len() > 20, "{} needs its reason", difference.scenario);
        let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$"));
        Ok(Self {
            scenario: whole(&difference.scenario)?,
            place: whole(&difference.place)?,
            difference,
            used: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIST: &str = "
- scenario: 'codec: two hosts'
  place: answers/0/0/status
  ours: 400
  reason: a message with two Host fields is refused
- scenario: 'codec: .*'
  place: stats/.*
  reason: nothing here is counted by anybody
";

    fn mismatch(place: &str, ours: Value) -> Mismatch {
        Mismatch { place: place.into(), envoy: json!(200), ours }
    }

    #[test]
    fn a_listed_difference_is_expected_and_another_is_not() {
        let rows = [
            ("codec: two hosts", mismatch("answers/0/0/status", json!(400)), true),
            ("codec: two hosts", mismatch("answers/0/0/status", json!(500)), false),
            ("codec: two hosts", mismatch("answers/0/0/statuses", json!(400)), false),
            ("codec: one host", mismatch("answers/0/0/status", json!(400)), false),
            ("codec: one host", mismatch("stats/caller/x", json!(1)), true),
        ];
        let mut differences = Differences::parse(LIST).unwrap();
        for (scenario, mismatch, expected) in rows {
            assert_eq!(differences.expects(scenario, &mismatch), expected, "{scenario} {mismatch:?}");
        }
    }

    #[test]
    fn an_entry_that_nothing_needed_is_stale_once_its_scenario_ran() {
        let mut differences = Differences::parse(LIST).unwrap();
        assert!(differences.stale(&["other: a".into()]).is_empty());
        assert_eq!(differences.stale(&["codec: two hosts".into()]).len(), 2);
        differences.expects("codec: two hosts", &mismatch("answers/0/0/status", json!(400)));
        assert_eq!(differences.stale(&["codec: two hosts".into()]).len(), 1);
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        assert!(Differences::parse("[{scenario: a, place: b, reason: why}]").is_err());
    }
}
