//! Calls of services.

use std::sync::Arc;

use selvedge_asl::{Failure, Identity, Pattern, Resource, Status, TaskOutcome, TaskRequest};
use serde_json::{Value, json};

use super::{Engine, LiveKey, Start, StartError};
use crate::arn::{self, Arn};
use crate::operations::machine;
use crate::record::{self, ExecutionRecord, key, status_name};

/// What a call came to.
enum Answer {
    /// The task's result.
    Done(Value),
    /// The call's own answer; the task goes on until somebody else ends it.
    Submitted(Value),
    /// The same; the end of this execution ends it.
    Awaiting(Value, LiveKey, Pattern),
}

impl Engine {
    /// Calls a service, away from the step that asked for it.
    pub(super) fn call(&self, key: &LiveKey, request: TaskRequest) {
        let Some(engine) = self.own.upgrade() else { return };
        let key = key.clone();
        self.runtime.spawn_blocking(move || {
            let mut child = None;
            let outcome = match engine.invoke(&key, &request) {
                Ok(Answer::Done(output)) => TaskOutcome::Succeeded { output },
                Ok(Answer::Submitted(output)) => TaskOutcome::Submitted { output },
                Ok(Answer::Awaiting(output, awaited, pattern)) => {
                    child = Some((awaited, pattern));
                    TaskOutcome::Submitted { output }
                }
                Err(failure) => TaskOutcome::Failed(failure),
            };
            if let Err(error) = engine.task(&key, request.id, outcome) {
                tracing::error!(execution = %key, %error, "a task's outcome could not be stored");
            }
            if let Some((child, pattern)) = child {
                engine.await_child(&child, &key, &request, pattern);
            }
        });
    }

    fn invoke(self: &Arc<Self>, key: &LiveKey, request: &TaskRequest) -> Result<Answer, Failure> {
        match &request.resource {
            Resource::Service { service, action, pattern }
                if &**service == "states" && &**action == "startExecution" =>
            {
                self.start_child(key, request, *pattern)
            }
            other => {
                let offered = "activities and states:startExecution";
                let cause =
                    format!("The resource '{}' is not offered here yet: there are {offered}.", other.name());
                Err(Failure::new("States.TaskFailed", cause))
            }
        }
    }

    /// `states:startExecution`: the child's name defaults to one made of the parent and the event, so that a call that is
    /// made once more after a crash finds the child that it started.
    fn start_child(
        self: &Arc<Self>,
        key: &LiveKey,
        request: &TaskRequest,
        pattern: Pattern,
    ) -> Result<Answer, Failure> {
        let failed =
            |code: &str, cause: String| Failure::new(format!("StepFunctions.{code}Exception"), cause);
        let parameters = &request.parameters;
        let arn = parameters["StateMachineArn"].as_str().unwrap_or_default();
        let arn = Arn::parse(arn).map_err(|error| failed("InvalidArn", error.to_string()))?;
        let name = match parameters["Name"].as_str() {
            Some(name) => name.to_owned(),
            None => child_name(key, request),
        };
        let input = match &parameters["Input"] {
            Value::Null => "{}".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let found = machine::named(self, &arn, self.surroundings.draw());
        let found = found.map_err(|_| {
            failed("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
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
            trace_header: None,
            child: None,
        };
        let started = match self.start(start) {
            Ok(record) => record,
            Err(StartError::Taken(record)) if record.input == input => *record,
            Err(StartError::Taken(record)) => {
                let cause = format!("Execution Already Exists: '{}'", record.arn);
                return Err(failed("ExecutionAlreadyExists", cause));
            }
            Err(StartError::Input(error)) => return Err(failed("InvalidExecutionInput", error.to_string())),
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
            if engine.live.get(&child).is_some() {
                let _ = ended.await;
            } else {
                engine.ended.tell(&child);
            }
            let own = Arc::clone(&engine);
            let told =
                tokio::task::spawn_blocking(move || own.task(&key, task, own.child_outcome(&child, pattern)))
                    .await;
            if let Ok(Err(error)) = told {
                tracing::error!(%error, "a child's end could not be stored with its parent");
            }
        });
    }

    fn child_outcome(&self, child: &LiveKey, pattern: Pattern) -> TaskOutcome {
        let record = self.store.snapshot().and_then(|view| {
            let found = view.get(&key::execution(&child.machine, &child.name))?;
            found.as_ref().map(record::decode::<ExecutionRecord>).transpose()
        });
        let Ok(Some(record)) = record else {
            return TaskOutcome::Failed(Failure::new(
                "States.TaskFailed",
                format!("the execution {child} is gone"),
            ));
        };
        let shown = child_shown(&record, pattern);
        if record.status == Status::Succeeded {
            return TaskOutcome::Succeeded { output: shown };
        }
        TaskOutcome::Failed(Failure::new("States.TaskFailed", shown.to_string()))
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

/// The same for the same event of the same execution, always.
fn child_name(key: &LiveKey, request: &TaskRequest) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(format!("{}\n{}\n{}", key.machine, key.name, request.id.0));
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
