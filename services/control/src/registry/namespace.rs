//! Namespaces.

use selvedge_aws::ApiError;
use selvedge_aws::operations::servicediscovery::{
    NAMESPACE_ALREADY_EXISTS, NAMESPACE_NOT_FOUND, RESOURCE_IN_USE, RESOURCE_LIMIT_EXCEEDED,
};
use selvedge_model::{Timestamp, Value};
use selvedge_registry::attribute::is_domain;
use selvedge_registry::document::Key;
use selvedge_registry::quota::NAMESPACES_MAX;
use selvedge_registry::{Namespace, NamespaceKind, Operation, Snapshot};
use selvedge_store::{Read, Store};
use serde_json::{Map, json};

use super::failure::{Failure, invalid};
use super::perform::{Scope, get, put, remove, write};
use super::{operation, query, tags};

/// What namespaces' documents begin with.
const ALL: &str = "registry/namespace/";

/// Public namespaces need a registrar and name servers that the world asks.
pub(super) fn public() -> Failure {
    invalid(
        "public DNS namespaces are not served: they would need a domain of the public DNS. \
         CreatePrivateDnsNamespace makes one for this installation's own DNS server",
    )
}

pub(super) fn create(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let kind = match scope.call.operation.name {
        "CreateHttpNamespace" => NamespaceKind::Http,
        _ => NamespaceKind::PrivateDns,
    };
    let name = scope.text("Name").to_owned();
    if kind == NamespaceKind::PrivateDns && !is_domain(&name) {
        return Err(invalid(format!("Name: '{name}' is not a domain name")));
    }
    let tags = tags::from_call(scope)?;
    let id = format!("ns-{}", scope.unique());
    let begun = operation::begin(scope, "CREATE_NAMESPACE", Operation::SUCCESS, &[("NAMESPACE", &id)])?;
    let namespace = Namespace {
        id: id.clone(),
        name,
        kind,
        description: scope.call.text("Description").map(str::to_owned),
        soa_ttl: (kind == NamespaceKind::PrivateDns)
            .then(|| soa_ttl(scope.call.input.get("Properties")).unwrap_or(Namespace::SOA_TTL_DEFAULT)),
        vpc: scope.call.text("Vpc").map(str::to_owned),
        created_at: scope.now(),
        creator_request_id: scope.token(),
        region: scope.region(),
        operation: begun.id().to_owned(),
    };
    let operation = write(store, |tx| {
        let others = all(&*tx)?;
        let same = others.iter().find(|other| other.name.eq_ignore_ascii_case(&namespace.name));
        if let Some(same) = same {
            let is_repeated = !namespace.creator_request_id.is_empty()
                && (same.kind, &same.creator_request_id) == (kind, &namespace.creator_request_id);
            return if is_repeated { Ok(same.operation.clone()) } else { Err(exists(same).into()) };
        }
        if others.len() >= NAMESPACES_MAX {
            let message = format!("there may be at most {NAMESPACES_MAX} namespaces");
            return Err(RESOURCE_LIMIT_EXCEEDED.because(message).into());
        }
        put(tx, &Key::Namespace(id.clone()), &namespace)?;
        tags::write(tx, &id, &tags)?;
        begun.write(tx)?;
        Ok(begun.id().to_owned())
    })?;
    Ok(operation::answer(&operation))
}

pub(super) fn update(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("Id", "namespace");
    let change = scope.call.input.get("Namespace").cloned().unwrap_or_default();
    let begun = operation::begin(scope, "UPDATE_NAMESPACE", Operation::SUCCESS, &[("NAMESPACE", &id)])?;
    write(store, |tx| {
        let mut namespace = load(&*tx, &id)?;
        let wanted = match scope.call.operation.name {
            "UpdateHttpNamespace" => NamespaceKind::Http,
            "UpdatePrivateDnsNamespace" => NamespaceKind::PrivateDns,
            _ => return Err(missing(&id).into()),
        };
        if namespace.kind != wanted {
            let message = format!("Id: {id} is a namespace of type {}", namespace.kind.as_str());
            return Err(invalid(message));
        }
        if let Some(description) = change.get("Description").and_then(Value::as_str) {
            namespace.description = Some(description.to_owned());
        }
        if let Some(ttl) = soa_ttl(change.get("Properties")) {
            namespace.soa_ttl = Some(ttl);
        }
        put(tx, &Key::Namespace(id.clone()), &namespace)?;
        begun.write(tx)?;
        Ok(())
    })?;
    Ok(operation::answer(begun.id()))
}

pub(super) fn delete(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("Id", "namespace");
    let begun = operation::begin(scope, "DELETE_NAMESPACE", Operation::SUCCESS, &[("NAMESPACE", &id)])?;
    write(store, |tx| {
        load(&*tx, &id)?;
        let services = Key::service_named(&id, "").to_string();
        if !tx.scan(&services, None, 1)?.is_empty() {
            let message = format!("namespace {id} still has services; delete them first");
            return Err(RESOURCE_IN_USE.because(message).into());
        }
        remove(tx, &Key::Namespace(id.clone()))?;
        remove(tx, &Key::Tags(id.clone()))?;
        begun.write(tx)?;
        Ok(())
    })?;
    Ok(operation::answer(begun.id()))
}

pub(super) fn show(scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = scope.id("Id", "namespace");
    let state = scope.mirror.read()?;
    let namespace = state.snapshot.namespace(&id).ok_or_else(|| missing(&id))?;
    let mut shown = wire(scope, &state.snapshot, namespace);
    if !namespace.creator_request_id.is_empty() {
        shown.insert("CreatorRequestId".into(), namespace.creator_request_id.clone().into());
    }
    Ok(json!({ "Namespace": shown }))
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failure> {
    let filters = query::filters(scope)?;
    let state = scope.mirror.read()?;
    let fits = |namespace: &&Namespace| {
        filters.iter().all(|filter| match filter.name {
            "TYPE" => filter.fits(namespace.kind.as_str()),
            "RESOURCE_OWNER" => filter.fits("SELF"),
            _ => filter.fits(&namespace.name),
        })
    };
    let output = query::page(
        scope,
        state.snapshot.namespaces().filter(fits),
        |namespace| &namespace.id,
        |namespace| Value::Object(wire(scope, &state.snapshot, namespace)),
        "Namespaces",
    )?;
    Ok(Value::Object(output))
}

/// A namespace inside a transaction.
pub(super) fn load(view: &dyn Read, id: &str) -> Result<Namespace, Failure> {
    get(view, &Key::Namespace(id.to_owned()))?.ok_or_else(|| missing(id).into())
}

pub(super) fn missing(id: &str) -> ApiError {
    NAMESPACE_NOT_FOUND.because(format!("there is no namespace {id}"))
}

fn all(view: &dyn Read) -> Result<Vec<Namespace>, Failure> {
    let documents = view.scan_all(ALL)?;
    let namespaces = documents.iter().map(|document| selvedge_registry::document::read(&document.value));
    Ok(namespaces.flatten().collect())
}

fn exists(same: &Namespace) -> ApiError {
    NAMESPACE_ALREADY_EXISTS
        .because(format!("namespace {} is named {} already", same.id, same.name))
        .with("NamespaceId", &same.id)
        .with("CreatorRequestId", &same.creator_request_id)
}

fn soa_ttl(properties: Option<&Value>) -> Option<u32> {
    properties?.pointer("/DnsProperties/SOA/TTL")?.as_u64()?.try_into().ok()
}

fn wire(scope: &Scope<'_>, snapshot: &Snapshot, namespace: &Namespace) -> Map<String, Value> {
    let mut properties = Map::new();
    if let Some(ttl) = namespace.soa_ttl {
        // There is no hosted zone; tools want its identifier.
        let zone = format!("Z{}", namespace.id.trim_start_matches("ns-").to_ascii_uppercase());
        properties.insert("DnsProperties".into(), json!({ "HostedZoneId": zone, "SOA": { "TTL": ttl } }));
    }
    properties.insert("HttpProperties".into(), json!({ "HttpName": namespace.name }));
    let mut wire = Map::new();
    wire.insert("Id".into(), namespace.id.clone().into());
    wire.insert("Arn".into(), scope.arn(&namespace.region, "namespace", &namespace.id).into());
    wire.insert("ResourceOwner".into(), scope.api.account.clone().into());
    wire.insert("Name".into(), namespace.name.clone().into());
    wire.insert("Type".into(), namespace.kind.as_str().into());
    if let Some(description) = &namespace.description {
        wire.insert("Description".into(), description.clone().into());
    }
    wire.insert("ServiceCount".into(), snapshot.service_names(&namespace.id).count().into());
    wire.insert("Properties".into(), Value::Object(properties));
    wire.insert("CreateDate".into(), Timestamp(namespace.created_at).to_wire());
    wire
}
