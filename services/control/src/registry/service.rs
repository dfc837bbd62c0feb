//! Services.

use std::collections::BTreeMap;

use selvedge_aws::ApiError;
use selvedge_aws::operations::servicediscovery::{
    RESOURCE_IN_USE, RESOURCE_LIMIT_EXCEEDED, SERVICE_ALREADY_EXISTS, SERVICE_NOT_FOUND,
};
use selvedge_model::{Timestamp, Value};
use selvedge_registry::document::{self, Key};
use selvedge_registry::quota::SERVICES_MAX;
use selvedge_registry::{
    DnsConfig, HealthCheck, Instance, Namespace, NamespaceKind, Operation, RecordType, RoutingPolicy,
    Service, ServiceKind, ServiceState,
};
use selvedge_store::{PAGE_MAX, Read, Store, Transaction};
use serde_json::{Map, json};

use super::failure::{Failure, invalid};
use super::perform::{Scope, get, put, remove, write};
use super::{namespace, operation, query, tags};

pub(super) fn create(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let tags = tags::from_call(scope)?;
    let namespace_id = namespace_of(scope)?;
    let id = format!("srv-{}", scope.unique());
    let is_full = {
        let state = scope.mirror.read()?;
        state.snapshot.service_names(&namespace_id).nth(SERVICES_MAX - 1).is_some()
    };
    let service = write(store, |tx| {
        let namespace = namespace::load(&*tx, &namespace_id)?;
        let service = read(scope, &namespace, &id)?;
        let named = Key::service_named(&namespace_id, &service.name);
        if let Some(existing) = tx.get(&named.to_string())? {
            let existing: Service = load(&*tx, &String::from_utf8_lossy(&existing.value))?;
            let is_repeated = !service.creator_request_id.is_empty()
                && service.creator_request_id == existing.creator_request_id;
            return if is_repeated { Ok(existing) } else { Err(exists(scope, &existing).into()) };
        }
        if is_full {
            let message = format!("a namespace may have at most {SERVICES_MAX} services");
            return Err(RESOURCE_LIMIT_EXCEEDED.because(message).into());
        }
        tx.put(&named.to_string(), id.clone().into())?;
        put(tx, &Key::Service(id.clone()), &service)?;
        tags::write(tx, &id, &tags)?;
        Ok(service)
    })?;
    let state = scope.mirror.read()?;
    let count = state.snapshot.service(&service.id).map_or(0, |state| state.count());
    Ok(json!({ "Service": wire(scope, &service, count, true) }))
}

pub(super) fn update(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("Id", "service");
    let change = scope.call.input.get("Service").cloned().unwrap_or_default();
    let begun = operation::begin(scope, "UPDATE_SERVICE", Operation::SUCCESS, &[("SERVICE", &id)])?;
    write(store, |tx| {
        let mut service = load(&*tx, &id)?;
        if change.get("HealthCheckConfig").is_some() {
            return Err(no_prober());
        }
        if let Some(description) = change.get("Description").and_then(Value::as_str) {
            service.description = Some(description.to_owned());
        }
        let records = change.pointer("/DnsConfig/DnsRecords").map(records);
        match (&mut service.dns, records) {
            (None, Some(_)) => {
                return Err(invalid("Service.DnsConfig: records cannot be added; create another service"));
            }
            (Some(dns), Some(wanted)) => {
                let known = |kind: &RecordType| dns.ttl(*kind).is_some();
                if !wanted.iter().all(|(kind, _)| known(kind)) {
                    return Err(invalid("Service.DnsConfig.DnsRecords: the types cannot be changed"));
                }
                dns.records = wanted;
                dns.check().map_err(|error| invalid(format!("Service.DnsConfig.{error}")))?;
            }
            // Cloud Map deletes what an update leaves out.
            (Some(_), None) => service.dns = None,
            (None, None) => {}
        }
        put(tx, &Key::Service(id.clone()), &service)?;
        begun.write(tx)
    })?;
    Ok(operation::answer(begun.id()))
}

pub(super) fn delete(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("Id", "service");
    write(store, |tx| {
        let service = load(&*tx, &id)?;
        clear_drained(tx, &id, scope.now())?;
        remove(tx, &Key::Service(id.clone()))?;
        remove(tx, &Key::service_named(&service.namespace_id, &service.name))?;
        remove(tx, &Key::Tags(id.clone()))?;
        Ok(())
    })?;
    Ok(Value::Object(Map::new()))
}

/// Takes away the instances that are on their way out; one that is not stands in the way.
fn clear_drained(tx: &mut dyn Transaction, id: &str, now: u64) -> Result<(), Failure> {
    loop {
        let page = tx.scan(&Key::instance(id, "").to_string(), None, PAGE_MAX)?;
        for stored in &page {
            let instance: Option<Instance> = document::read(&stored.value);
            if instance.as_ref().is_some_and(|instance| !instance.is_draining()) {
                let message = format!("service {id} still has instances; deregister them first");
                return Err(RESOURCE_IN_USE.because(message).into());
            }
            tx.delete(&stored.key)?;
            if let Some(instance) = instance {
                operation::finish(tx, &instance.operation, now)?;
            }
        }
        if page.len() < PAGE_MAX {
            return Ok(());
        }
    }
}

pub(super) fn show(scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("Id", "service");
    let state = scope.mirror.read()?;
    let found = state.snapshot.service(&id).ok_or_else(|| missing(&id))?;
    Ok(json!({ "Service": wire(scope, found.service, found.count(), true) }))
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failure> {
    let filters = query::filters(scope)?;
    let state = scope.mirror.read()?;
    let fits = |found: &ServiceState<'_>| {
        filters.iter().all(|filter| match filter.name {
            "NAMESPACE_ID" => {
                let namespace = state.snapshot.namespace(&found.service.namespace_id);
                let arn = namespace.map(|one| scope.arn(&one.region, "namespace", &one.id));
                filter.fits(&found.service.namespace_id) || arn.is_some_and(|arn| filter.fits(&arn))
            }
            _ => filter.fits("SELF"),
        })
    };
    let output = query::page(
        scope,
        state.snapshot.services().filter(fits),
        |found| &found.service.id,
        |found| Value::Object(wire(scope, found.service, found.count(), false)),
        "Services",
    )?;
    Ok(Value::Object(output))
}

/// A service inside a transaction.
pub(super) fn load(view: &dyn Read, id: &str) -> Result<Service, Failure> {
    get(view, &Key::Service(id.to_owned()))?.ok_or_else(|| missing(id).into())
}

pub(super) fn missing(id: &str) -> ApiError {
    SERVICE_NOT_FOUND.because(format!("there is no service {id}"))
}

fn exists(scope: &Scope<'_>, existing: &Service) -> ApiError {
    SERVICE_ALREADY_EXISTS
        .because(format!("service {} is named {} already", existing.id, existing.name))
        .with("ServiceId", &existing.id)
        .with("ServiceArn", scope.arn(&existing.region, "service", &existing.id))
        .with("CreatorRequestId", &existing.creator_request_id)
}

fn no_prober() -> Failure {
    invalid(
        "HealthCheckConfig: Route 53's health checkers are not here. Use HealthCheckCustomConfig, a virtual node's health \
         check, or selvedge register, which probes what it registers",
    )
}

/// The namespace that the call names, in one of two places.
fn namespace_of(scope: &Scope<'_>) -> Result<String, Failure> {
    let deprecated = scope.call.input.get("DnsConfig").and_then(|dns| dns.get("NamespaceId"));
    match (scope.call.text("NamespaceId"), deprecated.and_then(Value::as_str)) {
        (Some(_), _) => Ok(scope.id("NamespaceId", "namespace")),
        (None, Some(id)) => Ok(id.to_owned()),
        (None, None) => Err(invalid("NamespaceId: is required")),
    }
}

/// The service that the call describes.
fn read(scope: &Scope<'_>, namespace: &Namespace, id: &str) -> Result<Service, Failure> {
    let input = &scope.call.input;
    let name = scope.text("Name").to_owned();
    if input.contains_key("HealthCheckConfig") {
        return Err(match input.contains_key("HealthCheckCustomConfig") {
            true => invalid("HealthCheckConfig and HealthCheckCustomConfig exclude each other"),
            false => no_prober(),
        });
    }
    let dns = input.get("DnsConfig").map(dns_config).transpose()?;
    match (&dns, namespace.kind) {
        (Some(_), _) if scope.call.text("Type") == Some("HTTP") => {
            return Err(invalid("Type: HTTP services have no DnsConfig"));
        }
        (Some(_), NamespaceKind::Http) => {
            return Err(invalid(format!("DnsConfig: namespace {} is not in the DNS", namespace.id)));
        }
        (Some(_), NamespaceKind::PrivateDns) => {
            // An instance's own label may come before it.
            const CHARS_MAX: usize = 253;
            if name == "." || name.len() + namespace.name.len() + 1 > CHARS_MAX {
                return Err(invalid("Name: does not make a domain name with that of the namespace"));
            }
        }
        (None, _) => {}
    }
    Ok(Service {
        id: id.to_owned(),
        namespace_id: namespace.id.clone(),
        name,
        kind: if dns.is_some() { ServiceKind::DnsHttp } else { ServiceKind::Http },
        description: scope.call.text("Description").map(str::to_owned),
        dns,
        health_check: match input.contains_key("HealthCheckCustomConfig") {
            true => HealthCheck::Custom,
            false => HealthCheck::None,
        },
        created_at: scope.now(),
        creator_request_id: scope.token(),
        region: scope.region(),
        attributes: BTreeMap::new(),
    })
}

fn dns_config(value: &Value) -> Result<DnsConfig, Failure> {
    let routing_policy = match value.get("RoutingPolicy").and_then(Value::as_str) {
        Some("WEIGHTED") => RoutingPolicy::Weighted,
        _ => RoutingPolicy::Multivalue,
    };
    let config =
        DnsConfig { routing_policy, records: value.get("DnsRecords").map(records).unwrap_or_default() };
    config.check().map_err(|error| invalid(format!("DnsConfig.{error}")))?;
    Ok(config)
}

/// Records that the shape's check has let through.
fn records(value: &Value) -> Vec<(RecordType, u32)> {
    let record = |record: &Value| {
        let kind = record.get("Type").and_then(Value::as_str)?;
        let kind = RecordType::ALL.into_iter().find(|one| one.as_str() == kind)?;
        Some((kind, record.get("TTL")?.as_u64()?.try_into().ok()?))
    };
    value.as_array().into_iter().flatten().filter_map(record).collect()
}

/// A service as it is shown, whole or in a list.
fn wire(scope: &Scope<'_>, service: &Service, count: usize, whole: bool) -> Map<String, Value> {
    let mut wire = Map::new();
    wire.insert("Id".into(), service.id.clone().into());
    wire.insert("Arn".into(), scope.arn(&service.region, "service", &service.id).into());
    wire.insert("ResourceOwner".into(), scope.api.account.clone().into());
    wire.insert("Name".into(), service.name.clone().into());
    if whole {
        wire.insert("NamespaceId".into(), service.namespace_id.clone().into());
    }
    if let Some(description) = &service.description {
        wire.insert("Description".into(), description.clone().into());
    }
    wire.insert("InstanceCount".into(), count.into());
    if let Some(dns) = &service.dns {
        let records: Vec<Value> =
            dns.records.iter().map(|(kind, ttl)| json!({ "Type": kind.as_str(), "TTL": ttl })).collect();
        let mut config = Map::new();
        if whole {
            config.insert("NamespaceId".into(), service.namespace_id.clone().into());
        }
        config.insert("RoutingPolicy".into(), dns.routing_policy.as_str().into());
        config.insert("DnsRecords".into(), records.into());
        wire.insert("DnsConfig".into(), Value::Object(config));
    }
    wire.insert("Type".into(), service.kind.as_str().into());
    if service.health_check == HealthCheck::Custom {
        wire.insert("HealthCheckCustomConfig".into(), json!({ "FailureThreshold": 1 }));
    }
    wire.insert("CreateDate".into(), Timestamp(service.created_at).to_wire());
    if whole && !service.creator_request_id.is_empty() {
        wire.insert("CreatorRequestId".into(), service.creator_request_id.clone().into());
    }
    wire.insert("CreatedByAccount".into(), scope.api.account.clone().into());
    wire
}
