//! What the holders of task tokens tell.

use selvedge_asl::{Failure, TaskOutcome};
use selvedge_aws::operations::stepfunctions::{
    INVALID_OUTPUT, INVALID_TOKEN, TASK_DOES_NOT_EXIST, TASK_TIMED_OUT,
};
use selvedge_model::Value;
use serde_json::json;

use super::{Failed, Scope};
use crate::engine::TokenError;

const OUTPUT_BYTES_MAX: usize = 262_144;

fn answer(scope: &Scope<'_>, outcome: TaskOutcome) -> Result<Value, Failed> {
    let token = scope.text("taskToken");
    match scope.engine.answer(token, outcome) {
        Ok(()) => Ok(json!({})),
        Err(TokenError::Invalid) => Err(INVALID_TOKEN.because("Invalid Token: 'Invalid token'").into()),
        Err(TokenError::Unknown) => {
            let message = "Task Timed Out: 'Provided task does not exist anymore'";
            Err(TASK_DOES_NOT_EXIST.because(message).into())
        }
        Err(TokenError::TimedOut) => {
            Err(TASK_TIMED_OUT.because("Task Timed Out: 'Provided task does not exist anymore'").into())
        }
        Err(TokenError::Store(error)) => Err(Failed::Store(error)),
    }
}

pub(super) fn succeed(scope: &Scope<'_>) -> Result<Value, Failed> {
    let text = scope.text("output");
    if text.len() > OUTPUT_BYTES_MAX {
        return Err(INVALID_OUTPUT
            .because(format!("Invalid Output: more than {OUTPUT_BYTES_MAX} bytes"))
            .into());
    }
    let output = selvedge_asl::parse_payload(text)
        .map_err(|error| INVALID_OUTPUT.because(format!("Invalid Output: '{error}'")))?;
    answer(scope, TaskOutcome::Succeeded { output })
}

pub(super) fn fail(scope: &Scope<'_>) -> Result<Value, Failed> {
    let text = |member: &str| scope.call.text(member).map(str::to_owned);
    answer(scope, TaskOutcome::Failed(Failure { error: text("error"), cause: text("cause") }))
}

pub(super) fn beat(scope: &Scope<'_>) -> Result<Value, Failed> {
    answer(scope, TaskOutcome::Heartbeat)
}
