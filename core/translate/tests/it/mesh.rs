//! Meshes from documents.

use selvedge_model::policy::PolicyDraft;
use selvedge_model::{Key, Kind, Policy, Resource, Snapshot, Timestamp, Violations};
use selvedge_translate::Proxy;
use serde_json::{Value, json};

/// A mesh from a document: `{"mesh": spec, "virtualNode": {name: spec}, …, "route": {"router/name": spec}}`.
pub(crate) fn snapshot(document: &Value) -> Snapshot {
    let mesh = document.get("mesh").cloned().unwrap_or_else(|| json!({}));
    let mesh = resource(&Key::mesh("m"), &mesh);
    let mut snapshot = Snapshot::new(1, Resource::from_wire(&mesh).expect("a mesh"));
    for kind in Kind::ALL {
        let Some(specs) = document.get(kind.segment()).filter(|_| kind != Kind::Mesh) else { continue };
        for (name, spec) in specs.as_object().expect("specs by name") {
            let key = match kind.parent() {
                None => Key::in_mesh("m", kind, name),
                Some(_) => {
                    let (parent, name) = name.split_once('/').expect("parent/name");
                    Key::below("m", parent, kind, name)
                }
            };
            put(&mut snapshot, &key, spec);
        }
    }
    for (name, policy) in document["policy"].as_object().into_iter().flatten() {
        put_policy(&mut snapshot, name, policy);
    }
    snapshot
}

/// Attaches a policy: `{"target": "mesh/m/…", "kind": …, "spec": …}`.
pub(crate) fn put_policy(snapshot: &mut Snapshot, name: &str, document: &Value) {
    try_put_policy(snapshot, name, document).unwrap_or_else(|found| panic!("{document}: {found}"));
}

/// Attaches a policy unless there is something wrong with it.
pub(crate) fn try_put_policy(
    snapshot: &mut Snapshot,
    name: &str,
    document: &Value,
) -> Result<(), Violations> {
    let mut document = document.clone();
    let target = document["target"].as_str().expect("a target").to_owned();
    document["target"] = format!("arn:aws:appmesh:eu-west-1:123456789012:{target}").into();
    let PolicyDraft { target, spec, sent } = PolicyDraft::parse(name, &document)?;
    let (created_at, last_updated_at) = (Timestamp(0), Timestamp(0));
    let name = name.to_owned();
    snapshot.policies.put(Policy { name, target, spec, sent, created_at, last_updated_at, version: 1 });
    Ok(())
}

pub(crate) fn put(snapshot: &mut Snapshot, key: &Key, spec: &Value) {
    snapshot.put(key.kind, &resource(key, spec)).unwrap_or_else(|error| panic!("{key}: {error}: {spec}"));
}

pub(crate) fn resource(key: &Key, spec: &Value) -> Value {
    let mut document = json!({
        "meshName": key.mesh,
        "spec": spec,
        "status": {"status": "ACTIVE"},
        "metadata": {
            "arn": format!("arn:aws:appmesh:eu-west-1:123456789012:{key}"),
            "createdAt": 1.5, "lastUpdatedAt": 1.5, "meshOwner": "123456789012",
            "resourceOwner": "123456789012", "uid": "u", "version": 1,
        },
    });
    document[key.kind.name_member()] = key.name.clone().into();
    if let (Some(parent), Some(kind)) = (&key.parent, key.kind.parent()) {
        document[kind.name_member()] = parent.clone().into();
    }
    document
}

/// `{"virtualNode": name}` or `{"virtualGateway": name}`, with the node metadata that its proxy sends.
pub(crate) fn proxy(document: &Value) -> Proxy {
    let kind = if document.get("virtualNode").is_some() { Kind::VirtualNode } else { Kind::VirtualGateway };
    let name = document[kind.segment()].as_str().expect("a name");
    Proxy::of(&Key::in_mesh("m", kind, name), &document["metadata"]).expect("a proxy")
}
