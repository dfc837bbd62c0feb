//! Carrying out what executions ask for.

use selvedge_asl::{
    At, Command, Execution, MapRunRequest, Pattern, Resource, TaskId, TaskOutcome, TaskRequest,
};
use selvedge_store::{Error as StoreError, PAGE_MAX, Read, WriteError};

use super::activity::{Poll, Waiting};
use super::token::{self, Asked};
use super::{Engine, LiveKey};
use crate::dead::Letter;
use crate::record::{self, ExecutionRecord, key};
use crate::tasks::{approval, is_approval};

/// How much of a task's cause is kept: as much as the original takes. An execution that waits for others tells of their ends in its own
/// cause, quoted once more at each level.
pub const CAUSE_CHARACTERS_MAX: usize = 32_768;

/// A token could not be used.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// It is none.
    Invalid,
    /// Its execution is not there any more.
    Unknown,
    /// Its task has ended.
    TimedOut,
    Store(StoreError),
}

impl Engine {
    pub(super) fn carry_out(&self, key: &LiveKey, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Schedule(request) => self.schedule(key, *request),
                Command::Cancel(task) => self.cancel(key, task),
                Command::RunMap(request) => self.map(key, *request),
            }
        }
    }

    fn schedule(&self, key: &LiveKey, request: TaskRequest) {
        match &request.resource {
            Resource::Activity(activity) => {
                let waiting = Waiting {
                    key: key.clone(),
                    task: request.id,
                    token: request.token.clone().unwrap_or_default(),
                    input: request.parameters.to_string(),
                };
                self.activities.push(activity, waiting);
            }
            _ => self.call(key, request),
        }
    }

    /// A task that was under way when the process ended: whoever holds its token may answer still; what waited for a
    /// worker waits again; a call whose answer was lost is made once more, with the same idempotency key.
    pub(super) fn resume(&self, key: &LiveKey, request: TaskRequest, is_handed_over: bool) {
        let waits_for_token = matches!(
            &request.resource,
            Resource::Service { pattern: Pattern::TaskToken, .. } | Resource::Activity(_)
        ) && !is_approval(&request.resource);
        if is_handed_over && waits_for_token {
            return;
        }
        self.schedule(key, request);
    }

    /// Runs the children of a distributed Map state, away from the step that asked for it.
    pub(super) fn map(&self, key: &LiveKey, request: MapRunRequest) {
        if let Some(engine) = self.own.upgrade() {
            engine.run_map(key, request);
        }
    }

    fn cancel(&self, key: &LiveKey, task: TaskId) {
        self.cancel_map_run(key, task);
        self.activities.remove(key, task);
        self.tasks.running.cancel(key, task);
        self.close_approval(key, task.0, approval::Status::Canceled);
    }

    /// A worker asks for a task of an activity.
    pub(crate) fn poll_activity(&self, activity: &str) -> Poll {
        self.activities.poll(activity)
    }

    /// The worker `worker` has a task: its time counts from here. False when it has ended meanwhile.
    pub(crate) fn hand_out(&self, waiting: &Waiting, worker: Option<String>) -> Result<bool, StoreError> {
        self.task(&waiting.key, waiting.task, TaskOutcome::Started { worker })
    }

    /// A task that was taken and could not be handed out waits again.
    pub(crate) fn give_back(&self, activity: &str, waiting: Waiting) {
        self.activities.give_back(activity, waiting);
    }

    /// Uses a token: it resolves at most once.
    pub(crate) fn answer(&self, token: &str, outcome: TaskOutcome) -> Result<(), TokenError> {
        let asked = self.tokens.open(token).ok_or(TokenError::Invalid)?;
        let (is_heartbeat, told) = (outcome == TaskOutcome::Heartbeat, outcome.clone());
        let stepped = self.step(&asked.key, |execution, at| {
            elapse(execution, at);
            let is_its = |request: &TaskRequest| {
                request.token.as_deref().is_some_and(|found| token::is_same(found, token))
            };
            let found = execution.pending_tasks().find(|(request, _)| is_its(request));
            let task = found.map(|(request, _)| request.id);
            task.is_some_and(|task| execution.handle_task(task, told, at))
        });
        if stepped.map_err(TokenError::Store)? != Some(true) {
            return Err(self.too_late(&asked, outcome));
        }
        if !is_heartbeat {
            // Nobody is to decide about it any more.
            self.close_approval(&asked.key, asked.task.0, approval::Status::Answered);
        }
        Ok(())
    }

    /// An answer for a task that has ended. A result is kept in the dead-letter log, once, where nobody had answered: somebody worked
    /// for it.
    fn too_late(&self, asked: &Asked, outcome: TaskOutcome) -> TokenError {
        let result = match outcome {
            TaskOutcome::Succeeded { output } => Some(output.to_string()),
            _ => None,
        };
        let (machine, name, task) = (&asked.key.machine, &asked.key.name, asked.task.0);
        let (of, after) = (key::lates(machine, name), key::late(machine, name, task));
        let found = |view: &dyn Read| -> Result<_, StoreError> {
            let found = view.get(&key::execution(machine, name))?;
            found.as_ref().map(record::decode::<ExecutionRecord>).transpose()
        };
        let Some(result) = result else {
            return match self.store.snapshot().and_then(|view| found(&*view)) {
                Ok(Some(_)) => TokenError::TimedOut,
                Ok(None) => TokenError::Unknown,
                Err(error) => TokenError::Store(error),
            };
        };
        let now_ms = self.now_ms();
        let written = self.store.write::<_, StoreError>(|tx| {
            let Some(record) = found(&*tx)? else { return Ok(false) };
            let mut after = after.clone();
            loop {
                let page = tx.scan(&of, Some(&after), PAGE_MAX)?;
                for document in &page {
                    let late: Vec<u64> = record::decode(document)?;
                    if !late.contains(&task) {
                        continue;
                    }
                    let left: Vec<u64> = late.into_iter().filter(|other| *other != task).collect();
                    if left.is_empty() {
                        tx.delete(&document.key)?;
                    } else {
                        tx.put(&document.key, record::encode(&left))?;
                    }
                    Letter::of_result(&record, &asked.state, task, now_ms, result.clone()).append(tx)?;
                    return Ok(true);
                }
                match page.last().filter(|_| page.len() == PAGE_MAX) {
                    Some(last) => after.clone_from(&last.key),
                    None => return Ok(true),
                }
            }
        });
        match written {
            Ok((true, _)) => TokenError::TimedOut,
            Ok((false, _)) => TokenError::Unknown,
            Err(WriteError::Refused(error) | WriteError::Store(error)) => TokenError::Store(error),
        }
    }
}

/// What became of a task, with no more of its cause than is kept.
pub(crate) fn bounded(mut outcome: TaskOutcome) -> TaskOutcome {
    if let TaskOutcome::Failed(failure) = &mut outcome
        && let Some(cause) = &mut failure.cause
        && let Some((at, _)) = cause.char_indices().nth(CAUSE_CHARACTERS_MAX)
    {
        cause.truncate(at);
    }
    outcome
}

/// Does what is due by the clock: an answer that comes after its time, and before the timer has looked, is late.
pub(super) fn elapse(execution: &mut Execution, at: &mut At<'_>) {
    if execution.next_timeout().is_some_and(|due_ms| due_ms <= at.now_ms) {
        execution.handle_timeout(at);
    }
}

#[cfg(test)]
mod tests {
    use selvedge_asl::Failure;

    use super::*;

    #[test]
    fn a_cause_is_cut_between_characters() {
        let cause = |text: &str| match bounded(TaskOutcome::Failed(Failure::new("E", text))) {
            TaskOutcome::Failed(failure) => failure.cause.unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(cause(&"ä".repeat(CAUSE_CHARACTERS_MAX)), "ä".repeat(CAUSE_CHARACTERS_MAX));
        assert_eq!(
            cause(&format!("{}x", "ä".repeat(CAUSE_CHARACTERS_MAX))),
            "ä".repeat(CAUSE_CHARACTERS_MAX)
        );
        assert_eq!(cause(""), "");
    }
}
