//! Our own proxy: [`ProxyState`] decides, and what it wants done to clusters, listeners and disk is done here.

use super::Wish;
use crate::chance::Chance;
use crate::config::Config;
use crate::moment::{Clock, Moment};
use selvedge_proxy::ConfigSnapshot;
use selvedge_proxy::discovery::{ClusterToken, Effect, Kept, ProxyState};
use selvedge_traffic::{Cluster, Discovery, LoadAssignment, Resource};
use selvedge_xds::client::Update;
use selvedge_xds::{Encoded, decode, encode_ref};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long it takes to resolve and probe the hosts of a cluster.
const WARMING: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(200));
/// As the proxy's driver: changes are written together.
const SAVE_DELAY: Duration = Duration::from_secs(1);
/// As Envoy's `initial_fetch_timeout`.
const FETCH_MAX: Duration = Duration::from_secs(15);

pub(super) struct Own {
    clock: Clock,
    chance: Chance,
    state: ProxyState,
    clusters: BTreeMap<ClusterToken, Running>,
    /// Which definition serves under a name.
    active: BTreeMap<String, ClusterToken>,
    snapshot: Arc<ConfigSnapshot>,
    config: Config,
    /// The control plane or the disk has said something, ever.
    is_informed: bool,
    save_at: Option<Moment>,
    wishes: VecDeque<Wish>,
}

struct Running {
    definition: Arc<Cluster>,
    endpoints: Option<Arc<LoadAssignment>>,
    /// `None` once it is warm, or while it waits for endpoints.
    warm_at: Option<Moment>,
}

impl Own {
    pub(super) fn new(clock: Clock, chance: Chance) -> Self {
        Self {
            clock,
            chance,
            state: ProxyState::new(Some(FETCH_MAX)),
            clusters: BTreeMap::new(),
            active: BTreeMap::new(),
            snapshot: Arc::default(),
            config: Config::default(),
            is_informed: false,
            save_at: None,
            wishes: VecDeque::new(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The control plane has spoken.
    pub(super) fn informed(&mut self) {
        self.is_informed = true;
    }

    /// Starts from `accepted`, unless it knows better already. True if it did.
    pub(super) fn restore(&mut self, now: Moment, accepted: &[Encoded]) -> bool {
        if self.is_informed {
            return false;
        }
        self.is_informed = true;
        let decoded = accepted.iter().filter_map(|encoded| {
            let resource = decode(encoded.kind, &encoded.value).ok()?;
            Some((resource, encoded.version.to_string()))
        });
        self.state.handle_restored(decoded.collect(), self.clock.instant(now));
        self.carry_out(now);
        true
    }

    pub(super) fn update(&mut self, now: Moment, update: Update) {
        self.state.handle_update(update, self.clock.instant(now));
        self.carry_out(now);
    }

    pub(super) fn next_timeout(&self, now: Moment) -> Option<Moment> {
        let state = self.state.next_timeout(self.clock.instant(now)).map(|at| self.clock.moment(at));
        let warm = self.clusters.values().filter_map(|it| it.warm_at).min();
        [state, warm, self.save_at].into_iter().flatten().min()
    }

    pub(super) fn wake(&mut self, now: Moment) {
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        let warm: Vec<_> =
            self.clusters.iter().filter(|(_, it)| is_due(it.warm_at)).map(|(&token, _)| token).collect();
        for token in warm {
            if let Some(running) = self.clusters.get_mut(&token) {
                running.warm_at = None;
                self.state.handle_warmed(&[token], self.clock.instant(now));
            }
            self.carry_out(now);
        }
        let due = self.state.next_timeout(self.clock.instant(now));
        if due.is_some_and(|at| self.clock.moment(at) <= now) {
            self.state.handle_timeout(self.clock.instant(now));
            self.carry_out(now);
        }
    }

    /// What is to be written to disk, if it is time.
    pub(super) fn save(&mut self, now: Moment) -> Option<Vec<Encoded>> {
        self.save_at.take_if(|at| *at <= now)?;
        let keep = |(kept, version): (Kept, String)| {
            let encoded = encode_ref(kept.as_ref());
            Encoded::received(encoded.kind, &encoded.name, &version, encoded.value)
        };
        Some(self.state.kept().into_iter().map(keep).collect())
    }

    pub(super) fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    fn carry_out(&mut self, now: Moment) {
        let mut has_changed = false;
        while let Some(effect) = self.state.poll_effect() {
            has_changed |= self.carry_out_one(now, effect);
        }
        if has_changed {
            self.config = self.in_force();
            self.save_at.get_or_insert(now + SAVE_DELAY);
        }
    }

    /// True if something else is in force afterwards.
    fn carry_out_one(&mut self, now: Moment, effect: Effect) -> bool {
        match effect {
            Effect::StartCluster { token, config, assignment } => {
                let mut running = Running { definition: config, endpoints: assignment, warm_at: None };
                self.begin_warming(now, &mut running);
                self.clusters.insert(token, running);
                return false;
            }
            Effect::DropCluster(token) => drop(self.clusters.remove(&token)),
            Effect::Endpoints { tokens, endpoints } => {
                for token in tokens {
                    let Some(mut running) = self.clusters.remove(&token) else { continue };
                    let is_first = running.endpoints.replace(Arc::clone(&endpoints)).is_none();
                    if is_first {
                        self.begin_warming(now, &mut running);
                    }
                    self.clusters.insert(token, running);
                }
            }
            Effect::ActivateCluster(token) => {
                if let Some(running) = self.clusters.get(&token) {
                    let before = self.active.insert(running.definition.name.clone(), token);
                    before.map(|before| self.clusters.remove(&before));
                }
            }
            Effect::RemoveCluster(name) => {
                let token = self.active.remove(&name);
                token.map(|token| self.clusters.remove(&token));
            }
            Effect::Publish(snapshot) => self.snapshot = snapshot,
            // No mesh here has any.
            Effect::Secrets(_) => return false,
            Effect::Listen => {
                self.wishes.push_back(Wish::Listen);
                return false;
            }
            Effect::Answer { nonce, refused } => {
                self.wishes.push_back(Wish::Answer(nonce, refused));
                return false;
            }
            Effect::Live => {
                self.wishes.push_back(Wish::Tell("is live".to_owned()));
                return false;
            }
        }
        true
    }

    /// A cluster whose hosts are known, or can be found, will be warm in a while.
    fn begin_warming(&mut self, now: Moment, running: &mut Running) {
        let waits =
            matches!(running.definition.discovery, Discovery::Eds { .. }) && running.endpoints.is_none();
        if !waits {
            running.warm_at = Some(now + self.chance.between(WARMING.0, WARMING.1));
        }
    }

    /// What callers meet: the published listeners and routes, the active clusters and their hosts.
    fn in_force(&self) -> Config {
        let mut config = Config::default();
        for listener in &self.snapshot.listeners {
            config.put(Resource::Listener((*listener.config).clone()));
            for table in listener.routes.values() {
                config.put(Resource::Routes((**table).clone()));
            }
        }
        for running in self.active.values().filter_map(|token| self.clusters.get(token)) {
            config.put(Resource::Cluster((*running.definition).clone()));
            if let Some(endpoints) = &running.endpoints {
                config.put(Resource::Endpoints((**endpoints).clone()));
            }
        }
        config
    }
}
