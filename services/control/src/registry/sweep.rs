//! What time does to the registry: instances that have drained go, and so do those whose lease has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_registry::document::Key;
use selvedge_registry::{Instance, Lease};
use selvedge_store::{Error, Store, Transaction, WriteError};
use tokio::sync::watch;

use super::Mirror;
use super::operation;
use super::perform::{get, remove};
use crate::api::Surroundings;

/// Instances that one transaction takes away; more follow at once.
const BATCH_MAX: usize = 500;

/// How often [`run`] looks.
const EVERY: Duration = Duration::from_millis(500);

/// Sweeps until `drain` turns true.
pub async fn run(
    store: Arc<dyn Store>,
    mirror: Arc<Mirror>,
    surroundings: Arc<dyn Surroundings>,
    mut drain: watch::Receiver<bool>,
) {
    let mut watch = Watch::new(surroundings.now().0, Instant::now());
    loop {
        let (store, mirror) = (Arc::clone(&store), Arc::clone(&mirror));
        let now = surroundings.now().0;
        let up_since = watch.up_since(now, Instant::now());
        let swept = tokio::task::spawn_blocking(move || sweep(&*store, &mirror, now, up_since)).await;
        match swept {
            Ok(Ok(BATCH_MAX)) => continue,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the registry could not be swept; tried again soon"),
            Err(error) => tracing::error!(%error, "sweeping the registry failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = drain.wait_for(|drain| *drain) => return,
        }
    }
}

/// Notices a clock that was set: nobody is held to account for time that did not pass.
struct Watch {
    up_since: u64,
    seen: (u64, Instant),
}

impl Watch {
    /// The most that the clock of the day may be ahead of the time that has passed.
    const AHEAD_MAX: u64 = 1_000;

    fn new(now: u64, at: Instant) -> Self {
        Self { up_since: now, seen: (now, at) }
    }

    /// From when on leases count. A clock that was set forward, or a machine that slept, is as a registry that was away.
    fn up_since(&mut self, now: u64, at: Instant) -> u64 {
        let (before, then) = std::mem::replace(&mut self.seen, (now, at));
        let passed = u64::try_from(at.saturating_duration_since(then).as_millis()).unwrap_or(u64::MAX);
        if now > before.saturating_add(passed).saturating_add(Self::AHEAD_MAX) {
            self.up_since = now;
        }
        self.up_since
    }
}

/// Takes away what is due, in one transaction. `up_since`: when this process began to serve, which no lease is held to account
/// for; both are milliseconds since the epoch.
///
/// # Errors
/// The store's. What was not done is due the next time.
pub fn sweep(store: &dyn Store, mirror: &Mirror, now: u64, up_since: u64) -> Result<usize, Error> {
    let due: Vec<(String, String)> = {
        let state = mirror.read()?;
        let ended = state.snapshot.leases().filter(|(.., lease)| lease.ends_at(up_since) <= now);
        let ended = ended.map(|(service, id, _)| (service, id));
        let due = state.snapshot.drained(now).chain(ended).take(BATCH_MAX);
        due.map(|(service, id)| (service.to_owned(), id.to_owned())).collect()
    };
    if due.is_empty() {
        return Ok(0);
    }
    let swept: Result<_, WriteError<()>> = store.write(|tx| {
        let mut gone = 0;
        for (service, id) in &due {
            gone += usize::from(take_away(tx, service, id, now, up_since)?);
        }
        Ok(gone)
    });
    match swept {
        Ok((gone, _)) => Ok(gone),
        Err(WriteError::Store(error)) => Err(error),
        Err(WriteError::Refused(())) => Ok(0),
    }
}

/// Takes an instance away if it is still due: it may have been registered anew, or its lease renewed.
fn take_away(
    tx: &mut dyn Transaction,
    service: &str,
    id: &str,
    now: u64,
    up_since: u64,
) -> Result<bool, Error> {
    let (instance_key, lease_key) = (Key::instance(service, id), Key::lease(service, id));
    let instance: Option<Instance> = get(&*tx, &instance_key)?;
    let lease: Option<Lease> = get(&*tx, &lease_key)?;
    let Some(instance) = instance else { return remove(tx, &lease_key) };
    let has_drained = instance.drained_at.is_some_and(|at| at <= now);
    let has_ended = lease.is_some_and(|lease| lease.ends_at(up_since) <= now);
    if !has_drained && !has_ended {
        return Ok(false);
    }
    remove(tx, &instance_key)?;
    remove(tx, &lease_key)?;
    if has_ended && !has_drained {
        tracing::info!(service, instance = id, "the lease has ended; the instance is taken away");
    }
    operation::finish(tx, &instance.operation, now)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_ends_no_lease() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut watch = Watch::new(1_000_000, start);
        assert_eq!(watch.up_since(1_001_000, start + second), 1_000_000);
        assert_eq!(watch.up_since(1_002_500, start + 2 * second), 1_000_000, "clocks differ a little");
        let hour_later = 1_003_500 + 3_600_000;
        assert_eq!(watch.up_since(hour_later, start + 3 * second), hour_later);
        assert_eq!(watch.up_since(hour_later + 1_000, start + 4 * second), hour_later);
        assert_eq!(watch.up_since(500, start + 5 * second), hour_later, "set back");
    }
}
