//! Everything that one plane showed of one scenario, with ports, clocks and chance taken out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::app::Received;
use crate::client::Answered;
use crate::http1::Headers;
use crate::placeholder::Placeholders;
use crate::scenario::{Scenario, Step};
use crate::stats::Stats;

/// Headers whose value the clock or chance decides: that they are there is compared, what they say is not.
const VALUE_IGNORED: &[&str] = &[
    "date",
    "x-request-id",
    "x-envoy-upstream-service-time",
    "x-ratelimit-reset",
    "x-b3-traceid",
    "x-b3-spanid",
];

/// Headers whose value is a number of milliseconds that shrinks while a request waits: compared to the second.
const MILLISECONDS: &[&str] = &["x-envoy-expected-rq-timeout-ms"];

/// One plane, one scenario. It is compared as the JSON that it prints as.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Observation {
    /// By step.
    pub answers: Vec<Value>,
    /// By application.
    pub received: BTreeMap<String, Value>,
    /// By sidecar.
    pub access_logs: BTreeMap<String, Value>,
    /// By sidecar.
    pub stats: BTreeMap<String, Stats>,
    /// Where the scenario's own expectations were not met.
    pub unmet: Vec<String>,
}

// === impl Observation ===

impl Observation {
    /// Notes the answers to a step; many are counted, few are kept.
    pub fn add_answers(&mut self, step: &Step, answers: &[Answered], placeholders: &Placeholders) {
        self.unmet.extend(crate::compare::unmet(step, answers));
        if !step.expect.shares.is_empty() {
            // Chance decides who answers; `unmet` holds the shares to the weights.
            self.answers.push(json!({"count": answers.len()}));
        } else if answers.len() > Step::EACH_ANSWER_MAX || step.parallel > 1 {
            self.answers.push(json!(tally(answers)));
        } else {
            let each = answers.iter().map(|answer| answered(answer, placeholders));
            self.answers.push(each.collect());
        }
    }

    /// Notes what reached an application; requests sent side by side arrive in any order.
    pub fn add_received(
        &mut self,
        scenario: &Scenario,
        app: &str,
        received: &[Received],
        placeholders: &Placeholders,
    ) {
        let by_chance = scenario.client.iter().any(|step| !step.expect.shares.is_empty());
        let value = if by_chance {
            Value::Null
        } else {
            let mut each: Vec<Value> =
                received.iter().map(|request| self::received(request, placeholders)).collect();
            if in_parallel(scenario) {
                each.sort_by_key(Value::to_string);
            }
            Value::from(each)
        };
        self.received.insert(app.to_owned(), value);
    }

    /// Notes the lines of a sidecar's access log.
    pub fn add_access_log(
        &mut self,
        scenario: &Scenario,
        sidecar: &str,
        lines: &[String],
        placeholders: &Placeholders,
    ) {
        if !scenario.compare_access_logs {
            return;
        }
        let by_chance = scenario.client.iter().any(|step| !step.expect.shares.is_empty());
        let value = if by_chance {
            json!({"lines": lines.len()})
        } else {
            let mut each: Vec<Value> = lines.iter().map(|line| log_line(line, placeholders)).collect();
            if in_parallel(scenario) {
                each.sort_by_key(Value::to_string);
            }
            Value::from(each)
        };
        self.access_logs.insert(sidecar.to_owned(), value);
    }
}

fn in_parallel(scenario: &Scenario) -> bool {
    scenario.client.iter().any(|step| step.parallel > 1)
}

fn tally(answers: &[Answered]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(format!("{} {:?}", answer.status, answer.body)).or_default() += 1;
    }
    counts
}

fn answered(answer: &Answered, placeholders: &Placeholders) -> Value {
    json!({
        "status": answer.status,
        "headers": headers(&answer.headers, placeholders),
        "body": text(&answer.body, placeholders),
        "trailers": headers(&answer.trailers, placeholders),
        "ending": answer.ending,
    })
}

fn received(request: &Received, placeholders: &Placeholders) -> Value {
    json!({
        "method": request.method,
        "path": request.path,
        "authority": placeholders.mask(&request.authority),
        "headers": headers(&request.headers, placeholders),
        "body": text(&request.body, placeholders),
        "trailers": headers(&request.trailers, placeholders),
    })
}

/// Headers by name, the values of one name in their order: the order among names means nothing (RFC 9110 §5.3).
fn headers(headers: &Headers, placeholders: &Placeholders) -> Value {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = if VALUE_IGNORED.contains(&name.as_str()) {
            "(any)".to_owned()
        } else if MILLISECONDS.contains(&name.as_str()) {
            rounded(value)
        } else {
            placeholders.mask(value)
        };
        by_name.entry(name).or_default().push(value);
    }
    json!(by_name)
}

fn rounded(milliseconds: &str) -> String {
    milliseconds
        .parse::<f64>()
        .map_or_else(|_| milliseconds.to_owned(), |value| format!("{}s", (value / 1000.0).ceil()))
}

/// A long body is compared by length and beginning, so that a difference stays readable.
fn text(text: &str, placeholders: &Placeholders) -> String {
    const LEN_SHOWN: usize = 400;
    match text.char_indices().nth(LEN_SHOWN) {
        None => placeholders.mask(text),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

fn log_line(line: &str, placeholders: &Placeholders) -> Value {
    let masked = placeholders.mask(line);
    serde_json::from_str(&masked).unwrap_or(Value::String(masked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_compare_by_name_and_clocks_do_not() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let one = vec![pair("date", "Mon"), pair("a", "1"), pair("b", "2"), pair("a", "3")];
        let two = vec![pair("b", "2"), pair("a", "1"), pair("a", "3"), pair("date", "Tue")];
        let placeholders = Placeholders::default();
        assert_eq!(headers(&one, &placeholders), headers(&two, &placeholders));
        assert_ne!(headers(&one, &placeholders), headers(&two[1..].to_vec(), &placeholders));
    }

    #[test]
    fn a_remaining_time_compares_to_the_second() {
        assert_eq!(rounded("15000"), rounded("14988"));
        assert_ne!(rounded("15000"), rounded("2000"));
    }
}
