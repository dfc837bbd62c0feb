//! Map runs: described, listed, given other bounds.

use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::{INVALID_ARN, RESOURCE_NOT_FOUND, VALIDATION_EXCEPTION};
use selvedge_model::Value;
use selvedge_store::{Read, WriteError};
use serde_json::json;

use super::{Failed, Scope, execution, list, seconds};
use crate::arn::{Arn, Resource};
use crate::map_run::Counts;
use crate::record::{self, MapRunRecord, RunStatus, key};

fn does_not_exist(arn: &Arn) -> ApiError {
    RESOURCE_NOT_FOUND.because(format!("Resource not found: '{arn}'"))
}

pub(super) fn find(view: &dyn Read, arn: &Arn) -> Result<MapRunRecord, Failed> {
    let Resource::MapRun { name, .. } = &arn.resource else {
        let message = format!("Invalid Arn: 'Resource type not valid in this context: {arn}'");
        return Err(INVALID_ARN.because(message).into());
    };
    let found = view.get(&key::map_run(name))?.ok_or_else(|| does_not_exist(arn))?;
    let record: MapRunRecord = record::decode(&found)?;
    if record.arn != arn.to_string() {
        return Err(does_not_exist(arn).into());
    }
    Ok(record)
}

fn status_name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "RUNNING",
        RunStatus::Succeeded => "SUCCEEDED",
        RunStatus::Failed => "FAILED",
        RunStatus::Aborted => "ABORTED",
    }
}

pub(super) fn describe(scope: &Scope<'_>) -> Result<Value, Failed> {
    let stored = find(&*scope.engine.store.snapshot()?, &scope.arn("mapRunArn")?)?;
    // While it is under way, its counts are in memory.
    let record = match scope.engine.map_run(&stored.id) {
        Some(run) => run.progress().record.clone(),
        None => stored,
    };
    let is_over = record.status != RunStatus::Running;
    let mut output = json!({
        "mapRunArn": record.arn,
        "executionArn": record.execution_arn,
        "status": status_name(record.status),
        "startDate": seconds(record.started_ms),
        "maxConcurrency": record.max_concurrency,
        "toleratedFailurePercentage": record.tolerated_percentage.unwrap_or_default(),
        "toleratedFailureCount": record.tolerated_count.unwrap_or_default(),
        "itemCounts": counts(&record.items, is_over),
        "executionCounts": counts(&record.executions, is_over),
        "redriveCount": record.redrive_count,
    });
    if let Some(ended_ms) = record.ended_ms {
        output["stopDate"] = seconds(ended_ms);
    }
    if let Some(redriven_ms) = record.redriven_ms {
        output["redriveDate"] = seconds(redriven_ms);
    }
    Ok(output)
}

fn counts(counts: &Counts, is_over: bool) -> Value {
    let lost = counts.failed + counts.timed_out + counts.aborted;
    json!({
        "pending": counts.pending(),
        "running": counts.running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "timedOut": counts.timed_out,
        "aborted": counts.aborted,
        "total": counts.total,
        "resultsWritten": counts.results_written,
        "failuresNotRedrivable": 0,
        "pendingRedrive": if is_over { lost } else { 0 },
    })
}

/// The newest first.
pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failed> {
    let view = scope.engine.store.snapshot()?;
    let arn = scope.arn("executionArn")?;
    execution::find(&*view, &arn)?;
    let parent = execution::execution_of(&arn)?;
    let prefix = key::map_runs_of(&parent.machine, &parent.name);
    let page = list::page(scope, &*view, "mapRuns", &prefix, |found| {
        let id = String::from_utf8_lossy(&found.value);
        let Some(found) = view.get(&key::map_run(&id))? else { return Ok(None) };
        let record: MapRunRecord = record::decode(&found)?;
        let mut shown = json!({
            "executionArn": record.execution_arn,
            "mapRunArn": record.arn,
            "stateMachineArn": record.machine_arn,
            "startDate": seconds(record.started_ms),
        });
        if let Some(ended_ms) = record.ended_ms {
            shown["stopDate"] = seconds(ended_ms);
        }
        Ok(Some(shown))
    })?;
    Ok(Value::Object(page))
}

/// Other bounds, from here on.
pub(super) fn update(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("mapRunArn")?;
    let stored = find(&*scope.engine.store.snapshot()?, &arn)?;
    if stored.status != RunStatus::Running {
        let message = format!("the map run is {} and cannot be updated", status_name(stored.status));
        return Err(VALIDATION_EXCEPTION.because(message).into());
    }
    let most = scope.number("maxConcurrency");
    let count = scope.number("toleratedFailureCount");
    let percentage = scope.call.input.get("toleratedFailurePercentage").and_then(Value::as_f64);
    let change = |record: &mut MapRunRecord| {
        record.max_concurrency = most.unwrap_or(record.max_concurrency);
        record.tolerated_count = count.or(record.tolerated_count);
        record.tolerated_percentage = percentage.or(record.tolerated_percentage);
    };
    // Durable first, so that a restart does not take it back.
    let written = scope.engine.store.write::<(), ApiError>(|tx| {
        let found =
            tx.get(&key::map_run(&stored.id))?.ok_or_else(|| WriteError::Refused(does_not_exist(&arn)))?;
        let mut record: MapRunRecord = record::decode(&found)?;
        change(&mut record);
        tx.put(&key::map_run(&stored.id), record::encode(&record))?;
        Ok(scope.note(tx, &record.arn)?)
    });
    written?;
    if let Some(run) = scope.engine.map_run(&stored.id) {
        run.update(change);
    }
    Ok(json!({}))
}
