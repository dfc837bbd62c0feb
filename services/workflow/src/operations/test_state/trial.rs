//! A state's trial: what the call says of it, and what the answer shows.

use selvedge_asl::{Failure, Kind, Trial, Tried, Verdict};
use selvedge_aws::operations::stepfunctions::VALIDATION_EXCEPTION;
use selvedge_model::Value;
use serde_json::{Map, json};

use super::{find, mock};
use crate::operations::{Failed, Scope};

/// What the state is tried with.
pub(super) fn read(scope: &Scope<'_>, kind: Option<&Kind>, state: &Value) -> Result<Trial, Failed> {
    let refused = |message: String| Failed::from(VALIDATION_EXCEPTION.because(message));
    let mock = mock::read(&scope.value("mock"), kind)?;
    if mock.is_some() && scope.flag("revealSecrets").unwrap_or_default() {
        return Err(refused("TestState does not support RevealSecrets when a mock is specified.".into()));
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
pub(super) fn shown(level: &str, tried: Tried) -> Value {
    let status = match tried.verdict {
        Verdict::Succeeded => "SUCCEEDED",
        // Who asks for a state without a mock gives it what a call answered.
        Verdict::Failed | Verdict::NeedsMock => "FAILED",
        Verdict::Retriable => "RETRIABLE",
        Verdict::Caught => "CAUGHT_ERROR",
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
    if matches!(level, "DEBUG" | "TRACE") {
        output.insert("inspectionData".into(), Value::Object(tried.inspection));
    }
    Value::Object(output)
}
