//! A resource: a spec, as typed and as sent, with its key and metadata.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::metadata::{Metadata, Status};
use crate::structure::Shaped;
use crate::violation::{Path, Violations};

/// A spec of one of the seven kinds.
pub trait Spec: Shaped + Clone {
    const KIND: Kind;

    /// Adds what breaks the rules between members, which a shape cannot say.
    fn check_rules(&self, strictness: Strictness, found: &mut Violations);

    /// Reads the spec that somebody sent.
    ///
    /// # Errors
    /// Everything that is wrong with it, with field paths that begin with `spec`. Rules between members are looked at only when
    /// each member is right by itself.
    fn parse(value: &Value, strictness: Strictness) -> Result<Self, Violations> {
        let mut found = Violations::default();
        Self::SHAPE.check(value, strictness, &mut Path::at("spec"), &mut found);
        if !found.is_empty() {
            return Err(found);
        }
        let Some(spec) = Self::decode(value) else {
            found.rule("spec", format!("not a {} spec", Self::KIND));
            return Err(found);
        };
        spec.check_rules(strictness, &mut found);
        if found.is_empty() { Ok(spec) } else { Err(found) }
    }
}

/// Whether to refuse what App Mesh refused but its own tutorials rely on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// A health check may leave out interval and timeout, a listener may come without service discovery, and a virtual service
    /// may name a provider that does not exist yet.
    #[default]
    Lenient,
    /// As App Mesh.
    Strict,
}

/// What identifies a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The mesh's name; for a mesh, the same as `name`.
    pub mesh: String,
    pub kind: Kind,
    /// The router of a route, the gateway of a gateway route.
    pub parent: Option<String>,
    pub name: String,
}

/// A resource as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource<S> {
    pub key: Key,
    pub metadata: Metadata,
    /// The spec, typed.
    pub spec: S,
    /// The spec, as it was sent; this is what a describe answers.
    pub sent: Value,
}

/// A stored document that is not the resource that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored {kind} is not readable: {reason}")]
pub struct Rejected {
    pub kind: Kind,
    pub reason: String,
}

// === impl Key ===

impl Key {
    pub fn mesh(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { mesh: name.clone(), kind: Kind::Mesh, parent: None, name }
    }

    /// The key of a resource that lives right below its mesh.
    pub fn in_mesh(mesh: impl Into<String>, kind: Kind, name: impl Into<String>) -> Self {
        Self { mesh: mesh.into(), kind, parent: None, name: name.into() }
    }

    /// The key of a resource that lives below a router or gateway.
    pub fn below(
        mesh: impl Into<String>,
        parent: impl Into<String>,
        kind: Kind,
        name: impl Into<String>,
    ) -> Self {
        Self { mesh: mesh.into(), kind, parent: Some(parent.into()), name: name.into() }
    }

    /// The key of the router or gateway above, if there is one.
    pub fn parent_key(&self) -> Option<Self> {
        let kind = self.kind.parent()?;
        Some(Self::in_mesh(&self.mesh, kind, self.parent.as_deref()?))
    }
}

impl fmt::Display for Key {
    /// The resource part of the ARN, as in `mesh/M/virtualRouter/R/route/X`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mesh/{}", self.mesh)?;
        if let (Some(parent), Some(kind)) = (&self.parent, self.kind.parent()) {
            write!(f, "/{}/{parent}", kind.segment())?;
        }
        match self.kind {
            Kind::Mesh => Ok(()),
            kind => write!(f, "/{}/{}", kind.segment(), self.name),
        }
    }
}

// === impl Resource ===

impl<S: Spec> Resource<S> {
    /// The resource as the API shows it, with that status.
    pub fn to_wire(&self, status: Status) -> Value {
        let mut object = Map::new();
        object.insert("meshName".into(), self.key.mesh.clone().into());
        object.insert("metadata".into(), self.metadata.to_wire());
        if let (Some(parent), Some(kind)) = (&self.key.parent, S::KIND.parent()) {
            object.insert(kind.name_member().into(), parent.clone().into());
        }
        object.insert("spec".into(), self.sent.clone());
        object.insert("status".into(), json!({ "status": status.as_str() }));
        object.insert(S::KIND.name_member().into(), self.key.name.clone().into());
        Value::Object(object)
    }

    /// The resource as a list shows it.
    pub fn to_reference(&self) -> Value {
        let mut object = Map::new();
        object.insert("meshName".into(), self.key.mesh.clone().into());
        object.insert(S::KIND.name_member().into(), self.key.name.clone().into());
        if let (Some(parent), Some(kind)) = (&self.key.parent, S::KIND.parent()) {
            object.insert(kind.name_member().into(), parent.clone().into());
        }
        if let Value::Object(metadata) = self.metadata.to_wire() {
            object.extend(metadata.into_iter().filter(|(name, _)| name != "uid"));
        }
        Value::Object(object)
    }

    /// Reads what [`Resource::to_wire`] wrote. The spec is taken as leniently as it can be: what was once accepted stays readable.
    ///
    /// # Errors
    /// The document is not such a resource.
    pub fn from_wire(value: &Value) -> Result<Self, Rejected> {
        let rejected = |reason: String| Rejected { kind: S::KIND, reason };
        let text = |name: &str| {
            let member = value.get(name).and_then(Value::as_str).map(String::from);
            member.ok_or_else(|| rejected(format!("no {name}")))
        };
        let sent = value.get("spec").ok_or_else(|| rejected("no spec".into()))?;
        let spec =
            S::decode(sent).ok_or_else(|| rejected("its spec does not have the right shape".into()))?;
        let metadata = value.get("metadata").and_then(Metadata::from_wire);
        Ok(Self {
            key: Key {
                mesh: text("meshName")?,
                kind: S::KIND,
                parent: S::KIND.parent().map(|kind| text(kind.name_member())).transpose()?,
                name: text(S::KIND.name_member())?,
            },
            metadata: metadata.ok_or_else(|| rejected("its metadata is incomplete".into()))?,
            spec,
            sent: sent.clone(),
        })
    }
}
