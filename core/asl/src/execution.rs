//! One run of a state machine, as a machine of its own.
//!
//! ```text
//!           handle_start ─┐                       ┌─▶ poll_event    the history, in order
//!           handle_task ──┼─▶  branches: each in   ─┤
//!        handle_map_run ──┤    one state, in one    ├─▶ poll_command  what the world has to do
//!        handle_timeout ──┤    phase                └─▶ next_timeout  when to call handle_timeout
//!           handle_stop ──┘
//! ```
//!
//! A branch enters a state, works, leaves it and goes on; a Parallel or Map state has branches of its own below it. Each
//! handler runs every branch as far as it goes without the world (or [`TRANSITIONS_MAX`] transitions far), so that a
//! caller can store the events, the commands and the execution itself in one transaction.

mod absent;
mod begin;
mod branch;
mod command;
mod evaluate;
mod event;
mod failing;
mod finish;
mod map;
mod map_run;
mod redrive;
mod task;
mod trial;

pub use absent::QUOTED_BYTES_MAX;
pub use command::{
    Command, ItemSource, MapRunOutcome, MapRunRequest, Selection, TaskId, TaskOutcome, TaskRequest,
    TokenSource,
};
pub use event::{Detail, Event, Failure, Patience, StateType, TaskName};

pub use trial::{Trial, Tried, Verdict};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use selvedge_query::{Entropy, Stopwatch, nests_within};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Definition, ScopeId};
use branch::{BranchId, Phase, Run};

/// The most bytes of a state's input or output, as JSON.
pub const PAYLOAD_BYTES_MAX: usize = 262_144;
/// How deep a payload or a variable nests: what is read back from a checkpoint has some levels of its own around it, and no
/// more than 127 in all.
pub const PAYLOAD_DEPTH_MAX: usize = 100;
/// The most events of a history.
pub const HISTORY_EVENTS_MAX: u64 = 25_000;
/// The most bytes of one variable, and of all that one `Assign` assigns.
pub const VARIABLE_BYTES_MAX: usize = 262_144;
/// The most bytes of all variables of an execution.
pub const VARIABLES_BYTES_MAX: usize = 10 << 20;
/// The same, where payloads may be larger than [`PAYLOAD_BYTES_MAX`].
pub const EXTENDED_VARIABLES_BYTES_MAX: usize = 32 << 20;
/// How many states one call of a handler runs at the most; the rest is due at once.
pub const TRANSITIONS_MAX: usize = 1000;
/// How long one call of a handler runs states, in milliseconds, but for the one that it is at then.
pub const RUN_TIME_MAX: u64 = 500;

/// Who an execution is, for its context object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `arn:aws:states:…:execution:…`
    pub arn: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The machine's ARN.
    pub machine_arn: Box<str>,
    /// The machine's name.
    pub machine_name: Box<str>,
    /// The role that it runs as.
    pub role_arn: Box<str>,
    /// Where it runs.
    pub region: Box<str>,
}

/// Bounds that an operator may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// See [`PAYLOAD_BYTES_MAX`]. One that is moved up moves the bounds of variables with it.
    pub payload_bytes: usize,
    /// See [`HISTORY_EVENTS_MAX`].
    pub history_events: u64,
}

impl Options {
    /// The most bytes of one variable, and of all that one `Assign` assigns.
    pub fn variable_bytes(&self) -> usize {
        self.payload_bytes.max(VARIABLE_BYTES_MAX)
    }

    /// The most bytes that are made for one field of a state, on the way to a payload.
    pub(crate) fn field_bytes(&self) -> usize {
        self.payload_bytes.saturating_mul(4)
    }

    /// The most bytes of all variables of an execution.
    pub fn variables_bytes(&self) -> usize {
        match self.payload_bytes > PAYLOAD_BYTES_MAX {
            true => EXTENDED_VARIABLES_BYTES_MAX,
            false => VARIABLES_BYTES_MAX,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { payload_bytes: PAYLOAD_BYTES_MAX, history_events: HISTORY_EVENTS_MAX }
    }
}

/// What a handler needs to know.
pub struct At<'a> {
    /// What is run: the same at every call.
    pub definition: &'a Definition,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// For tokens, jitter and functions.
    pub entropy: &'a mut dyn Entropy,
}

/// How an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Not started yet, or under way.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// It took longer than its machine allows.
    TimedOut,
    /// Somebody stopped it.
    Aborted,
}

/// One run of a machine. Serialised, it is a checkpoint: read back, it goes on where it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Execution {
    identity: Identity,
    options: Options,
    /// As the caller wrote it.
    input_text: Box<str>,
    input: Value,
    status: Status,
    started_ms: i64,
    ended_ms: Option<i64>,
    deadline_ms: Option<i64>,
    redrive_count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redriven_ms: Option<i64>,
    output: Option<String>,
    failure: Option<Failure>,
    last_event: u64,
    next_branch: u64,
    // Boxed: most executions have one branch, and a node of the map has room for eleven.
    branches: BTreeMap<BranchId, Box<Run>>,
    ready: VecDeque<BranchId>,
    /// Where tokens of tasks come from.
    #[serde(skip)]
    tokens: Option<Arc<dyn TokenSource>>,
    /// A trial's context object.
    #[serde(skip)]
    given_context: Option<Box<Value>>,
    #[serde(skip)]
    events: VecDeque<Event>,
    #[serde(skip)]
    commands: VecDeque<Command>,
}

impl Execution {
    /// An execution that has not begun.
    ///
    /// # Errors
    /// When the input is no JSON, or nests deeper than [`PAYLOAD_DEPTH_MAX`].
    pub fn new(identity: Identity, options: Options, input: &str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            identity,
            options,
            input: parse_payload(input)?,
            input_text: input.into(),
            status: Status::Running,
            started_ms: 0,
            ended_ms: None,
            deadline_ms: None,
            redrive_count: 0,
            redriven_ms: None,
            output: None,
            failure: None,
            last_event: 0,
            next_branch: 0,
            branches: BTreeMap::new(),
            ready: VecDeque::new(),
            tokens: None,
            given_context: None,
            events: VecDeque::new(),
            commands: VecDeque::new(),
        })
    }

    /// Has tokens made by `tokens` from here on; without, they are 256 bits of chance. No checkpoint holds it.
    pub fn with_tokens(self, tokens: Arc<dyn TokenSource>) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Begins.
    pub fn handle_start(&mut self, at: &mut At<'_>) {
        self.started_ms = at.now_ms;
        self.deadline_ms = at.definition.timeout_seconds.map(|seconds| later(at.now_ms, seconds));
        let detail = Detail::ExecutionStarted {
            input: self.input_text.clone(),
            role_arn: self.identity.role_arn.clone(),
        };
        self.emit(0, at.now_ms, detail);
        // The first state's entry has no event before it.
        let input = self.input.clone();
        self.fork(None, ScopeId::TOP, input, 0, at.definition);
        self.run(at);
    }

    /// Tells what became of a task. False when nobody waits for it any more.
    pub fn handle_task(&mut self, id: TaskId, outcome: TaskOutcome, at: &mut At<'_>) -> bool {
        let is_awaited = self.status == Status::Running && self.task(id, outcome, at);
        self.run(at);
        is_awaited
    }

    /// Tells what became of a map run. False when nobody waits for it any more.
    pub fn handle_map_run(&mut self, id: TaskId, outcome: MapRunOutcome, at: &mut At<'_>) -> bool {
        let is_awaited = self.status == Status::Running && self.map_run(id, outcome, at);
        self.run(at);
        is_awaited
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, at: &mut At<'_>) {
        if self.status != Status::Running {
            return;
        }
        if self.deadline_ms.is_some_and(|deadline| deadline <= at.now_ms) {
            self.end(Status::TimedOut, Detail::ExecutionTimedOut(Failure::default()), 0, at.now_ms);
            return;
        }
        let due: Vec<BranchId> = self
            .branches
            .iter()
            .filter(|(_, run)| run.due_ms().is_some_and(|due| due <= at.now_ms))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            // An earlier one's failure may have ended this one.
            if self.status == Status::Running && self.branches.contains_key(&id) {
                self.elapsed(id, at);
            }
        }
        self.run(at);
    }

    /// Ends at somebody's word.
    pub fn handle_stop(&mut self, failure: Failure, at: &mut At<'_>) {
        if self.status == Status::Running {
            self.end(Status::Aborted, Detail::ExecutionAborted(failure), 0, at.now_ms);
        }
    }

    /// The next entry of the history.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Execution::handle_timeout`] has something to do, in milliseconds since 1970; 0 is at once.
    pub fn next_timeout(&self) -> Option<i64> {
        if self.status != Status::Running {
            return None;
        }
        if !self.ready.is_empty() {
            return Some(0);
        }
        self.branches.values().filter_map(|run| run.due_ms()).chain(self.deadline_ms).min()
    }

    /// When it goes on, where it does nothing until then but wait: no task, no map run, nothing that is due.
    pub fn idle_until(&self) -> Option<i64> {
        let is_idle = self.branches.values().all(|run| match &run.phase {
            Phase::Enter | Phase::Work | Phase::Task(_) | Phase::MapRun(_) => false,
            Phase::Wait { .. } | Phase::Backoff { .. } | Phase::Parallel(_) | Phase::Map(_) => true,
            Phase::Done | Phase::Failed(_) | Phase::Aborted => true,
        });
        self.next_timeout().filter(|_| is_idle)
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it was given, as it was written.
    pub fn input(&self) -> &str {
        &self.input_text
    }

    /// What it ended with, where it ended well.
    pub fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// What it ended with, where it did not.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The state that an execution which did not end well came to its end in, as deep as the failure was.
    pub fn failed_state(&self) -> Option<&str> {
        if matches!(self.status, Status::Running | Status::Succeeded) {
            return None;
        }
        let of_failure =
            |phase: &Phase| matches!(phase, Phase::Failed(failure) if self.failure.as_ref() == Some(failure));
        let cause = self.branches.values().rev().find(|run| of_failure(&run.phase));
        let own = || self.branches.values().find(|run| run.parent.is_none());
        cause.or_else(own).map(|run| &*run.state)
    }

    /// Whether one that was read back is of this definition: each branch in a state of it, below a branch that is there. Handlers
    /// rely on it.
    pub fn fits(&self, definition: &Definition) -> bool {
        self.branches.iter().all(|(id, run)| {
            definition.state(run.scope, &run.state).is_some()
                && run.parent.is_none_or(|(parent, _)| parent < *id && self.branches.contains_key(&parent))
                && id.0 < self.next_branch
        })
    }

    /// Its bounds.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Makes one that has just ended well fail instead, before its last event was polled: its output is not what somebody
    /// asked for. False otherwise.
    pub fn refuse_output(&mut self, failure: Failure) -> bool {
        let last = self.events.back_mut().map(|event| &mut event.detail);
        let Some(detail @ Detail::ExecutionSucceeded { .. }) = last else { return false };
        *detail = Detail::ExecutionFailed(failure.clone());
        self.output = None;
        self.failure = Some(failure);
        self.status = Status::Failed;
        true
    }

    /// When it began, in milliseconds since 1970.
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// When it ended.
    pub fn ended_ms(&self) -> Option<i64> {
        self.ended_ms
    }

    /// How often it was driven on after a failure.
    pub fn redrive_count(&self) -> u64 {
        self.redrive_count
    }

    /// The id of the last event.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }

    /// Runs every branch as far as it goes.
    fn run(&mut self, at: &mut At<'_>) {
        let watch = Stopwatch::start();
        for _ in 0..TRANSITIONS_MAX {
            if watch.is_past(RUN_TIME_MAX) {
                return;
            }
            if self.status != Status::Running {
                self.ready.clear();
                return;
            }
            let Some(id) = self.ready.pop_front() else { return };
            if self.branches.contains_key(&id) {
                self.advance(id, at);
            }
        }
    }

    fn emit(&mut self, previous: u64, at_ms: i64, detail: Detail) -> u64 {
        self.last_event += 1;
        self.events.push_back(Event { id: self.last_event, previous, at_ms, detail });
        self.last_event
    }

    /// Emits the next event of a branch.
    fn record(&mut self, id: BranchId, at_ms: i64, detail: Detail) -> u64 {
        let previous = self.branches.get(&id).map_or(0, |run| run.last_event);
        let event = self.emit(previous, at_ms, detail);
        if let Some(run) = self.branches.get_mut(&id) {
            run.last_event = event;
        }
        event
    }

    /// Begins a branch below `parent`.
    fn fork(
        &mut self,
        parent: Option<(BranchId, usize)>,
        scope: ScopeId,
        input: Value,
        last_event: u64,
        definition: &Definition,
    ) -> BranchId {
        let id = BranchId(self.next_branch);
        self.next_branch += 1;
        let run = Run::new(parent, scope, definition.scope(scope).start_at.clone(), input, last_event);
        self.branches.insert(id, Box::new(run));
        self.ready.push_back(id);
        id
    }

    fn end(&mut self, status: Status, detail: Detail, previous: u64, now_ms: i64) {
        match &detail {
            Detail::ExecutionSucceeded { output } => self.output = Some(output.clone()),
            Detail::ExecutionFailed(failure)
            | Detail::ExecutionTimedOut(failure)
            | Detail::ExecutionAborted(failure) => {
                self.failure = Some(failure.clone());
            }
            _ => {}
        }
        for run in self.branches.values_mut() {
            match &mut run.phase {
                Phase::Task(task) => self.commands.push_back(Command::Cancel(task.id)),
                Phase::MapRun(map_run) if !map_run.is_over => {
                    map_run.is_over = true;
                    self.commands.push_back(Command::Cancel(map_run.request.id));
                }
                _ => {}
            }
        }
        self.emit(previous, now_ms, detail);
        self.status = status;
        self.ended_ms = Some(now_ms);
        self.ready.clear();
        if status == Status::Succeeded {
            self.branches.clear();
        }
    }
}

/// Reads a payload that somebody hands in.
///
/// # Errors
/// When it is no JSON, or nests deeper than [`PAYLOAD_DEPTH_MAX`].
pub fn parse_payload(text: &str) -> Result<Value, serde_json::Error> {
    let value: Value = serde_json::from_str(text)?;
    if nests_within(&value, PAYLOAD_DEPTH_MAX) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!("the value nests more than {PAYLOAD_DEPTH_MAX} levels deep")))
}

/// `seconds` after `now_ms`.
fn later(now_ms: i64, seconds: u64) -> i64 {
    now_ms.saturating_add(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))
}

/// How many bytes a value has as compact JSON.
fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
