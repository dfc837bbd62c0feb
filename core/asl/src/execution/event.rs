//! The history of an execution, under the service's names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counted from 1, without gaps.
    pub id: u64,
    /// The event that led to this one; 0 for the first of an execution and for the first state's entry.
    pub previous: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What happened.
    pub detail: Detail,
}

/// Which state, for the events that all of them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateType {
    /// `Pass`
    Pass,
    /// `Task`
    Task,
    /// `Choice`
    Choice,
    /// `Wait`
    Wait,
    /// `Succeed`
    Succeed,
    /// `Fail`
    Fail,
    /// `Parallel`
    Parallel,
    /// `Map`
    Map,
}

/// A service integration, as the events of its tasks name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskName {
    /// `sqs`
    pub resource_type: Box<str>,
    /// `sendMessage.waitForTaskToken`
    pub resource: Box<str>,
}

/// How long a scheduled task may take, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// From start to end.
    pub timeout: Option<u64>,
    /// Between heartbeats.
    pub heartbeat: Option<u64>,
}

/// An error as events have it; both parts may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its name.
    pub error: Option<String>,
    /// For a person.
    pub cause: Option<String>,
}

/// What happened. Histories are stored with the number of the variant: new ones go to the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the event of its name in the API's reference")]
pub enum Detail {
    ExecutionStarted {
        input: Box<str>,
        role_arn: Box<str>,
    },
    ExecutionSucceeded {
        output: String,
    },
    ExecutionFailed(Failure),
    ExecutionTimedOut(Failure),
    ExecutionAborted(Failure),
    ExecutionRedriven {
        redrive_count: u64,
    },
    StateEntered {
        kind: StateType,
        name: Box<str>,
        input: String,
    },
    StateExited {
        kind: StateType,
        name: Box<str>,
        output: String,
        assigned: Option<BTreeMap<String, String>>,
    },
    StateAborted(StateType),
    TaskScheduled {
        task: TaskName,
        region: Box<str>,
        parameters: String,
        patience: Patience,
        role_arn: Option<Box<str>>,
    },
    TaskStarted(TaskName),
    TaskSubmitted {
        task: TaskName,
        output: String,
    },
    TaskSucceeded {
        task: TaskName,
        output: String,
    },
    TaskFailed {
        task: TaskName,
        failure: Failure,
    },
    TaskTimedOut {
        task: TaskName,
        failure: Failure,
    },
    LambdaFunctionScheduled {
        resource: Box<str>,
        input: String,
        patience: Patience,
    },
    LambdaFunctionStarted,
    LambdaFunctionSucceeded {
        output: String,
    },
    LambdaFunctionFailed(Failure),
    LambdaFunctionTimedOut(Failure),
    ActivityScheduled {
        resource: Box<str>,
        input: String,
        patience: Patience,
    },
    ActivityStarted {
        worker: Option<String>,
    },
    ActivitySucceeded {
        output: String,
    },
    ActivityFailed(Failure),
    ActivityTimedOut(Failure),
    ParallelStateStarted,
    ParallelStateSucceeded,
    ParallelStateFailed,
    MapStateStarted {
        length: u64,
    },
    MapStateSucceeded,
    MapStateFailed,
    MapIterationStarted {
        name: Box<str>,
        index: u64,
    },
    MapIterationSucceeded {
        name: Box<str>,
        index: u64,
    },
    MapIterationFailed {
        name: Box<str>,
        index: u64,
    },
    MapIterationAborted {
        name: Box<str>,
        index: u64,
    },
    MapRunStarted {
        arn: Box<str>,
    },
    MapRunSucceeded,
    MapRunFailed(Failure),
    MapRunAborted,
    MapRunRedriven {
        arn: Box<str>,
        redrive_count: u64,
    },
    EvaluationFailed {
        state: Box<str>,
        location: Box<str>,
        failure: Failure,
    },
}

impl StateType {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Task => "Task",
            Self::Choice => "Choice",
            Self::Wait => "Wait",
            Self::Succeed => "Succeed",
            Self::Fail => "Fail",
            Self::Parallel => "Parallel",
            Self::Map => "Map",
        }
    }
}

impl Detail {
    /// The event's type, as the API names it.
    pub fn type_name(&self) -> String {
        let state = |kind: StateType, what: &str| format!("{}State{what}", kind.name());
        match self {
            Self::StateEntered { kind, .. } => return state(*kind, "Entered"),
            Self::StateExited { kind, .. } => return state(*kind, "Exited"),
            Self::StateAborted(kind) => return state(*kind, "Aborted"),
            Self::ExecutionStarted { .. } => "ExecutionStarted",
            Self::ExecutionSucceeded { .. } => "ExecutionSucceeded",
            Self::ExecutionFailed(_) => "ExecutionFailed",
            Self::ExecutionTimedOut(_) => "ExecutionTimedOut",
            Self::ExecutionAborted(_) => "ExecutionAborted",
            Self::ExecutionRedriven { .. } => "ExecutionRedriven",
            Self::TaskScheduled { .. } => "TaskScheduled",
            Self::TaskStarted(_) => "TaskStarted",
            Self::TaskSubmitted { .. } => "TaskSubmitted",
            Self::TaskSucceeded { .. } => "TaskSucceeded",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::TaskTimedOut { .. } => "TaskTimedOut",
            Self::LambdaFunctionScheduled { .. } => "LambdaFunctionScheduled",
            Self::LambdaFunctionStarted => "LambdaFunctionStarted",
            Self::LambdaFunctionSucceeded { .. } => "LambdaFunctionSucceeded",
            Self::LambdaFunctionFailed(_) => "LambdaFunctionFailed",
            Self::LambdaFunctionTimedOut(_) => "LambdaFunctionTimedOut",
            Self::ActivityScheduled { .. } => "ActivityScheduled",
            Self::ActivityStarted { .. } => "ActivityStarted",
            Self::ActivitySucceeded { .. } => "ActivitySucceeded",
            Self::ActivityFailed(_) => "ActivityFailed",
            Self::ActivityTimedOut(_) => "ActivityTimedOut",
            Self::ParallelStateStarted => "ParallelStateStarted",
            Self::ParallelStateSucceeded => "ParallelStateSucceeded",
            Self::ParallelStateFailed => "ParallelStateFailed",
            Self::MapStateStarted { .. } => "MapStateStarted",
            Self::MapStateSucceeded => "MapStateSucceeded",
            Self::MapStateFailed => "MapStateFailed",
            Self::MapIterationStarted { .. } => "MapIterationStarted",
            Self::MapIterationSucceeded { .. } => "MapIterationSucceeded",
            Self::MapIterationFailed { .. } => "MapIterationFailed",
            Self::MapIterationAborted { .. } => "MapIterationAborted",
            Self::MapRunStarted { .. } => "MapRunStarted",
            Self::MapRunSucceeded => "MapRunSucceeded",
            Self::MapRunFailed(_) => "MapRunFailed",
            Self::MapRunAborted => "MapRunAborted",
            Self::MapRunRedriven { .. } => "MapRunRedriven",
            Self::EvaluationFailed { .. } => "EvaluationFailed",
        }
        .to_owned()
    }

    /// The member with the event's details and what it holds; none for events without. `with_data` is
    /// `includeExecutionData`.
    pub fn details(&self, with_data: bool) -> Option<(String, Value)> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        match self {
            Self::ExecutionStarted { input, role_arn } => {
                data(&mut put, "input", input, with_data);
                put("roleArn", Value::from(&**role_arn));
            }
            Self::ExecutionSucceeded { output } => data(&mut put, "output", output, with_data),
            Self::ExecutionFailed(failure)
            | Self::ExecutionTimedOut(failure)
            | Self::ExecutionAborted(failure)
            | Self::LambdaFunctionFailed(failure)
            | Self::LambdaFunctionTimedOut(failure)
            | Self::ActivityFailed(failure)
            | Self::ActivityTimedOut(failure)
            | Self::MapRunFailed(failure) => failure.put(&mut put, with_data),
            Self::ExecutionRedriven { redrive_count } => put("redriveCount", Value::from(*redrive_count)),
            Self::StateEntered { name, input, .. } => {
                put("name", Value::from(&**name));
                data(&mut put, "input", input, with_data);
            }
            Self::StateExited { name, output, assigned, .. } => {
                put("name", Value::from(&**name));
                data(&mut put, "output", output, with_data);
                if let Some(assigned) = assigned.as_ref().filter(|_| with_data) {
                    let texts =
                        assigned.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
                    put("assignedVariables", Value::Object(texts.collect()));
                    put("assignedVariablesDetails", serde_json::json!({"truncated": false}));
                }
            }
            Self::TaskScheduled { task, region, parameters, patience, role_arn } => {
                task.put(&mut put);
                put("region", Value::from(&**region));
                put("parameters", Value::from(if with_data { parameters.as_str() } else { "" }));
                patience.put(&mut put);
                if let Some(role_arn) = role_arn {
                    put("taskCredentials", serde_json::json!({"roleArn": role_arn}));
                }
            }
            Self::TaskStarted(task) => task.put(&mut put),
            Self::TaskSubmitted { task, output } | Self::TaskSucceeded { task, output } => {
                task.put(&mut put);
                data(&mut put, "output", output, with_data);
            }
            Self::TaskFailed { task, failure } | Self::TaskTimedOut { task, failure } => {
                task.put(&mut put);
                failure.put(&mut put, with_data);
            }
            Self::LambdaFunctionScheduled { resource, input, patience } => {
                put("resource", Value::from(&**resource));
                data(&mut put, "input", input, with_data);
                if let Some(timeout) = patience.timeout {
                    put("timeoutInSeconds", Value::from(timeout));
                }
            }
            Self::ActivityScheduled { resource, input, patience } => {
                put("resource", Value::from(&**resource));
                data(&mut put, "input", input, with_data);
                patience.put(&mut put);
            }
            Self::LambdaFunctionSucceeded { output } | Self::ActivitySucceeded { output } => {
                data(&mut put, "output", output, with_data);
            }
            Self::ActivityStarted { worker } => {
                if let Some(worker) = worker {
                    put("workerName", Value::from(worker.as_str()));
                }
            }
            Self::MapStateStarted { length } => put("length", Value::from(*length)),
            Self::MapIterationStarted { name, index }
            | Self::MapIterationSucceeded { name, index }
            | Self::MapIterationFailed { name, index }
            | Self::MapIterationAborted { name, index } => {
                put("name", Value::from(&**name));
                put("index", Value::from(*index));
            }
            Self::MapRunStarted { arn } => put("mapRunArn", Value::from(&**arn)),
            Self::MapRunRedriven { arn, redrive_count } => {
                put("mapRunArn", Value::from(&**arn));
                put("redriveCount", Value::from(*redrive_count));
            }
            Self::EvaluationFailed { state, location, failure } => {
                put("state", Value::from(&**state));
                put("location", Value::from(&**location));
                failure.put(&mut put, with_data);
            }
            Self::StateAborted(_)
            | Self::LambdaFunctionStarted
            | Self::ParallelStateStarted
            | Self::ParallelStateSucceeded
            | Self::ParallelStateFailed
            | Self::MapStateSucceeded
            | Self::MapStateFailed
            | Self::MapRunSucceeded
            | Self::MapRunAborted => return None,
        }
        Some((self.member(), Value::Object(members)))
    }

    fn member(&self) -> String {
        let name = match self {
            Self::StateEntered { .. } => "stateEntered".to_owned(),
            Self::StateExited { .. } => "stateExited".to_owned(),
            other => {
                let mut name = other.type_name();
                name[..1].make_ascii_lowercase();
                name
            }
        };
        format!("{name}EventDetails")
    }
}

fn data(put: &mut dyn FnMut(&str, Value), name: &str, text: &str, with_data: bool) {
    if with_data {
        put(name, Value::from(text));
        put(&format!("{name}Details"), serde_json::json!({"truncated": false}));
    }
}

impl TaskName {
    fn put(&self, put: &mut dyn FnMut(&str, Value)) {
        put("resourceType", Value::from(&*self.resource_type));
        put("resource", Value::from(&*self.resource));
    }
}

impl Patience {
    fn put(self, put: &mut dyn FnMut(&str, Value)) {
        if let Some(timeout) = self.timeout {
            put("timeoutInSeconds", Value::from(timeout));
        }
        if let Some(heartbeat) = self.heartbeat {
            put("heartbeatInSeconds", Value::from(heartbeat));
        }
    }
}

impl Failure {
    /// An error with a cause.
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: Some(error.into()), cause: Some(cause.into()) }
    }

    /// What retriers and catchers compare with.
    pub fn name(&self) -> &str {
        self.error.as_deref().unwrap_or("States.TaskFailed")
    }

    /// `{"Error": …, "Cause": …}`, as a catcher hands it on.
    pub(super) fn output(&self) -> Value {
        let mut members = Map::new();
        members.insert("Error".into(), Value::from(self.error.clone().unwrap_or_default()));
        members.insert("Cause".into(), Value::from(self.cause.clone().unwrap_or_default()));
        Value::Object(members)
    }

    fn put(&self, put: &mut dyn FnMut(&str, Value), with_data: bool) {
        if let Some(error) = &self.error {
            put("error", Value::from(error.as_str()));
        }
        if let Some(cause) = self.cause.as_ref().filter(|_| with_data) {
            put("cause", Value::from(cause.as_str()));
        }
    }
}
