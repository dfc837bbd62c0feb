//! What the server knows itself, kept as the store has it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use selvedge_dns::Names;
use selvedge_model::Kind;
use selvedge_registry::Snapshot;
use selvedge_registry::attribute::is_domain;
use selvedge_store::{Error, Operation, PAGE_MAX, Revision, Store};
use tokio::sync::{Notify, watch};

use super::Shared;
use crate::operations::document;
use crate::registry::Mirror;

/// How often the store is asked though it said nothing: its hints may be lost.
const POLL: Duration = Duration::from_secs(2);

/// The registry, and the names of virtual services.
pub(super) struct Directory {
    mirror: Arc<Mirror>,
    // A lock for the time of one lookup or one change.
    names: RwLock<Names>,
}

impl Directory {
    pub(super) fn new(
        mirror: Arc<Mirror>,
        (network, bits): (Ipv4Addr, u8),
        block_v6: Option<(Ipv6Addr, u8)>,
    ) -> Self {
        Self { mirror, names: RwLock::new(Names::new(network, bits).with_v6(block_v6)) }
    }

    /// Looks at both as they were last read.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Snapshot, &Names) -> T) -> T {
        let state = self.mirror.last_read();
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        look(&state.snapshot, &names)
    }

    /// Reads what is new in the store; where the names stand then.
    fn catch_up(&self, store: &dyn Store, position: Option<Revision>) -> Result<Revision, Error> {
        drop(self.mirror.read()?);
        let Some(position) = position else { return self.load(store) };
        match self.follow(store, position) {
            Err(Error::Compacted { .. } | Error::Ahead { .. }) => self.load(store),
            other => other,
        }
    }

    fn load(&self, store: &dyn Store) -> Result<Revision, Error> {
        let view = store.snapshot()?;
        let stored = view.scan_all(&document::prefix_of_kind(Kind::VirtualService))?;
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.clear();
        stored.iter().filter_map(|document| name(&document.key)).for_each(|name| names.add(&name));
        Ok(view.revision())
    }

    fn follow(&self, store: &dyn Store, position: Revision) -> Result<Revision, Error> {
        let mut after = position;
        loop {
            let page = store.changes(after, PAGE_MAX)?;
            let Some(last) = page.last() else { return Ok(after) };
            after = last.revision;
            let concerned = page.iter().any(|change| name(&change.key).is_some());
            let is_update_only = page.iter().all(|change| {
                name(&change.key).is_none_or(|name| {
                    let known = self.names.read().unwrap_or_else(PoisonError::into_inner).address(&name);
                    known.is_some() && change.operation == Operation::Put
                })
            });
            if concerned && !is_update_only {
                // Which mesh had a name before is not in the feed, and names change seldom: all of them are read.
                return self.load(store);
            }
        }
    }
}

/// The name of the virtual service that a key of the store stands for, in lower case, if the DNS can have it.
fn name(key: &str) -> Option<String> {
    let key = document::parse_key(key).filter(|key| key.kind == Kind::VirtualService)?;
    let name = key.name.rsplit_once(':').map_or(key.name.as_str(), |(name, _)| name);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    is_domain(&name).then_some(name)
}

/// Follows the store until `drain` turns true.
pub(super) async fn follow(shared: Arc<Shared>, store: Arc<dyn Store>, mut drain: watch::Receiver<bool>) {
    let woken = Arc::new(Notify::new());
    let subscription = store.subscribe({
        let woken = Arc::clone(&woken);
        Box::new(move |_| woken.notify_one())
    });
    let mut position = None;
    loop {
        let (ours, source) = (Arc::clone(&shared), Arc::clone(&store));
        let read = tokio::task::spawn_blocking(move || ours.directory.catch_up(&*source, position)).await;
        match read {
            Ok(Ok(revision)) => position = Some(revision),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store could not be read; what is known is answered")
            }
            Err(error) => tracing::error!(%error, "reading the store failed"),
        }
        tokio::select! {
            () = woken.notified() => {}
            () = tokio::time::sleep(POLL) => {}
            _ = drain.wait_for(|drain| *drain) => break,
        }
    }
    drop(subscription);
}
