//! Versions: a machine's revision under a number.

use selvedge_aws::operations::stepfunctions::SERVICE_QUOTA_EXCEEDED_EXCEPTION;
use selvedge_aws::{ApiError, operations::stepfunctions::INVALID_ARN};
use selvedge_model::Value;
use selvedge_store::{Transaction, WriteError};
use serde_json::json;

use super::{Failed, Scope, machine, seconds};
use crate::arn::{Arn, Resource};
use crate::record::{self, Alias, Machine, Version, key};

const VERSIONS_MAX: usize = 1000;

/// The number in a version's ARN.
pub(super) fn number_of(arn: &Arn) -> Option<u64> {
    match &arn.resource {
        Resource::Machine { qualifier: Some(qualifier), .. } => qualifier.parse().ok(),
        _ => None,
    }
}

/// Makes the machine's revision a version, unless the last version is the same; gives back its ARN.
pub(super) fn add(
    tx: &mut dyn Transaction,
    machine: &mut Machine,
    description: Option<String>,
    now_ms: i64,
) -> Result<String, WriteError<ApiError>> {
    if let Some(found) = tx.get(&key::version(&machine.name, machine.last_version))? {
        let last: Version = record::decode(&found)?;
        if last.revision == machine.revision {
            return Ok(last.arn);
        }
    }
    if tx.scan(&format!("version/{}/", machine.name), None, VERSIONS_MAX)?.len() >= VERSIONS_MAX {
        let message = format!("a machine has at most {VERSIONS_MAX} versions");
        return Err(WriteError::Refused(SERVICE_QUOTA_EXCEEDED_EXCEPTION.because(message)));
    }
    machine.last_version += 1;
    let arn = format!("{}:{}", machine.arn, machine.last_version);
    let version =
        Version { arn: arn.clone(), revision: machine.revision.clone(), description, created_ms: now_ms };
    tx.put(&key::version(&machine.name, machine.last_version), record::encode(&version))?;
    Ok(arn)
}

pub(super) fn publish(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineArn")?;
    let now_ms = scope.now_ms();
    let expected = scope.call.text("revisionId");
    machine::change(scope, &arn, |tx, machine| {
        if expected.is_some_and(|expected| expected != machine.revision) {
            let message = format!("the current revision is {}", machine.revision);
            return Err(WriteError::Refused(machine::conflict(message)));
        }
        let description = scope.call.text("description").map(str::to_owned);
        let arn = add(tx, machine, description, now_ms)?;
        scope.note(tx, &arn)?;
        let found = tx.get(&key::version(&machine.name, machine.last_version))?;
        let created_ms = match found {
            Some(found) => record::decode::<Version>(&found)?.created_ms,
            None => now_ms,
        };
        Ok(json!({ "stateMachineVersionArn": arn, "creationDate": seconds(created_ms) }))
    })
}

/// The newest first.
pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineArn")?;
    let view = scope.engine.store.snapshot()?;
    let machine = machine::find(&*view, &arn)?;
    let mut versions: Vec<Version> = view
        .scan_all(&format!("version/{}/", machine.name))?
        .iter()
        .map(record::decode)
        .collect::<Result<_, _>>()?;
    versions.reverse();
    let limit =
        usize::try_from(scope.number("maxResults").filter(|most| *most > 0).unwrap_or(100)).unwrap_or(100);
    let operation = scope.call.operation.name;
    let skip = match scope.call.text("nextToken") {
        None => 0,
        Some(token) => {
            let invalid = || selvedge_aws::operations::stepfunctions::INVALID_TOKEN.because("Invalid Token");
            let position =
                selvedge_aws::page::decode(operation, &machine.arn, token).map_err(|_| invalid())?;
            versions.iter().position(|version| version.arn == position).map_or(0, |at| at + 1)
        }
    };
    let page: Vec<&Version> = versions.iter().skip(skip).take(limit).collect();
    let shown: Vec<Value> = page
        .iter()
        .map(|version| json!({ "stateMachineVersionArn": version.arn, "creationDate": seconds(version.created_ms) }))
        .collect();
    let mut output = json!({ "stateMachineVersions": shown });
    if let Some(last) = page.last().filter(|_| skip + page.len() < versions.len()) {
        output["nextToken"] = selvedge_aws::page::encode(operation, &machine.arn, &last.arn).into();
    }
    Ok(output)
}

pub(super) fn delete(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineVersionArn")?;
    let (name, _) = machine::machine_of(&arn)?;
    let Some(number) = number_of(&arn) else {
        return Err(INVALID_ARN.because(format!("Invalid Arn: '{arn}' is no version")).into());
    };
    let deleted = scope.engine.change_machines(|tx| {
        for found in tx.scan(&format!("alias/{name}/"), None, VERSIONS_MAX)? {
            let alias: Alias = record::decode(&found)?;
            if alias.routing.iter().any(|(version, _)| *version == arn.to_string()) {
                let message = format!("Version to be deleted must not be referenced by an alias. Current list of aliases referencing this version: [{}]", alias.arn);
                return Err(WriteError::Refused(machine::conflict(message)));
            }
        }
        if tx.delete(&key::version(name, number))? {
            scope.note(tx, &arn.to_string())?;
        }
        Ok(())
    });
    deleted?;
    Ok(json!({}))
}
