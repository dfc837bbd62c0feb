//! The route tables that listeners ask for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use selvedge_traffic::RouteTable;

use super::HOLD_MAX;
use super::failure::Failures;
use super::references::table_clusters;

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) table: Arc<RouteTable>,
    pub(super) version: String,
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) current: Option<Version>,
    /// Waits for clusters.
    pub(super) pending: Option<Version>,
}

#[derive(Debug, Default)]
pub(super) struct RouteTables {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) failures: Failures,
}

impl RouteTables {
    pub(super) fn accept(&mut self, table: Arc<RouteTable>, version: &str, now: Instant) {
        self.failures.clear(&table.name);
        let entry = self.entries.entry(table.name.clone()).or_default();
        if let Some(current) = entry.current.as_mut().filter(|current| current.table == table) {
            version.clone_into(&mut current.version);
            entry.pending = None;
            return;
        }
        entry.pending = Some(Version { table, version: version.to_owned(), since: now });
    }

    /// Puts in force what has all its clusters, or has waited long enough.
    pub(super) fn promote(&mut self, is_usable: impl Fn(&str) -> bool, now: Instant) {
        for entry in self.entries.values_mut() {
            let ready = entry.pending.as_ref().is_some_and(|pending| {
                pending.since + HOLD_MAX <= now || table_clusters(&pending.table).into_iter().all(&is_usable)
            });
            if ready {
                entry.current = entry.pending.take();
            }
        }
    }

    pub(super) fn current(&self, name: &str) -> Option<&Arc<RouteTable>> {
        Some(&self.entries.get(name)?.current.as_ref()?.table)
    }

    /// A table that no listener asks for is dropped.
    pub(super) fn retain(&mut self, is_used: impl Fn(&str) -> bool) {
        self.entries.retain(|name, _| is_used(name));
    }

    pub(super) fn next_release(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter_map(|entry| entry.pending.as_ref())
            .map(|pending| pending.since + HOLD_MAX)
            .min()
    }
}
