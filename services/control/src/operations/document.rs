//! Where resources stand in the store.
//!
//! ```text
//! appmesh/mesh/M                          a mesh, as a describe shows it
//! appmesh/virtualNode/M/N                 a node; likewise virtualService, virtualRouter, virtualGateway
//! appmesh/route/M/R/X                     a route of router R; likewise gatewayRoute
//! appmesh-tags/…                          the tags of the resource at appmesh/…
//! appmesh-count/virtualNode/M/            how many there are
//! selvedge-policies/M/P                   a policy whose target is in mesh M
//! selvedge-policy-mesh/P                  the mesh of policy P: names of policies are unique
//! selvedge-policy-count/M                 how many there are
//! ```
//!
//! The kind comes first, so that a list is one scan. The name of a virtual service may contain a slash; it is stored as the
//! control character U+0001, which no name may contain.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use selvedge_model::{Key, Kind, Policy, Rejected, Resource, Snapshot, Spec, Status, Value, json};
use selvedge_store::{Document, Error as StoreError, PAGE_MAX, Read};

use crate::certificates;

/// What every key of a resource begins with. Watch the change feed for it.
pub const PREFIX: &str = "appmesh/";

/// Stands for `/` within a name.
const SLASH: &str = "\u{1}";

/// The key of a resource's document.
pub fn key_of(key: &Key) -> String {
    format!("{}{}", collection_of(key), key.name.replace('/', SLASH))
}

/// What the keys of a resource and of those beside it begin with.
pub fn collection_of(key: &Key) -> String {
    match key.kind {
        Kind::Mesh => prefix_of_kind(Kind::Mesh),
        kind => match &key.parent {
            Some(parent) => format!("{}{parent}/", prefix_in_mesh(kind, &key.mesh)),
            None => prefix_in_mesh(kind, &key.mesh),
        },
    }
}

/// What the keys of a mesh's resources of that kind begin with.
pub fn prefix_in_mesh(kind: Kind, mesh: &str) -> String {
    format!("{}{mesh}/", prefix_of_kind(kind))
}

pub(crate) fn prefix_of_kind(kind: Kind) -> String {
    format!("{PREFIX}{}/", kind.segment())
}

/// The resource whose document stands under that key; `None` for documents of other sorts.
pub fn parse_key(key: &str) -> Option<Key> {
    let (kind, rest) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let kind = Kind::from_segment(kind)?;
    if kind == Kind::Mesh {
        return Some(Key::mesh(rest));
    }
    let (mesh, rest) = rest.split_once('/')?;
    if kind.parent().is_some() {
        let (parent, name) = rest.split_once('/')?;
        return Some(Key::below(mesh, parent, kind, name));
    }
    Some(Key::in_mesh(mesh, kind, rest.replace(SLASH, "/")))
}

pub(super) fn tags_key(key: &Key) -> String {
    tags_beside(&key_of(key))
}

/// Where the tags stand of the resource that stands at `key`.
pub(crate) fn tags_beside(key: &str) -> String {
    format!("appmesh-tags/{}", key.strip_prefix(PREFIX).unwrap_or(key))
}

pub(super) fn count_key(key: &Key) -> String {
    format!("appmesh-count/{}", &collection_of(key)[PREFIX.len()..])
}

pub(super) fn write<S: Spec>(resource: &Resource<S>) -> Bytes {
    Bytes::from(resource.to_wire(Status::Active).to_string())
}

pub(super) fn read<S: Spec>(bytes: &[u8]) -> Result<Resource<S>, Rejected> {
    Resource::from_wire(&parse(S::KIND, bytes)?)
}

fn parse(kind: Kind, bytes: &[u8]) -> Result<Value, Rejected> {
    json::parse(bytes).map_err(|error| Rejected { kind, reason: error.to_string() })
}

/// A resource by its key.
///
/// # Errors
/// The store's; [`StoreError::Corrupt`] for a document that is not such a resource.
pub fn load<S: Spec>(view: &dyn Read, key: &Key) -> Result<Option<Resource<S>>, StoreError> {
    let Some(document) = view.get(&key_of(key))? else { return Ok(None) };
    read(&document.value).map(Some).map_err(|rejected| corrupt(&document.key, &rejected))
}

/// A whole mesh at the view's revision; `None` when there is no such mesh.
///
/// # Errors
/// The store's; [`StoreError::Corrupt`] for a document that is not a resource.
pub fn load_mesh(view: &dyn Read, mesh: &str) -> Result<Option<Snapshot>, StoreError> {
    let Some(resource) = load(view, &Key::mesh(mesh))? else { return Ok(None) };
    let mut snapshot = Snapshot::new(view.revision().number(), resource);
    let mut named = BTreeSet::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Mesh) {
        for document in view.scan_all(&prefix_in_mesh(kind, mesh))? {
            let unreadable = |rejected: Rejected| corrupt(&document.key, &rejected);
            let value = parse(kind, &document.value).map_err(unreadable)?;
            snapshot.put(kind, &value).map_err(unreadable)?;
            certificates::named_in(&value["spec"], &mut named);
        }
    }
    for stored in view.scan_all(&policies_in_mesh(mesh))? {
        snapshot.policies.put(read_policy(&stored)?);
    }
    snapshot.certificates = Arc::new(certificates::known(view, named)?);
    Ok(Some(snapshot))
}

/// What the keys of policies begin with.
pub const POLICIES_PREFIX: &str = "selvedge-policies/";

/// What the keys of a mesh's policies begin with.
pub fn policies_in_mesh(mesh: &str) -> String {
    format!("{POLICIES_PREFIX}{mesh}/")
}

/// The mesh and the name of the policy whose document stands under that key.
pub fn parse_policy_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(POLICIES_PREFIX)?.split_once('/')
}

/// A policy from its document.
///
/// # Errors
/// [`StoreError::Corrupt`] for a document that is not a policy.
pub fn read_policy(stored: &Document) -> Result<Policy, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt(format!("{}: {reason}", stored.key));
    let value = json::parse(&stored.value).map_err(|error| corrupt(error.to_string()))?;
    Policy::from_wire(&value).ok_or_else(|| corrupt("it is not a policy".to_owned()))
}

/// The names of all meshes, in order.
///
/// # Errors
/// The store's.
pub fn mesh_names(view: &dyn Read) -> Result<Vec<String>, StoreError> {
    let prefix = prefix_of_kind(Kind::Mesh);
    let documents = view.scan_all(&prefix)?;
    Ok(documents.into_iter().map(|document| document.key[prefix.len()..].to_owned()).collect())
}

/// Every resource below `prefix` whose document mentions `name` as a text, which is most often none of them.
pub(super) fn mentioning<S: Spec>(
    view: &dyn Read,
    prefix: &str,
    name: &str,
) -> Result<Vec<Arc<Resource<S>>>, StoreError> {
    let needle = Value::from(name).to_string();
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = view.scan(prefix, after.as_deref(), PAGE_MAX)?;
        for document in &page {
            if contains(&document.value, needle.as_bytes()) {
                found.push(Arc::new(
                    read(&document.value).map_err(|rejected| corrupt(&document.key, &rejected))?,
                ));
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE_MAX => after = Some(last.key.clone()),
            _ => return Ok(found),
        }
    }
}

/// Every resource below `prefix`.
pub(super) fn all<S: Spec>(view: &dyn Read, prefix: &str) -> Result<Vec<Arc<Resource<S>>>, StoreError> {
    let documents = view.scan_all(prefix)?;
    let read = |document: &Document| {
        read(&document.value).map(Arc::new).map_err(|rejected| corrupt(&document.key, &rejected))
    };
    documents.iter().map(read).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn corrupt(key: &str, rejected: &Rejected) -> StoreError {
    StoreError::Corrupt(format!("{key}: {rejected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_fits_the_store() {
        let long = "x".repeat(255);
        for key in [
            Key::mesh("m"),
            Key::in_mesh("m", Kind::VirtualNode, "n"),
            Key::in_mesh(&long, Kind::VirtualService, "a/b".repeat(170)),
            Key::below(&long, &long, Kind::GatewayRoute, &long),
        ] {
            let stored = key_of(&key);
            assert!(tags_key(&key).len() <= selvedge_store::KEY_BYTES_MAX);
            assert!(stored.starts_with(&collection_of(&key)));
            assert_eq!(parse_key(&stored), Some(key));
        }
        for other in ["", "appmesh/", "appmesh/mesh", "appmesh/other/x", "appmesh/route/m/r", "policies/x"] {
            assert_eq!(parse_key(other), None, "{other}");
        }
    }
}
