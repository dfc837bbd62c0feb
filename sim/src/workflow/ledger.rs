//! What was promised, and whether it was kept.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::machines::{ITEMS, KINDS, Kind, large_output};
use super::worker::Worker;
use crate::chance::Chance;

#[derive(Default)]
pub(super) struct Ledger {
    /// Executions that somebody has asked for.
    begun: u64,
    /// Those that were acknowledged, by their ARN.
    acknowledged: BTreeMap<String, u64>,
    /// How they ended, as somebody was told.
    ended: BTreeMap<String, Value>,
    stopped: BTreeSet<String>,
    /// Executions that somebody wanted driven on: their end may not have been the last. All that failed, after a run.
    may_go_on: BTreeSet<String>,
    may_all_go_on: bool,
    /// Tokens that an activity's worker was given.
    handed_out: BTreeSet<String>,
    /// What was sent with a token, acknowledged or not.
    sent: BTreeMap<String, Vec<String>>,
    /// What was acknowledged for a token.
    resolved: BTreeMap<String, String>,
    failed: BTreeSet<String>,
    /// What functions said.
    said: BTreeSet<String>,
    outputs: u64,
    broken: Option<String>,
}

impl Ledger {
    pub(super) fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub(super) fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// One that somebody asked for and heard nothing good of.
    pub(super) fn unacknowledged(&self) -> Option<u64> {
        let known: BTreeSet<u64> = self.acknowledged.values().copied().collect();
        (1..=self.begun).find(|number| !known.contains(number))
    }

    pub(super) fn acknowledge(&mut self, number: u64, arn: &str) {
        self.acknowledged.insert(arn.to_owned(), number);
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    pub(super) fn any(&self, chance: &mut Chance) -> Option<String> {
        if self.acknowledged.is_empty() {
            return None;
        }
        self.acknowledged.keys().nth(chance.below(self.acknowledged.len())).cloned()
    }

    /// Acknowledged, and nobody has seen their end.
    pub(super) fn under_way(&self) -> Vec<String> {
        self.acknowledged.keys().filter(|arn| !self.ended.contains_key(*arn)).cloned().collect()
    }

    pub(super) fn saw_end(&mut self, arn: &str, found: &Value) {
        let shown = json!({ "status": found["status"], "output": found["output"] });
        if self.goes_on(arn) {
            self.ended.insert(arn.to_owned(), shown);
            return;
        }
        let known = self.ended.entry(arn.to_owned()).or_insert_with(|| shown.clone());
        if *known != shown {
            let broken = format!("{arn} had ended as {known}, and ended as {shown} later");
            self.broke(broken);
        }
    }

    /// One of a kind, and its number.
    pub(super) fn any_of(&self, kind: Kind, chance: &mut Chance) -> Option<(String, u64)> {
        let of_kind: Vec<_> =
            self.acknowledged.iter().filter(|(_, number)| Kind::of(**number) == kind).collect();
        if of_kind.is_empty() {
            return None;
        }
        let (arn, number) = of_kind[chance.below(of_kind.len())];
        Some((arn.clone(), *number))
    }

    /// Somebody wants an execution driven on, or all of those that failed.
    pub(super) fn may_go_on(&mut self, arn: Option<&str>) {
        match arn {
            Some(arn) => drop(self.may_go_on.insert(arn.to_owned())),
            None => self.may_all_go_on = true,
        }
        let gone_on: Vec<String> = self.ended.keys().filter(|arn| self.goes_on(arn)).cloned().collect();
        gone_on.iter().for_each(|arn| drop(self.ended.remove(arn)));
    }

    fn goes_on(&self, arn: &str) -> bool {
        let is_of_kind = || self.acknowledged.get(arn).is_some_and(|number| Kind::of(*number) == Kind::Fails);
        self.may_go_on.contains(arn) || (self.may_all_go_on && is_of_kind())
    }

    pub(super) fn stopped(&mut self, arn: &str) {
        self.stopped.insert(arn.to_owned());
    }

    pub(super) fn handed_out(&mut self, token: &str) {
        if !self.handed_out.insert(token.to_owned()) {
            self.broke(format!("a task was handed out twice: {token}"));
        }
    }

    /// Those that are under way, with what happened in them last.
    pub(super) fn standing(&self, worker: &Worker) -> String {
        let last = |arn: &String| {
            let events = history(worker, arn).unwrap_or_default();
            let last: Vec<_> = events.iter().rev().take(3).map(kind_of).collect();
            format!("{arn} after {}", last.join(" after "))
        };
        self.under_way().iter().map(last).collect::<Vec<_>>().join("; ")
    }

    /// A text that no other answer has.
    pub(super) fn next_output(&mut self) -> String {
        self.outputs += 1;
        format!("answer {}", self.outputs)
    }

    pub(super) fn said(&mut self, output: &str) {
        self.said.insert(output.to_owned());
    }

    pub(super) fn sent(&mut self, token: &str, output: &str) {
        self.sent.entry(token.to_owned()).or_default().push(output.to_owned());
    }

    pub(super) fn failed(&mut self, token: &str) {
        if !self.failed.insert(token.to_owned()) || self.resolved.contains_key(token) {
            self.broke(format!("a token resolves twice: {token}"));
        }
    }

    pub(super) fn resolved(&mut self, token: &str, output: &str) {
        let before = self.resolved.insert(token.to_owned(), output.to_owned());
        if before.is_some() || self.failed.contains(token) {
            self.broke(format!("a token resolves twice: {token}"));
        }
    }

    /// Reads everything that there is, and compares it with what was promised.
    ///
    /// Gives back the histories of those that people had to do with.
    pub(super) fn audit(&self, worker: &Worker) -> Result<BTreeMap<String, Vec<Value>>, String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        // What tasks succeeded with, in all histories.
        let mut results = BTreeSet::new();
        let mut parents = 0;
        let mut children = 0;
        let mut of_people = BTreeMap::new();
        for kind in KINDS {
            for summary in
                all(worker, "ListExecutions", json!({ "stateMachineArn": kind.arn() }), "executions")?
            {
                let arn = summary["executionArn"].as_str().unwrap_or_default().to_owned();
                let events = history(worker, &arn)?;
                check_history(&arn, &events)?;
                check_tries(kind, &arn, &events)?;
                for output in succeeded(&events) {
                    if !results.insert(output.clone()) {
                        return Err(format!("{arn}: the answer {output} counts twice"));
                    }
                }
                self.check_end(kind, &arn, worker, &events)?;
                let is_ours =
                    summary["name"].as_str().is_some_and(|name| name.starts_with('e') && !name.contains('-'));
                parents += usize::from(
                    kind == Kind::Parent && events.iter().any(|event| event["type"] == "TaskSubmitted"),
                );
                children += usize::from(kind == Kind::Waits && !is_ours);
                if kind == Kind::Maps {
                    self.check_run(&arn, worker)?;
                }
                if matches!(kind, Kind::Fails | Kind::Approves) {
                    of_people.insert(arn, events);
                }
            }
        }
        if children < parents {
            return Err(format!("{parents} parents have {children} children"));
        }
        for arn in self.acknowledged.keys() {
            if !self.ended.contains_key(arn) {
                return Err(format!("{arn} was acknowledged and never ended"));
            }
        }
        let known: BTreeSet<&String> = self.sent.values().flatten().chain(&self.said).collect();
        if let Some(unknown) = results.iter().find(|output| !known.contains(output)) {
            return Err(format!("nobody has answered {unknown}, and it is a result"));
        }
        for (token, output) in &self.resolved {
            if !results.contains(output) {
                return Err(format!("the answer {output} was acknowledged for {token} and is in no history"));
            }
        }
        for (token, outputs) in &self.sent {
            let count = outputs.iter().filter(|output| results.contains(*output)).count();
            if count > 1 {
                return Err(format!("{count} answers of the token {token} count"));
            }
        }
        Ok(of_people)
    }

    fn check_end(&self, kind: Kind, arn: &str, worker: &Worker, events: &[Value]) -> Result<(), String> {
        let found = told(worker, "DescribeExecution", json!({ "executionArn": arn }))?;
        let driven = events.iter().filter(|event| kind_of(event) == "ExecutionRedriven").count();
        if found["redriveCount"] != driven {
            return Err(format!("{arn} was driven on {driven} times, and says {}", found["redriveCount"]));
        }
        if kind == Kind::Large && found["status"] == "SUCCEEDED" {
            let output = found["output"].as_str().and_then(|text| serde_json::from_str(text).ok());
            if output != Some(large_output()) {
                return Err(format!("{arn} has lost its large value: {}", found["output"]));
            }
        }
        if let Some(known) = self.ended.get(arn).filter(|_| !self.goes_on(arn)) {
            let shown = json!({ "status": found["status"], "output": found["output"] });
            if *known != shown {
                return Err(format!("{arn} had ended as {known}, and is {shown}"));
            }
        }
        let may_be = |status: &str| match status {
            "SUCCEEDED" => true,
            "ABORTED" => self.stopped.contains(arn),
            // Its child was stopped.
            "FAILED" => kind == Kind::Fails || (kind == Kind::Parent && !self.stopped.is_empty()),
            _ => false,
        };
        let status = found["status"].as_str().unwrap_or_default();
        if may_be(status) { Ok(()) } else { Err(format!("{arn} ended as {found}")) }
    }

    /// Each item of a map run has one child, and each child has its end.
    fn check_run(&self, arn: &str, worker: &Worker) -> Result<(), String> {
        for run in all(worker, "ListMapRuns", json!({ "executionArn": arn }), "mapRuns")? {
            let run = &run["mapRunArn"];
            let children = all(worker, "ListExecutions", json!({ "mapRunArn": run }), "executions")?;
            let is_stopped = self.stopped.contains(arn);
            let count = u64::try_from(children.len()).unwrap_or(u64::MAX);
            if count > ITEMS || (count < ITEMS && !is_stopped) {
                return Err(format!("{arn}: {ITEMS} items have {count} children"));
            }
            for child in &children {
                let arn = child["executionArn"].as_str().unwrap_or_default();
                let checked = check_history(arn, &history(worker, arn)?);
                checked.map_err(|problem| format!("{problem}; its map run is {}", described(run, worker)))?;
            }
        }
        Ok(())
    }
}

/// Whether an execution of any machine is under way.
pub(super) fn is_any_running(worker: &Worker) -> Result<bool, String> {
    for kind in KINDS {
        let input = json!({ "stateMachineArn": kind.arn(), "statusFilter": "RUNNING" });
        if !all(worker, "ListExecutions", input, "executions")?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn described(run: &Value, worker: &Worker) -> String {
    let found = told(worker, "DescribeMapRun", json!({ "mapRunArn": run }));
    found.map_or_else(|problem| problem, |run| run.to_string())
}

fn told(worker: &Worker, operation: &str, input: Value) -> Result<Value, String> {
    match worker.call(operation, input.clone()) {
        Some(Ok(output)) => Ok(output),
        other => Err(format!("{operation} of {input}: {other:?}")),
    }
}

/// All pages of a list.
pub(super) fn all(
    worker: &Worker,
    operation: &str,
    input: Value,
    member: &str,
) -> Result<Vec<Value>, String> {
    let mut input = input;
    let mut found = Vec::new();
    loop {
        let page = told(worker, operation, input.clone())?;
        found.extend(page[member].as_array().into_iter().flatten().cloned());
        if page["nextToken"].is_null() {
            return Ok(found);
        }
        input["nextToken"] = page["nextToken"].clone();
    }
}

fn history(worker: &Worker, arn: &str) -> Result<Vec<Value>, String> {
    all(worker, "GetExecutionHistory", json!({ "executionArn": arn, "maxResults": 1000 }), "events")
}

fn kind_of(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

/// Ids without a gap, one end, nothing after it, and no wait that was cut short.
fn check_history(arn: &str, events: &[Value]) -> Result<(), String> {
    let mut waits: BTreeMap<String, f64> = BTreeMap::new();
    if events.is_empty() {
        return Err(format!("{arn} has no history"));
    }
    for (index, event) in events.iter().enumerate() {
        if event["id"] != index + 1 {
            return Err(format!("{arn}: event {} stands in the place of {}", event["id"], index + 1));
        }
        let kind = kind_of(event);
        let is_end = matches!(
            kind,
            "ExecutionSucceeded" | "ExecutionFailed" | "ExecutionTimedOut" | "ExecutionAborted"
        );
        // What ended is gone on with only where somebody drove it on.
        let is_last = events.get(index + 1).is_none_or(|next| kind_of(next) == "ExecutionRedriven");
        if is_end != is_last {
            return Err(format!("{arn}: {kind} is event {} of {}", index + 1, events.len()));
        }
        let at = event["timestamp"].as_f64().unwrap_or_default();
        match kind {
            "WaitStateEntered" => {
                waits.insert(event["stateEnteredEventDetails"]["name"].to_string(), at);
            }
            "WaitStateExited" => {
                let name = event["stateExitedEventDetails"]["name"].to_string();
                let least = if name == "\"B\"" { 7200.0 } else { 5.0 };
                let waited = at - waits.get(&name).copied().unwrap_or(f64::NAN);
                if waited < least - 0.001 || waited.is_nan() {
                    return Err(format!("{arn}: {name} waited {waited} s of {least}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A task is scheduled, started, ended; and again as often as it is retried, not before its pause is over.
fn check_tries(kind: Kind, arn: &str, events: &[Value]) -> Result<(), String> {
    let (mut tries, mut is_open, mut failed_at) = (0, false, None::<f64>);
    let mut tries_max = kind.tries_max();
    for event in events {
        let at = event["timestamp"].as_f64().unwrap_or_default();
        if kind_of(event) == "ExecutionRedriven" {
            // It may have been stopped while its task was under way.
            (is_open, failed_at) = (false, None);
            tries_max += kind.tries_max();
        }
        match kind_of(event)
            .trim_start_matches("Activity")
            .trim_start_matches("LambdaFunction")
            .trim_start_matches("Task")
        {
            "Scheduled" => {
                let pause = 2.0_f64 * f64::from(1_u32 << tries.min(16)) / 2.0;
                if is_open || failed_at.is_some_and(|failed| at - failed < pause - 0.001) {
                    return Err(format!("{arn}: a task is repeated before its time: {event}"));
                }
                tries += 1;
                is_open = true;
            }
            end @ ("Succeeded" | "Failed" | "TimedOut") => {
                if !std::mem::replace(&mut is_open, false) {
                    return Err(format!("{arn}: a task ends twice: {event}"));
                }
                if end != "Succeeded" {
                    failed_at = Some(at);
                }
            }
            _ => {}
        }
    }
    if tries > tries_max {
        return Err(format!("{arn}: its task was scheduled {tries} times, and may be {tries_max}"));
    }
    Ok(())
}

/// What tasks of people and functions succeeded with.
fn succeeded(events: &[Value]) -> Vec<String> {
    let members =
        ["activitySucceededEventDetails", "lambdaFunctionSucceededEventDetails", "taskSucceededEventDetails"];
    let outputs =
        events.iter().flat_map(|event| members.iter().filter_map(|member| event[*member]["output"].as_str()));
    outputs.filter_map(|text| serde_json::from_str::<String>(text).ok()).collect()
}
