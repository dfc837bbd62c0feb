//! Calls of services.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use selvedge_asl::{Failure, Identity, Pattern, Resource, Status, TaskId, TaskOutcome, TaskRequest};
use selvedge_store::Error as StoreError;
use serde_json::{Value, json};

use super::live::Found;
use super::{Engine, LiveKey, Start, StartError};
use crate::arn::{self, Arn};
use crate::operations::failure::Failed;
use crate::operations::machine;
use crate::record::{self, ExecutionRecord, key, status_name};
use crate::tasks::idempotency_key;
use crate::traces::{Context, Trace};

/// After a failure of the store a call is tried again, so much later.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// How many executions may wait for each other, one for the next: a machine that starts itself and waits comes to an end.
pub const NESTED_MAX: u64 = 64;
/// What a call of this role's own fails with when the store fails it.
const INTERNAL: &str = "StepFunctions.InternalException";

/// What a call came to.
enum Answer {
    /// The task's result.
    Done(Value),
    /// The call's own answer; the task goes on until somebody else ends it.
    Submitted(Value),
    /// The same; the end of this execution ends it.
    Awaiting(Value, LiveKey, Pattern),
}

/// What of `states:startExecution` runs here.
fn is_child(resource: &Resource) -> bool {
    matches!(resource, Resource::Service { service, action, .. } if &**service == "states" && &**action == "startExecution")
}

impl Engine {
    /// Calls a service, away from the step that asked for it.
    pub(super) fn call(&self, key: &LiveKey, request: TaskRequest) {
        if !is_child(&request.resource) {
            // An execution that has ended meanwhile wants no call any more.
            if let Some((identity, trace)) = self.caller(key) {
                self.dispatch(key, request, identity, trace);
            }
            return;
        }
        let Some(engine) = self.own.upgrade() else { return };
        let caller = self.caller(key);
        let asked_in = caller.and_then(|(identity, trace)| Some(trace?.of_task(&identity.arn, request.id)));
        let key = key.clone();
        self.runtime.spawn(async move {
            let answer = loop {
                let (own, parent, asked) = (Arc::clone(&engine), key.clone(), request.clone());
                match engine.aside(move || own.start_child(&parent, &asked, asked_in)).await {
                    // The store failed, and nobody was called.
                    Ok(Err(failure)) if failure.error.as_deref() == Some(INTERNAL) => {
                        engine.pause(TRY_AGAIN).await;
                    }
                    Ok(answer) => break answer,
                    Err(_) => return,
                }
            };
            let (outcome, child) = match answer {
                Ok(Answer::Done(output)) => (TaskOutcome::Succeeded { output }, None),
                Ok(Answer::Submitted(output)) => (TaskOutcome::Submitted { output }, None),
                Ok(Answer::Awaiting(output, child, pattern)) => {
                    (TaskOutcome::Submitted { output }, Some((child, pattern)))
                }
                Err(failure) => (TaskOutcome::Failed(failure), None),
            };
            engine.tell(&key, request.id, move |_| Ok(outcome.clone())).await;
            if let Some((child, pattern)) = child {
                engine.await_child(&child, &key, &request, pattern);
            }
        });
    }

    /// Tells what became of a task. What cannot be read or stored is tried again: nobody else knows it.
    pub(crate) async fn tell(
        self: &Arc<Self>,
        key: &LiveKey,
        task: TaskId,
        outcome: impl Fn(&Self) -> Result<TaskOutcome, StoreError> + Clone + Send + 'static,
    ) {
        loop {
            let (own, told, outcome) = (Arc::clone(self), key.clone(), outcome.clone());
            let step = move || outcome(&own).and_then(|outcome| own.task(&told, task, outcome));
            match self.aside(step).await {
                Ok(Err(error)) => {
                    tracing::error!(execution = %key, %error, "a task's outcome could not be stored; it is tried again");
                    self.pause(TRY_AGAIN).await;
                }
                _ => return,
            }
        }
    }

    /// The same for an express execution, which waits for no child.
    pub(crate) fn start_child_of_express(
        self: &Arc<Self>,
        key: &LiveKey,
        request: &TaskRequest,
        asked_in: Option<Context>,
    ) -> Result<Value, Failure> {
        match self.start_child(key, request, asked_in)? {
            Answer::Done(output) | Answer::Submitted(output) | Answer::Awaiting(output, ..) => Ok(output),
        }
    }

    /// Who calls, and in which trace.
    fn caller(&self, key: &LiveKey) -> Option<(Identity, Option<Trace>)> {
        let Found::Awake(cell) = self.live.find(key) else { return None };
        let live = cell.lock().unwrap_or_else(PoisonError::into_inner);
        Some((live.execution.identity().clone(), live.trace))
    }

    /// How many executions wait for this one.
    fn depth(&self, key: &LiveKey) -> Result<u64, StoreError> {
        let found = self.store.snapshot()?.get(&key::execution(&key.machine, &key.name))?;
        let record: Option<ExecutionRecord> = found.as_ref().map(record::decode).transpose()?;
        Ok(record.map_or(0, |record| record.depth))
    }

    /// `states:startExecution`: the child's name defaults to one made of the parent and the event, so that a call that is
    /// made once more after a crash finds the child that it started.
    fn start_child(
        self: &Arc<Self>,
        key: &LiveKey,
        request: &TaskRequest,
        asked_in: Option<Context>,
    ) -> Result<Answer, Failure> {
        let pattern = match &request.resource {
            Resource::Service { pattern, .. } => *pattern,
            _ => Pattern::Response,
        };
        let failed =
            |code: &str, cause: String| Failure::new(format!("StepFunctions.{code}Exception"), cause);
        let depth = match pattern {
            // Whoever does not wait leaves: a chain of these holds nothing.
            Pattern::Response | Pattern::TaskToken => 0,
            Pattern::Sync | Pattern::Sync2 => {
                self.depth(key).map_err(|error| failed("Internal", error.to_string()))? + 1
            }
        };
        if depth > NESTED_MAX {
            let cause = format!("{NESTED_MAX} executions wait for each other already, as many as may");
            return Err(failed("ExecutionLimitExceeded", cause));
        }
        let parameters = &request.parameters;
        let arn = parameters["StateMachineArn"].as_str().unwrap_or_default();
        let arn = Arn::parse(arn).map_err(|error| failed("InvalidArn", error.to_string()))?;
        let name = match parameters["Name"].as_str() {
            Some(name) => name.to_owned(),
            None => idempotency_key(&key.machine, &key.name, request.id.0),
        };
        let input = match &parameters["Input"] {
            Value::Null => "{}".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let found = machine::named(self, &arn, self.surroundings.draw());
        let found = found.map_err(|error| match error {
            Failed::Store(error) => failed("Internal", error.to_string()),
            Failed::Api(_) => {
                failed("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
            }
        })?;
        if found.machine.express {
            return Err(failed(
                "StateMachineTypeNotSupported",
                "an express machine is started by startSyncExecution".into(),
            ));
        }
        let resource = arn::Resource::Execution {
            machine: found.machine.name.as_str().into(),
            name: name.as_str().into(),
        };
        let identity = Identity {
            arn: arn.sibling(resource).to_string().into(),
            name: name.as_str().into(),
            machine_arn: found.machine.arn.as_str().into(),
            machine_name: found.machine.name.as_str().into(),
            role_arn: found.revision.role_arn.as_str().into(),
            region: arn.region,
        };
        let child = LiveKey::new(&found.machine.name, &name);
        let start = Start {
            identity,
            machine: found.machine.name.clone(),
            name,
            revision: found.revision,
            version_arn: found.version.map(|version| version.arn),
            alias_arn: found.alias.map(|alias| alias.arn),
            input: input.clone(),
            trace_header: asked_in.map(|asked_in| asked_in.header()),
            child: None,
            depth,
        };
        let started = match self.start(start) {
            Ok(record) => record,
            Err(StartError::Taken(record)) if record.input == input => *record,
            Err(StartError::Taken(record)) => {
                let cause = format!("Execution Already Exists: '{}'", record.arn);
                return Err(failed("ExecutionAlreadyExists", cause));
            }
            Err(StartError::Input(error)) => return Err(failed("InvalidExecutionInput", error.to_string())),
            Err(StartError::Misfit(misfit)) => {
                let cause = format!("the input does not fit the machine's schema: {misfit}");
                return Err(failed("InvalidExecutionInput", cause));
            }
            Err(StartError::Full) => {
                return Err(failed("ExecutionLimitExceeded", "too many executions".into()));
            }
            Err(StartError::Store(error)) => return Err(failed("Internal", error.to_string())),
        };
        let answer = json!({ "ExecutionArn": started.arn, "StartDate": started.started_ms as f64 / 1000.0 });
        match pattern {
            Pattern::Response => Ok(Answer::Done(answer)),
            Pattern::TaskToken => Ok(Answer::Submitted(answer)),
            Pattern::Sync | Pattern::Sync2 => Ok(Answer::Awaiting(answer, child, pattern)),
        }
    }

    /// Tells the parent when the child has ended.
    fn await_child(
        self: &Arc<Self>,
        child: &LiveKey,
        key: &LiveKey,
        request: &TaskRequest,
        pattern: Pattern,
    ) {
        let (engine, child, key, task) = (Arc::clone(self), child.clone(), key.clone(), request.id);
        self.runtime.spawn(async move {
            let ended = engine.ended.subscribe(&child);
            // It may have ended before anybody listened.
            if engine.live.contains(&child) {
                let _ = ended.await;
            } else {
                engine.ended.tell(&child);
            }
            engine.tell(&key, task, move |own| own.child_outcome(&child, pattern)).await;
        });
    }

    fn child_outcome(&self, child: &LiveKey, pattern: Pattern) -> Result<TaskOutcome, StoreError> {
        use crate::extension::spill;
        let found = self.store.snapshot()?.get(&key::execution(&child.machine, &child.name))?;
        let Some(record) = found.as_ref().map(record::decode::<ExecutionRecord>).transpose()? else {
            let cause = format!("the execution {child} is gone");
            return Ok(TaskOutcome::Failed(Failure::new("States.TaskFailed", cause)));
        };
        let mut record = record;
        record.input = spill::whole(&*self.store, &record.input)?;
        record.output = record.output.map(|output| spill::whole(&*self.store, &output)).transpose()?;
        let shown = child_shown(&record, pattern);
        if record.status == Status::Succeeded {
            return Ok(TaskOutcome::Succeeded { output: shown });
        }
        Ok(TaskOutcome::Failed(Failure::new("States.TaskFailed", shown.to_string())))
    }
}

/// A child as its parent sees it: `.sync:2` has input and output as JSON, `.sync` as text.
fn child_shown(record: &ExecutionRecord, pattern: Pattern) -> Value {
    let text = |text: &str| match pattern {
        Pattern::Sync2 => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        _ => Value::from(text),
    };
    let mut shown = json!({
        "ExecutionArn": record.arn,
        "Input": text(&record.input),
        "Name": record.name,
        "StartDate": record.started_ms,
        "StateMachineArn": record.machine_arn,
        "Status": status_name(record.status),
        "StopDate": record.ended_ms,
    });
    if let Some(output) = &record.output {
        shown["Output"] = text(output);
    }
    for (member, found) in [("Error", &record.error), ("Cause", &record.cause)] {
        if let Some(found) = found {
            shown[member] = found.as_str().into();
        }
    }
    shown
}
