//! Create, update, describe, delete and list: the same for every noun.

use selvedge_aws::operations::appmesh::{BAD_REQUEST, CONFLICT, NOT_FOUND, PAGE_MAX};
use selvedge_aws::{ApiError, Call, page};
use selvedge_model::reference::Misfit;
use selvedge_model::{Arn, Key, Kind, Metadata, Resource, Status, Value, check_name};
use selvedge_store::{Read, Transaction};
use serde_json::{Map, json};

use super::failure::Failure;
use super::noun::Noun;
use super::perform::Context;
use super::settings::Settings;
use super::view::View;
use super::{document, quota, tags};

/// What an operation needs besides the transaction.
pub(super) struct Scope<'a> {
    pub settings: &'a Settings,
    pub context: &'a Context,
    pub call: &'a Call,
}

impl Scope<'_> {
    /// The key of the resource that the call names.
    fn key<S: Noun>(&self) -> Result<Key, Failure> {
        let name = self.call.text(S::KIND.name_member()).unwrap_or_default();
        check_name(S::KIND, name)?;
        Ok(match S::KIND {
            Kind::Mesh => Key::mesh(name),
            kind => Key { name: name.into(), ..self.collection_key(kind) },
        })
    }

    /// The key of a nameless resource, for what lists and keys have in common.
    fn collection_key(&self, kind: Kind) -> Key {
        let text = |member: &str| self.call.text(member).unwrap_or_default().to_owned();
        let parent = kind.parent().map(|parent| text(parent.name_member()));
        Key { mesh: text("meshName"), kind, parent, name: String::new() }
    }

    /// There is one account, so a mesh that somebody else is said to own does not exist.
    fn check_owner(&self) -> Result<(), Failure> {
        match self.call.text("meshOwner") {
            Some(owner) if owner != self.settings.account => {
                let mesh = self.call.text("meshName").unwrap_or_default();
                Err(NOT_FOUND
                    .because(format!("Mesh with name {mesh} is not present for account {owner}"))
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// The spec that was sent, as App Mesh would keep it; a mesh may come without one.
    fn parse<S: Noun>(&self) -> Result<(S, Value), Failure> {
        let sent = self.call.input.get("spec").cloned();
        let mut sent = sent.unwrap_or_else(|| Value::Object(Map::new()));
        // Checked as it was sent, so that the violations speak of what the caller wrote.
        S::parse(&sent, self.settings.strictness)?;
        S::normalise(&mut sent);
        let spec = S::parse(&sent, self.settings.strictness)?;
        Ok((spec, sent))
    }

    fn not_found(&self, key: &Key) -> ApiError {
        not_found(key, &self.settings.account)
    }
}

/// What App Mesh says about a resource that is not there.
pub(super) fn not_found(key: &Key, account: &str) -> ApiError {
    let (kind, name) = (key.kind, &key.name);
    NOT_FOUND.because(match kind {
        Kind::Mesh => format!("{kind} with name {name} is not present for account {account}"),
        _ => format!("{kind} with name {name} is not present under mesh {} for account {account}", key.mesh),
    })
}

pub(super) fn create<S: Noun>(scope: &Scope<'_>, tx: &mut dyn Transaction) -> Result<Value, Failure> {
    let key = scope.key::<S>()?;
    scope.check_owner()?;
    let (spec, sent) = scope.parse::<S>()?;
    let tags = tags::from_call(scope.call)?;
    check_parents(tx, &key)?;
    if tx.get(&document::key_of(&key))?.is_some() {
        let message = format!("{} with name {} already exists", key.kind, key.name);
        return Err(CONFLICT.because(message).into());
    }
    spec.check_fit(&key, scope.settings, View { read: tx, mesh: &key.mesh })?;
    quota::take(tx, &scope.settings.quotas, &key)?;
    let metadata = first_metadata(scope, &key);
    let resource = Resource { key, metadata, spec, sent };
    tx.put(&document::key_of(&resource.key), document::write(&resource))?;
    tags::write(tx, &resource.key, &tags)?;
    show(&resource, tx)
}

pub(super) fn update<S: Noun>(scope: &Scope<'_>, tx: &mut dyn Transaction) -> Result<Value, Failure> {
    let key = scope.key::<S>()?;
    scope.check_owner()?;
    let (spec, sent) = scope.parse::<S>()?;
    let existing = find::<S>(scope, tx, &key)?;
    spec.check_fit(&key, scope.settings, View { read: tx, mesh: &key.mesh })?;
    let metadata = Metadata {
        // A clock that was set back must not make an update look older than what it replaces.
        last_updated_at: scope.context.now.max(existing.metadata.last_updated_at),
        version: existing.metadata.version + 1,
        ..existing.metadata
    };
    let resource = Resource { key, metadata, spec, sent };
    tx.put(&document::key_of(&resource.key), document::write(&resource))?;
    show(&resource, tx)
}

pub(super) fn describe<S: Noun>(scope: &Scope<'_>, view: &dyn Read) -> Result<Value, Failure> {
    let key = scope.key::<S>()?;
    scope.check_owner()?;
    let resource = find::<S>(scope, view, &key)?;
    let mut shown = show(&resource, view)?;
    S::present(&mut shown);
    Ok(shown)
}

/// Deletes a resource and shows it once more; its version stays.
pub(super) fn delete<S: Noun>(scope: &Scope<'_>, tx: &mut dyn Transaction) -> Result<Value, Failure> {
    let key = scope.key::<S>()?;
    scope.check_owner()?;
    let resource = find::<S>(scope, tx, &key)?;
    S::check_unused(&resource, scope.settings, View { read: tx, mesh: &key.mesh })?;
    tx.delete(&document::key_of(&key))?;
    tags::write(tx, &key, &[])?;
    quota::give_back(tx, &key)?;
    let mut shown = resource.to_wire(Status::Deleted);
    S::present(&mut shown);
    Ok(shown)
}

/// One page of a collection, with the token of the next if there is one.
pub(super) fn list<S: Noun>(scope: &Scope<'_>, view: &dyn Read) -> Result<Value, Failure> {
    let key = scope.collection_key(S::KIND);
    scope.check_owner()?;
    check_parents(view, &key)?;
    let collection = document::collection_of(&key);
    let operation = scope.call.operation;
    let limit = scope.call.input.get("limit").and_then(Value::as_u64);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let after = match scope.call.text("nextToken") {
        None => None,
        Some(token) => {
            let position = page::decode(operation.name, &collection, token);
            Some(position.map_err(|error| BAD_REQUEST.because(error.to_string()))?)
        }
    };
    let after = after.map(|name| format!("{collection}{name}"));
    let mut documents = view.scan(&collection, after.as_deref(), limit + 1)?;
    let has_more = documents.len() > limit;
    documents.truncate(limit);
    let mut elements = Vec::with_capacity(documents.len());
    for document in &documents {
        elements.push(document::read::<S>(&document.value)?.to_reference());
    }
    let mut output = Map::new();
    let result = operation.pagination.map_or("", |pagination| pagination.result);
    output.insert(result.into(), Value::Array(elements));
    if let Some(last) = documents.last().filter(|_| has_more) {
        let position = &last.key[collection.len()..];
        output.insert("nextToken".into(), page::encode(operation.name, &collection, position).into());
    }
    Ok(Value::Object(output))
}

/// The resource, or what App Mesh says when it is not there.
fn find<S: Noun>(scope: &Scope<'_>, view: &dyn Read, key: &Key) -> Result<Resource<S>, Failure> {
    match document::load(view, key)? {
        Some(resource) => Ok(resource),
        None => {
            check_parents(view, key)?;
            Err(scope.not_found(key).into())
        }
    }
}

/// Checks that what a resource lives under exists.
fn check_parents(view: &dyn Read, key: &Key) -> Result<(), Failure> {
    if key.kind == Kind::Mesh {
        return Ok(());
    }
    let parents = [Some(Key::mesh(&key.mesh)), key.parent_key()];
    for parent in parents.into_iter().flatten() {
        if view.get(&document::key_of(&parent))?.is_none() {
            return Err(Misfit::Missing { kind: parent.kind, name: parent.name }.into());
        }
    }
    Ok(())
}

fn first_metadata(scope: &Scope<'_>, key: &Key) -> Metadata {
    let (settings, context) = (scope.settings, scope.context);
    let arn = Arn {
        partition: settings.partition.clone(),
        region: context.region.clone().unwrap_or_else(|| settings.region.clone()),
        account: settings.account.clone(),
        key: key.clone(),
    };
    Metadata {
        arn: arn.to_string(),
        created_at: context.now,
        last_updated_at: context.now,
        mesh_owner: settings.account.clone(),
        resource_owner: settings.account.clone(),
        uid: context.uid.clone(),
        version: 1,
    }
}

fn show<S: Noun>(resource: &Resource<S>, read: &dyn Read) -> Result<Value, Failure> {
    let status = resource.spec.status(View { read, mesh: &resource.key.mesh })?;
    Ok(resource.to_wire(status))
}

/// The output of an operation whose payload is one resource.
pub(super) fn wrap(call: &Call, resource: Value) -> Value {
    match call.operation.payload {
        Some(member) => json!({ member: resource }),
        None => resource,
    }
}
