//! What an execution asks of the world, and what the world tells it.

use std::fmt;

use selvedge_query::Entropy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Failure;
use super::event::Patience;
use crate::{Resource, ScopeId};

/// A task of an execution: the id of the event that scheduled it, or that started its map run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u64);

/// What the world has to do. A command is handed out once; a task that was under way when the process ended is found by
/// [`Execution::pending_tasks`](super::Execution::pending_tasks).
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Call something, and answer by [`Execution::handle_task`](super::Execution::handle_task).
    Schedule(Box<TaskRequest>),
    /// Run children of a distributed Map state, and answer by
    /// [`Execution::handle_map_run`](super::Execution::handle_map_run).
    RunMap(Box<MapRunRequest>),
    /// Whatever this task or map run still does is of no use any more; its token has no meaning.
    Cancel(TaskId),
}

/// Makes the tokens of tasks that somebody else than the called one ends. Who has one may answer: nobody may guess it.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token of the task that `task` schedules in `state`.
    fn token(&self, task: TaskId, state: &str, entropy: &mut dyn Entropy) -> String;
}

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRequest {
    /// What the answer has to name.
    pub id: TaskId,
    /// The state that it belongs to.
    pub state: Box<str>,
    /// What is called.
    pub resource: Resource,
    /// What it is given.
    pub parameters: Value,
    /// How long it may take, in seconds: the execution keeps the time itself.
    pub patience: Patience,
    /// Who holds this may answer, where somebody else than the called one does.
    pub token: Option<String>,
    /// The role of `Credentials`.
    pub role_arn: Option<Box<str>>,
    /// How often the state has been tried before.
    pub retry_count: u64,
}

/// What becomes of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskOutcome {
    /// The call is under way, or a worker has taken the task: its time counts from here.
    Started {
        /// The worker's own name.
        worker: Option<String>,
    },
    /// The call has been answered; the task goes on until its job or its token's holder ends it.
    Submitted {
        /// The call's answer, as JSON.
        output: Value,
    },
    /// It is still being worked on.
    Heartbeat,
    /// It is done.
    Succeeded {
        /// The result.
        output: Value,
    },
    /// It failed.
    Failed(Failure),
}

/// Where the items of a distributed Map state come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ItemSource {
    /// The state's own items, each with its key where they are an object's members.
    Items(Vec<(Option<Box<str>>, Value)>),
    /// A reader's.
    Reader {
        /// `arn:aws:states:::s3:getObject`
        resource: Box<str>,
        /// Its parameters.
        arguments: Value,
        /// `ReaderConfig`
        config: Value,
    },
}

/// The children of a distributed Map state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapRunRequest {
    /// What the answer has to name.
    pub id: TaskId,
    /// The state.
    pub state: Box<str>,
    /// Where it is in its definition.
    pub scope: ScopeId,
    /// A part of the children's ARNs.
    pub label: Option<Box<str>>,
    /// The children are express executions.
    pub express: bool,
    /// The items.
    pub source: ItemSource,
    /// `ItemBatcher`, filled in.
    pub batcher: Option<Value>,
    /// `ResultWriter`: resource, parameters, configuration.
    pub writer: Option<(Box<str>, Value, Value)>,
    /// The most bytes of a child's input, and of the results in one value: its execution's own bound.
    #[serde(default = "payload_bytes_max")]
    pub payload_bytes: usize,
    /// How many children run at once; 0 is as many as there may be.
    pub max_concurrency: u64,
    /// How many may fail.
    pub tolerated_count: Option<u64>,
    /// How many of a hundred may fail.
    pub tolerated_percentage: Option<f64>,
    /// Under which ARN it began, once it has.
    pub arn: Option<Box<str>>,
    /// How often it has been driven on after a failure.
    pub redrive_count: u64,
    /// What `ItemSelector` sees, where there is one. Made of the execution when the request is handed out.
    #[serde(skip)]
    pub selection: Option<Box<Selection>>,
}

/// Of a request that an earlier version wrote down.
fn payload_bytes_max() -> usize {
    super::PAYLOAD_BYTES_MAX
}

/// What a distributed Map state's `ItemSelector` is computed from, item by item.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    pub(super) scope: ScopeId,
    pub(super) state: Box<str>,
    pub(super) entered_event: u64,
    pub(super) input: Value,
    pub(super) context: Value,
    pub(super) variables: Map<String, Value>,
    pub(super) source: Box<str>,
    pub(super) field_bytes: usize,
}

/// What becomes of a map run.
#[derive(Clone, Debug, PartialEq)]
pub enum MapRunOutcome {
    /// It has begun, under this ARN.
    Started {
        /// `arn:…:mapRun:…`
        arn: Box<str>,
    },
    /// It is done.
    Succeeded {
        /// The results, or where they were written.
        output: Value,
    },
    /// It failed.
    Failed(Failure),
}
