//! What one sort of proxy is to have.

use std::collections::BTreeSet;
use std::sync::Arc;

use selvedge_model::Snapshot;
use selvedge_translate::{Proxy, Translation, translate};
use selvedge_xds::{Encoded, View};

use super::StreamId;
use super::endpoints;
use super::intern::Intern;
use super::registry::Registry;

/// A translation that is in use, with the streams that are served from it.
pub(super) struct Target {
    pub(super) translation: Translation,
    /// The translation's resources, encoded; endpoints are added when the view is made.
    resources: Vec<Arc<Encoded>>,
    pub(super) view: Arc<View>,
    pub(super) streams: BTreeSet<StreamId>,
}

impl Target {
    pub(super) fn new(snapshot: &Snapshot, proxy: &Proxy, registry: &Registry, intern: &mut Intern) -> Self {
        let mut target = Self {
            translation: Translation::default(),
            resources: Vec::new(),
            view: Arc::default(),
            streams: BTreeSet::new(),
        };
        target.retranslate(snapshot, proxy, registry, intern);
        target
    }

    /// Translates anew; whether the view changed.
    pub(super) fn retranslate(
        &mut self,
        snapshot: &Snapshot,
        proxy: &Proxy,
        registry: &Registry,
        intern: &mut Intern,
    ) -> bool {
        self.translation = translate(snapshot, proxy);
        self.resources = self.translation.resources.iter().map(|resource| intern.encode(resource)).collect();
        self.refresh(snapshot, registry, intern)
    }

    /// Takes the endpoints as they are; whether the view changed.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot, registry: &Registry, intern: &mut Intern) -> bool {
        let mesh = snapshot.name();
        let endpoints = self
            .translation
            .endpoints
            .iter()
            .map(|(name, source)| intern.encode(&endpoints::assignment(mesh, name, source, registry)));
        let resources: Vec<Arc<Encoded>> = self.resources.iter().cloned().chain(endpoints).collect();
        let view = View::new(snapshot.revision, resources);
        let changed = !view.same_content(&self.view);
        if changed {
            self.view = Arc::new(view);
        }
        changed
    }
}
