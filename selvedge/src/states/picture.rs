//! A machine with what has happened in it, as text.
//!
//! ```text
//! ✓ Check       Choice
//! ✓ Both        Parallel   0.012 s
//! │ ✓ Left      Pass
//! │ ✗ Right     Task       0.010 s  Boom
//! ○ Send        Task
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::plain;

/// How deep states nest in a picture.
const DEPTH_MAX: usize = 40;

/// What is known of one state.
#[derive(Default)]
struct Visit {
    entered: usize,
    left: usize,
    failed: bool,
    first: Option<f64>,
    last: Option<f64>,
    error: String,
}

/// One state, as it is drawn.
#[derive(Debug)]
pub(super) struct Row {
    /// All of it, without colours.
    pub(super) text: String,
    /// `✓`
    pub(super) mark: &'static str,
    /// The mark's colour, as terminals count them.
    pub(super) paint: &'static str,
    /// An execution is in it.
    pub(super) is_active: bool,
    /// An execution is or was in it.
    pub(super) is_visited: bool,
}

/// The states in the order in which they can be reached, each with its mark.
pub(super) fn rows(definition: &Value, events: &[Value]) -> Vec<Row> {
    let visits = visits(events);
    let mut rows = Vec::new();
    collect(definition, 0, &mut rows);
    let width = rows.iter().map(|(depth, name, _)| depth * 2 + name.chars().count()).max().unwrap_or(0);
    let mut drawn = Vec::with_capacity(rows.len());
    for (depth, name, kind) in rows {
        let mut out = String::new();
        let visit = visits.get(&name);
        let (mark, paint) = match visit {
            None => ("○", "2"),
            Some(visit) if visit.failed => ("✗", "31"),
            Some(visit) if visit.left < visit.entered => ("●", "33"),
            Some(_) => ("✓", "32"),
        };
        let room = width - depth * 2;
        let _ = write!(out, "{}{mark} {:<room$}  {:<8}", "│ ".repeat(depth), plain(&name), plain(&kind));
        if let Some(visit) = visit {
            if let (Some(first), Some(last)) = (visit.first, visit.last) {
                let _ = write!(out, "  {:>8.3} s", last - first);
            }
            if visit.entered > 1 {
                let _ = write!(out, "  ×{}", visit.entered);
            }
            if !visit.error.is_empty() {
                let _ = write!(out, "  {}", visit.error);
            }
        }
        out.truncate(out.trim_end().len());
        let is_active = mark == "●";
        drawn.push(Row { text: out, mark, paint, is_active, is_visited: visit.is_some() });
    }
    drawn
}

fn visits(events: &[Value]) -> BTreeMap<String, Visit> {
    let mut visits: BTreeMap<String, Visit> = BTreeMap::new();
    // Which state each event belongs to: that of the event which it follows.
    let mut owner: BTreeMap<u64, String> = BTreeMap::new();
    for event in events {
        let id = event["id"].as_u64().unwrap_or_default();
        let kind = event["type"].as_str().unwrap_or_default();
        let at = event["timestamp"].as_f64();
        let name =
            match (&event["stateEnteredEventDetails"]["name"], &event["stateExitedEventDetails"]["name"]) {
                (Value::String(name), _) => {
                    let visit = visits.entry(name.clone()).or_default();
                    visit.entered += 1;
                    visit.failed = false;
                    visit.error.clear();
                    visit.first = visit.first.or(at);
                    name.clone()
                }
                (_, Value::String(name)) => {
                    let visit = visits.entry(name.clone()).or_default();
                    visit.left += 1;
                    visit.failed = false;
                    visit.last = at;
                    name.clone()
                }
                _ => match owner.get(&event["previousEventId"].as_u64().unwrap_or_default()) {
                    Some(name) => name.clone(),
                    None => continue,
                },
            };
        if (kind.ends_with("Failed") || kind.ends_with("TimedOut")) && !kind.starts_with("MapIteration") {
            let visit = visits.entry(name.clone()).or_default();
            visit.failed = true;
            visit.last = at;
            let details =
                event.as_object().into_iter().flatten().find(|(name, _)| name.ends_with("EventDetails"));
            if let Some(error) = details.and_then(|(_, details)| details["error"].as_str()) {
                visit.error = plain(error).chars().take(60).collect();
            }
        }
        owner.insert(id, name);
    }
    visits
}

/// The states of a scope from its first on, each followed by those within it.
fn collect(scope: &Value, depth: usize, rows: &mut Vec<(usize, String, String)>) {
    if depth > DEPTH_MAX {
        return;
    }
    let Some(states) = scope["States"].as_object() else { return };
    let mut pending: Vec<&str> = scope["StartAt"].as_str().into_iter().collect();
    let mut seen: Vec<&str> = Vec::new();
    while let Some(name) = pending.pop() {
        let Some(state) = states.get(name).filter(|_| !seen.contains(&name)) else { continue };
        seen.push(name);
        rows.push((depth, name.to_owned(), state["Type"].as_str().unwrap_or_default().to_owned()));
        for branch in state["Branches"].as_array().into_iter().flatten() {
            collect(branch, depth + 1, rows);
        }
        for processor in ["ItemProcessor", "Iterator"] {
            collect(&state[processor], depth + 1, rows);
        }
        // The last pushed comes first: the way of success.
        let catches = state["Catch"].as_array().into_iter().flatten();
        pending.extend(catches.rev().filter_map(|entry| entry["Next"].as_str()));
        pending.extend(state["Default"].as_str());
        let choices = state["Choices"].as_array().into_iter().flatten();
        pending.extend(choices.rev().filter_map(|entry| entry["Next"].as_str()));
        pending.extend(state["Next"].as_str());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_stand_in_their_order_with_what_happened() {
        let definition = json!({"StartAt": "Check", "States": {
            "Send": {"Type": "Task", "End": true},
            "Check": {"Type": "Choice", "Choices": [{"Next": "Both"}], "Default": "Send"},
            "Both": {"Type": "Parallel", "Next": "Send", "Branches": [
                {"StartAt": "Left", "States": {"Left": {"Type": "Pass", "End": true}}},
                {"StartAt": "Right", "States": {"Right": {"Type": "Task", "End": true}}}]},
        }});
        let entered = |id: u64, previous: u64, at: f64, name: &str| json!({"id": id, "previousEventId": previous, "timestamp": at, "type": "XStateEntered", "stateEnteredEventDetails": {"name": name}});
        let events = [
            entered(2, 0, 1.0, "Check"),
            json!({"id": 3, "previousEventId": 2, "timestamp": 1.0, "type": "ChoiceStateExited", "stateExitedEventDetails": {"name": "Check"}}),
            entered(4, 3, 1.0, "Both"),
            json!({"id": 5, "previousEventId": 4, "timestamp": 1.0, "type": "ParallelStateStarted"}),
            entered(6, 5, 1.0, "Left"),
            entered(7, 5, 1.0, "Right"),
            json!({"id": 8, "previousEventId": 7, "timestamp": 1.5, "type": "TaskFailed", "taskFailedEventDetails": {"error": "Boom"}}),
        ];
        let rows = rows(&definition, &events);
        let texts: Vec<&str> = rows.iter().map(|row| &*row.text).collect();
        assert_eq!(
            texts,
            [
                "✓ Check    Choice       0.000 s",
                "● Both     Parallel",
                "│ ● Left   Pass",
                "│ ✗ Right  Task         0.500 s  Boom",
                "○ Send     Task",
            ]
        );
        assert_eq!(rows.iter().filter(|row| row.is_active).count(), 2);
    }

    #[test]
    fn a_name_steers_no_terminal() {
        let definition =
            json!({"StartAt": "A\u{1b}[2J", "States": {"A\u{1b}[2J": {"Type": "Pass", "End": true}}});
        let rows = rows(&definition, &[]);
        assert_eq!(rows[0].text.trim_end(), "○ A[2J   Pass");
    }
}
