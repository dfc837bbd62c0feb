//! `TestState`: one state, run alone.
//!
//! The state becomes a machine of its own: where it goes, there is a Succeed state of that name. A task is answered by the
//! mock; without one it is called, if the caller names a role.

use selvedge_asl::{At, Command, Detail, Execution, Failure, Identity, Kind, Options, Status, Verdict};
use selvedge_aws::operations::stepfunctions::{
    INVALID_DEFINITION, INVALID_EXECUTION_INPUT, VALIDATION_EXCEPTION,
};
use selvedge_model::Value;
use serde_json::Map;
use serde_json::json;

mod live;
mod mock;
mod trial;

use super::{Failed, Performed, Refused, Scope};

/// Steps of the state's own before it is given up: a Map or Parallel state's branches among them.
const STEPS_MAX: usize = 10_000;

pub(super) fn test(scope: &Scope<'_>) -> Performed {
    run(scope).unwrap_or_else(|failed| Performed::Now(Err(Refused::from(failed))))
}

fn run(scope: &Scope<'_>) -> Result<Performed, Failed> {
    let (name, state) = chosen(scope)?;
    let text = machine(&name, &state).to_string();
    let (definition, found) = selvedge_asl::parse(&text);
    let Some(definition) = definition else {
        let told: Vec<String> = found.iter().take(10).map(|one| format!("'{one}'")).collect();
        return Err(INVALID_DEFINITION
            .because(format!("Invalid State Machine Definition: {}", told.join(", ")))
            .into());
    };
    let identity = Identity {
        arn: scope
            .arn_of(crate::arn::Resource::Express {
                machine: "StateMachineName".into(),
                name: "test:test".into(),
            })
            .to_string()
            .into(),
        name: "test".into(),
        machine_arn: "StateMachineArn".into(),
        machine_name: "StateMachineName".into(),
        role_arn: scope.text("roleArn").into(),
        region: scope.engine.settings.region.as_str().into(),
    };
    let input = scope.call.text("input").unwrap_or("{}");
    let execution = Execution::new(identity, Options::default(), input);
    let mut execution = execution.map_err(|error| {
        INVALID_EXECUTION_INPUT.because(format!("Invalid State Machine Execution Input: '{error}'"))
    })?;
    let now_ms = scope.now_ms();
    let mut draw = || scope.engine.surroundings.draw();
    let kind = definition.find(&name).map(|(_, state)| &state.kind);
    let mocked = trial::read(scope, kind, &state)?;
    let has_branches = matches!(kind, Some(Kind::Parallel { .. } | Kind::Map(_)));
    if mocked.mock.is_some() || !has_branches {
        let before = execution.clone();
        let mut at = At { definition: &definition, now_ms, entropy: &mut draw };
        let tried = execution.try_state(&name, mocked.clone(), &mut at);
        if tried.verdict == Verdict::NeedsMock {
            return live::call(scope, before, definition, name, mocked, &tried);
        }
        return Ok(Performed::Now(Ok(trial::shown(scope.text("inspectionLevel"), tried))));
    }
    // Branches and items without a mock are run themselves; only their tasks cannot be.
    let mut run = Run { seen: Seen::default(), name: &name };
    execution.handle_start(&mut At { definition: &definition, now_ms, entropy: &mut draw });
    for _ in 0..STEPS_MAX {
        while let Some(event) = execution.poll_event() {
            run.see(&event.detail);
        }
        if run.seen.is_over || execution.status() != Status::Running {
            break;
        }
        let mut at = At {
            definition: &definition,
            now_ms: execution.next_timeout().unwrap_or(now_ms).max(now_ms),
            entropy: &mut draw,
        };
        match execution.poll_command() {
            Some(Command::Schedule(request)) => {
                let message =
                    format!("The state '{name}' needs a mock: there is the task '{}' in it", request.state);
                return Err(VALIDATION_EXCEPTION.because(message).into());
            }
            Some(Command::RunMap(_)) => {
                let message =
                    format!("The state '{name}' needs a mock: its children are executions of their own");
                return Err(VALIDATION_EXCEPTION.because(message).into());
            }
            Some(Command::Cancel(_)) => {}
            None if run.seen.failed => {
                run.seen.is_retriable = execution.next_timeout().is_some();
                break;
            }
            None => execution.handle_timeout(&mut at),
        }
    }
    Ok(Performed::Now(Ok(run.shown(scope, &execution))))
}

/// The state, and its name.
fn chosen(scope: &Scope<'_>) -> Result<(String, Value), Failed> {
    let text = scope.text("definition");
    let value: Value = serde_json::from_str(text).map_err(|error| {
        INVALID_DEFINITION
            .because(format!("Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: {error}'"))
    })?;
    if value.get("States").is_none() {
        return Ok((scope.call.text("stateName").unwrap_or("State").to_owned(), value));
    }
    let name =
        scope.call.text("stateName").or_else(|| value["StartAt"].as_str()).unwrap_or_default().to_owned();
    match find(&value, &name) {
        Some(state) => {
            let mut state = state.clone();
            if let (Some(language), Some(members)) = (value.get("QueryLanguage"), state.as_object_mut()) {
                members.entry("QueryLanguage").or_insert_with(|| language.clone());
            }
            Ok((name, state))
        }
        None => {
            Err(VALIDATION_EXCEPTION.because(format!("there is no state '{name}' in the definition")).into())
        }
    }
}

fn find<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => {
            if let Some(found) = members.get("States").and_then(|states| states.get(name)) {
                return Some(found);
            }
            members.values().find_map(|member| find(member, name))
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}

/// A machine of this state and of the ends that it may lead to.
fn machine(name: &str, state: &Value) -> Value {
    let mut targets: Vec<String> = Vec::new();
    let mut target = |value: Option<&Value>| targets.extend(value.and_then(Value::as_str).map(str::to_owned));
    target(state.get("Next"));
    target(state.get("Default"));
    for list in ["Catch", "Choices"] {
        for entry in state.get(list).and_then(Value::as_array).into_iter().flatten() {
            target(entry.get("Next"));
        }
    }
    let mut states = Map::new();
    states.insert(name.to_owned(), state.clone());
    for target in targets {
        states.entry(target).or_insert_with(|| json!({ "Type": "Succeed" }));
    }
    json!({ "StartAt": name, "States": states })
}

#[derive(Default)]
struct Seen {
    output: Option<String>,
    next: Option<String>,
    failed: bool,
    is_retriable: bool,
    is_over: bool,
    failure: Option<Failure>,
    parameters: Option<String>,
    result: Option<String>,
}

struct Run<'n> {
    seen: Seen,
    name: &'n str,
}

impl Run<'_> {
    fn see(&mut self, detail: &Detail) {
        let seen = &mut self.seen;
        match detail {
            Detail::StateExited { name, output, .. } if &**name == self.name => {
                seen.output = Some(output.clone())
            }
            Detail::StateEntered { name, .. } if &**name != self.name && seen.output.is_some() => {
                seen.next = Some(name.to_string());
                seen.is_over = true;
            }
            Detail::TaskScheduled { parameters, .. } => seen.parameters = Some(parameters.clone()),
            Detail::LambdaFunctionScheduled { input, .. } => seen.parameters = Some(input.clone()),
            Detail::TaskSucceeded { output, .. } | Detail::LambdaFunctionSucceeded { output } => {
                seen.result = Some(output.clone());
            }
            Detail::TaskFailed { failure, .. }
            | Detail::LambdaFunctionFailed(failure)
            | Detail::EvaluationFailed { failure, .. } => {
                seen.failed = true;
                seen.failure = Some(failure.clone());
            }
            _ => {}
        }
    }

    fn shown(self, scope: &Scope<'_>, execution: &Execution) -> Value {
        let seen = self.seen;
        let failure = execution.failure().cloned().or_else(|| seen.failure.clone());
        let mut output = Map::new();
        let status = if seen.is_retriable {
            "RETRIABLE"
        } else if seen.output.is_some() && seen.failed {
            "CAUGHT_ERROR"
        } else if seen.output.is_some() {
            "SUCCEEDED"
        } else {
            "FAILED"
        };
        output.insert("status".into(), status.into());
        if let Some(text) = &seen.output {
            output.insert("output".into(), text.as_str().into());
        }
        if let Some(next) = seen.next {
            output.insert("nextState".into(), next.into());
        }
        if let Some(failure) = failure.filter(|_| status != "SUCCEEDED") {
            for (member, text) in [("error", failure.error), ("cause", failure.cause)] {
                if let Some(text) = text {
                    output.insert(member.into(), text.into());
                }
            }
        }
        if matches!(scope.text("inspectionLevel"), "DEBUG" | "TRACE") {
            let mut data = Map::new();
            data.insert("input".into(), scope.call.text("input").unwrap_or("{}").into());
            for (member, text) in [("afterParameters", seen.parameters), ("result", seen.result)] {
                if let Some(text) = text {
                    data.insert(member.into(), text.into());
                }
            }
            output.insert("inspectionData".into(), Value::Object(data));
        }
        Value::Object(output)
    }
}
