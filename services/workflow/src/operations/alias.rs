//! Aliases: a name for one version, or two with their shares.

use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::{
    INVALID_ARN, RESOURCE_NOT_FOUND, SERVICE_QUOTA_EXCEEDED_EXCEPTION, VALIDATION_EXCEPTION,
};
use selvedge_model::Value;
use selvedge_store::WriteError;
use serde_json::json;

use super::{Failed, Scope, list, machine, seconds, version};
use crate::arn::{Arn, Resource};
use crate::record::{self, Alias, key};

const ALIASES_MAX: usize = 100;

fn routing(scope: &Scope<'_>) -> Result<Vec<(String, u64)>, Failed> {
    let items = scope.value("routingConfiguration");
    let items: Vec<(String, u64)> = items
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let version = item["stateMachineVersionArn"].as_str().unwrap_or_default().to_owned();
            (version, item["weight"].as_u64().unwrap_or_default())
        })
        .collect();
    if items.iter().map(|(_, weight)| weight).sum::<u64>() != 100 {
        return Err(VALIDATION_EXCEPTION.because("the weights of an alias sum up to 100").into());
    }
    if items.len() == 2 && items[0].0 == items[1].0 {
        return Err(VALIDATION_EXCEPTION.because("an alias names two different versions").into());
    }
    Ok(items)
}

/// The machine that all versions of a routing belong to.
fn machine_of(routing: &[(String, u64)]) -> Result<(Arn, String), Failed> {
    let mut owner: Option<(Arn, String)> = None;
    for (version, _) in routing {
        let arn = Arn::parse(version)?;
        if version::number_of(&arn).is_none() {
            return Err(INVALID_ARN.because(format!("Invalid Arn: '{version}' is no version")).into());
        }
        let (name, _) = machine::machine_of(&arn)?;
        let name = name.to_owned();
        let machine = arn.sibling(Resource::Machine { name: name.as_str().into(), qualifier: None });
        match &owner {
            Some((_, other)) if *other != name => {
                return Err(VALIDATION_EXCEPTION.because("an alias' versions belong to one machine").into());
            }
            _ => owner = Some((machine, name)),
        }
    }
    owner.ok_or_else(|| VALIDATION_EXCEPTION.because("an alias names at least one version").into())
}

fn not_found(arn: &Arn) -> ApiError {
    RESOURCE_NOT_FOUND.because(format!("Request references a resource that does not exist: '{arn}'"))
}

fn alias_of(arn: &Arn) -> Result<(&str, &str), Failed> {
    match machine::machine_of(arn)? {
        (name, Some(alias)) if alias.parse::<u64>().is_err() => Ok((name, alias)),
        _ => Err(INVALID_ARN.because(format!("Invalid Arn: '{arn}' is no alias")).into()),
    }
}

pub(super) fn create(scope: &Scope<'_>) -> Result<Value, Failed> {
    let routing = routing(scope)?;
    let (machine_arn, machine_name) = machine_of(&routing)?;
    // The operation knows no other error for a machine that is not there.
    machine::find(&*scope.engine.store.snapshot()?, &machine_arn).map_err(|failed| match failed {
        Failed::Api(_) => not_found(&machine_arn).into(),
        failed => failed,
    })?;
    let name = scope.text("name");
    let now_ms = scope.now_ms();
    machine::change(scope, &machine_arn, |tx, machine| {
        for (version, _) in &routing {
            let arn = Arn::parse(version).expect("parsed above");
            let number = version::number_of(&arn).expect("checked above");
            if tx.get(&key::version(&machine_name, number))?.is_none() {
                return Err(WriteError::Refused(not_found(&arn)));
            }
        }
        let alias = Alias {
            arn: format!("{}:{name}", machine.arn),
            description: scope.call.text("description").map(str::to_owned),
            routing: routing.clone(),
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        if let Some(found) = tx.get(&key::alias(&machine_name, name))? {
            let found: Alias = record::decode(&found)?;
            if found.routing != alias.routing || found.description != alias.description {
                let message = "Failed to create alias because an alias with the same name and a different routing configuration already exists.";
                return Err(WriteError::Refused(machine::conflict(message)));
            }
            return Ok(
                json!({ "stateMachineAliasArn": found.arn, "creationDate": seconds(found.created_ms) }),
            );
        }
        if tx.scan(&format!("alias/{machine_name}/"), None, ALIASES_MAX)?.len() >= ALIASES_MAX {
            let message = format!("a machine has at most {ALIASES_MAX} aliases");
            return Err(WriteError::Refused(SERVICE_QUOTA_EXCEEDED_EXCEPTION.because(message)));
        }
        tx.put(&key::alias(&machine_name, name), record::encode(&alias))?;
        scope.note(tx, &alias.arn)?;
        Ok(json!({ "stateMachineAliasArn": alias.arn, "creationDate": seconds(now_ms) }))
    })
}

pub(super) fn update(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineAliasArn")?;
    let (name, alias_name) = alias_of(&arn)?;
    let given = scope.call.input.contains_key("routingConfiguration");
    let routing = if given { Some(routing(scope)?) } else { None };
    if let Some(routing) = &routing
        && machine_of(routing)?.1 != name
    {
        return Err(VALIDATION_EXCEPTION.because("an alias' versions belong to its machine").into());
    }
    let now_ms = scope.now_ms();
    let (output, _) = scope.engine.change_machines(|tx| {
        let Some(found) = tx.get(&key::alias(name, alias_name))? else {
            return Err(WriteError::Refused(not_found(&arn)));
        };
        let mut alias: Alias = record::decode(&found)?;
        if let Some(routing) = &routing {
            for (version, _) in routing {
                let number =
                    Arn::parse(version).ok().as_ref().and_then(version::number_of).unwrap_or_default();
                if tx.get(&key::version(name, number))?.is_none() {
                    return Err(WriteError::Refused(not_found(&arn)));
                }
            }
            alias.routing.clone_from(routing);
        }
        if let Some(description) = scope.call.text("description") {
            alias.description = Some(description.to_owned());
        }
        alias.updated_ms = now_ms;
        tx.put(&key::alias(name, alias_name), record::encode(&alias))?;
        scope.note(tx, &alias.arn)?;
        Ok(json!({ "updateDate": seconds(now_ms) }))
    })?;
    Ok(output)
}

pub(super) fn describe(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineAliasArn")?;
    let (name, alias_name) = alias_of(&arn)?;
    let view = scope.engine.store.snapshot()?;
    let found = view.get(&key::alias(name, alias_name))?.ok_or_else(|| not_found(&arn))?;
    let alias: Alias = record::decode(&found)?;
    let routing: Vec<Value> = alias
        .routing
        .iter()
        .map(|(version, weight)| json!({ "stateMachineVersionArn": version, "weight": weight }))
        .collect();
    let mut output = json!({
        "stateMachineAliasArn": alias.arn,
        "name": alias_name,
        "routingConfiguration": routing,
        "creationDate": seconds(alias.created_ms),
        "updateDate": seconds(alias.updated_ms),
    });
    if let Some(description) = alias.description {
        output["description"] = description.into();
    }
    Ok(output)
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineArn")?;
    let view = scope.engine.store.snapshot()?;
    let machine = machine::find(&*view, &arn)?;
    let wanted = version::number_of(&arn).map(|_| arn.to_string());
    let page =
        list::page(scope, &*view, "stateMachineAliases", &format!("alias/{}/", machine.name), |found| {
            let alias: Alias = record::decode(found)?;
            let is_wanted = wanted
                .as_ref()
                .is_none_or(|wanted| alias.routing.iter().any(|(version, _)| version == wanted));
            Ok(is_wanted.then(
                || json!({ "stateMachineAliasArn": alias.arn, "creationDate": seconds(alias.created_ms) }),
            ))
        })?;
    Ok(Value::Object(page))
}

pub(super) fn delete(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineAliasArn")?;
    let (name, alias_name) = alias_of(&arn)?;
    let deleted = scope.engine.change_machines(|tx| {
        if !tx.delete(&key::alias(name, alias_name))? {
            return Err(WriteError::Refused(not_found(&arn)));
        }
        Ok(scope.note(tx, &arn.to_string())?)
    });
    deleted?;
    Ok(json!({}))
}
