//! `TestState`: one state, run alone.
//!
//! The state becomes a machine of its own: where it goes, there is a Succeed state of that name. A task is answered by the
//! mock; without one it is called, if the caller names a role. Branches and items are answered by a mock, and never run.

use selvedge_asl::{At, Execution, Identity, Options, Verdict};
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

pub(super) fn test(scope: &Scope<'_>) -> Performed {
    run(scope).unwrap_or_else(|failed| Performed::Now(Err(Refused::from(failed))))
}

fn run(scope: &Scope<'_>) -> Result<Performed, Failed> {
    let (name, state) = chosen(scope)?;
    if let Some(role) = scope.call.text("roleArn") {
        super::machine::check_role(role)?;
    }
    let text = machine(&name, &state).to_string();
    let (definition, found) = selvedge_asl::parse(&text);
    let Some(definition) = definition else {
        return Err(super::validate::refused(&found).into());
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
    let execution = execution.map_err(|error| {
        INVALID_EXECUTION_INPUT.because(format!("Invalid State Machine Execution Input: '{error}'"))
    })?;
    let now_ms = scope.now_ms();
    let mut draw = || scope.engine.surroundings.draw();
    let kind = definition.find(&name).map(|(_, state)| &state.kind);
    let mocked = trial::read(scope, kind, &state)?;
    let before = execution.clone();
    let mut at = At { definition: &definition, now_ms, entropy: &mut draw };
    let tried = execution.try_state(&name, mocked.clone(), &mut at);
    if tried.verdict == Verdict::NeedsMock {
        return live::call(scope, before, definition, name, mocked, &tried);
    }
    Ok(Performed::Now(Ok(trial::shown(scope.text("inspectionLevel"), tried))))
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
