//! The clusters that discovery names: which is warming, which serves, which is on its way out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use selvedge_traffic::{Cluster, Discovery, LoadAssignment};

use super::HOLD_MAX;
use super::failure::Failures;
use super::state::Effect;

/// Names one definition of a cluster between [`ProxyState`](super::ProxyState) and whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterToken(pub u64);

/// One definition of a cluster.
#[derive(Clone, Debug)]
pub struct Instance {
    pub token: ClusterToken,
    pub config: Arc<Cluster>,
    pub version: String,
    pub since: Instant,
    /// Its hosts are being found and probed; until then it waits for its secrets.
    started: bool,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) active: Option<Instance>,
    pub(super) warming: Option<Instance>,
    /// Discovery took it away; it stays while routes lead to it, but no longer than [`HOLD_MAX`].
    withdrawn_at: Option<Instant>,
}

/// Endpoints of an EDS cluster, as they last came.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) endpoints: Arc<LoadAssignment>,
    pub(super) version: String,
}

#[derive(Debug, Default)]
pub(super) struct ClusterTable {
    pub(super) entries: BTreeMap<String, Entry>,
    /// By EDS name; kept for as long as a cluster asks for it.
    pub(super) assignments: BTreeMap<String, Assignment>,
    pub(super) failures: Failures,
    tokens: u64,
}

impl ClusterTable {
    /// Takes a new definition; nothing happens if it is the one that is known.
    pub(super) fn accept(&mut self, config: Cluster, version: &str, now: Instant, effects: &mut Vec<Effect>) {
        let entry = self.entries.entry(config.name.clone()).or_default();
        entry.withdrawn_at = None;
        self.failures.clear(&config.name);
        let newest = entry.warming.as_mut().or(entry.active.as_mut());
        if let Some(newest) = newest.filter(|newest| *newest.config == config) {
            version.clone_into(&mut newest.version);
            return;
        }
        if let Some(superseded) = entry.warming.take().filter(|superseded| superseded.started) {
            effects.push(Effect::DropCluster(superseded.token));
        }
        // The old definition was taken back before the new one was warm.
        if let Some(active) = entry.active.as_mut().filter(|active| *active.config == config) {
            version.clone_into(&mut active.version);
            return;
        }
        self.tokens += 1;
        let (token, config) = (ClusterToken(self.tokens), Arc::new(config));
        let version = version.to_owned();
        entry.warming = Some(Instance { token, config, version, since: now, started: false });
    }

    /// Begins to find the hosts of what has all its secrets, or has waited long enough for them.
    pub(super) fn start(
        &mut self,
        has_secrets: impl Fn(&Cluster) -> bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Self { entries, assignments, .. } = self;
        let waiting = entries.values_mut().filter_map(|entry| entry.warming.as_mut());
        for instance in waiting.filter(|instance| !instance.started) {
            if instance.since + HOLD_MAX > now && !has_secrets(&instance.config) {
                continue;
            }
            instance.started = true;
            let assignment = eds_name(&instance.config).and_then(|name| assignments.get(name));
            let assignment = assignment.map(|assignment| Arc::clone(&assignment.endpoints));
            let (token, config) = (instance.token, Arc::clone(&instance.config));
            effects.push(Effect::StartCluster { token, config, assignment });
        }
    }

    /// When a cluster has waited long enough for its secrets.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let warming = self.entries.values().filter_map(|entry| entry.warming.as_ref());
        warming.filter(|instance| !instance.started).map(|instance| instance.since + HOLD_MAX).min()
    }

    /// The definitions whose hosts are known, or are being found.
    pub(super) fn started(&self) -> impl Iterator<Item = &Cluster> {
        let instances = self.entries.values().flat_map(|entry| entry.active.iter().chain(&entry.warming));
        instances.filter(|instance| instance.started).map(|instance| &*instance.config)
    }

    /// All definitions that serve or are to.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &Cluster> {
        let instances = self.entries.values().flat_map(|entry| entry.active.iter().chain(&entry.warming));
        instances.map(|instance| &*instance.config)
    }

    /// Discovery has no such cluster any more.
    pub(super) fn withdraw(&mut self, name: &str, now: Instant, effects: &mut Vec<Effect>) {
        self.failures.clear(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        if let Some(warming) = entry.warming.take().filter(|warming| warming.started) {
            effects.push(Effect::DropCluster(warming.token));
        }
        if entry.active.is_some() {
            entry.withdrawn_at = Some(now);
        } else {
            self.entries.remove(name);
        }
        self.forget_assignments();
    }

    /// Endpoints came, or the word that there are none.
    pub(super) fn assign(
        &mut self,
        name: &str,
        endpoints: LoadAssignment,
        version: &str,
        effects: &mut Vec<Effect>,
    ) {
        let tokens = self.tokens_of(name);
        if tokens.is_empty() {
            return;
        }
        let endpoints = Arc::new(endpoints);
        let version = version.to_owned();
        self.assignments.insert(name.to_owned(), Assignment { endpoints: Arc::clone(&endpoints), version });
        effects.push(Effect::Endpoints { tokens, endpoints });
    }

    /// Definitions are ready to serve.
    pub(super) fn warmed(&mut self, tokens: &[ClusterToken], now: Instant, effects: &mut Vec<Effect>) {
        let tokens: BTreeSet<_> = tokens.iter().collect();
        for entry in self.entries.values_mut() {
            let is_warm = |instance: &mut Instance| tokens.contains(&instance.token);
            let Some(instance) = entry.warming.take_if(is_warm) else { continue };
            effects.push(Effect::ActivateCluster(instance.token));
            entry.active = Some(Instance { since: now, ..instance });
        }
    }

    /// Discovery has taken something away that still serves.
    pub(super) fn has_withdrawn(&self) -> bool {
        self.entries.values().any(|entry| entry.withdrawn_at.is_some())
    }

    /// EDS clusters that have waited longer than `limit` go on without endpoints.
    pub(super) fn expire(&mut self, limit: std::time::Duration, now: Instant, effects: &mut Vec<Effect>) {
        let overdue: Vec<String> = self
            .waiting_for_endpoints()
            .filter(|(_, since)| *since + limit <= now)
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in overdue {
            self.assign(
                &name,
                LoadAssignment { cluster: name.clone(), ..LoadAssignment::default() },
                "",
                effects,
            );
        }
    }

    /// EDS names without an answer, and since when their clusters wait.
    pub(super) fn waiting_for_endpoints(&self) -> impl Iterator<Item = (&str, Instant)> {
        self.entries
            .values()
            .filter_map(|entry| entry.warming.as_ref())
            .filter_map(|warming| Some((eds_name(&warming.config)?, warming.since)))
            .filter(|(name, _)| !self.assignments.contains_key(*name))
    }

    /// It serves, and is to stay.
    pub(super) fn is_usable(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.active.is_some() && entry.withdrawn_at.is_none())
    }

    pub(super) fn is_warm(&self) -> bool {
        self.entries.values().all(|entry| entry.active.is_some())
    }

    /// Removes withdrawn clusters that nothing leads to any more, or that have lingered long enough.
    pub(super) fn remove_unused(
        &mut self,
        is_used: impl Fn(&str) -> bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.entries.retain(|name, entry| {
            let goes = entry.withdrawn_at.is_some_and(|since| !is_used(name) || since + HOLD_MAX <= now);
            if goes {
                effects.push(Effect::RemoveCluster(name.clone()));
            }
            !goes
        });
        self.forget_assignments();
    }

    /// When a withdrawn cluster has lingered long enough.
    pub(super) fn next_removal(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.withdrawn_at).map(|since| since + HOLD_MAX).min()
    }

    fn tokens_of(&self, eds: &str) -> Vec<ClusterToken> {
        self.entries
            .values()
            .flat_map(|entry| entry.active.iter().chain(&entry.warming))
            .filter(|instance| eds_name(&instance.config) == Some(eds))
            .map(|instance| instance.token)
            .collect()
    }

    fn forget_assignments(&mut self) {
        let entries = &self.entries;
        self.assignments.retain(|name, _| {
            let mut instances = entries.values().flat_map(|entry| entry.active.iter().chain(&entry.warming));
            instances.any(|instance| eds_name(&instance.config) == Some(name))
        });
    }
}

/// The name under which a cluster's endpoints are asked for.
pub(super) fn eds_name(cluster: &Cluster) -> Option<&str> {
    match &cluster.discovery {
        Discovery::Eds { service_name } if service_name.is_empty() => Some(&cluster.name),
        Discovery::Eds { service_name } => Some(service_name),
        _ => None,
    }
}
