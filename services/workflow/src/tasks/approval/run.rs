//! Seeing approvals through, and taking decisions.

use std::sync::Arc;
use std::time::Duration;

use selvedge_asl::TaskOutcome;
use selvedge_store::{Error as StoreError, WriteError};
use serde_json::{Value, json};

use super::{Approval, DecideError, Deciding, Decision, Status, find, key, list, request};
use crate::Engine;
use crate::engine::LiveKey;
use crate::record;
use crate::tasks::{Call, idempotency_key};

/// Approvals that are looked at together.
const PAGE: usize = 256;
/// How long a runner sleeps at the most: the clock may have been set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);

impl Engine {
    /// Sees an approval through: from the request, or from where it stood when the process ended, to its end.
    pub(crate) async fn run_approval(self: &Arc<Self>, live: &LiveKey, call: &Call) {
        let task = call.request.id;
        let asked = request::read(call, live, self.now_ms());
        let asked = match asked {
            Ok(asked) => asked,
            Err(failure) => {
                self.inform(live, task, TaskOutcome::Failed(failure)).await;
                return;
            }
        };
        let id = asked.id.clone();
        let wake = self.approvals.enter(&id);
        let Some(mut approval) = self.keep_trying(live, move |engine| engine.open_approval(&asked)).await
        else {
            return;
        };
        if !self.inform(live, task, TaskOutcome::Submitted { output: json!({ "TaskId": id }) }).await {
            // It ended before anybody was asked.
            self.close_approval(live, task.0, Status::Canceled);
            return;
        }
        loop {
            if let Some(outcome) = approval.outcome() {
                self.inform(live, task, outcome).await;
                self.approvals.leave(&id);
                return;
            }
            let now_ms = self.now_ms();
            let sleep = approval.next_ms().map_or(LOOK_EVERY, |due_ms| {
                Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0)).min(LOOK_EVERY)
            });
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
            let id_there = id.clone();
            let Some(found) = self.keep_trying(live, move |engine| engine.elapse_approval(&id_there)).await
            else {
                return;
            };
            approval = found;
        }
    }

    /// Does something with the store until it works.
    async fn keep_trying<T: Send + 'static>(
        self: &Arc<Self>,
        live: &LiveKey,
        f: impl Fn(&Self) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Option<T> {
        loop {
            let (own, f_there) = (Arc::clone(self), f.clone());
            match self.aside(move || f_there(&own)).await {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(error)) => {
                    tracing::error!(execution = %live, %error, "an approval could not be stored; it is tried again");
                }
                Err(_) => return None,
            }
            self.pause(Duration::from_secs(1)).await;
        }
    }

    /// Stores a request, unless it is stored already: then as it stands.
    fn open_approval(&self, asked: &Approval) -> Result<Approval, StoreError> {
        let written = self.store.write::<_, StoreError>(|tx| {
            if let Some(found) = tx.get(&key(&asked.id))? {
                return Ok(record::decode(&found)?);
            }
            asked.write(tx)?;
            let actor = asked.requester.as_deref().unwrap_or("");
            let more = json!({ "assignees": asked.circle.assignees, "groups": asked.circle.groups, "minimumApprovals": asked.minimum });
            asked.note(tx, "ApprovalRequested", actor, asked.requested_ms, more)?;
            Ok(asked.clone())
        });
        written.map(|(approval, _)| approval).map_err(flat)
    }

    /// Does what is due; the approval as it stands.
    fn elapse_approval(&self, id: &str) -> Result<Approval, StoreError> {
        let now_ms = self.now_ms();
        let written = self.store.write::<_, StoreError>(|tx| {
            let found = tx.get(&key(id))?;
            let found = found.ok_or_else(|| StoreError::Corrupt(format!("the approval {id} is gone")))?;
            let mut approval: Approval = record::decode(&found)?;
            let happened = approval.elapse(now_ms);
            if !happened.is_empty() {
                approval.write(tx)?;
                for kind in happened {
                    approval.note(tx, kind, "", now_ms, Value::Null)?;
                }
            }
            Ok(approval)
        });
        written.map(|(approval, _)| approval).map_err(flat)
    }

    /// Takes somebody's decision; durable when this returns.
    pub(crate) fn decide(&self, id: &str, deciding: &Deciding) -> Result<Approval, DecideError> {
        find(&*self.store.snapshot()?, id)?;
        let now_ms = self.now_ms();
        let wake = self.approvals.find(id);
        let written = self.store.write(|tx| {
            let found =
                tx.get(&key(id))?.ok_or_else(|| WriteError::Refused(DecideError::Unknown(id.to_owned())))?;
            let mut approval: Approval = record::decode(&found)?;
            let mut happened = approval.elapse(now_ms);
            if wake.is_none() && approval.status == Status::Open {
                // Its execution has ended while nobody was there to say so.
                approval.close(Status::Canceled, now_ms);
                happened.push("ApprovalCanceled");
            }
            let decided = if happened.is_empty() { approval.decide(deciding, now_ms) } else { Ok(()) };
            decided.map_err(WriteError::Refused)?;
            approval.write(tx)?;
            if happened.is_empty() {
                let decision = approval.decisions.last().map(Decision::show);
                approval.note(
                    tx,
                    "ApprovalDecided",
                    &deciding.by,
                    now_ms,
                    json!({ "decision": decision, "groups": deciding.groups }),
                )?;
            }
            for kind in &happened {
                approval.note(tx, kind, "", now_ms, Value::Null)?;
            }
            Ok((approval, happened.is_empty()))
        });
        let (approval, is_decided) = match written {
            Ok((found, _)) => found,
            Err(WriteError::Refused(error)) => return Err(error),
            Err(WriteError::Store(error)) => return Err(error.into()),
        };
        if let Some(wake) = wake {
            wake.notify_one();
        }
        if is_decided {
            return Ok(approval);
        }
        // What was due came first; with the circle as it is by now, it may be tried again.
        if approval.status == Status::Open {
            self.decide(id, deciding)
        } else {
            Err(DecideError::Closed(approval.status.name().to_owned()))
        }
    }

    /// Its task has ended otherwise.
    pub(crate) fn close_approval(&self, live: &LiveKey, event: u64, status: Status) {
        let id = idempotency_key(&live.machine, &live.name, event);
        let Some(wake) = self.approvals.leave(&id) else { return };
        let Some(engine) = self.own.upgrade() else { return };
        self.behind(move || {
            if let Err(error) = engine.close_open(&id, status) {
                // It is found by the next start.
                tracing::error!(approval = id, %error, "an approval could not be closed");
            }
            wake.notify_one();
        });
    }

    fn close_open(&self, id: &str, status: Status) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let kind = if status == Status::Answered { "ApprovalAnswered" } else { "ApprovalCanceled" };
        let written = self.store.write::<_, StoreError>(|tx| {
            let Some(found) = tx.get(&key(id))? else { return Ok(()) };
            let mut approval: Approval = record::decode(&found)?;
            if approval.status == Status::Open {
                approval.close(status, now_ms);
                approval.write(tx)?;
                approval.note(tx, kind, "", now_ms, Value::Null)?;
            }
            Ok(())
        });
        written.map(drop).map_err(flat)
    }

    /// After a restart: closes approvals whose tasks ended just before it, when nobody was left to say so.
    pub(crate) fn close_lost_approvals(&self) -> Result<u64, StoreError> {
        let (mut after, mut count): (String, u64) = (String::new(), 0);
        loop {
            let page = list(&*self.store.snapshot()?, true, &after, PAGE)?;
            for approval in &page {
                let live = LiveKey::new(&approval.machine, &approval.execution);
                let is_asked = self.step(&live, |execution, _| {
                    execution.pending_tasks().any(|(request, _)| {
                        idempotency_key(&live.machine, &live.name, request.id.0) == approval.id
                    })
                })?;
                if is_asked != Some(true) {
                    self.close_open(&approval.id, Status::Canceled)?;
                    count += 1;
                }
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => after.clone_from(&last.id),
                None => return Ok(count),
            }
        }
    }
}

fn flat(error: WriteError<StoreError>) -> StoreError {
    match error {
        WriteError::Refused(error) | WriteError::Store(error) => error,
    }
}
