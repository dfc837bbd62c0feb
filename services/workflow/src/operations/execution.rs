//! Executions.

use std::sync::Arc;

use selvedge_asl::{Failure, Identity, Status};
use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::{
    EXECUTION_ALREADY_EXISTS, EXECUTION_DOES_NOT_EXIST, EXECUTION_LIMIT_EXCEEDED, INVALID_ARN,
    INVALID_EXECUTION_INPUT, VALIDATION_EXCEPTION,
};
use selvedge_model::Value;
use selvedge_store::Read;
use serde_json::json;

use super::{Failed, Scope, list, machine, map_run, name, not_for_this_type, seconds};
use crate::Engine;
use crate::arn::{Arn, Resource};
use crate::engine::{LiveKey, Start, StartError};
use crate::record::{self, ExecutionRecord, Summary, key, status_name};

/// The largest input, in bytes.
const INPUT_BYTES_MAX: usize = 262_144;

fn does_not_exist(arn: &Arn) -> ApiError {
    EXECUTION_DOES_NOT_EXIST.because(format!("Execution Does Not Exist: '{arn}'"))
}

/// An execution's machine and name.
pub(crate) fn execution_of(arn: &Arn) -> Result<LiveKey, Failed> {
    match &arn.resource {
        Resource::Execution { machine, name } => Ok(LiveKey::new(&machine.replace('/', ":"), name)),
        // Express executions leave nothing behind, but for those of map runs.
        Resource::Express { machine, name } if machine.contains('/') => {
            let name = name.rsplit(':').next().unwrap_or_default();
            Ok(LiveKey::new(&machine.replace('/', ":"), name))
        }
        Resource::Express { .. } => {
            Err(INVALID_ARN.because("Invalid Arn: 'Resource type not valid in this context: express'").into())
        }
        _ => Err(INVALID_ARN
            .because(format!("Invalid Arn: 'Resource type not valid in this context: {arn}'"))
            .into()),
    }
}

pub(crate) fn find(view: &dyn Read, arn: &Arn) -> Result<ExecutionRecord, Failed> {
    let key = execution_of(arn)?;
    let found = view.get(&key::execution(&key.machine, &key.name))?.ok_or_else(|| does_not_exist(arn))?;
    let record: ExecutionRecord = record::decode(&found)?;
    if record.arn != arn.to_string() {
        return Err(does_not_exist(arn).into());
    }
    Ok(record)
}

/// What somebody wants started.
pub(crate) struct Asked<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) input: &'a str,
    pub(crate) trace_header: Option<&'a str>,
}

/// What a call wants started.
pub(super) fn prepare(scope: &Scope<'_>) -> Result<(Start, bool), Failed> {
    let asked = Asked {
        name: scope.call.text("name"),
        input: scope.call.text("input").unwrap_or("{}"),
        trace_header: scope.call.text("traceHeader"),
    };
    prepare_named(scope.engine, &scope.arn("stateMachineArn")?, &asked)
}

/// The same for whoever names a machine, a version or an alias.
fn prepare_named(engine: &Arc<Engine>, arn: &Arn, asked: &Asked<'_>) -> Result<(Start, bool), Failed> {
    let found = machine::named(engine, arn, engine.surroundings.draw())?;
    let fresh = || uuid::Uuid::from_u64_pair(engine.surroundings.draw(), engine.surroundings.draw());
    let name = match asked.name {
        Some(name) => {
            name::check(name)?;
            name.to_owned()
        }
        None => fresh().to_string(),
    };
    let input = asked.input.to_owned();
    if input.len() > INPUT_BYTES_MAX {
        let message =
            format!("Invalid State Machine Execution Input: the input has more than {INPUT_BYTES_MAX} bytes");
        return Err(INVALID_EXECUTION_INPUT.because(message).into());
    }
    let machine = found.machine;
    let machine_arn = Arn::parse(&machine.arn)?;
    let resource = if machine.express {
        Resource::Express {
            machine: machine.name.as_str().into(),
            name: format!("{name}:{}", fresh()).into(),
        }
    } else {
        Resource::Execution { machine: machine.name.as_str().into(), name: name.as_str().into() }
    };
    let identity = Identity {
        arn: machine_arn.sibling(resource).to_string().into(),
        name: name.as_str().into(),
        machine_arn: machine.arn.as_str().into(),
        machine_name: machine.name.as_str().into(),
        role_arn: found.revision.role_arn.as_str().into(),
        region: machine_arn.region,
    };
    let start = Start {
        identity,
        machine: machine.name.clone(),
        name,
        revision: found.revision,
        version_arn: found.version.map(|version| version.arn),
        alias_arn: found.alias.map(|alias| alias.arn),
        input,
        trace_header: asked.trace_header.map(str::to_owned),
        child: None,
        depth: 0,
    };
    Ok((start, machine.express))
}

pub(super) fn start(scope: &Scope<'_>) -> Result<Value, Failed> {
    let (start, express) = prepare(scope)?;
    begin(scope.engine, start, express)
}

/// Starts what `arn` names as `StartExecution` does: with the output of that.
pub(crate) fn start_named(engine: &Arc<Engine>, arn: &str, asked: &Asked<'_>) -> Result<Value, Failed> {
    let (start, express) = prepare_named(engine, &Arn::parse(arn)?, asked)?;
    begin(engine, start, express)
}

fn begin(engine: &Arc<Engine>, start: Start, express: bool) -> Result<Value, Failed> {
    let (arn, input) = (start.identity.arn.to_string(), start.input.clone());
    if express {
        let started_ms = engine.now_ms();
        super::sync::run_behind(engine, start)?;
        return Ok(json!({ "executionArn": arn, "startDate": seconds(started_ms) }));
    }
    match engine.start(start) {
        Ok(record) => Ok(json!({ "executionArn": arn, "startDate": seconds(record.started_ms) })),
        Err(StartError::Taken(record)) if record.status == Status::Running && record.input == input => {
            Ok(json!({ "executionArn": record.arn, "startDate": seconds(record.started_ms) }))
        }
        Err(StartError::Taken(record)) => Err(EXECUTION_ALREADY_EXISTS
            .because(format!("Execution Already Exists: '{}'", record.arn))
            .into()),
        Err(error) => Err(not_started(error)),
    }
}

pub(super) fn not_started(error: StartError) -> Failed {
    match error {
        StartError::Input(error) => INVALID_EXECUTION_INPUT
            .because(format!("Invalid State Machine Execution Input: '{error}'"))
            .into(),
        StartError::Misfit(misfit) => {
            let message = format!(
                "Invalid State Machine Execution Input: the input does not fit the machine's schema: {misfit}"
            );
            INVALID_EXECUTION_INPUT.because(message).into()
        }
        StartError::Full => {
            EXECUTION_LIMIT_EXCEEDED.because("as many executions are under way as there may be").into()
        }
        StartError::Taken(record) => {
            EXECUTION_ALREADY_EXISTS.because(format!("Execution Already Exists: '{}'", record.arn)).into()
        }
        StartError::Store(error) => Failed::Store(error),
    }
}

pub(super) fn stop(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("executionArn")?;
    let key = execution_of(&arn)?;
    let text = |member: &str| scope.call.text(member).map(str::to_owned);
    let deed = scope.deed(&arn.to_string());
    scope.engine.stop(&key, Failure { error: text("error"), cause: text("cause") }, Some(deed))?;
    let record = find(&*scope.engine.store.snapshot()?, &arn)?;
    Ok(json!({ "stopDate": seconds(record.ended_ms.unwrap_or_else(|| scope.now_ms())) }))
}

pub(super) fn describe(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("executionArn")?;
    let record = find(&*scope.engine.store.snapshot()?, &arn)?;
    let mut output = json!({
        "executionArn": record.arn,
        "stateMachineArn": record.machine_arn,
        "name": record.name,
        "status": status_name(record.status),
        "startDate": seconds(record.started_ms),
        "redriveCount": record.redrive_count,
    });
    let mut put = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            output[member] = value;
        }
    };
    put("mapRunArn", record.child.as_ref().map(|child| child.run_arn.as_str().into()));
    put("stateMachineVersionArn", record.version_arn.map(Into::into));
    put("stateMachineAliasArn", record.alias_arn.map(Into::into));
    put("stopDate", record.ended_ms.map(seconds));
    put("redriveDate", record.redriven_ms.map(seconds));
    put("traceHeader", record.trace_header.map(Into::into));
    if scope.text("includedData") != "METADATA_ONLY" {
        put("input", Some(record.input.into()));
        put("inputDetails", Some(json!({ "included": true })));
        put("outputDetails", record.output.as_ref().map(|_| json!({ "included": true })));
        put("output", record.output.map(Into::into));
        put("error", record.error.map(Into::into));
        put("cause", record.cause.map(Into::into));
    }
    let (status, reason) = match record.status {
        Status::Running => ("NOT_REDRIVABLE", Some("Execution is RUNNING and cannot be redriven")),
        Status::Succeeded => ("NOT_REDRIVABLE", Some("Execution is SUCCEEDED and cannot be redriven")),
        _ if record.child.is_some() => ("REDRIVABLE_BY_MAP_RUN", None),
        _ => ("REDRIVABLE", None),
    };
    put("redriveStatus", Some(status.into()));
    put("redriveStatusReason", reason.map(Into::into));
    Ok(output)
}

/// The newest first.
pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failed> {
    let text = match (scope.call.text("stateMachineArn"), scope.call.text("mapRunArn")) {
        (Some(text), None) => text,
        (None, Some(_)) => return list_children(scope),
        _ => {
            return Err(VALIDATION_EXCEPTION
                .because("Either stateMachineArn or mapRunArn must be specified")
                .into());
        }
    };
    let arn = Arn::parse(text)?;
    let view = scope.engine.store.snapshot()?;
    let machine = machine::find(&*view, &arn)?;
    if machine.express {
        return Err(not_for_this_type());
    }
    let (_, qualifier) = machine::machine_of(&arn)?;
    let status = scope.call.text("statusFilter");
    let redriven = scope.call.text("redriveFilter");
    let page = list::page(scope, &*view, "executions", &format!("started/{}/", machine.name), |found| {
        let summary: Summary = record::decode(found)?;
        let is_wanted = status.is_none_or(|status| status == status_name(summary.status))
            && redriven.is_none_or(|filter| (filter == "REDRIVEN") == (summary.redrive_count > 0))
            && qualifier.is_none_or(|_| {
                [&summary.version_arn, &summary.alias_arn].into_iter().flatten().any(|found| found == text)
            });
        Ok(is_wanted.then(|| shown(&summary)))
    })?;
    Ok(Value::Object(page))
}

/// The children of a map run, the last one first.
fn list_children(scope: &Scope<'_>) -> Result<Value, Failed> {
    let view = scope.engine.store.snapshot()?;
    let run = map_run::find(&*view, &scope.arn("mapRunArn")?)?;
    let status = scope.call.text("statusFilter");
    let redriven = scope.call.text("redriveFilter");
    let page = list::page(scope, &*view, "executions", &key::children(&run.id), |found| {
        let summary: Summary = record::decode(found)?;
        let is_pending = status == Some("PENDING_REDRIVE")
            && !matches!(summary.status, Status::Running | Status::Succeeded);
        let is_wanted = (is_pending || status.is_none_or(|status| status == status_name(summary.status)))
            && redriven.is_none_or(|filter| (filter == "REDRIVEN") == (summary.redrive_count > 0));
        Ok(is_wanted.then(|| shown(&summary)))
    })?;
    Ok(Value::Object(page))
}

fn shown(summary: &Summary) -> Value {
    let mut output = json!({
        "executionArn": summary.arn,
        "stateMachineArn": summary.machine_arn,
        "name": summary.name,
        "status": status_name(summary.status),
        "startDate": seconds(summary.started_ms),
        "redriveCount": summary.redrive_count,
    });
    if let Some(ended_ms) = summary.ended_ms {
        output["stopDate"] = seconds(ended_ms);
    }
    if let Some(child) = &summary.child {
        output["mapRunArn"] = child.run_arn.as_str().into();
        output["itemCount"] = child.items.into();
    }
    if let Some(version) = &summary.version_arn {
        output["stateMachineVersionArn"] = version.as_str().into();
    }
    if let Some(alias) = &summary.alias_arn {
        output["stateMachineAliasArn"] = alias.as_str().into();
    }
    if let Some(redriven_ms) = summary.redriven_ms {
        output["redriveDate"] = seconds(redriven_ms);
    }
    output
}
