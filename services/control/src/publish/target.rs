//! What one sort of proxy is to have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use selvedge_model::Snapshot;
use selvedge_traffic::{Resource, ResourceKind};
use selvedge_translate::{Proxy, Translation, translate};
use selvedge_xds::{Encoded, View};

use super::StreamId;
use super::endpoints::{self, Sources};
use super::intern::Intern;

/// A translation that is in use, with the streams that are served from it.
pub(super) struct Target {
    pub(super) translation: Translation,
    /// The translation's resources, encoded; endpoints are added when the view is made.
    resources: Vec<Arc<Encoded>>,
    pub(super) view: Arc<View>,
    pub(super) streams: BTreeSet<StreamId>,
}

impl Target {
    pub(super) fn new(snapshot: &Snapshot, proxy: &Proxy, sources: Sources<'_>, intern: &mut Intern) -> Self {
        let mut target = Self {
            translation: Translation::default(),
            resources: Vec::new(),
            view: Arc::default(),
            streams: BTreeSet::new(),
        };
        target.retranslate(snapshot, proxy, sources, intern);
        target
    }

    /// Translates anew; whether the view changed.
    pub(super) fn retranslate(
        &mut self,
        snapshot: &Snapshot,
        proxy: &Proxy,
        sources: Sources<'_>,
        intern: &mut Intern,
    ) -> bool {
        let before = std::mem::replace(&mut self.translation, translate(snapshot, proxy));
        let known: BTreeMap<(ResourceKind, &str), (&Resource, &Arc<Encoded>)> = before
            .resources
            .iter()
            .zip(&self.resources)
            .map(|(resource, encoded)| ((resource.kind(), resource.name()), (resource, encoded)))
            .collect();
        // Most of it is as it was, and to compare is cheaper than to encode.
        let encode = |resource: &Resource| match known.get(&(resource.kind(), resource.name())) {
            Some((same, encoded)) if *same == resource => Arc::clone(encoded),
            _ => intern.encode(resource),
        };
        self.resources = self.translation.resources.iter().map(encode).collect();
        self.refresh(snapshot, sources, intern)
    }

    /// Takes the endpoints as they are; whether the view changed.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot, sources: Sources<'_>, intern: &mut Intern) -> bool {
        let mesh = snapshot.name();
        let endpoints = self
            .translation
            .endpoints
            .iter()
            .map(|(name, source)| intern.encode(&endpoints::assignment(mesh, name, source, sources)));
        let resources: Vec<Arc<Encoded>> = self.resources.iter().cloned().chain(endpoints).collect();
        let view = View::new(snapshot.revision, resources);
        let changed = !view.same_content(&self.view);
        if changed {
            self.view = Arc::new(view);
        }
        changed
    }
}
