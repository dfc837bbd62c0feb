//! What a translation has read and made so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use selvedge_model::{
    GatewayRoute, IpPreference, Key, Kind, Policy, Route, Snapshot, Spec, VirtualGateway, VirtualNode,
    VirtualRouter, VirtualService,
};
use selvedge_traffic::{Cluster, Listener, Resource, RouteTable, VirtualHost};

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::proxy::{Proxy, ProxyKind};
use crate::secret::Manager;
use crate::translation::Translation;

/// Reads the snapshot, remembering what was read; takes what is made, and what there is to say.
pub(crate) struct Context<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) proxy: &'a Proxy,
    pub(crate) made: Translation,
    clusters: BTreeMap<String, Cluster>,
    listeners: BTreeMap<String, Listener>,
    tables: BTreeMap<String, RouteTable>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, proxy: &'a Proxy) -> Self {
        let mut context = Self {
            snapshot,
            proxy,
            made: Translation::default(),
            clusters: BTreeMap::new(),
            listeners: BTreeMap::new(),
            tables: BTreeMap::new(),
        };
        context.read(snapshot.mesh.key.clone());
        context
    }

    pub(crate) fn mesh(&self) -> &'a str {
        self.snapshot.name()
    }

    // === reading ===

    fn read(&mut self, key: Key) {
        self.made.dependencies.insert(key);
    }

    fn read_flat(&mut self, kind: Kind, name: &str) {
        self.read(Key::in_mesh(self.mesh(), kind, name));
    }

    pub(crate) fn node(&mut self, name: &str) -> Option<&'a VirtualNode> {
        self.read_flat(Kind::VirtualNode, name);
        self.snapshot.virtual_nodes.get(name).map(Arc::as_ref)
    }

    pub(crate) fn service(&mut self, name: &str) -> Option<&'a VirtualService> {
        self.read_flat(Kind::VirtualService, name);
        self.snapshot.virtual_services.get(name).map(Arc::as_ref)
    }

    pub(crate) fn router(&mut self, name: &str) -> Option<&'a VirtualRouter> {
        self.read_flat(Kind::VirtualRouter, name);
        self.snapshot.virtual_routers.get(name).map(Arc::as_ref)
    }

    pub(crate) fn gateway(&mut self, name: &str) -> Option<&'a VirtualGateway> {
        self.read_flat(Kind::VirtualGateway, name);
        self.snapshot.virtual_gateways.get(name).map(Arc::as_ref)
    }

    pub(crate) fn routes_of(&self, router: &str) -> Vec<&'a Route> {
        let snapshot: &'a Snapshot = self.snapshot;
        snapshot.routes_of(router).map(Arc::as_ref).collect()
    }

    pub(crate) fn gateway_routes_of(&self, gateway: &str) -> Vec<&'a GatewayRoute> {
        let snapshot: &'a Snapshot = self.snapshot;
        snapshot.gateway_routes_of(gateway).map(Arc::as_ref).collect()
    }

    /// Which address family the mesh prefers.
    pub(crate) fn ip_preference(&self) -> Option<IpPreference> {
        self.snapshot.mesh.spec.service_discovery.as_ref()?.ip_preference
    }

    /// Where certificates and authorities are looked for.
    pub(crate) fn manager(&mut self) -> Manager<'_> {
        Manager {
            known: &self.snapshot.certificates,
            looked_for: &mut self.made.certificates,
            secrets: &mut self.made.secrets,
        }
    }

    // === making ===

    pub(crate) fn cluster(&mut self, cluster: Cluster) {
        self.clusters.insert(cluster.name.clone(), cluster);
    }

    pub(crate) fn made_cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.get(name)
    }

    pub(crate) fn listener(&mut self, listener: Listener) {
        self.listeners.insert(listener.name.clone(), listener);
    }

    pub(crate) fn table(&mut self, table: RouteTable) {
        self.tables.insert(table.name.clone(), table);
    }

    pub(crate) fn made_table(&self, name: &str) -> Option<&RouteTable> {
        self.tables.get(name)
    }

    pub(crate) fn made_table_mut(&mut self, name: &str) -> Option<&mut RouteTable> {
        self.tables.get_mut(name)
    }

    /// Adds virtual hosts to a table that has been made.
    pub(crate) fn extend_table(&mut self, name: &str, hosts: Vec<VirtualHost>) {
        if let Some(table) = self.tables.get_mut(name) {
            table.virtual_hosts.extend(hosts);
        }
    }

    /// Notes that a resource of the proxy comes from one of the mesh.
    pub(crate) fn origin<S: Spec>(&mut self, name: &str, from: &selvedge_model::Resource<S>) {
        self.made.origins.resources.entry(name.to_owned()).or_default().insert(from.metadata.arn.clone());
    }

    // === saying ===

    /// Whom a diagnostic about the proxy's own specification is about.
    pub(crate) fn caller(&self) -> Caller {
        let name = &self.proxy.name;
        let arn = match self.proxy.kind {
            ProxyKind::VirtualNode => self.snapshot.virtual_nodes.get(name).map(|one| &one.metadata.arn),
            ProxyKind::VirtualGateway => {
                self.snapshot.virtual_gateways.get(name).map(|one| &one.metadata.arn)
            }
        };
        Caller(arn.unwrap_or(name).clone())
    }

    pub(crate) fn report(
        &mut self,
        severity: Severity,
        code: Code,
        subject: impl Subject,
        path: impl Into<String>,
        text: impl Into<String>,
    ) {
        let diagnostic =
            Diagnostic { severity, code, subject: subject.subject(), path: path.into(), text: text.into() };
        self.made.diagnostics.push(diagnostic);
    }

    pub(crate) fn error(
        &mut self,
        code: Code,
        about: impl Subject,
        path: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.report(Severity::Error, code, about, path, text);
    }

    pub(crate) fn warn(
        &mut self,
        code: Code,
        about: impl Subject,
        path: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.report(Severity::Warning, code, about, path, text);
    }

    /// Everything that was made.
    pub(crate) fn finish(mut self) -> Translation {
        let made = &mut self.made;
        made.resources.extend(self.clusters.into_values().map(Resource::Cluster));
        made.resources.extend(self.listeners.into_values().map(Resource::Listener));
        made.resources.extend(self.tables.into_values().map(Resource::Routes));
        let sorted: BTreeSet<Diagnostic> = made.diagnostics.drain(..).collect();
        made.diagnostics.extend(sorted);
        let names: BTreeSet<&str> = made.resources.iter().map(Resource::name).collect();
        made.origins.resources.retain(|name, _| names.contains(name.as_str()));
        self.made
    }
}

/// What a diagnostic can be about.
pub(crate) trait Subject {
    fn subject(&self) -> String;
}

impl<S: Spec> Subject for &selvedge_model::Resource<S> {
    fn subject(&self) -> String {
        self.metadata.arn.clone()
    }
}

/// The node or gateway whose proxy is configured.
pub(crate) struct Caller(String);

impl Subject for Caller {
    fn subject(&self) -> String {
        self.0.clone()
    }
}

impl Subject for &Policy {
    fn subject(&self) -> String {
        self.path()
    }
}

impl Subject for &Key {
    fn subject(&self) -> String {
        self.to_string()
    }
}
