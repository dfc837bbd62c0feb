//! `DiscoverInstances` and its revision.

use std::collections::BTreeMap;

use selvedge_aws::operations::servicediscovery::{
    DISCOVERED_DEFAULT, NAMESPACE_NOT_FOUND, SERVICE_NOT_FOUND,
};
use selvedge_model::Value;
use selvedge_registry::discover::{HealthFilter, Query, discover as search};
use selvedge_registry::{Namespace, ServiceState, Snapshot};
use serde_json::json;

use super::failure::Failure;
use super::perform::Scope;

pub(super) fn discover(scope: &Scope<'_>) -> Result<Value, Failure> {
    let (required, optional) = (pairs(scope, "QueryParameters"), pairs(scope, "OptionalParameters"));
    let limit = scope.call.input.get("MaxResults").and_then(Value::as_u64);
    let query = Query {
        required: &required,
        optional: &optional,
        health: match scope.text("HealthStatus") {
            "UNHEALTHY" => HealthFilter::Unhealthy,
            "ALL" => HealthFilter::All,
            "HEALTHY_OR_ELSE_ALL" => HealthFilter::HealthyOrElseAll,
            _ => HealthFilter::Healthy,
        },
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DISCOVERED_DEFAULT),
        draw: scope.draw(),
    };
    let state = scope.mirror.read()?;
    let (namespace, service) = find(scope, &state.snapshot)?;
    let found = search(service, &query);
    let shown = found.iter().map(|found| {
        json!({
            "InstanceId": found.id,
            "NamespaceName": namespace.name,
            "ServiceName": service.service.name,
            "HealthStatus": found.health.as_str(),
            "Attributes": found.instance.attributes,
        })
    });
    Ok(json!({ "Instances": shown.collect::<Vec<_>>(), "InstancesRevision": service.revision }))
}

pub(super) fn revision(scope: &Scope<'_>) -> Result<Value, Failure> {
    let state = scope.mirror.read()?;
    let (_, service) = find(scope, &state.snapshot)?;
    Ok(json!({ "InstancesRevision": service.revision }))
}

fn find<'a>(scope: &Scope<'_>, snapshot: &'a Snapshot) -> Result<(&'a Namespace, ServiceState<'a>), Failure> {
    let (namespace, service) = (scope.text("NamespaceName"), scope.text("ServiceName"));
    let is_ours = scope.call.text("OwnerAccount").is_none_or(|owner| owner == scope.api.account);
    let found = snapshot.namespace_named(namespace).filter(|_| is_ours);
    let found = found
        .ok_or_else(|| NAMESPACE_NOT_FOUND.because(format!("there is no namespace named {namespace}")))?;
    let state = snapshot.service_in(&found.id, service);
    let state = state.ok_or_else(|| {
        SERVICE_NOT_FOUND.because(format!("there is no service named {service} in namespace {namespace}"))
    })?;
    Ok((found, state))
}

fn pairs(scope: &Scope<'_>, member: &str) -> BTreeMap<String, String> {
    let given = scope.call.input.get(member).and_then(Value::as_object).into_iter().flatten();
    given.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
