//! A state's trial: what the call says of it, and what the answer shows.

use selvedge_asl::{Failure, Kind, Trial, Tried, Verdict};
use selvedge_aws::operations::stepfunctions::VALIDATION_EXCEPTION;
use selvedge_model::Value;
use serde_json::{Map, json};

use super::find;
use crate::operations::{Failed, Scope};

/// What the state is tried with.
pub(super) fn read(scope: &Scope<'_>, kind: Option<&Kind>, state: &Value) -> Result<Trial, Failed> {
    let refused = |message: String| Failed::from(VALIDATION_EXCEPTION.because(message));
    let mock = super::answer(&scope.value("mock"))?;
    if scope.value("mock")["result"].is_string() && scope.value("mock")["errorOutput"].is_object() {
        return Err(refused("A test mock has either a result or an errorOutput, not both".into()));
    }
    if mock.is_some() && !matches!(kind, Some(Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_))) {
        return Err(refused("A mock can only be given for a Task, Map or Parallel state".into()));
    }
    match (&mock, kind) {
        (Some(Ok(Value::Array(results))), Some(Kind::Parallel { branches }))
            if results.len() != branches.len() =>
        {
            return Err(refused(format!(
                "The mock of a Parallel state is an array of {} results, one for each branch, and has {}",
                branches.len(),
                results.len()
            )));
        }
        (Some(Ok(Value::Array(_))), _) | (Some(Err(_)) | None, _) => {}
        // A result writer's result is an object.
        (Some(Ok(Value::Object(_))), Some(Kind::Map(map)))
            if map.distributed.as_ref().is_some_and(|map| map.writer.is_some()) => {}
        (Some(Ok(_)), Some(Kind::Parallel { .. } | Kind::Map(_))) => {
            return Err(refused("The mock of a Map or Parallel state is an array of results".into()));
        }
        _ => {}
    }
    let object = |member: &str| -> Result<Option<Value>, Failed> {
        let Some(text) = scope.call.text(member) else { return Ok(None) };
        match serde_json::from_str::<Value>(text) {
            Ok(value) if value.is_object() => Ok(Some(value)),
            _ => Err(refused(format!("'{member}' is the text of a JSON object"))),
        }
    };
    let configuration = scope.value("stateConfiguration");
    let reader_data = match configuration["mapItemReaderData"].as_str() {
        Some(text) => Some(
            serde_json::from_str(text)
                .map_err(|error| refused(format!("mapItemReaderData is no JSON: {error}")))?,
        ),
        None => None,
    };
    if let Some(name) = configuration["errorCausedByState"].as_str()
        && find(state, name).is_none()
    {
        return Err(refused(format!("there is no state '{name}' within the state")));
    }
    let variables = object("variables")?;
    Ok(Trial {
        context: object("context")?,
        variables: variables.and_then(|value| value.as_object().cloned()).unwrap_or_default(),
        mock,
        retries: configuration["retrierRetryCount"].as_u64().unwrap_or_default(),
        failed_items: configuration["mapIterationFailureCount"].as_u64(),
        reader_data,
    })
}

/// The answer: with `DEBUG` and `TRACE` what was computed on the way, too.
pub(super) fn shown(scope: &Scope<'_>, tried: Tried) -> Result<Value, Failed> {
    let status = match tried.verdict {
        Verdict::Succeeded => "SUCCEEDED",
        Verdict::Failed => "FAILED",
        Verdict::Retriable => "RETRIABLE",
        Verdict::Caught => "CAUGHT_ERROR",
        Verdict::NeedsMock => {
            let message = "A Task state needs a mock here: the state is tested, nothing is called";
            return Err(VALIDATION_EXCEPTION.because(message).into());
        }
    };
    let mut output = Map::new();
    output.insert("status".into(), status.into());
    if let Some(text) = tried.output {
        output.insert("output".into(), text.into());
    }
    if let Some(next) = tried.next {
        output.insert("nextState".into(), json!(next));
    }
    if let Some(Failure { error, cause }) = tried.failure {
        for (member, text) in [("error", error), ("cause", cause)] {
            if let Some(text) = text {
                output.insert(member.into(), text.into());
            }
        }
    }
    if matches!(scope.text("inspectionLevel"), "DEBUG" | "TRACE") {
        output.insert("inspectionData".into(), Value::Object(tried.inspection));
    }
    Ok(Value::Object(output))
}
