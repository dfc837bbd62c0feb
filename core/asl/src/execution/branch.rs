//! A branch: one state at a time, in one phase.

use std::collections::BTreeMap;

use selvedge_query::Variables;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::{MapRunRequest, TaskRequest};
use super::{Failure, TaskId};
use crate::ScopeId;

/// Of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct BranchId(pub(super) u64);

/// A branch that runs, or has run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// The branch whose state it belongs to, and its place among that state's.
    pub(super) parent: Option<(BranchId, usize)>,
    pub(super) scope: ScopeId,
    /// The state that it is in.
    pub(super) state: Box<str>,
    /// That state's input, before `InputPath`.
    pub(super) input: Value,
    /// The same as JSON, from the state before to this one's entry.
    #[serde(skip)]
    pub(super) input_text: Option<String>,
    /// Its own variables; those of its parents are read, not written.
    pub(super) variables: Map<String, Value>,
    pub(super) entered_event: u64,
    pub(super) entered_ms: i64,
    /// The event that the next one follows.
    pub(super) last_event: u64,
    /// Tries anew, for each retrier.
    pub(super) attempts: Vec<u64>,
    /// Their sum.
    pub(super) retry_count: u64,
    pub(super) item: Option<Item>,
    pub(super) phase: Phase,
}

/// What a branch of a Map state is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) index: u64,
    pub(super) value: Value,
    pub(super) key: Option<Box<str>>,
}

/// Where in its state a branch is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Phase {
    /// It enters the state.
    Enter,
    /// It works, maybe once more.
    Work,
    /// A Wait state, until then.
    Wait {
        until_ms: i64,
    },
    /// It tries anew, then.
    Backoff {
        until_ms: i64,
    },
    Task(Box<TaskRun>),
    /// A distributed Map state.
    MapRun(Box<MapRunProgress>),
    Parallel(ParallelRun),
    Map(Box<MapProgress>),
    /// Its last state has ended.
    Done,
    /// It ended with an error that nobody handled.
    Failed(Failure),
    /// It was ended because another one failed.
    Aborted,
}

/// A task under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TaskRun {
    pub(super) id: TaskId,
    pub(super) request: TaskRequest,
    pub(super) is_started: bool,
    /// The call has been answered, and the task goes on.
    #[serde(default)]
    pub(super) is_submitted: bool,
    pub(super) timeout_ms: Option<i64>,
    pub(super) heartbeat_ms: Option<i64>,
}

/// A distributed Map state's map run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MapRunProgress {
    pub(super) request: MapRunRequest,
    /// It failed, or was ended: whoever drives the execution on drives the map run on.
    pub(super) is_over: bool,
}

/// A Parallel state's branches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ParallelRun {
    pub(super) results: Vec<Option<Value>>,
}

/// How far an inline Map state has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MapProgress {
    pub(super) items: Vec<(Option<Box<str>>, Value)>,
    /// The next item to begin.
    pub(super) next: usize,
    pub(super) running: usize,
    pub(super) most_running: usize,
    pub(super) results: Vec<Value>,
    pub(super) failed: u64,
    /// How many may fail before the state does.
    pub(super) tolerated: Option<u64>,
}

impl Run {
    pub(super) fn new(
        parent: Option<(BranchId, usize)>,
        scope: ScopeId,
        state: Box<str>,
        input: Value,
        last_event: u64,
    ) -> Self {
        Self {
            parent,
            scope,
            state,
            input,
            input_text: None,
            variables: Map::new(),
            entered_event: 0,
            entered_ms: 0,
            last_event,
            attempts: Vec::new(),
            retry_count: 0,
            item: None,
            phase: Phase::Enter,
        }
    }

    /// When something happens by itself.
    pub(super) fn due_ms(&self) -> Option<i64> {
        match &self.phase {
            Phase::Wait { until_ms } | Phase::Backoff { until_ms } => Some(*until_ms),
            Phase::Task(task) => match (task.timeout_ms, task.heartbeat_ms) {
                (Some(timeout), Some(heartbeat)) => Some(timeout.min(heartbeat)),
                (timeout, heartbeat) => timeout.or(heartbeat),
            },
            _ => None,
        }
    }
}

/// The variables that a branch sees: its own, then its parents'.
pub(super) struct Visible<'a> {
    pub(super) branches: &'a BTreeMap<BranchId, Box<Run>>,
    pub(super) id: BranchId,
}

impl<'a> Visible<'a> {
    fn runs(&self) -> impl Iterator<Item = &'a Run> + use<'a> {
        let branches = self.branches;
        let mut next = Some(self.id);
        std::iter::from_fn(move || {
            let run: &Run = branches.get(&next?)?;
            next = run.parent.map(|(parent, _)| parent);
            Some(run)
        })
    }
}

impl Variables for Visible<'_> {
    fn variable(&self, name: &str) -> Option<&Value> {
        self.runs().find_map(|run| run.variables.get(name))
    }

    fn for_each<'a>(&'a self, f: &mut dyn FnMut(&'a str, &'a Value)) {
        let mut seen = std::collections::BTreeSet::new();
        for run in self.runs() {
            for (name, value) in &run.variables {
                if seen.insert(name.as_str()) {
                    f(name, value);
                }
            }
        }
    }
}
