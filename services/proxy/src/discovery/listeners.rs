//! The listeners that discovery names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use selvedge_traffic::Listener;
use selvedge_traffic::tls::SecretRef;

use super::failure::Failures;
use super::references::{listener_clusters, listener_secrets, route_tables};
use super::routes::RouteTables;
use super::validate::Invalid;
use super::{HOLD_MAX, validate};
use crate::ActiveListener;

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) config: Arc<Listener>,
    pub(super) version: String,
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) active: Option<Version>,
    /// Waits for routes and clusters.
    pub(super) pending: Option<Version>,
}

#[derive(Debug, Default)]
pub(super) struct ListenerTable {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) failures: Failures,
}

impl ListenerTable {
    pub(super) fn accept(&mut self, listener: Listener, version: &str, now: Instant) -> Result<(), Invalid> {
        validate::listener(&listener)?;
        self.check_address(&listener)?;
        self.failures.clear(&listener.name);
        let entry = self.entries.entry(listener.name.clone()).or_default();
        if let Some(active) = entry.active.as_mut().filter(|active| *active.config == listener) {
            version.clone_into(&mut active.version);
            entry.pending = None;
            return Ok(());
        }
        entry.pending = Some(Version { config: Arc::new(listener), version: version.to_owned(), since: now });
        Ok(())
    }

    pub(super) fn withdraw(&mut self, name: &str) {
        self.failures.clear(name);
        self.entries.remove(name);
    }

    /// Puts in force what has all its routes and clusters. Routes that have not come hold a listener for ever or, if
    /// there is one, for `fetch_limit`; clusters and secrets for [`HOLD_MAX`].
    pub(super) fn promote(
        &mut self,
        routes: &RouteTables,
        is_usable: impl Fn(&str) -> bool,
        has_secret: impl Fn(&SecretRef) -> bool,
        fetch_limit: Option<std::time::Duration>,
        now: Instant,
    ) {
        for entry in self.entries.values_mut() {
            let ready = entry.pending.as_ref().is_some_and(|pending| {
                let given_up = fetch_limit.is_some_and(|limit| pending.since + limit <= now);
                let routed = given_up
                    || route_tables(&pending.config).into_iter().all(|name| routes.current(name).is_some());
                let served = pending.since + HOLD_MAX <= now
                    || listener_clusters(&pending.config).into_iter().all(&is_usable)
                        && listener_secrets(&pending.config).all(&has_secret);
                routed && served
            });
            if ready {
                entry.active = entry.pending.take();
            }
        }
    }

    /// What is to be served; a listener that `before` had with the same parts keeps its `Arc`.
    pub(super) fn active(
        &self,
        routes: &RouteTables,
        before: &[Arc<ActiveListener>],
    ) -> Vec<Arc<ActiveListener>> {
        let actives = self.entries.values().filter_map(|entry| entry.active.as_ref());
        actives.map(|active| assemble(&active.config, routes, before)).collect()
    }

    /// Every listener that was accepted has become active.
    pub(super) fn is_warm(&self) -> bool {
        self.entries.values().all(|entry| entry.active.is_some())
    }

    /// Whether any version of any listener asks for a table.
    pub(super) fn wants_table(&self, name: &str) -> bool {
        let mut versions = self.entries.values().flat_map(|entry| entry.active.iter().chain(&entry.pending));
        versions.any(|version| route_tables(&version.config).contains(name))
    }

    /// All definitions that serve or are to.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &Listener> {
        let versions = self.entries.values().flat_map(|entry| entry.active.iter().chain(&entry.pending));
        versions.map(|version| &*version.config)
    }

    pub(super) fn next_release(
        &self,
        fetch_limit: Option<std::time::Duration>,
        now: Instant,
    ) -> Option<Instant> {
        let pending = self.entries.values().filter_map(|entry| entry.pending.as_ref());
        pending
            .flat_map(|pending| {
                [Some(pending.since + HOLD_MAX), fetch_limit.map(|limit| pending.since + limit)]
            })
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// Two listeners cannot have one address; the one that is there stays.
    fn check_address(&self, listener: &Listener) -> Result<(), Invalid> {
        let address = listener.address;
        let taken = self.entries.iter().find(|(name, entry)| {
            let newest = entry.pending.as_ref().or(entry.active.as_ref());
            **name != listener.name && newest.is_some_and(|newest| newest.config.address == address)
        });
        match taken {
            Some((name, _)) => Err(Invalid::AddressTaken { address, listener: name.clone() }),
            None => Ok(()),
        }
    }
}

fn assemble(
    config: &Arc<Listener>,
    routes: &RouteTables,
    before: &[Arc<ActiveListener>],
) -> Arc<ActiveListener> {
    let tables: BTreeMap<_, _> = route_tables(config)
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), Arc::clone(routes.current(name)?))))
        .collect();
    let same = before.iter().find(|listener| {
        Arc::ptr_eq(&listener.config, config)
            && listener.routes.len() == tables.len()
            && listener
                .routes
                .iter()
                .all(|(name, table)| tables.get(name).is_some_and(|it| Arc::ptr_eq(it, table)))
    });
    match same {
        Some(same) => Arc::clone(same),
        None => Arc::new(ActiveListener { config: Arc::clone(config), routes: tables }),
    }
}
