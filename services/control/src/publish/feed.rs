//! What the store says, as the publisher wants to hear it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_model::{Key, Kind, Snapshot, json};
use selvedge_registry::document as document_of;
use selvedge_store::{Error, PAGE_MAX, Read, Revision, Store, Vault};

use super::registry::{self, ENDPOINTS_PREFIX, Held, Place, REPLICAS_PREFIX};
use crate::certificates::{self, Found};
use crate::operations::document;

/// How long changes are gathered before they are acted upon: a script's writes come in a row.
pub const DEBOUNCE: Duration = Duration::from_millis(25);

/// How often the store is asked though it said nothing: its hints may be lost.
pub const POLL: Duration = Duration::from_secs(2);

/// How long a store that failed is left alone.
const RETRY: Duration = Duration::from_millis(500);

/// Something in the store is not what it was.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// A mesh as it is; `None` when it is gone. `changed`: what differs from before.
    Mesh { name: String, snapshot: Option<Snapshot>, changed: Vec<Key> },
    /// An endpoint's document; `None` when there is none any more.
    Endpoint { place: Place, held: Option<Held> },
    /// A replica lives.
    Beat { replica: String },
    /// What is registered with Cloud Map, all of it.
    Registry(Box<selvedge_registry::Snapshot>),
    /// One document of that; no value when it is gone.
    Registered { key: document_of::Key, value: Option<Bytes>, revision: u64 },
    /// The document of a certificate or an authority; `None` when it is gone, or of no use.
    Certificate { key: String, found: Option<Found> },
    /// All that was there at the start has been told.
    Loaded,
    /// All that the store had at that revision has been told.
    ReadUpTo(Revision),
}

/// A reader of the change feed.
#[derive(Debug, Default)]
pub struct Feed {
    position: Option<Revision>,
    meshes: BTreeMap<String, Snapshot>,
    /// Meshes with a document that cannot be read. They stay as they were, and are read whole at their next change.
    damaged: BTreeSet<String>,
    places: BTreeSet<Place>,
    /// The keys of the certificates and authorities that were told of.
    certificates: BTreeSet<String>,
    vault: Vault,
    due: Option<Instant>,
}

impl Feed {
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that opens the keys of certificates with that vault; another one finds none.
    pub fn with_vault(vault: Vault) -> Self {
        Self { vault, ..Self::default() }
    }

    /// The store hinted at a change.
    pub fn handle_wake(&mut self, now: Instant) {
        let due = now + DEBOUNCE;
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
    }

    /// When [`Self::poll`] is due; `None` before the first.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// The store's. Nothing is lost: the next call reads it.
    pub fn poll(&mut self, now: Instant, store: &dyn Store) -> Result<Vec<FeedEvent>, Error> {
        self.due = Some(now + RETRY);
        let events = match self.position {
            None => self.load(store)?,
            Some(position) => match self.follow(store, position) {
                Err(Error::Compacted { .. } | Error::Ahead { .. }) => self.load(store)?,
                other => other?,
            },
        };
        self.due = Some(now + POLL);
        Ok(events)
    }

    /// Everything, and what is there no more.
    fn load(&mut self, store: &dyn Store) -> Result<Vec<FeedEvent>, Error> {
        let view = store.snapshot()?;
        let view = &*view;
        let (mut meshes, mut damaged) = (BTreeMap::new(), BTreeSet::new());
        for name in document::mesh_names(view)? {
            let snapshot = match self.unless_damaged(&name, document::load_mesh(view, &name))? {
                Some(snapshot) => snapshot,
                None => {
                    damaged.insert(name.clone());
                    self.meshes.get(&name).cloned()
                }
            };
            meshes.extend(snapshot.map(|snapshot| (name, snapshot)));
        }
        let mut events = Vec::new();
        for name in self.meshes.keys().filter(|name| !meshes.contains_key(*name)) {
            events.push(FeedEvent::Mesh { name: name.clone(), snapshot: None, changed: Vec::new() });
        }
        for (name, snapshot) in &meshes {
            let changed = all_keys(self.meshes.get(name)).chain(all_keys(Some(snapshot))).collect();
            events.push(FeedEvent::Mesh { name: name.clone(), snapshot: Some(snapshot.clone()), changed });
        }
        let mut places = BTreeSet::new();
        for stored in view.scan_all(ENDPOINTS_PREFIX)? {
            if let Some(place) = registry::place_of(&stored.key) {
                places.insert(place.clone());
                events.push(FeedEvent::Endpoint { place, held: registry::held(&stored.value) });
            }
        }
        for gone in self.places.difference(&places) {
            events.push(FeedEvent::Endpoint { place: gone.clone(), held: None });
        }
        for stored in view.scan_all(REPLICAS_PREFIX)? {
            let replica = stored.key[REPLICAS_PREFIX.len()..].to_owned();
            events.push(FeedEvent::Beat { replica });
        }
        let mut certificates = BTreeSet::new();
        for prefix in certificates::PREFIXES {
            for stored in view.scan_all(prefix)? {
                certificates.insert(stored.key.clone());
                events.push(self.certificate(stored.key, Some(&stored.value)));
            }
        }
        for gone in self.certificates.difference(&certificates) {
            events.push(FeedEvent::Certificate { key: gone.clone(), found: None });
        }
        let mut registered = selvedge_registry::Snapshot::at(view.revision().number());
        for stored in view.scan_all(document_of::PREFIX)? {
            if let Some(key) = discovered(&stored.key) {
                registered.apply(&key, Some(&stored.value), stored.modified.number());
            }
        }
        events.push(FeedEvent::Registry(Box::new(registered)));
        events.push(FeedEvent::ReadUpTo(view.revision()));
        events.push(FeedEvent::Loaded);
        self.position = Some(view.revision());
        self.meshes = meshes;
        self.damaged = damaged;
        self.places = places;
        self.certificates = certificates;
        Ok(events)
    }

    /// What a document of a certificate or an authority is to proxies. One that cannot be read is as one that is gone: what needs
    /// it says so.
    fn certificate(&self, key: String, value: Option<&[u8]>) -> FeedEvent {
        let found = value.map(|value| Found::read(&key, value, &self.vault)).transpose();
        let found = found.unwrap_or_else(|error| {
            tracing::error!(%error, "a certificate cannot be read; no proxy gets it");
            None
        });
        FeedEvent::Certificate { found: found.flatten(), key }
    }

    fn follow(&mut self, store: &dyn Store, position: Revision) -> Result<Vec<FeedEvent>, Error> {
        let view = store.snapshot()?;
        let view = &*view;
        let keys = changed_keys(store, position, view.revision())?;
        let mut meshes: BTreeMap<String, (Vec<Key>, Revision)> = BTreeMap::new();
        let mut policies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut events = Vec::new();
        for (stored_key, revision) in keys {
            if let Some(key) = document::parse_key(&stored_key) {
                let (changed, last) = meshes.entry(key.mesh.clone()).or_default();
                changed.push(key);
                *last = (*last).max(revision);
            } else if let Some((mesh, policy)) = document::parse_policy_key(&stored_key) {
                let (_, last) = meshes.entry(mesh.to_owned()).or_default();
                *last = (*last).max(revision);
                policies.entry(mesh.to_owned()).or_default().push(policy.to_owned());
            } else if let Some(place) = registry::place_of(&stored_key) {
                let held = view.get(&stored_key)?.and_then(|stored| registry::held(&stored.value));
                match held {
                    Some(_) => drop(self.places.insert(place.clone())),
                    None => drop(self.places.remove(&place)),
                }
                events.push(FeedEvent::Endpoint { place, held });
            } else if let Some(key) = discovered(&stored_key) {
                let value = view.get(&stored_key)?.map(|stored| stored.value);
                events.push(FeedEvent::Registered { key, value, revision: revision.number() });
            } else if certificates::is_material(&stored_key) {
                let value = view.get(&stored_key)?.map(|stored| stored.value);
                match value {
                    Some(_) => drop(self.certificates.insert(stored_key.clone())),
                    None => drop(self.certificates.remove(&stored_key)),
                }
                events.push(self.certificate(stored_key, value.as_deref()));
            } else if let Some(replica) = stored_key.strip_prefix(REPLICAS_PREFIX)
                && view.get(&stored_key)?.is_some()
            {
                events.push(FeedEvent::Beat { replica: replica.to_owned() });
            }
        }
        let mut fresh = Vec::new();
        for (name, (mut changed, last)) in meshes {
            let was_damaged = self.damaged.contains(&name);
            let policies = policies.remove(&name).unwrap_or_default();
            changed.extend(policies.iter().filter_map(|policy| self.governed(&name, policy)));
            let refreshed = self.refreshed(view, &name, &changed, &policies, last);
            let Some(snapshot) = self.unless_damaged(&name, refreshed)? else { continue };
            let governed =
                |policy: &String| snapshot.as_ref()?.policies.get(policy).map(|one| one.target.key.clone());
            changed.extend(policies.iter().filter_map(governed));
            if was_damaged {
                changed.extend(all_keys(self.meshes.get(&name)).chain(all_keys(snapshot.as_ref())));
            }
            fresh.push((name, snapshot, changed));
        }
        for (name, snapshot, changed) in fresh {
            self.damaged.remove(&name);
            match &snapshot {
                Some(snapshot) => drop(self.meshes.insert(name.clone(), snapshot.clone())),
                None => drop(self.meshes.remove(&name)),
            }
            events.push(FeedEvent::Mesh { name, snapshot, changed });
        }
        if view.revision() != position {
            events.push(FeedEvent::ReadUpTo(view.revision()));
        }
        self.position = Some(view.revision());
        Ok(events)
    }

    /// A mesh as it was read; `None` for one that cannot be, which the others do not wait for. It counts as damaged until
    /// what was read instead is in force.
    fn unless_damaged(
        &mut self,
        name: &str,
        read: Result<Option<Snapshot>, Error>,
    ) -> Result<Option<Option<Snapshot>>, Error> {
        match read {
            Err(Error::Corrupt(reason)) => {
                tracing::error!(
                    mesh = name,
                    reason,
                    "a mesh cannot be read; its proxies keep what they have"
                );
                self.damaged.insert(name.to_owned());
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// What a policy governed before it changed.
    fn governed(&self, mesh: &str, policy: &str) -> Option<Key> {
        self.meshes.get(mesh)?.policies.get(policy).map(|one| one.target.key.clone())
    }

    /// A mesh with some of its resources and policies read anew.
    fn refreshed(
        &self,
        view: &dyn Read,
        name: &str,
        changed: &[Key],
        policies: &[String],
        revision: Revision,
    ) -> Result<Option<Snapshot>, Error> {
        let Some(known) = self.meshes.get(name).filter(|_| !self.damaged.contains(name)) else {
            return document::load_mesh(view, name);
        };
        if view.get(&document::key_of(&Key::mesh(name)))?.is_none() {
            return Ok(None);
        }
        let mut snapshot = known.clone();
        snapshot.revision = revision.number();
        for policy in policies {
            let key = format!("{}{policy}", document::policies_in_mesh(name));
            match view.get(&key)? {
                None => drop(snapshot.policies.remove(policy)),
                Some(stored) => snapshot.policies.put(document::read_policy(&stored)?),
            }
        }
        for key in changed {
            match view.get(&document::key_of(key))? {
                None => snapshot.remove(key),
                Some(stored) => {
                    let unreadable =
                        |reason: &dyn std::fmt::Display| Error::Corrupt(format!("{}: {reason}", stored.key));
                    let value = json::parse(&stored.value).map_err(|error| unreadable(&error))?;
                    snapshot.put(key.kind, &value).map_err(|error| unreadable(&error))?;
                }
            }
        }
        Ok(Some(snapshot))
    }
}

/// A key of the registry, if what it holds is of use to proxies.
fn discovered(key: &str) -> Option<document_of::Key> {
    use document_of::Key::{Instance, Namespace, Service};
    document_of::Key::parse(key).filter(|key| matches!(key, Namespace(_) | Service(_) | Instance(..)))
}

/// The keys that changed after `position` and up to `until`, each with its last revision.
fn changed_keys(
    store: &dyn Store,
    position: Revision,
    until: Revision,
) -> Result<BTreeMap<String, Revision>, Error> {
    let mut keys = BTreeMap::new();
    let mut after = position;
    while after < until {
        let page = store.changes(after, PAGE_MAX)?;
        let Some(last) = page.last() else { break };
        after = last.revision;
        for change in page.into_iter().filter(|change| change.revision <= until) {
            keys.insert(change.key, change.revision);
        }
    }
    Ok(keys)
}

/// Every resource of a mesh.
fn all_keys(snapshot: Option<&Snapshot>) -> impl Iterator<Item = Key> + use<> {
    let mut keys = Vec::new();
    if let Some(snapshot) = snapshot {
        let mesh = snapshot.name();
        let mut flat = |kind: Kind, names: Vec<&String>| {
            keys.extend(names.into_iter().map(|name| Key::in_mesh(mesh, kind, name)));
        };
        flat(Kind::VirtualNode, snapshot.virtual_nodes.keys().collect());
        flat(Kind::VirtualService, snapshot.virtual_services.keys().collect());
        flat(Kind::VirtualRouter, snapshot.virtual_routers.keys().collect());
        flat(Kind::VirtualGateway, snapshot.virtual_gateways.keys().collect());
        keys.push(Key::mesh(mesh));
        for (router, routes) in &snapshot.routes {
            keys.extend(routes.keys().map(|name| Key::below(mesh, router, Kind::Route, name)));
        }
        for (gateway, routes) in &snapshot.gateway_routes {
            keys.extend(routes.keys().map(|name| Key::below(mesh, gateway, Kind::GatewayRoute, name)));
        }
    }
    keys.into_iter()
}
