//! People at an installation: they decide about approvals, drive on what failed, and read the audit trail.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_workflow::audit::{Entry, Verifier};
use serde_json::{Value, json};

use super::machines::{Kind, PREFIX};
use super::scene::Scene;
use super::worker::Worker;

/// What people were told.
#[derive(Default)]
pub(super) struct People {
    /// Decisions that were acknowledged, by the approval's id: its execution, and whether it was approved.
    decided: BTreeMap<String, (String, bool)>,
    /// How often somebody wanted an execution driven on, and how often that was acknowledged.
    asked: BTreeMap<String, usize>,
    acknowledged: BTreeMap<String, usize>,
    /// The same from a chosen state.
    edits: BTreeMap<String, (usize, usize)>,
    /// Runs that somebody wanted, each of which drives an execution on once at the most.
    runs: usize,
}

impl Scene {
    /// Somebody decides about one of the approvals that are open.
    pub(super) fn decide(&self, worker: &Worker) {
        let Ok(open) = worker.own("GET", "tasks", "", &Value::Null) else { return };
        let open = open["tasks"].as_array().cloned().unwrap_or_default();
        if open.is_empty() {
            return;
        }
        let one = &open[self.chance().below(open.len())];
        let (id, is_approval) = (one["id"].as_str().unwrap_or_default(), self.chance().hits(700));
        let decision = if is_approval { "APPROVE" } else { "REJECT" };
        let body = json!({ "decision": decision, "by": "ada", "groups": ["deciders"] });
        let answer = worker.own("POST", &format!("tasks/{id}/decision"), "", &body);
        self.note(
            format_args!("worker {}", worker.number),
            format_args!("{decision} of {}: {}", one["execution"], told(&answer)),
        );
        if answer.is_ok() {
            let execution = one["execution"].as_str().unwrap_or_default().to_owned();
            let before = self.people().decided.insert(id.to_owned(), (execution, is_approval));
            if before.is_some() {
                self.ledger().broke(format!("the approval {id} is decided twice"));
            }
        }
    }

    /// Somebody drives on what failed: one execution, one from a state that they chose, or all of them.
    pub(super) fn redrive(&self, worker: &Worker) {
        let one = self.ledger().any_of(Kind::Fails, &mut self.chance());
        let Some((arn, number)) = one else { return };
        let kind = self.chance().below(5);
        if kind == 0 {
            self.people().runs += 1;
            self.ledger().may_go_on(None);
            let body = json!({ "machine": Kind::Fails.name(), "rate": 5 });
            let answer = worker.own("POST", "redrives", "", &body);
            self.note(
                format_args!("worker {}", worker.number),
                format_args!("drives all on: {}", told(&answer)),
            );
            return;
        }
        *self.people().asked.entry(arn.clone()).or_default() += 1;
        self.ledger().may_go_on(Some(&arn));
        let is_acknowledged = if kind == 1 {
            self.people().edits.entry(arn.clone()).or_default().0 += 1;
            let body = json!({ "from": "T", "input": { "n": number, "edited": true } });
            let answer = worker.own("POST", &format!("executions/{arn}/redrive"), "", &body);
            self.note(
                format_args!("worker {}", worker.number),
                format_args!("edits e{number}: {}", told(&answer)),
            );
            self.people().edits.entry(arn.clone()).or_default().1 += usize::from(answer.is_ok());
            answer.is_ok()
        } else {
            matches!(self.ask(worker, "RedriveExecution", json!({ "executionArn": arn })), Some(Ok(_)))
        };
        *self.people().acknowledged.entry(arn).or_default() += usize::from(is_acknowledged);
    }

    /// How often the execution of that number may call.
    pub(super) fn tries_max(&self, number: u64) -> usize {
        let kind = Kind::of(number);
        if kind != Kind::Fails {
            return kind.tries_max();
        }
        let people = self.people();
        let asked = people.asked.get(&format!("{PREFIX}:execution:{}:e{number}", kind.name()));
        1 + asked.copied().unwrap_or_default() + people.runs
    }

    /// Whether a run of redrives is under way.
    pub(super) fn is_driving(&self, worker: &Worker) -> Result<bool, String> {
        let runs = worker.own("GET", "redrives", "", &Value::Null)?;
        let mut runs = runs["redrives"].as_array().into_iter().flatten();
        Ok(runs.any(|run| run["status"] == "RUNNING"))
    }
}

impl People {
    /// What was acknowledged is there, and nothing that nobody wanted; `histories` are those of the executions that people had to do
    /// with, by their ARN.
    pub(super) fn audit(
        &self,
        worker: &Worker,
        histories: &BTreeMap<String, Vec<Value>>,
    ) -> Result<(), String> {
        let trail = trail(worker)?;
        for (arn, events) in histories {
            let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
            let driven = count("ExecutionRedriven");
            let least = self.acknowledged.get(arn).copied().unwrap_or_default();
            let most = self.asked.get(arn).copied().unwrap_or_default() + self.runs;
            if !(least..=most).contains(&driven) {
                return Err(format!(
                    "{arn} was driven on {driven} times: {least} were acknowledged, {most} wanted"
                ));
            }
            let entries = trail
                .iter()
                .filter(|entry| entry.kind == "RedriveExecution" && entry.subject == *arn)
                .count();
            if entries != driven {
                return Err(format!("{arn} was driven on {driven} times, and the trail tells of {entries}"));
            }
            let found = worker.own("GET", &format!("executions/{arn}/revisions"), "", &Value::Null)?;
            let revisions = found["revisions"].as_array().map_or(0, Vec::len);
            let (most, least) = self.edits.get(arn).copied().unwrap_or_default();
            if !(least..=most).contains(&revisions) {
                return Err(format!("{arn} has {revisions} edited inputs of {least} to {most}"));
            }
        }
        self.check_decisions(&trail, histories)?;
        let open = worker.own("GET", "tasks", "", &Value::Null)?;
        if open["tasks"].as_array().is_some_and(|open| !open.is_empty()) {
            return Err(format!("these are open, and nothing waits for them: {open}"));
        }
        Ok(())
    }

    fn check_decisions(
        &self,
        trail: &[Entry],
        histories: &BTreeMap<String, Vec<Value>>,
    ) -> Result<(), String> {
        for (id, (arn, is_approval)) in &self.decided {
            let entries = trail
                .iter()
                .filter(|entry| entry.kind == "ApprovalDecided" && entry.details["task"] == *id)
                .count();
            if entries != 1 {
                return Err(format!("the decision about {id} is in the trail {entries} times"));
            }
            let events = histories.get(arn).ok_or_else(|| format!("{arn} is gone, and was decided about"))?;
            let has = |kind: &str| events.iter().any(|event| event["type"] == kind);
            // It was stopped or came to its time before it heard of the decision.
            let is_moot = has("ExecutionAborted") || has("TaskTimedOut");
            let expected = if *is_approval { "TaskSucceeded" } else { "TaskFailed" };
            if !is_moot && !has(expected) {
                return Err(format!("{arn} was decided about, and has no {expected}"));
            }
        }
        let mut seen = BTreeSet::new();
        for entry in
            trail.iter().filter(|entry| ["ApprovalRequested", "ApprovalDecided"].contains(&&*entry.kind))
        {
            let id = entry.details["task"].as_str().unwrap_or_default();
            if !seen.insert((&entry.kind, id)) {
                return Err(format!("{} of {id} is in the trail twice", entry.kind));
            }
        }
        Ok(())
    }
}

fn told(answer: &Result<Value, String>) -> &str {
    answer.as_ref().map_or_else(String::as_str, |_| "ok")
}

/// The audit trail, verified from its beginning to its end.
fn trail(worker: &Worker) -> Result<Vec<Entry>, String> {
    let head = worker.own("GET", "audit/head", "", &Value::Null)?;
    let (mut verifier, mut entries) = (Verifier::default(), Vec::<Entry>::new());
    loop {
        let page = worker.lines("audit", &format!("after={}", entries.len()))?;
        if page.is_empty() {
            break;
        }
        for line in page {
            verifier.line(&line).map_err(|broken| format!("the audit trail: {broken}"))?;
            entries.push(serde_json::from_str(&line).map_err(|error| error.to_string())?);
        }
    }
    let end = verifier.end().map_err(|broken| format!("the audit trail: {broken}"))?;
    if head["seq"] != end.seq || head["hash"] != end.hash {
        return Err(format!("the audit trail ends with {} {}, and its head is {head}", end.seq, end.hash));
    }
    Ok(entries)
}
