//! A task without a mock: it is called, with what its state gives it, and its answer takes the mock's place.

use std::sync::Arc;
use std::time::Duration;

use selvedge_asl::{
    At, Definition, Execution, Failure, Kind, Patience, Pattern, Resource, TaskId, TaskOutcome, TaskRequest,
    Trial, Tried,
};
use selvedge_aws::operations::stepfunctions::VALIDATION_EXCEPTION;
use selvedge_model::Value;
use serde_json::{Map, json};

use super::trial;
use crate::engine::LiveKey;
use crate::operations::{Failed, Outcome, Performed, Scope, sync};
use crate::tasks::Call;

/// As long as a state is tested: what the service allows.
const TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// Calls the task of a state whose fields have been computed.
pub(super) fn call(
    scope: &Scope<'_>,
    execution: Execution,
    definition: Definition,
    name: String,
    given: Trial,
    tried: &Tried,
) -> Result<Performed, Failed> {
    let refused = |message: &str| Failed::from(VALIDATION_EXCEPTION.because(message));
    let Some(Kind::Task(task)) = definition.find(&name).map(|(_, state)| &state.kind) else {
        return Err(refused("Map and Parallel states are only tested with a mock"));
    };
    let is_answered = match &task.resource {
        Resource::Lambda(_) => true,
        Resource::Activity(_) => false,
        Resource::Service { pattern, .. } => *pattern == Pattern::Response,
    };
    if !is_answered {
        let message =
            "Activity tasks and the patterns .sync and .waitForTaskToken are only tested with a mock";
        return Err(refused(message));
    }
    if scope.text("roleArn").is_empty() {
        return Err(refused(
            "A Task state is tested with a mock (--result, --error), or with a roleArn (--call), and then its task is called",
        ));
    }
    if scope.flag("revealSecrets").unwrap_or_default() {
        return Err(refused("revealSecrets: what a connection keeps secret is never shown here"));
    }
    let parameters = ["afterArguments", "afterParameters", "afterInputPath", "input"]
        .iter()
        .find_map(|member| tried.inspection.get(*member)?.as_str())
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let request = TaskRequest {
        id: TaskId(0),
        state: name.as_str().into(),
        resource: task.resource.clone(),
        parameters,
        patience: Patience::default(),
        token: None,
        role_arn: None,
        retry_count: given.retries,
    };
    // Each test is a call of its own: what it starts or sends has its own key.
    let test = format!("{:016x}{:016x}", scope.engine.surroundings.draw(), scope.engine.surroundings.draw());
    let machine = execution.identity().machine_name.to_string();
    let call = Call::new(request, execution.identity().clone(), &machine, &test, None);
    let engine = Arc::clone(scope.engine);
    let level = scope.text("inspectionLevel").to_owned();
    Ok(Performed::Later(Box::pin(async move {
        let asked = call.request.clone();
        let answered =
            tokio::time::timeout(TIME_MAX, sync::outcome(&engine, LiveKey::new(&machine, &test), call)).await;
        let outcome = match answered {
            Ok(TaskOutcome::Succeeded { output }) => Ok(output),
            Ok(TaskOutcome::Failed(failure)) => Err(failure),
            Ok(_) => Err(Failure::new("States.Runtime", "the task was not answered")),
            Err(_) => Err(Failure::new("States.Timeout", "a state is tested for five minutes at the most")),
        };
        let traced = (level == "TRACE").then(|| trace(&asked, outcome.as_ref().ok())).flatten();
        let mut draw = || engine.surroundings.draw();
        let given = Trial { mock: Some(outcome), ..given };
        let mut at = At { definition: &definition, now_ms: engine.now_ms(), entropy: &mut draw };
        let mut tried = execution.try_state(&name, given, &mut at);
        tried.inspection.extend(traced.into_iter().flatten());
        Outcome::Ok(trial::shown(&level, tried))
    })))
}

/// The request and the response of an HTTP task, without what a connection adds.
fn trace(asked: &TaskRequest, answer: Option<&Value>) -> Option<Map<String, Value>> {
    let is_http = matches!(&asked.resource, Resource::Service { service, action, .. }
        if &**service == "http" && &**action == "invoke");
    if !is_http {
        return None;
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let given = &asked.parameters;
    let mut traced = Map::new();
    let mut request = json!({ "protocol": "HTTP/1.1" });
    for (member, name) in
        [("method", "Method"), ("url", "ApiEndpoint"), ("headers", "Headers"), ("body", "RequestBody")]
    {
        if !given[name].is_null() {
            request[member] = text(&given[name]).into();
        }
    }
    traced.insert("request".into(), request);
    if let Some(answer) = answer {
        let mut response = json!({ "protocol": "HTTP/1.1" });
        for (member, name) in [
            ("statusCode", "StatusCode"),
            ("statusMessage", "StatusText"),
            ("headers", "Headers"),
            ("body", "ResponseBody"),
        ] {
            if !answer[name].is_null() {
                response[member] = text(&answer[name]).into();
            }
        }
        traced.insert("response".into(), response);
    }
    Some(traced)
}
