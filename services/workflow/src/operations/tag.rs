//! Tags of machines and activities.

use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::{RESOURCE_NOT_FOUND, TOO_MANY_TAGS, VALIDATION_EXCEPTION};
use selvedge_model::Value;
use selvedge_store::{Read, Transaction, WriteError};
use serde_json::json;

use super::{Failed, Scope};
use crate::arn::{Arn, Resource};
use crate::record::{self, Activity, Machine, key};

const TAGS_MAX: usize = 50;

type Tags = Vec<(String, String)>;

/// `tags` of a call that makes something.
pub(super) fn given(scope: &Scope<'_>) -> Result<Tags, Failed> {
    let mut tags: Tags = Vec::new();
    for tag in scope.value("tags").as_array().into_iter().flatten() {
        let name = tag["key"].as_str().unwrap_or_default();
        if name.is_empty() || name.starts_with("aws:") {
            return Err(VALIDATION_EXCEPTION.because(format!("'{name}' cannot be the key of a tag")).into());
        }
        if tags.iter().any(|(known, _)| known == name) {
            return Err(VALIDATION_EXCEPTION.because(format!("the tag '{name}' is there twice")).into());
        }
        tags.push((name.to_owned(), tag["value"].as_str().unwrap_or_default().to_owned()));
    }
    if tags.len() > TAGS_MAX {
        return Err(TOO_MANY_TAGS.because(format!("at most {TAGS_MAX} tags")).into());
    }
    Ok(tags)
}

fn not_found(arn: &Arn) -> ApiError {
    RESOURCE_NOT_FOUND.because(format!("Resource not found: '{arn}'")).with("resourceName", arn.to_string())
}

fn read(view: &dyn Read, arn: &Arn) -> Result<Tags, Failed> {
    match &arn.resource {
        Resource::Machine { name, qualifier: None } => match view.get(&key::machine(name))? {
            Some(found) => Ok(record::decode::<Machine>(&found)?.tags),
            None => Err(not_found(arn).into()),
        },
        Resource::Activity(name) => match view.get(&key::activity(name))? {
            Some(found) => Ok(record::decode::<Activity>(&found)?.tags),
            None => Err(not_found(arn).into()),
        },
        _ => Err(not_found(arn).into()),
    }
}

fn change(tx: &mut dyn Transaction, arn: &Arn, f: &dyn Fn(&mut Tags)) -> Result<(), WriteError<ApiError>> {
    let check = |tags: &[(String, String)]| {
        if tags.len() > TAGS_MAX {
            return Err(WriteError::Refused(TOO_MANY_TAGS.because(format!("at most {TAGS_MAX} tags"))));
        }
        Ok(())
    };
    match &arn.resource {
        Resource::Machine { name, qualifier: None } => {
            let found = tx.get(&key::machine(name))?.ok_or_else(|| WriteError::Refused(not_found(arn)))?;
            let mut machine: Machine = record::decode(&found)?;
            f(&mut machine.tags);
            check(&machine.tags)?;
            tx.put(&key::machine(name), record::encode(&machine))?;
        }
        Resource::Activity(name) => {
            let found = tx.get(&key::activity(name))?.ok_or_else(|| WriteError::Refused(not_found(arn)))?;
            let mut activity: Activity = record::decode(&found)?;
            f(&mut activity.tags);
            check(&activity.tags)?;
            tx.put(&key::activity(name), record::encode(&activity))?;
        }
        _ => return Err(WriteError::Refused(not_found(arn))),
    }
    Ok(())
}

pub(super) fn tag(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("resourceArn")?;
    let given = given(scope)?;
    scope.engine.store.write(|tx| {
        change(tx, &arn, &|tags| {
            tags.retain(|(name, _)| !given.iter().any(|(new, _)| new == name));
            tags.extend(given.iter().cloned());
        })?;
        Ok(scope.note(tx, &arn.to_string())?)
    })?;
    Ok(json!({}))
}

pub(super) fn untag(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("resourceArn")?;
    let names = scope.value("tagKeys");
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    scope.engine.store.write(|tx| {
        change(tx, &arn, &|tags| tags.retain(|(name, _)| !names.contains(&name.as_str())))?;
        Ok(scope.note(tx, &arn.to_string())?)
    })?;
    Ok(json!({}))
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("resourceArn")?;
    let tags = read(&*scope.engine.store.snapshot()?, &arn)?;
    let shown: Vec<Value> = tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    Ok(json!({ "tags": shown }))
}
