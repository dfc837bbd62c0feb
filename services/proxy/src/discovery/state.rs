//! The decisions: which configuration is in force.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_traffic::tls::SecretRef;
use selvedge_traffic::{Cluster, Listener, LoadAssignment, Resource, ResourceKind};
use selvedge_xds::Encoded;
use selvedge_xds::client::{Refused, Update};

use super::clusters::{ClusterTable, ClusterToken};
use super::failure::Rejected;
use super::kept::Kept;
use super::listeners::ListenerTable;
use super::references::{cluster_secrets, listener_clusters, listener_secrets, table_clusters};
use super::routes::RouteTables;
use super::secrets::SecretTable;
use super::validate;
use crate::ConfigSnapshot;

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Begin to find and probe the hosts of a new definition; [`ProxyState::handle_warmed`] when that is done.
    StartCluster { token: ClusterToken, config: Arc<Cluster>, assignment: Option<Arc<LoadAssignment>> },
    /// A definition that never served is not needed any more.
    DropCluster(ClusterToken),
    /// Hand endpoints to these definitions.
    Endpoints { tokens: Vec<ClusterToken>, endpoints: Arc<LoadAssignment> },
    /// Let a warm definition serve, in its predecessor's place.
    ActivateCluster(ClusterToken),
    /// No route leads to it any more.
    RemoveCluster(String),
    /// Ask for exactly these secrets; [`ProxyState::handle_secret`] when one has come.
    Secrets(BTreeSet<SecretRef>),
    /// Ask for listeners: the clusters are there.
    Listen,
    /// Serve this.
    Publish(Arc<ConfigSnapshot>),
    /// Answer the control plane: all is applied but what was refused.
    Answer { nonce: String, refused: Vec<Refused> },
    /// All that was asked for has come and serves; told once.
    Live,
}

/// How far a proxy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clusters are awaited.
    #[default]
    PreInitializing,
    /// Listeners are awaited.
    Initializing,
    Live,
}

/// What a proxy knows, and what of it is in force. One grammar: `handle_…` takes an input, `poll_effect` gives what
/// follows from it, [`ProxyState::next_timeout`] says when [`ProxyState::handle_timeout`] is due.
#[derive(Debug, Default)]
pub struct ProxyState {
    pub(super) clusters: ClusterTable,
    pub(super) routes: RouteTables,
    pub(super) listeners: ListenerTable,
    pub(super) secrets: SecretTable,
    /// There is a local secret discovery socket.
    has_secret_socket: bool,
    answered: BTreeSet<ResourceKind>,
    fetch_limit: Option<Duration>,
    phase: Phase,
    snapshot: Arc<ConfigSnapshot>,
    effects: VecDeque<Effect>,
}

impl ProxyState {
    /// `fetch_limit`: a resource that has not come by then is gone on without; `None` waits for ever.
    pub fn new(fetch_limit: Option<Duration>) -> Self {
        Self { fetch_limit, ..Self::default() }
    }

    /// There is a local secret discovery socket; without one, what names it is refused.
    #[must_use]
    pub fn with_secret_socket(self) -> Self {
        Self { has_secret_socket: true, ..self }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What is served.
    pub fn snapshot(&self) -> &Arc<ConfigSnapshot> {
        &self.snapshot
    }

    /// The names of the clusters that serve.
    pub fn active_clusters(&self) -> impl Iterator<Item = &str> {
        let active = self.clusters.entries.iter().filter(|(_, entry)| entry.active.is_some());
        active.map(|(name, _)| name.as_str())
    }

    /// Takes what the control plane sent; what can be applied is, what cannot is refused by name, and the rest stays.
    pub fn handle_update(&mut self, update: Update, now: Instant) {
        self.handle_update_except(update, Vec::new(), now);
    }

    /// As [`ProxyState::handle_update`]; whoever knows the disk found that those in `unusable` cannot be served.
    pub fn handle_update_except(&mut self, update: Update, unusable: Vec<Refused>, now: Instant) {
        let Update { kind, nonce, changed, removed, refused, undecodable } = update;
        for refused in &refused {
            let came = undecodable.iter().find(|came| *came.name == *refused.resource);
            self.failed(kind, &refused.resource, &refused.reason, came, now);
        }
        let mut refused = Vec::new();
        for received in changed {
            let name = received.resource.name().to_owned();
            if let Some(unusable) = unusable.iter().find(|unusable| unusable.resource == name) {
                self.failed(kind, &name, &unusable.reason, Some(&received.encoded), now);
                refused.push(unusable.clone());
                continue;
            }
            if let Err(invalid) = self.accept(received.resource, &received.encoded.version, now) {
                let reason = invalid.to_string();
                self.failed(kind, &name, &reason, Some(&received.encoded), now);
                refused.push(Refused { resource: name, reason });
            }
        }
        for name in removed {
            self.withdraw(kind, &name, now);
        }
        self.answered.insert(kind);
        self.effects.push_back(Effect::Answer { nonce, refused });
        self.reconcile(now);
    }

    /// Takes what a former process had in force, each resource with its version.
    pub fn handle_restored(&mut self, mut resources: Vec<(Resource, String)>, now: Instant) {
        resources.sort_by_key(|(resource, _)| resource.kind());
        for (resource, version) in resources {
            let (kind, name) = (resource.kind(), resource.name().to_owned());
            if let Err(invalid) = self.accept(resource, &version, now) {
                self.failed(kind, &name, &invalid.to_string(), None, now);
            }
        }
        self.answered.extend([ResourceKind::Cluster, ResourceKind::Listener]);
        self.reconcile(now);
    }

    /// Definitions that were started are ready to serve.
    pub fn handle_warmed(&mut self, tokens: &[ClusterToken], now: Instant) {
        self.change_clusters(|clusters, effects| clusters.warmed(tokens, now, effects));
        self.reconcile(now);
    }

    /// Whether anything asks for a secret.
    pub fn wants_secret(&self, name: &SecretRef) -> bool {
        self.secrets.wanted.contains(name)
    }

    /// The listeners that serve with a secret, and the clusters.
    pub fn users_of(&self, name: &SecretRef) -> (BTreeSet<SocketAddr>, BTreeSet<String>) {
        let listeners = self.snapshot.listeners.iter().map(|active| &active.config);
        let listeners = listeners.filter(|listener| listener_secrets(listener).any(|it| it == name));
        let clusters = self.clusters.started();
        let clusters = clusters.filter(|cluster| cluster_secrets(cluster).any(|it| it == name));
        let clusters = clusters.map(|cluster| cluster.name.clone()).collect();
        (listeners.map(|listener| listener.address).collect(), clusters)
    }

    /// How many of a listener's secrets are in force.
    pub fn secrets_of_listener(&self, listener: &Listener) -> usize {
        listener_secrets(listener).filter(|name| self.secrets.is_in_force(name)).count()
    }

    /// How many of a cluster's secrets are in force.
    pub fn secrets_of_cluster(&self, cluster: &Cluster) -> usize {
        cluster_secrets(cluster).filter(|name| self.secrets.is_in_force(name)).count()
    }

    /// A secret is in force, under a version.
    pub fn handle_secret(&mut self, name: &SecretRef, version: &str, now: Instant) {
        self.secrets.arrived(name, version, now);
        self.reconcile(now);
    }

    /// Whoever was asked knows no such secret: nobody waits for it any longer.
    pub fn handle_secret_absent(&mut self, name: &SecretRef, now: Instant) {
        self.secrets.absent(name, now);
        self.reconcile(now);
    }

    /// A secret that came cannot be used.
    pub fn handle_secret_failed(&mut self, name: &str, details: &str, now: Instant) {
        self.secrets.failures.add(name, details, None, now);
    }

    /// A listener that is in force cannot be served: its address is taken, say.
    pub fn handle_listener_failed(&mut self, name: &str, details: &str, now: Instant) {
        self.failed(ResourceKind::Listener, name, details, None, now);
    }

    /// When something that waits has waited long enough.
    pub fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let endpoints = self
            .fetch_limit
            .and_then(|limit| self.clusters.waiting_for_endpoints().map(|(_, since)| since + limit).min());
        let waits = [
            endpoints,
            self.clusters.next_start(),
            self.clusters.next_removal(),
            self.routes.next_release(),
            self.listeners.next_release(self.fetch_limit, now),
        ];
        waits.into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(limit) = self.fetch_limit {
            self.change_clusters(|clusters, effects| clusters.expire(limit, now, effects));
        }
        self.reconcile(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What is in force, with its versions, to be kept for the next process.
    pub fn kept(&self) -> Vec<(Kept, String)> {
        let clusters = self.clusters.entries.values().filter_map(|entry| entry.active.as_ref());
        let clusters = clusters.map(|it| (Kept::Cluster(Arc::clone(&it.config)), it.version.clone()));
        let endpoints = self.clusters.assignments.values();
        let endpoints = endpoints.map(|it| (Kept::Endpoints(Arc::clone(&it.endpoints)), it.version.clone()));
        let listeners = self.listeners.entries.values().filter_map(|entry| entry.active.as_ref());
        let listeners = listeners.map(|it| (Kept::Listener(Arc::clone(&it.config)), it.version.clone()));
        let routes = self.routes.entries.values().filter_map(|entry| entry.current.as_ref());
        let routes = routes.map(|it| (Kept::Routes(Arc::clone(&it.table)), it.version.clone()));
        clusters.chain(endpoints).chain(listeners).chain(routes).collect()
    }

    fn accept(&mut self, resource: Resource, version: &str, now: Instant) -> Result<(), validate::Invalid> {
        match resource {
            Resource::Cluster(cluster) => {
                self.check_secrets(cluster_secrets(&cluster))?;
                self.change_clusters(|clusters, effects| clusters.accept(cluster, version, now, effects));
            }
            Resource::Endpoints(assignment) => {
                let name = assignment.cluster.clone();
                self.change_clusters(|clusters, effects| {
                    clusters.assign(&name, assignment, version, effects)
                });
            }
            Resource::Listener(listener) => {
                self.check_secrets(listener_secrets(&listener))?;
                self.listeners.accept(listener, version, now)?;
            }
            Resource::Routes(table) => {
                let table = Arc::new(table);
                validate::routes(&table)?;
                self.routes.accept(table, version, now);
            }
        }
        Ok(())
    }

    fn check_secrets<'a>(
        &self,
        secrets: impl Iterator<Item = &'a SecretRef>,
    ) -> Result<(), validate::Invalid> {
        let mut secrets = secrets.peekable();
        if secrets.peek().is_none() {
            return Ok(());
        }
        validate::secrets(secrets, &self.wanted_secrets(), self.has_secret_socket)
    }

    /// What all definitions ask for, those in force and those to come.
    fn wanted_secrets(&self) -> BTreeSet<SecretRef> {
        let clusters = self.clusters.definitions().flat_map(cluster_secrets);
        clusters.chain(self.listeners.definitions().flat_map(listener_secrets)).cloned().collect()
    }

    fn withdraw(&mut self, kind: ResourceKind, name: &str, now: Instant) {
        match kind {
            ResourceKind::Cluster => {
                self.change_clusters(|clusters, effects| clusters.withdraw(name, now, effects));
            }
            ResourceKind::Endpoints => {
                let none = LoadAssignment { cluster: name.to_owned(), ..LoadAssignment::default() };
                self.change_clusters(|clusters, effects| clusters.assign(name, none, "", effects));
            }
            ResourceKind::Listener => self.listeners.withdraw(name),
            // A table stays as long as a listener asks for it; `reconcile` drops the others.
            ResourceKind::Routes => self.routes.failures.clear(name),
        }
    }

    fn failed(
        &mut self,
        kind: ResourceKind,
        name: &str,
        details: &str,
        came: Option<&Encoded>,
        now: Instant,
    ) {
        let failures = match kind {
            ResourceKind::Cluster | ResourceKind::Endpoints => &mut self.clusters.failures,
            ResourceKind::Listener => &mut self.listeners.failures,
            ResourceKind::Routes => &mut self.routes.failures,
        };
        failures.add(name, details, came.and_then(Rejected::of), now);
    }

    fn change_clusters(&mut self, change: impl FnOnce(&mut ClusterTable, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        change(&mut self.clusters, &mut effects);
        self.effects.extend(effects);
    }

    /// Moves everything forward that can move: routes, then listeners, then what nobody needs any more.
    fn reconcile(&mut self, now: Instant) {
        self.follow_secrets();
        let Self { clusters, routes, listeners, secrets, effects, .. } = self;
        let has_secrets = |cluster: &Cluster| cluster_secrets(cluster).all(|name| secrets.is_answered(name));
        let mut started = Vec::new();
        clusters.start(has_secrets, now, &mut started);
        effects.extend(started);
        let is_usable = |name: &str| clusters.is_usable(name);
        routes.retain(|name| listeners.wants_table(name));
        routes.promote(is_usable, now);
        let has_secret = |name: &SecretRef| secrets.is_answered(name);
        listeners.promote(routes, is_usable, has_secret, self.fetch_limit, now);
        self.publish();
        if self.clusters.has_withdrawn() {
            let used = self.used_clusters();
            self.change_clusters(|clusters, effects| {
                clusters.remove_unused(|name| used.contains(name), now, effects);
            });
        }
        self.follow_secrets();
        self.advance();
    }

    fn follow_secrets(&mut self) {
        let wanted = self.wanted_secrets();
        if self.secrets.want(wanted) {
            self.effects.push_back(Effect::Secrets(self.secrets.wanted.clone()));
        }
    }

    fn publish(&mut self) {
        let listeners = self.listeners.active(&self.routes, &self.snapshot.listeners);
        let before = &self.snapshot.listeners;
        let same =
            before.len() == listeners.len() && before.iter().zip(&listeners).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.snapshot = Arc::new(ConfigSnapshot { generation: self.snapshot.generation + 1, listeners });
            self.effects.push_back(Effect::Publish(Arc::clone(&self.snapshot)));
        }
    }

    /// Clusters that the published configuration leads to.
    fn used_clusters(&self) -> BTreeSet<String> {
        let listeners = self.snapshot.listeners.iter();
        let names = listeners.flat_map(|listener| {
            let tables = listener.routes.values().flat_map(|table| table_clusters(table));
            listener_clusters(&listener.config).into_iter().chain(tables)
        });
        names.map(str::to_owned).collect()
    }

    fn advance(&mut self) {
        if self.phase == Phase::PreInitializing
            && self.answered.contains(&ResourceKind::Cluster)
            && self.clusters.is_warm()
        {
            self.phase = Phase::Initializing;
            self.effects.push_back(Effect::Listen);
        }
        if self.phase == Phase::Initializing
            && self.answered.contains(&ResourceKind::Listener)
            && self.listeners.is_warm()
        {
            self.phase = Phase::Live;
            self.effects.push_back(Effect::Live);
        }
    }
}
