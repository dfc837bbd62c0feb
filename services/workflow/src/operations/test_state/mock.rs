//! What stands for a task, for branches or for items, and whether it may: a mocked result is held to its API's model.
//!
//! Source: `MockInput` of the API reference for the modes; the texts are the service's.

use selvedge_asl::{Failure, Kind, Pattern, Resource};
use selvedge_aws::operations::stepfunctions::VALIDATION_EXCEPTION;
use selvedge_aws::remote::{Fit, Output};
use selvedge_model::Value;

use crate::operations::Failed;

/// The mock's outcome, where there is one.
pub(super) fn read(mock: &Value, kind: Option<&Kind>) -> Result<Option<Result<Value, Failure>>, Failed> {
    let (result, error) = (mock["result"].as_str(), mock["errorOutput"].is_object());
    if result.is_some() && error {
        return Err(refused(
            "A test mock should have only one of the following fields: [result, errorOutput].",
        ));
    }
    if result.is_none() && !error {
        return Ok(None);
    }
    if let Some(name) = kind.and_then(unmocked) {
        return Err(refused(format!("State type '{name}' is not supported when a mock is specified")));
    }
    let Some(text) = result else {
        let text = |member: &str| mock["errorOutput"][member].as_str().map(str::to_owned);
        return Ok(Some(Err(Failure { error: text("error"), cause: text("cause") })));
    };
    let result: Value = serde_json::from_str(text)
        .map_err(|error| refused(format!("Mocked result must be valid JSON: {error}.")))?;
    match kind {
        Some(Kind::Task(task)) => fits(&task.resource, &result, mock["fieldValidationMode"].as_str())?,
        Some(Kind::Parallel { branches }) => match result.as_array() {
            None => return Err(refused("Mocked result must be an array.")),
            Some(results) if results.len() != branches.len() => {
                let message =
                    "Mocked result must contain the same number of items as number of Parallel branches.";
                return Err(refused(message));
            }
            Some(_) => {}
        },
        Some(Kind::Map(map)) => {
            // A result writer's result is an object.
            let is_written = map.distributed.as_ref().is_some_and(|map| map.writer.is_some());
            if is_written && !result.is_object() {
                return Err(refused("Mocked result must be a JSON object."));
            }
            if !is_written && !result.is_array() {
                return Err(refused("Mocked result must be an array."));
            }
        }
        _ => {}
    }
    Ok(Some(Ok(result)))
}

/// The name of a state's type that takes no mock.
fn unmocked(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_) => None,
        Kind::Pass { .. } => Some("Pass"),
        Kind::Choice { .. } => Some("Choice"),
        Kind::Wait(_) => Some("Wait"),
        Kind::Succeed => Some("Succeed"),
        Kind::Fail { .. } => Some("Fail"),
    }
}

/// Holds a result to what its API answers, where the API's model is known.
fn fits(resource: &Resource, result: &Value, mode: Option<&str>) -> Result<(), Failed> {
    let fit = match mode {
        Some("NONE") => return Ok(()),
        Some("PRESENT") => Fit::Present,
        _ => Fit::Strict,
    };
    let Some(output) = model(resource) else { return Ok(()) };
    let Some(members) = result.as_object() else {
        return Err(refused("Mocked result must be a JSON object."));
    };
    output
        .check(members, fit)
        .map_err(|misfit| refused(format!("Mock result schema validation error: {misfit}")))
}

/// The model of what a resource answers. There is none of functions by their ARN, activities, tokens, endpoints, and of what is
/// this server's own: they answer what they like.
fn model(resource: &Resource) -> Option<Output> {
    let Resource::Service { service, action, pattern } = resource else { return None };
    let is_job = match pattern {
        Pattern::Response => false,
        Pattern::Sync => true,
        // Its job's input and output are JSON, of which the model knows nothing.
        Pattern::Sync2 | Pattern::TaskToken => return None,
    };
    match (&**service, &**action) {
        // A job answers as whoever looks at it is answered.
        ("states", "startExecution") if is_job => Output::find("sfn", "describeExecution"),
        ("states", action) => Output::find("sfn", action),
        ("events", action) => Output::find("eventbridge", action),
        ("sqs" | "sns" | "dynamodb" | "lambda", action) => Output::find(service, action),
        (service, action) => Output::find(service.strip_prefix("aws-sdk:")?, action),
    }
}

fn refused(message: impl Into<String>) -> Failed {
    VALIDATION_EXCEPTION.because(message).into()
}
