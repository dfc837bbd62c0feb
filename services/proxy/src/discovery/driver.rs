//! The shell around [`ProxyState`] and the discovery session: the stream, the clusters at work, the disk, the clock.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use selvedge_telemetry::{Registry, SecretStats, SocketFactoryStats};
use selvedge_traffic::tls::{SecretRef, SecretSource};
use selvedge_traffic::{Discovery, Resource, ResourceKind, Transport, UpstreamTransport};
use selvedge_upstream::{Cluster, Clusters};
use selvedge_wire::drain::{self, Drains};
use selvedge_wire::tls::{Material, Secret};
use selvedge_xds::ClientSession;
use selvedge_xds::client::{DELTA_METHOD, Received, Refused, Update};
use selvedge_xds::secret::{Content, SecretUpdate};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::fetch::Fetches;
use super::keep::Keeper;
use super::references::{cluster_secrets, listener_secrets};
use super::secret_file;
use super::stream::{Link, LinkEvent};
use super::{ClusterToken, Effect, Phase, ProxyState};
use crate::ConfigSnapshot;
use crate::bootstrap::{Bootstrap, XdsEndpoint};
use crate::persist::Store;

/// A control plane that takes a connection but says nothing for so long counts as unreachable at start.
const FIRST_RESPONSE_MAX: Duration = Duration::from_secs(5);
/// How long a task without a timer sleeps.
const FOREVER: Duration = Duration::from_secs(3600);

/// Brings the configuration in and into force.
pub struct Driver {
    session: ClientSession,
    state: Arc<Mutex<ProxyState>>,
    clusters: Arc<Clusters>,
    running: HashMap<ClusterToken, Running>,
    /// Ends with the token of a definition that has become warm.
    warming: JoinSet<ClusterToken>,
    snapshot: watch::Sender<Arc<ConfigSnapshot>>,
    phase: watch::Sender<Phase>,
    registry: Registry,
    endpoint: XdsEndpoint,
    keeper: Keeper,
    /// The first answer ever must have come by then.
    answer_by: Option<Instant>,
    /// The control plane has answered something, ever, or the disk has.
    informed: bool,
    /// The process is about to end.
    leaving: bool,
    /// The control plane knows.
    left: watch::Sender<bool>,
    /// Resources that the state has refused so far.
    refusals: usize,
    fetches: Fetches,
    /// Held until the workers hold them: what nobody holds is forgotten.
    counted: HashMap<SocketAddr, SocketFactoryStats>,
    /// Secrets that are asked for on the stream of everything else.
    ads_secrets: BTreeSet<String>,
    /// Digests of the secrets in force: one that comes again unchanged changes nothing.
    secret_digests: HashMap<SecretRef, u64>,
    started: Instant,
}

/// A definition at work.
struct Running {
    cluster: Arc<Cluster>,
    /// Until it is warm: the handle keeps the memory of the task.
    waiting: Option<AbortHandle>,
}

/// What others see of a driver.
pub struct Watched {
    pub state: Arc<Mutex<ProxyState>>,
    pub snapshot: watch::Receiver<Arc<ConfigSnapshot>>,
    pub phase: watch::Receiver<Phase>,
    /// Becomes true when the driver has taken leave of the control plane, or had none to take leave of.
    pub left: watch::Receiver<bool>,
}

impl Driver {
    /// A driver and what others see of it. `seed` is random: it feeds the jitter of reconnections.
    pub fn new(
        bootstrap: &Bootstrap,
        clusters: Arc<Clusters>,
        registry: Registry,
        store: Option<Store>,
        seed: u64,
    ) -> (Self, Watched) {
        let node = bootstrap.node();
        let mut state = ProxyState::new(bootstrap.initial_fetch_timeout);
        if bootstrap.sds_socket.is_some() {
            state = state.with_secret_socket();
        }
        let state = Arc::new(Mutex::new(state));
        let fetches = Fetches::new(node.clone(), bootstrap.sds_socket.clone(), registry.clone(), !seed);
        let (snapshot, watched_snapshot) = watch::channel(Arc::new(ConfigSnapshot::default()));
        let (phase, watched_phase) = watch::channel(Phase::default());
        let (left, watched_left) = watch::channel(false);
        let driver = Self {
            session: ClientSession::new(node, seed),
            state: Arc::clone(&state),
            clusters,
            running: HashMap::new(),
            warming: JoinSet::new(),
            snapshot,
            phase,
            registry,
            endpoint: bootstrap.xds.clone(),
            keeper: Keeper::new(store),
            answer_by: None,
            informed: false,
            leaving: false,
            left,
            refusals: 0,
            fetches,
            counted: HashMap::new(),
            ads_secrets: BTreeSet::new(),
            secret_digests: HashMap::new(),
            started: Instant::now(),
        };
        let watched = Watched { state, snapshot: watched_snapshot, phase: watched_phase, left: watched_left };
        (driver, watched)
    }

    /// Runs until it is dropped. Once `drain` begins, the control plane is told – others stop sending requests here
    /// while connections are still accepted – and what is in force stays.
    pub async fn run(mut self, mut drain: watch::Receiver<Drains>) {
        let mut link = Link::Closed;
        loop {
            let wake_at = self.wake_at(matches!(link, Link::Closed));
            tokio::select! {
                event = link.event() => self.handle_link(event, &mut link),
                Some(warm) = self.warming.join_next(), if !self.warming.is_empty() => {
                    // Thousands may be warm at the same time: they begin to serve together.
                    let others = std::iter::from_fn(|| self.warming.try_join_next());
                    // A definition that was dropped while it warmed up has nothing to tell.
                    let warm: Vec<_> = std::iter::once(warm).chain(others).filter_map(Result::ok).collect();
                    self.state().handle_warmed(&warm, Instant::now());
                }
                Some(fetched) = self.fetches.next() => {
                    let refused = self.apply_secrets(&fetched.name.source, &fetched.update);
                    // A stream that ended meanwhile needs no answer.
                    let _ = fetched.applied.send((fetched.update, refused));
                }
                () = tokio::time::sleep_until(wake_at.into()) => {
                    self.handle_time(&mut link);
                    self.keep_if_due().await;
                }
                () = drain::begun(&mut drain), if !self.leaving => {
                    self.leaving = true;
                    link.finish();
                    let kept = self.state().kept();
                    self.keeper.finish(kept).await;
                }
            }
            self.carry_out();
            while let Some(request) = self.session.poll_request() {
                link.send(request);
            }
            if self.leaving && matches!(link, Link::Closed) {
                self.left.send_replace(true);
            }
            if matches!(link, Link::Closed) && self.session.is_connected() && !self.leaving {
                self.disconnected("the stream takes no more requests");
            }
        }
    }

    /// The earliest of all timers; an attempt to connect is due only while none is under way.
    fn wake_at(&self, closed: bool) -> Instant {
        let now = Instant::now();
        let connect = self.session.next_timeout(now).filter(|_| closed && !self.leaving);
        let timers = [connect, self.answer_by, self.state().next_timeout(now), self.keeper.due()];
        timers.into_iter().flatten().min().unwrap_or(now + FOREVER).min(now + FOREVER)
    }

    fn handle_time(&mut self, link: &mut Link) {
        let now = Instant::now();
        let due = self.session.next_timeout(now).is_some_and(|at| at <= now);
        if due && matches!(link, Link::Closed) && !self.leaving {
            *link = Link::connect(&self.endpoint, DELTA_METHOD);
        }
        if self.answer_by.is_some_and(|at| at <= now) {
            *link = Link::Closed;
            self.disconnected("the control plane does not answer");
        }
        self.state().handle_timeout(now);
    }

    async fn keep_if_due(&mut self) {
        let now = Instant::now();
        if self.keeper.due().is_some_and(|at| at <= now) {
            let state = Arc::clone(&self.state);
            self.keeper.keep(now, || lock(&state).kept()).await;
        }
    }

    fn handle_link(&mut self, event: LinkEvent, link: &mut Link) {
        match event {
            LinkEvent::Connected => {
                tracing::debug!(endpoint = ?self.endpoint, "connected to the control plane");
                self.session.handle_connected();
                self.registry.server().cds_update_attempt.inc();
                self.answer_by = (!self.informed).then(|| Instant::now() + FIRST_RESPONSE_MAX);
            }
            LinkEvent::Response(message) => match self.session.handle_response(&message) {
                Ok(()) => {
                    self.informed = true;
                    self.answer_by = None;
                    self.registry.server().control_plane_connected_state.set(1);
                    while let Some(update) = self.session.poll_update() {
                        self.apply(update);
                    }
                    while let Some(update) = self.session.poll_secrets() {
                        let refused = self.apply_secrets(&SecretSource::Ads, &update);
                        self.session.handle_secrets_applied(&update, &refused);
                        for received in &update.changed {
                            SecretStats::new(&self.registry, &received.secret.name).asked();
                        }
                    }
                }
                Err(fault) => {
                    *link = Link::Closed;
                    self.disconnected(&fault.to_string());
                }
            },
            LinkEvent::Closed(reason) => self.disconnected(&reason),
        }
    }

    fn disconnected(&mut self, reason: &str) {
        if self.leaving {
            return;
        }
        tracing::warn!(endpoint = %self.endpoint, reason, "no discovery for the moment; what is in force stays");
        self.registry.server().control_plane_connected_state.set(0);
        self.session.handle_disconnected(Instant::now());
        self.answer_by = None;
        if !self.informed {
            self.restore();
        }
    }

    /// Starts from the last good configuration; once, and only while the control plane has not said anything.
    fn restore(&mut self) {
        let resources = match self.keeper.load() {
            Ok(Some(resources)) => resources,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "failed to load the last good configuration");
                return;
            }
        };
        self.informed = true;
        tracing::info!(resources = resources.len(), "started from the last good configuration on disk");
        let decoded = resources.iter().filter_map(|encoded| {
            let decoded = selvedge_xds::decode(encoded.kind, &encoded.value).ok()?;
            Some((decoded, encoded.version.to_string()))
        });
        let decoded = decoded.collect();
        self.session.restore(resources);
        self.state().handle_restored(decoded, Instant::now());
        self.carry_out();
    }

    fn carry_out(&mut self) {
        let mut warm = Vec::new();
        loop {
            match self.next_effect() {
                Some(Effect::ActivateCluster(token)) => warm.push(token),
                effect => {
                    self.activate(std::mem::take(&mut warm));
                    let Some(effect) = effect else { break };
                    self.carry_out_one(effect);
                }
            }
        }
        let warming = self.running.values().filter(|running| !running.cluster.is_warm()).count();
        self.registry.server().warming_clusters.set(u64::try_from(warming).unwrap_or(u64::MAX));
        let phase = self.state().phase();
        self.phase.send_if_modified(|known| std::mem::replace(known, phase) != phase);
    }

    fn next_effect(&self) -> Option<Effect> {
        self.state().poll_effect()
    }

    fn activate(&mut self, warm: Vec<ClusterToken>) {
        if warm.is_empty() {
            return;
        }
        let mut clusters = Vec::with_capacity(warm.len());
        for token in warm {
            if let Some(running) = self.running.get_mut(&token) {
                running.waiting = None;
                clusters.push(Arc::clone(&running.cluster));
            }
        }
        self.clusters.activate(clusters);
        self.running.retain(|_, running| !running.cluster.is_removed());
        self.keeper.note_change(Instant::now());
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::StartCluster { token, config, assignment } => {
                let secrets = self.state().secrets_of_cluster(&config);
                let cluster = self.clusters.start(config);
                if secrets > 0 {
                    SocketFactoryStats::of_cluster(&self.registry, &cluster.config.name).updated(secrets);
                }
                if matches!(cluster.config.discovery, Discovery::Eds { .. }) {
                    cluster.upkeep.update_attempt.inc();
                }
                if let Some(assignment) = assignment {
                    cluster.update_endpoints(&assignment);
                }
                let waited = Arc::clone(&cluster);
                let waiting = self.warming.spawn(async move {
                    waited.warmed().await;
                    token
                });
                self.running.insert(token, Running { cluster, waiting: Some(waiting) });
            }
            Effect::DropCluster(token) => {
                if let Some(waiting) = self.running.remove(&token).and_then(|running| running.waiting) {
                    waiting.abort();
                }
            }
            Effect::Endpoints { tokens, endpoints } => {
                for running in tokens.iter().filter_map(|token| self.running.get(token)) {
                    running.cluster.upkeep.update_attempt.inc();
                    running.cluster.upkeep.update_success.inc();
                    running.cluster.update_endpoints(&endpoints);
                }
                self.registry.server().cluster_updated.inc();
                self.keeper.note_change(Instant::now());
            }
            Effect::ActivateCluster(token) => self.activate(vec![token]),
            Effect::RemoveCluster(name) => {
                self.clusters.remove(&name);
                self.running.retain(|_, running| !running.cluster.is_removed());
                self.keeper.note_change(Instant::now());
            }
            Effect::Secrets(wanted) => {
                let ads = wanted.iter().filter(|name| name.source == SecretSource::Ads);
                let ads: BTreeSet<String> = ads.map(|name| name.name.clone()).collect();
                let fresh = ads.iter().filter(|name| !self.ads_secrets.contains(*name));
                fresh.for_each(|name| SecretStats::new(&self.registry, name).asked());
                self.ads_secrets.clone_from(&ads);
                self.session.want_secrets(ads);
                self.fetches.want(&wanted);
                self.clusters.secrets().retain(&wanted);
                self.secret_digests.retain(|name, _| wanted.contains(name));
            }
            Effect::Listen => {
                self.session.listen();
                self.registry.server().lds_update_attempt.inc();
            }
            Effect::Publish(snapshot) => {
                self.count_listeners(&snapshot);
                // Nobody listening yet is no reason not to publish.
                self.snapshot.send_replace(snapshot);
                self.keeper.note_change(Instant::now());
            }
            Effect::Answer { nonce, refused } => {
                for refused in &refused {
                    tracing::warn!(
                        resource = refused.resource,
                        reason = refused.reason,
                        "configuration rejected"
                    );
                }
                self.refusals += refused.len();
                self.session.handle_applied(&nonce, refused);
            }
            Effect::Live => {
                let spent = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.registry.server().initialization_time_ms.record(spent);
                tracing::info!("all configuration has come; serving");
            }
        }
    }

    fn count_listeners(&mut self, snapshot: &ConfigSnapshot) {
        let mut fresh = Vec::new();
        let stats = self.registry.server();
        let before = self.snapshot.borrow();
        let find = |snapshot: &ConfigSnapshot, name: &str| {
            let found = snapshot.listeners.iter().find(|listener| listener.config.name == name);
            found.map(|listener| Arc::clone(&listener.config))
        };
        for listener in &snapshot.listeners {
            match find(&before, &listener.config.name) {
                None => stats.listener_added.inc(),
                Some(known) if !Arc::ptr_eq(&known, &listener.config) => stats.listener_modified.inc(),
                Some(_) => continue,
            }
            fresh.push(Arc::clone(&listener.config));
        }
        let gone = before.listeners.iter().filter(|listener| find(snapshot, &listener.config.name).is_none());
        stats.listener_removed.add(gone.count() as u64);
        stats.total_listeners_active.set(snapshot.listeners.len() as u64);
        drop(before);
        for listener in fresh {
            let secrets = self.state().secrets_of_listener(&listener);
            if secrets > 0 {
                let stats = SocketFactoryStats::of_listener(&self.registry, listener.address);
                stats.updated(secrets);
                self.counted.insert(listener.address, stats);
            }
        }
        self.counted.retain(|address, _| snapshot.listeners.iter().any(|it| it.config.address == *address));
    }

    /// Applies an update and counts it: rejected if any resource in it was, by decoding or by the state.
    fn apply(&mut self, update: Update) {
        for refused in &update.refused {
            tracing::warn!(resource = refused.resource, reason = refused.reason, "configuration rejected");
        }
        let (kind, undecodable) = (update.kind, update.refused.len());
        let (before, began) = (self.refusals, Instant::now());
        let unusable = self.unusable(&update);
        self.state().handle_update_except(update, unusable, Instant::now());
        self.carry_out();
        let rejected = undecodable > 0 || self.refusals > before;
        let stats = self.registry.server();
        let spent = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        match kind {
            ResourceKind::Cluster if !rejected => {
                stats.cds_config_reload.inc();
                stats.cds_config_reload_time_ms.set(at);
                stats.cds_update_time.set(at);
                stats.cds_update_duration.record(spent);
            }
            ResourceKind::Listener if !rejected => {
                stats.lds_update_time.set(at);
                stats.lds_update_duration.record(spent);
            }
            _ => {}
        }
        match kind {
            ResourceKind::Cluster => {
                stats.cds_update_attempt.inc();
                if rejected { stats.cds_update_rejected.inc() } else { stats.cds_update_success.inc() }
            }
            ResourceKind::Listener => {
                stats.lds_update_attempt.inc();
                if rejected { stats.lds_update_rejected.inc() } else { stats.lds_update_success.inc() }
            }
            ResourceKind::Endpoints | ResourceKind::Routes => {}
        }
    }

    /// Puts secrets in force; those that cannot be used, here or by decoding.
    fn apply_secrets(&mut self, source: &SecretSource, update: &SecretUpdate) -> Vec<Refused> {
        let now = Instant::now();
        let mut refused = update.refused.clone();
        for name in refused.iter().map(|refused| &refused.resource) {
            SecretStats::new(&self.registry, name).came(false);
        }
        for received in &update.changed {
            let name = SecretRef { name: received.secret.name.clone(), source: source.clone() };
            // What nobody asked for, or not any more.
            if !self.state().wants_secret(&name) {
                continue;
            }
            let stats = SecretStats::new(&self.registry, &name.name);
            if self.secret_digests.get(&name) != Some(&received.digest) {
                let outcome = self.put_in_force(&name, &received.secret.content);
                stats.came(outcome.is_ok());
                if let Err(reason) = outcome {
                    refused.push(Refused { resource: name.name, reason });
                    continue;
                }
                self.count_users(&name);
            } else {
                stats.came(true);
            }
            self.secret_digests.insert(name.clone(), received.digest);
            self.state().handle_secret(&name, &received.version, now);
        }
        for refused in &refused {
            tracing::warn!(secret = refused.resource, reason = refused.reason, "secret rejected");
            self.state().handle_secret_failed(&refused.resource, &refused.reason, now);
        }
        for name in &update.removed {
            let name = SecretRef { name: name.clone(), source: source.clone() };
            tracing::warn!(secret = name.name, "the secret discovery service knows no such secret");
            self.state().handle_secret_absent(&name, now);
        }
        refused
    }

    fn count_users(&self, name: &SecretRef) {
        let (listeners, clusters) = self.state().users_of(name);
        let listeners =
            listeners.into_iter().map(|address| SocketFactoryStats::of_listener(&self.registry, address));
        let clusters = clusters.iter().map(|name| SocketFactoryStats::of_cluster(&self.registry, name));
        listeners.chain(clusters).for_each(|stats| stats.updated(1));
    }

    fn put_in_force(&self, name: &SecretRef, content: &Content) -> Result<(), String> {
        let secret = match content {
            Content::Certificate { chain, key } => {
                let material = Material::read(chain, key).map_err(|invalid| describe(&invalid))?;
                Secret::Certificate(Box::new(material))
            }
            Content::Files { chain, key } => Secret::Files { chain: chain.clone(), key: key.clone() },
            Content::Validation(validation) => Secret::Validation(validation.clone()),
        };
        self.clusters.secrets().set(name, secret).map_err(|invalid| describe(&invalid))
    }

    /// What asks for certificates that cannot be read.
    fn unusable(&self, update: &Update) -> Vec<Refused> {
        let secrets = self.clusters.secrets();
        let there = |resource: &Resource| {
            let named: Vec<&SecretRef> = match resource {
                Resource::Cluster(cluster) => cluster_secrets(cluster).collect(),
                Resource::Listener(listener) => listener_secrets(listener).collect(),
                Resource::Endpoints(_) | Resource::Routes(_) => Vec::new(),
            };
            named.iter().try_for_each(|secret| match &secret.source {
                SecretSource::File(file) => secret_file::check(file),
                _ => Ok(()),
            })
        };
        let check = |resource: &Resource| match resource {
            Resource::Cluster(cluster) => match &cluster.transport {
                UpstreamTransport::Tls(tls) => secrets.check_client(tls),
                UpstreamTransport::Plain => Ok(()),
            },
            Resource::Listener(listener) => {
                let chains = listener.chains.iter().chain(&listener.default_chain);
                chains.into_iter().try_for_each(|chain| match &chain.transport {
                    Transport::Tls(tls) => secrets.check_server(tls),
                    Transport::Plain => Ok(()),
                })
            }
            Resource::Endpoints(_) | Resource::Routes(_) => Ok(()),
        };
        let failed = |received: &Received| {
            let checked = check(&received.resource).map_err(|error| describe(&error));
            let reason = checked.and_then(|()| there(&received.resource)).err()?;
            Some(Refused { resource: received.resource.name().to_owned(), reason })
        };
        update.changed.iter().filter_map(failed).collect()
    }

    fn state(&self) -> MutexGuard<'_, ProxyState> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<ProxyState>) -> MutexGuard<'_, ProxyState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes, on one line; causes that are told already are not told again.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
