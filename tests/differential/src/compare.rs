//! Where two observations part, and where one misses what its scenario expects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::client::Answered;
use crate::distribution;
use crate::observation::Observation;
use crate::scenario::Step;

/// One place where the planes show different things.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Members and indices joined by `/`, as in `answers/0/0/status`.
    pub place: String,
    /// What Envoy showed; `null` when nothing stands there.
    pub envoy: Value,
    /// What our proxy showed.
    pub ours: Value,
}

/// Every place where the two part.
///
/// # Errors
/// When an observation cannot be printed as JSON.
pub fn mismatches(envoy: &Observation, ours: &Observation) -> anyhow::Result<Vec<Mismatch>> {
    let mut found = Vec::new();
    walk("", &serde_json::to_value(envoy)?, &serde_json::to_value(ours)?, &mut found);
    found.retain(|mismatch| !mismatch.place.starts_with("unmet"));
    Ok(found)
}

/// What `step` expects and `answers` do not show.
pub fn unmet(step: &Step, answers: &[Answered]) -> Vec<String> {
    let expect = &step.expect;
    let what = step.request.as_deref().or(step.raw.as_deref()).unwrap_or_default();
    let mut unmet = Vec::new();
    for answer in answers {
        if expect.status.is_some_and(|status| status != answer.status) {
            unmet.push(format!("{what:?}: status {} ({:?}, {})", answer.status, answer.body, answer.ending));
        }
        if expect.body.as_ref().is_some_and(|body| *body != answer.body) {
            unmet.push(format!("{what:?}: body {:?}", answer.body));
        }
        for (name, value) in &expect.headers {
            if !answer.headers.iter().any(|(other, found)| other == name && found == value) {
                unmet.push(format!("{what:?}: no header {name}: {value}"));
            }
        }
    }
    if !expect.shares.is_empty() {
        let counts = count(answers, |answer| answer.body.clone());
        unmet.extend(distribution::refute(&counts, &expect.shares));
    }
    if !expect.statuses.is_empty() {
        let counts = count(answers, |answer| answer.status.to_string());
        let expected: BTreeMap<String, usize> = expect.statuses.clone().into_iter().collect();
        if counts != expected {
            unmet.push(format!("{what:?}: statuses {counts:?}, not {expected:?}"));
        }
    }
    unmet.dedup();
    unmet
}

fn count(answers: &[Answered], key: impl Fn(&Answered) -> String) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(key(answer)).or_default() += 1;
    }
    counts
}

fn walk(place: &str, envoy: &Value, ours: &Value, found: &mut Vec<Mismatch>) {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") };
    match (envoy, ours) {
        _ if envoy == ours => {}
        // What is absent on one side parts member by member, so that each can be named.
        (Value::Object(_), Value::Object(_) | Value::Null) | (Value::Null, Value::Object(_)) => {
            let names: BTreeSet<&String> = [envoy, ours]
                .into_iter()
                .filter_map(Value::as_object)
                .flatten()
                .map(|(name, _)| name)
                .collect();
            for name in names {
                walk(&below(name), &envoy[name.as_str()], &ours[name.as_str()], found);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                walk(&below(&index.to_string()), &envoy[index], &ours[index], found);
            }
        }
        _ => found.push(Mismatch { place: place.to_owned(), envoy: envoy.clone(), ours: ours.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_that_parts_is_named() {
        let mut envoy =
            Observation { answers: vec![json!([{"status": 200, "body": "a"}])], ..Observation::default() };
        let mut ours = envoy.clone();
        assert_eq!(mismatches(&envoy, &ours).unwrap(), []);
        ours.answers[0][0]["status"] = json!(503);
        envoy.stats.entry("caller".into()).or_default().insert("x".into(), 1);
        let places: Vec<String> =
            mismatches(&envoy, &ours).unwrap().into_iter().map(|found| found.place).collect();
        assert_eq!(places, ["answers/0/0/status", "stats/caller/x"]);
    }

    #[test]
    fn an_expectation_that_is_not_met_is_told() {
        let step: Step = serde_json::from_value(json!({
            "request": "GET /", "to": "a", "expect": {"status": 200, "headers": {"x-a": "1"}, "statuses": {"200": 2}}
        }))
        .unwrap();
        let good = Answered { status: 200, headers: vec![("x-a".into(), "1".into())], ..Answered::default() };
        let bad = Answered { status: 503, ..Answered::default() };
        assert_eq!(unmet(&step, &[good.clone(), good.clone()]), Vec::<String>::new());
        assert_eq!(unmet(&step, &[good, bad]).len(), 3);
    }
}
