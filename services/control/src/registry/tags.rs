//! Tags of namespaces and services, in documents of their own.

use std::collections::BTreeMap;

use selvedge_aws::operations::servicediscovery::{RESOURCE_NOT_FOUND_EXCEPTION, TOO_MANY_TAGS_EXCEPTION};
use selvedge_model::{TAGS_PER_RESOURCE_MAX, Value};
use selvedge_registry::address::{Cidr, Policy};
use selvedge_registry::document::Key;
use selvedge_store::{Read, Store, Transaction};
use serde_json::{Map, json};

use super::Settings;
use super::failure::{Failure, invalid};
use super::perform::{Scope, get, put, remove, write as transact};

type Tags = BTreeMap<String, String>;

/// The tag of a namespace that says which addresses may be registered in it: blocks like `10.0.0.0/8`, separated by blanks.
/// Nothing else is taken then.
const ADDRESSES: &str = "selvedge:addresses";

/// What keys of tags must not begin with, in any case.
const RESERVED_PREFIX: &str = "aws:";

/// The tags of a call.
pub(super) fn from_call(scope: &Scope<'_>) -> Result<Tags, Failure> {
    let given = scope.call.input.get("Tags").and_then(Value::as_array).into_iter().flatten();
    let mut tags = Tags::new();
    for (index, tag) in given.enumerate() {
        let text = |member: &str| tag.get(member).and_then(Value::as_str).unwrap_or_default();
        let (key, value) = (text("Key"), text("Value"));
        let start = key.get(..RESERVED_PREFIX.len());
        if start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX)) {
            let message = format!("Tags[{index}].Key: keys that begin with '{RESERVED_PREFIX}' are reserved");
            return Err(invalid(message));
        }
        if key == ADDRESSES {
            blocks(value).map_err(|error| invalid(format!("Tags[{index}].Value: {error}")))?;
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid(format!("Tags[{index}].Key: '{key}' is given twice")));
        }
    }
    check_number(&tags)?;
    Ok(tags)
}

fn check_number(tags: &Tags) -> Result<(), Failure> {
    if tags.len() > TAGS_PER_RESOURCE_MAX {
        let message =
            format!("a resource may have at most {TAGS_PER_RESOURCE_MAX} tags; nothing was changed");
        return Err(TOO_MANY_TAGS_EXCEPTION.because(message).into());
    }
    Ok(())
}

/// Which addresses a namespace with these tags takes.
pub(super) fn policy(view: &dyn Read, namespace: &str, settings: &Settings) -> Result<Policy, Failure> {
    let tags: Option<Tags> = get(view, &Key::Tags(namespace.to_owned()))?;
    let allowed = tags.as_ref().and_then(|tags| tags.get(ADDRESSES));
    let allowed = allowed.and_then(|text| blocks(text).ok()).unwrap_or_default();
    Ok(Policy { allowed, loopback: settings.loopback })
}

fn blocks(text: &str) -> Result<Vec<Cidr>, selvedge_registry::address::CidrError> {
    text.split_whitespace().map(str::parse).collect()
}

/// Writes the tags of a resource; none at all removes the document.
pub(super) fn write(tx: &mut dyn Transaction, id: &str, tags: &Tags) -> Result<(), Failure> {
    let key = Key::Tags(id.to_owned());
    if tags.is_empty() {
        remove(tx, &key)?;
    } else {
        put(tx, &key, tags)?;
    }
    Ok(())
}

pub(super) fn tag(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let added = from_call(scope)?;
    transact(store, |tx| {
        let id = resource(scope, &*tx)?;
        let mut tags: Tags = get(&*tx, &Key::Tags(id.clone()))?.unwrap_or_default();
        tags.extend(added.clone());
        check_number(&tags)?;
        write(tx, &id, &tags)
    })?;
    Ok(Value::Object(Map::new()))
}

/// Removes the tags of those keys; a key that is not there is no error.
pub(super) fn untag(store: &dyn Store, scope: &Scope<'_>) -> Result<Value, Failure> {
    let gone = scope.call.input.get("TagKeys").and_then(Value::as_array).cloned().unwrap_or_default();
    transact(store, |tx| {
        let id = resource(scope, &*tx)?;
        let mut tags: Tags = get(&*tx, &Key::Tags(id.clone()))?.unwrap_or_default();
        tags.retain(|key, _| !gone.iter().any(|one| one == key.as_str()));
        write(tx, &id, &tags)
    })?;
    Ok(Value::Object(Map::new()))
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failure> {
    let id = named(scope)?;
    let state = scope.mirror.read()?;
    if state.snapshot.namespace(&id).is_none() && state.snapshot.service(&id).is_none() {
        return Err(missing(scope));
    }
    let tags = state.snapshot.tags(&id).into_iter().flatten();
    let tags: Vec<Value> = tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "Tags": tags }))
}

/// The identifier in the call's ARN, of a namespace or a service that exists.
fn resource(scope: &Scope<'_>, view: &dyn Read) -> Result<String, Failure> {
    let id = named(scope)?;
    let exists = |key: Key| view.get(&key.to_string()).map(|found| found.is_some());
    if exists(Key::Namespace(id.clone()))? || exists(Key::Service(id.clone()))? {
        return Ok(id);
    }
    Err(missing(scope))
}

fn named(scope: &Scope<'_>) -> Result<String, Failure> {
    let arn = scope.text("ResourceARN");
    let id = scope.id_in(arn, "namespace").or_else(|| scope.id_in(arn, "service"));
    match id {
        Some(id) => Ok(id),
        None if arn.starts_with("arn:") => Err(missing(scope)),
        None => Err(invalid(format!("ResourceARN: '{arn}' is not an ARN"))),
    }
}

fn missing(scope: &Scope<'_>) -> Failure {
    let arn = scope.text("ResourceARN");
    RESOURCE_NOT_FOUND_EXCEPTION.because(format!("there is no resource {arn}")).into()
}
