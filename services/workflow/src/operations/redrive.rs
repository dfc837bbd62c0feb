//! Driving an execution on after a failure.

use selvedge_aws::operations::stepfunctions::EXECUTION_NOT_REDRIVABLE;
use selvedge_model::Value;
use serde_json::json;

use super::{Failed, Scope, execution, seconds};
use crate::redrive::RedriveError;

/// How long a client token means the same redrive, in milliseconds.
const TOKEN_MS: i64 = 15 * 60 * 1000;

pub(super) fn redrive(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("executionArn")?;
    let key = execution::execution_of(&arn)?;
    let now_ms = scope.now_ms();
    let record = execution::find(&*scope.engine.store.snapshot()?, &arn)?;
    let token = scope.call.text("clientToken");
    let known = record
        .redrive_tokens
        .iter()
        .find(|(known, at_ms)| token == Some(known.as_str()) && now_ms - at_ms < TOKEN_MS);
    if let Some((_, at_ms)) = known {
        return Ok(json!({ "redriveDate": seconds(*at_ms) }));
    }
    match scope.engine.redrive(&key, token, now_ms, scope.deed(&record.arn)) {
        Ok(()) => {}
        Err(RedriveError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(EXECUTION_NOT_REDRIVABLE.because(error.to_string()).into()),
    }
    Ok(json!({ "redriveDate": seconds(now_ms) }))
}
