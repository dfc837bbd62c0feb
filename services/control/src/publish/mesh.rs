//! One mesh: its snapshot, and the targets that are served from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use selvedge_model::{Key, Snapshot};
use selvedge_translate::{EndpointSource, Found, Proxy, ProxyKind};
use selvedge_xds::View;

use super::StreamId;
use super::endpoints::Sources;
use super::intern::Intern;
use super::target::Target;

pub(super) struct Mesh {
    pub(super) snapshot: Snapshot,
    pub(super) targets: BTreeMap<Proxy, Target>,
    /// Who looked at a resource.
    dependents: BTreeMap<Key, BTreeSet<Proxy>>,
    /// Who uses the endpoints of a node.
    users: BTreeMap<String, BTreeSet<Proxy>>,
    /// Who uses the instances of a service of Cloud Map, by the lower-case names of namespace and service.
    callers: BTreeMap<(String, String), BTreeSet<Proxy>>,
}

impl Mesh {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            targets: BTreeMap::new(),
            dependents: BTreeMap::new(),
            users: BTreeMap::new(),
            callers: BTreeMap::new(),
        }
    }

    /// Whether the resource that a proxy stands for exists.
    pub(super) fn has(&self, proxy: &Proxy) -> bool {
        match proxy.kind {
            ProxyKind::VirtualNode => self.snapshot.virtual_nodes.contains_key(&proxy.name),
            ProxyKind::VirtualGateway => self.snapshot.virtual_gateways.contains_key(&proxy.name),
        }
    }

    /// Takes a new snapshot; the targets that may differ by it.
    pub(super) fn replace(&mut self, snapshot: Snapshot, changed: &[Key]) -> BTreeSet<Proxy> {
        self.snapshot = snapshot;
        let mut touched = BTreeSet::new();
        for key in changed {
            let parent = key.parent_key();
            for looked_at in [Some(key), parent.as_ref()].into_iter().flatten() {
                touched.extend(self.dependents.get(looked_at).into_iter().flatten().cloned());
            }
        }
        touched
    }

    /// Everybody who is served from here.
    pub(super) fn streams(&self) -> Vec<StreamId> {
        self.targets.values().flat_map(|target| target.streams.iter().copied()).collect()
    }

    pub(super) fn streams_of(&self, proxy: &Proxy) -> Vec<StreamId> {
        self.targets.get(proxy).map(|target| target.streams.iter().copied().collect()).unwrap_or_default()
    }

    /// How many streams the virtual node or gateway has, whatever their interception.
    pub(super) fn streams_of_resource(&self, proxy: &Proxy) -> usize {
        let same = |other: &&Proxy| other.kind == proxy.kind && other.name == proxy.name;
        // Proxies order by kind and name first.
        let first = Proxy {
            interception: selvedge_translate::Interception::Redirect,
            in_zone: false,
            ..proxy.clone()
        };
        self.targets
            .range(first..)
            .take_while(|(other, _)| same(other))
            .map(|(_, target)| target.streams.len())
            .sum()
    }

    /// The targets with a cluster of that node's endpoints.
    pub(super) fn users_of(&self, node: &str) -> Vec<Proxy> {
        self.users.get(node).into_iter().flatten().cloned().collect()
    }

    /// The targets with a cluster of the instances of one of these services of Cloud Map.
    pub(super) fn callers_of(&self, services: &BTreeSet<(String, String)>) -> BTreeSet<Proxy> {
        services.iter().filter_map(|service| self.callers.get(service)).flatten().cloned().collect()
    }

    /// Serves a stream from a target; what it is to have.
    pub(super) fn attach(
        &mut self,
        proxy: &Proxy,
        stream: StreamId,
        sources: Sources<'_>,
        intern: &mut Intern,
    ) -> Arc<View> {
        if !self.targets.contains_key(proxy) {
            let target = Target::new(&self.snapshot, proxy, sources, intern);
            self.targets.insert(proxy.clone(), target);
            self.index(proxy);
        }
        let target = self.targets.get_mut(proxy).expect("it was put there just now");
        target.streams.insert(stream);
        target.view.clone()
    }

    /// Ends that; a target without streams is given up.
    pub(super) fn detach(&mut self, proxy: &Proxy, stream: StreamId) {
        let Some(target) = self.targets.get_mut(proxy) else { return };
        target.streams.remove(&stream);
        if target.streams.is_empty() {
            self.unindex(proxy);
            self.targets.remove(proxy);
        }
    }

    /// Translates a target anew; the view and the streams to tell, if it changed.
    pub(super) fn retranslate(
        &mut self,
        proxy: &Proxy,
        sources: Sources<'_>,
        intern: &mut Intern,
    ) -> Option<(Arc<View>, Vec<StreamId>)> {
        self.unindex(proxy);
        let target = self.targets.get_mut(proxy)?;
        let changed = target.retranslate(&self.snapshot, proxy, sources, intern);
        let result = changed.then(|| (target.view.clone(), target.streams.iter().copied().collect()));
        self.index(proxy);
        result
    }

    /// Takes the endpoints as they are; the view and the streams to tell, if it changed.
    pub(super) fn refresh(
        &mut self,
        proxy: &Proxy,
        sources: Sources<'_>,
        intern: &mut Intern,
    ) -> Option<(Arc<View>, Vec<StreamId>)> {
        let target = self.targets.get_mut(proxy)?;
        let changed = target.refresh(&self.snapshot, sources, intern);
        changed.then(|| (target.view.clone(), target.streams.iter().copied().collect()))
    }

    fn index(&mut self, proxy: &Proxy) {
        let Some(target) = self.targets.get(proxy) else { return };
        for key in &target.translation.dependencies {
            self.dependents.entry(key.clone()).or_default().insert(proxy.clone());
        }
        for source in target.translation.endpoints.values() {
            self.users.entry(source.node.clone()).or_default().insert(proxy.clone());
            if let Some(service) = registered(source) {
                self.callers.entry(service).or_default().insert(proxy.clone());
            }
        }
    }

    fn unindex(&mut self, proxy: &Proxy) {
        let Some(target) = self.targets.get(proxy) else { return };
        for key in &target.translation.dependencies {
            remove(&mut self.dependents, key, proxy);
        }
        for source in target.translation.endpoints.values() {
            remove(&mut self.users, &source.node, proxy);
            if let Some(service) = registered(source) {
                remove(&mut self.callers, &service, proxy);
            }
        }
    }
}

/// The names of namespace and service under which Cloud Map knows the instances, if it does.
fn registered(source: &EndpointSource) -> Option<(String, String)> {
    match &source.found {
        Found::BySidecar | Found::ControlPlane => None,
        Found::ByCloudMap { namespace, service, .. } => {
            Some((namespace.to_ascii_lowercase(), service.to_ascii_lowercase()))
        }
    }
}

fn remove<K: Ord + Clone>(index: &mut BTreeMap<K, BTreeSet<Proxy>>, key: &K, proxy: &Proxy) {
    if let Some(proxies) = index.get_mut(key) {
        proxies.remove(proxy);
        if proxies.is_empty() {
            index.remove(key);
        }
    }
}
