//! Instances: registered, shown, judged and taken away.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_aws::ApiError;
use selvedge_aws::operations::servicediscovery::{
    CUSTOM_HEALTH_NOT_FOUND, DUPLICATE_REQUEST, INSTANCE_NOT_FOUND, RESOURCE_LIMIT_EXCEEDED,
};
use selvedge_model::Value;
use selvedge_registry::attribute::{self, INIT_HEALTH};
use selvedge_registry::document::Key;
use selvedge_registry::quota::INSTANCES_MAX;
use selvedge_registry::{HealthCheck, Instance, Operation};
use selvedge_store::{Read, Store, Transaction};
use serde_json::{Map, json};

use super::failure::{Failure, invalid};
use super::operation::{self, Begun};
use super::perform::{Scope, get, put, remove, write};
use super::{query, service, tags};

pub(super) fn register(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let (service_id, id) = (scope.id("ServiceId", "service"), scope.text("InstanceId").to_owned());
    let attributes = texts(scope.call.input.get("Attributes"));
    let begun = begin_registration(scope, &service_id, &id)?;
    let token = scope.token();
    let operation = write(store, |tx| {
        let existing: Option<Instance> = get(&*tx, &Key::instance(&service_id, &id))?;
        let same = existing
            .as_ref()
            .filter(|one| !token.is_empty() && one.creator_request_id == token && !one.is_draining());
        if let Some(same) = same {
            // Sent again: it happened once.
            return match same.attributes == attributes {
                true => Ok(same.operation.clone()),
                false => Err(DUPLICATE_REQUEST
                    .because("the CreatorRequestId was used for an earlier request with other attributes")
                    .with("DuplicateOperationId", &same.operation)
                    .into()),
            };
        }
        let instance = admit(scope, &*tx, &service_id, existing.as_ref(), &attributes, &begun)?;
        // Whoever held a lease on it holds it no more.
        remove(tx, &Key::lease(&service_id, &id))?;
        place(tx, scope, (&service_id, &id), existing.as_ref(), &instance)?;
        begun.write(tx)?;
        Ok(begun.id().to_owned())
    })?;
    Ok(operation::answer(&operation))
}

/// Begins the operation that registers an instance, if there is room for it.
pub(super) fn begin_registration(scope: &Scope<'_>, service: &str, id: &str) -> Result<Begun, Failure> {
    {
        let state = scope.mirror.read()?;
        let found = state.snapshot.service(service).ok_or_else(|| service::missing(service))?;
        if found.instances.len() >= INSTANCES_MAX && found.instance(id).is_none() {
            let message = format!("a service may have at most {INSTANCES_MAX} instances");
            return Err(RESOURCE_LIMIT_EXCEEDED.because(message).into());
        }
    }
    let targets = [("SERVICE", service), ("INSTANCE", id)];
    operation::begin(scope, "REGISTER_INSTANCE", Operation::SUCCESS, &targets)
}

/// Writes an instance; if it was on its way out, it is not any more.
pub(super) fn place(
    tx: &mut dyn Transaction,
    scope: &Scope<'_>,
    (service, id): (&str, &str),
    existing: Option<&Instance>,
    instance: &Instance,
) -> Result<(), Failure> {
    if let Some(leaving) = existing.filter(|existing| existing.is_draining()) {
        operation::finish(tx, &leaving.operation, scope.now())?;
    }
    put(tx, &Key::instance(service, id), instance)?;
    Ok(())
}

/// The instance as it will be, if it may.
pub(super) fn admit(
    scope: &Scope<'_>,
    view: &dyn Read,
    service_id: &str,
    existing: Option<&Instance>,
    attributes: &BTreeMap<String, String>,
    begun: &Begun,
) -> Result<Instance, Failure> {
    let service = service::load(view, service_id)?;
    let policy = tags::policy(view, &service.namespace_id, &scope.api.registry)?;
    attribute::check(attributes, &service, &policy)
        .map_err(|error| invalid(format!("Attributes: {error}")))?;
    let initial = attributes.get(INIT_HEALTH);
    if initial.is_some() && service.health_check != HealthCheck::Custom {
        return Err(invalid(format!(
            "Attributes: {INIT_HEALTH}: the service has no HealthCheckCustomConfig"
        )));
    }
    let present = existing.filter(|one| !one.is_draining());
    Ok(Instance {
        attributes: attributes.clone(),
        creator_request_id: scope.token(),
        operation: begun.id().to_owned(),
        // What somebody said of it outlives a change of its attributes.
        unhealthy: match present {
            Some(present) => present.unhealthy,
            None => initial.is_some_and(|initial| initial == "UNHEALTHY"),
        },
        drained_at: None,
        epoch: existing.and_then(|one| one.epoch),
    })
}

pub(super) fn deregister(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let (service_id, id) = (scope.id("ServiceId", "service"), scope.text("InstanceId").to_owned());
    let operation = take_away(store, scope, &service_id, &id, |_| Ok(()))?;
    Ok(operation::answer(&operation))
}

/// Takes an instance away, draining it first; the operation that does. `check`: whether the caller may, inside the transaction.
pub(super) fn take_away(
    store: &dyn Store,
    scope: &Scope<'_>,
    service_id: &str,
    id: &str,
    check: impl Fn(&dyn Read) -> Result<(), Failure>,
) -> Result<String, Failure> {
    let drain = u64::try_from(scope.api.registry.drain.as_millis()).unwrap_or(u64::MAX);
    let status = if drain == 0 { Operation::SUCCESS } else { Operation::PENDING };
    let targets = [("SERVICE", service_id), ("INSTANCE", id)];
    let begun = operation::begin(scope, "DEREGISTER_INSTANCE", status, &targets)?;
    write(store, |tx| {
        service::load(&*tx, service_id)?;
        let key = Key::instance(service_id, id);
        let existing: Option<Instance> = get(&*tx, &key)?;
        let mut instance = existing.ok_or_else(|| missing(service_id, id))?;
        check(&*tx)?;
        if instance.is_draining() {
            return Err(DUPLICATE_REQUEST
                .because(format!("instance {id} is being deregistered already"))
                .with("DuplicateOperationId", instance.operation)
                .into());
        }
        remove(tx, &Key::lease(service_id, id))?;
        if drain == 0 {
            remove(tx, &key)?;
        } else {
            instance.drained_at = Some(scope.now().saturating_add(drain));
            instance.operation = begun.id().to_owned();
            put(tx, &key, &instance)?;
        }
        begun.write(tx)
    })?;
    Ok(begun.id().to_owned())
}

pub(super) fn update_health(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let (service_id, id) = (scope.id("ServiceId", "service"), scope.text("InstanceId").to_owned());
    let unhealthy = scope.text("Status") == "UNHEALTHY";
    write(store, |tx| {
        let service = service::load(&*tx, &service_id)?;
        if service.health_check != HealthCheck::Custom {
            let message = format!("service {service_id} has no HealthCheckCustomConfig");
            return Err(CUSTOM_HEALTH_NOT_FOUND.because(message).into());
        }
        set_health(tx, &service_id, &id, unhealthy)
    })?;
    Ok(Value::Object(Map::new()))
}

/// Says of an instance how it is. What it is already is not written again.
pub(super) fn set_health(
    tx: &mut dyn Transaction,
    service: &str,
    id: &str,
    unhealthy: bool,
) -> Result<(), Failure> {
    let key = Key::instance(service, id);
    let existing: Option<Instance> = get(&*tx, &key)?;
    let existing = existing.filter(|instance| !instance.is_draining());
    let mut instance = existing.ok_or_else(|| missing(service, id))?;
    if instance.unhealthy != unhealthy {
        instance.unhealthy = unhealthy;
        put(tx, &key, &instance)?;
    }
    Ok(())
}

pub(super) fn show(scope: &Scope<'_>) -> Result<Value, Failure> {
    let (service_id, id) = (scope.id("ServiceId", "service"), scope.text("InstanceId"));
    let state = scope.mirror.read()?;
    let found = state.snapshot.service(&service_id).ok_or_else(|| service::missing(&service_id))?;
    let instance = found.instance(id).ok_or_else(|| missing(&service_id, id))?;
    let mut shown = wire(scope, id, instance);
    if !instance.creator_request_id.is_empty() {
        shown.insert("CreatorRequestId".into(), instance.creator_request_id.clone().into());
    }
    Ok(json!({ "ResourceOwner": scope.api.account, "Instance": shown }))
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failure> {
    let service_id = scope.id("ServiceId", "service");
    let state = scope.mirror.read()?;
    let found = state.snapshot.service(&service_id).ok_or_else(|| service::missing(&service_id))?;
    let mut output = query::page(
        scope,
        found.present(),
        |(id, _)| id,
        |(id, instance)| Value::Object(wire(scope, id, instance)),
        "Instances",
    )?;
    output.insert("ResourceOwner".into(), scope.api.account.clone().into());
    Ok(Value::Object(output))
}

pub(super) fn health(scope: &Scope<'_>) -> Result<Value, Failure> {
    let service_id = scope.id("ServiceId", "service");
    let state = scope.mirror.read()?;
    let found = state.snapshot.service(&service_id).ok_or_else(|| service::missing(&service_id))?;
    let wanted = scope.call.input.get("Instances").and_then(Value::as_array);
    let wanted: Option<BTreeSet<&str>> =
        wanted.map(|wanted| wanted.iter().filter_map(Value::as_str).collect());
    for id in wanted.iter().flatten() {
        found.instance(id).ok_or_else(|| missing(&service_id, id))?;
    }
    let is_wanted = |id: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(id));
    let check = found.service.health_check;
    let mut output = query::page(
        scope,
        found.present().filter(|(id, _)| is_wanted(id)),
        |(id, _)| id,
        |(id, instance)| json!([id, instance.health(check).as_str()]),
        "Status",
    )?;
    let pairs = output.get("Status").and_then(Value::as_array).into_iter().flatten();
    let status: Map<String, Value> =
        pairs.filter_map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].clone()))).collect();
    output.insert("Status".into(), Value::Object(status));
    Ok(Value::Object(output))
}

pub(super) fn missing(service: &str, id: &str) -> ApiError {
    INSTANCE_NOT_FOUND.because(format!("there is no instance {id} of service {service}"))
}

fn wire(scope: &Scope<'_>, id: &str, instance: &Instance) -> Map<String, Value> {
    let mut wire = Map::new();
    wire.insert("Id".into(), id.into());
    wire.insert("Attributes".into(), json!(instance.attributes));
    wire.insert("CreatedByAccount".into(), scope.api.account.clone().into());
    wire
}

/// The texts of a map that the shape's check has let through.
pub(super) fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
