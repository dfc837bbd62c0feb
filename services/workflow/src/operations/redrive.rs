//! Driving an execution on after a failure.

use selvedge_asl::{At, Status};
use selvedge_aws::operations::stepfunctions::EXECUTION_NOT_REDRIVABLE;
use selvedge_model::Value;
use serde_json::json;

use super::{Failed, Scope, execution, seconds};
use crate::record::Edit;

/// How long a client token means the same redrive, in milliseconds, and how many are remembered.
const TOKEN_MS: i64 = 15 * 60 * 1000;
const TOKENS_MAX: usize = 10;

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
    if matches!(record.status, Status::Running | Status::Succeeded) {
        let status = crate::record::status_name(record.status);
        let message = format!("Execution is {status} and cannot be redriven");
        return Err(EXECUTION_NOT_REDRIVABLE.because(message).into());
    }
    if record.child.is_some() {
        let message = "Execution is REDRIVABLE_BY_MAP_RUN: redrive the execution that its map run belongs to";
        return Err(EXECUTION_NOT_REDRIVABLE.because(message).into());
    }
    let redriven = scope.engine.redrive(&key, token, now_ms)?;
    if !redriven {
        return Err(EXECUTION_NOT_REDRIVABLE.because("Execution has nothing to go on from").into());
    }
    Ok(json!({ "redriveDate": seconds(now_ms) }))
}

/// The most redrives with an edited input of one execution.
pub(super) const EDITS_MAX: usize = 100;

impl crate::Engine {
    /// Drives an execution on from one of its machine's own states with another input, which is kept with the execution.
    /// False when it cannot be driven on, has no such state, or was edited a hundred times.
    ///
    /// # Errors
    /// When the store fails.
    pub fn redrive_from(
        &self,
        machine: &str,
        execution: &str,
        state: &str,
        input: &Value,
    ) -> Result<bool, selvedge_store::Error> {
        let now_ms = self.now_ms();
        self.take_up(&crate::engine::LiveKey::new(machine, execution), |execution, record, definition| {
            let mut draw = || self.surroundings.draw();
            let mut at = At { definition, now_ms, entropy: &mut draw };
            let text = input.to_string();
            let is_driven = text.len() <= self.settings.execution.payload_bytes
                && record.edits.len() < EDITS_MAX
                && execution.handle_redrive_from(state, input.clone(), &mut at);
            if is_driven {
                let redrive_count = execution.redrive_count();
                record.redriven_ms = Some(now_ms);
                record.edits.push(Edit {
                    redrive_count,
                    at_ms: now_ms,
                    state: state.to_owned(),
                    input: text,
                });
            }
            is_driven
        })
    }

    /// Goes on from the states that failed.
    pub(crate) fn redrive(
        &self,
        key: &crate::engine::LiveKey,
        token: Option<&str>,
        now_ms: i64,
    ) -> Result<bool, selvedge_store::Error> {
        self.take_up(key, |execution, record, definition| {
            let mut draw = || self.surroundings.draw();
            let is_redriven = execution.handle_redrive(&mut At { definition, now_ms, entropy: &mut draw });
            if is_redriven {
                record.redriven_ms = Some(now_ms);
                if let Some(token) = token {
                    record.redrive_tokens.push((token.to_owned(), now_ms));
                    let spare = record.redrive_tokens.len().saturating_sub(TOKENS_MAX);
                    record.redrive_tokens.drain(..spare);
                }
            }
            is_redriven
        })
    }
}
