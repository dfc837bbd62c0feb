//! Carrying out what executions ask for.

use selvedge_asl::{Command, MapRunRequest, Pattern, Resource, TaskId, TaskOutcome, TaskRequest};
use selvedge_store::Error as StoreError;

use super::activity::{Poll, Waiting};
use super::token::Asked;
use super::{Engine, LiveKey};
use crate::dead::Letter;
use crate::record::{self, ExecutionRecord, key};
use crate::tasks::{approval, is_approval};

/// A token could not be used.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// Nobody was given it.
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
        if let Some(token) = &request.token {
            self.tokens.insert(token, key, request.id, &request.state);
        }
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
            if let Some(token) = &request.token {
                self.tokens.insert(token, key, request.id, &request.state);
            }
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
        self.tokens.expire(key, task);
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

    /// Uses a token.
    pub(crate) fn answer(&self, token: &str, outcome: TaskOutcome) -> Result<(), TokenError> {
        let is_heartbeat = outcome == TaskOutcome::Heartbeat;
        let Some(Asked { key, task, .. }) = self.tokens.find(token) else {
            return Err(self.too_late(token, outcome));
        };
        let is_awaited = self.task(&key, task, outcome.clone()).map_err(TokenError::Store)?;
        if !is_heartbeat || !is_awaited {
            // It resolves at most once; what was not awaited is over.
            self.tokens.remove(&key, task);
        }
        if !is_heartbeat && is_awaited {
            // Nobody is to decide about it any more.
            self.close_approval(&key, task.0, approval::Status::Answered);
        }
        if is_awaited { Ok(()) } else { Err(self.too_late(token, outcome)) }
    }

    /// An answer for a task that has ended otherwise. A result is kept in the dead-letter log, once: somebody worked for it.
    fn too_late(&self, token: &str, outcome: TaskOutcome) -> TokenError {
        if !self.tokens.is_late(token) {
            return TokenError::Unknown;
        }
        if let TaskOutcome::Succeeded { output } = outcome
            && let Some(Asked { key, task, state }) = self.tokens.take_late(token)
        {
            let found =
                self.store.snapshot().and_then(|view| view.get(&key::execution(&key.machine, &key.name)));
            let found = found.ok().flatten().and_then(|found| record::decode::<ExecutionRecord>(&found).ok());
            if let Some(record) = found {
                self.keep_letter(&Letter::of_result(
                    &record,
                    &state,
                    task.0,
                    self.now_ms(),
                    output.to_string(),
                ));
            }
        }
        TokenError::TimedOut
    }
}
