//! Attributes of a service: what people keep with it.

use selvedge_aws::operations::servicediscovery::SERVICE_ATTRIBUTES_LIMIT_EXCEEDED_EXCEPTION;
use selvedge_model::Value;
use selvedge_registry::document::Key;
use selvedge_registry::quota::SERVICE_ATTRIBUTES_MAX;
use selvedge_store::Store;
use serde_json::{Map, json};

use super::failure::Failure;
use super::perform::{Scope, put, write};
use super::service;

pub(super) fn show(scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("ServiceId", "service");
    let state = scope.mirror.read()?;
    let found = state.snapshot.service(&id).ok_or_else(|| service::missing(&id))?;
    Ok(json!({ "ServiceAttributes": {
        "ServiceArn": scope.arn(&found.service.region, "service", &id),
        "ResourceOwner": scope.api.account,
        "Attributes": found.service.attributes,
    }}))
}

/// Adds attributes, over those with the same key.
pub(super) fn update(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("ServiceId", "service");
    let given = scope.call.input.get("Attributes").and_then(Value::as_object);
    write(store, |tx| {
        let mut service = service::load(&*tx, &id)?;
        let texts = given.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)));
        service.attributes.extend(texts.map(|(key, value)| (key.clone(), value.to_owned())));
        if service.attributes.len() > SERVICE_ATTRIBUTES_MAX {
            let message = format!("a service may have at most {SERVICE_ATTRIBUTES_MAX} attributes");
            return Err(SERVICE_ATTRIBUTES_LIMIT_EXCEEDED_EXCEPTION.because(message).into());
        }
        put(tx, &Key::Service(id.clone()), &service)?;
        Ok(())
    })?;
    Ok(Value::Object(Map::new()))
}

/// Removes attributes; a key that is not there is no error.
pub(super) fn delete(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("ServiceId", "service");
    let gone = scope.call.input.get("Attributes").and_then(Value::as_array);
    write(store, |tx| {
        let mut service = service::load(&*tx, &id)?;
        for key in gone.into_iter().flatten().filter_map(Value::as_str) {
            service.attributes.remove(key);
        }
        put(tx, &Key::Service(id.clone()), &service)?;
        Ok(())
    })?;
    Ok(Value::Object(Map::new()))
}
