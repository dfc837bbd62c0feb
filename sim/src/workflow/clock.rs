//! What starts by the clock, and what leaves nothing behind.

use std::collections::BTreeSet;

use selvedge_store::Store as _;
use serde_json::{Value, json};

use super::machines::{Kind, QUICK, SMALL_INPUT};
use super::scene::{START_MS, Scene};
use super::worker::Worker;

/// The schedule, and how its executions' names begin.
const NAME: &str = "tick";
const HOUR_MS: i64 = 3_600_000;
/// Ticks of it: one an hour.
const TICKS: i64 = 6;
/// When the last of them is over for the slowest clock.
const OVER_MS: i64 = START_MS + (TICKS + 2) * HOUR_MS;

impl Scene {
    /// A schedule, before anything fails.
    pub(super) fn prepare_schedule(&self, worker: &Worker) {
        let seconds = |at_ms: i64| at_ms / 1000;
        let made = worker.schedule(json!({
            "Name": NAME, "ScheduleExpression": "rate(1 hours)", "FlexibleTimeWindow": { "Mode": "OFF" },
            "StartDate": seconds(START_MS + HOUR_MS), "EndDate": seconds(START_MS + TICKS * HOUR_MS + HOUR_MS / 2),
            "Target": { "Arn": Kind::Pure.arn(), "RoleArn": "arn:aws:iam::123456789012:role/r", "Input": SMALL_INPUT },
        }));
        assert!(made.is_ok(), "nothing fails yet: {made:?}");
        let caught_up = worker.own(
            "PUT",
            &format!("schedules/default/{NAME}/catch-up"),
            "",
            &json!({ "catchUp": "ALL" }),
        );
        assert!(caught_up.is_ok(), "nothing fails yet: {caught_up:?}");
    }

    /// Whether it may tick still.
    pub(super) fn may_tick(&self) -> bool {
        self.now_ms() < OVER_MS
    }

    /// A client wants an express execution, and waits for it or does not.
    pub(super) fn start_express(&self, worker: &Worker) {
        let number = self.chance().below(1000);
        let input = json!({ "stateMachineArn": QUICK.arn(), "input": json!({ "n": number, "items": [1, 2] }).to_string() });
        if self.chance().hits(300) {
            self.ask(worker, "StartExecution", input);
            return;
        }
        let Some(Ok(answer)) = self.ask(worker, "StartSyncExecution", input) else { return };
        let output: Value =
            answer["output"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if answer["status"] != "SUCCEEDED" || output["n"] != number {
            self.ledger().broke(format!("an express execution with {number} came to {answer}"));
        }
    }

    /// Each tick has started one execution, and express executions have left nothing behind.
    pub(super) fn audit_clock(&self, worker: &Worker) -> Result<(), String> {
        let listed = super::ledger::all(
            worker,
            "ListExecutions",
            json!({ "stateMachineArn": Kind::Pure.arn() }),
            "executions",
        )?;
        let names = listed.iter().filter_map(|one| one["name"].as_str());
        let ticked: BTreeSet<&str> = names.filter(|name| name.starts_with(NAME)).collect();
        if i64::try_from(ticked.len()).ok() != Some(TICKS) {
            return Err(format!("{TICKS} ticks have started {ticked:?}"));
        }
        let view = self.store.snapshot().map_err(|error| error.to_string())?;
        for room in ["execution", "started", "history", "checkpoint", "live"] {
            let left =
                view.scan_all(&format!("{room}/{}/", QUICK.name())).map_err(|error| error.to_string())?;
            if let Some(left) = left.first() {
                return Err(format!("an express execution has left {}", left.key));
            }
        }
        Ok(())
    }
}
