//! Wake-up hints for readers of the change feed.

use crate::Revision;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Called with a revision that has become durable.
pub type Wake = Box<dyn Fn(Revision) + Send + Sync>;

/// Keeps a [`Wake`] registered; dropping it ends the calls.
#[must_use = "dropping the subscription ends it"]
pub struct Subscription {
    id: u64,
    registry: Weak<Mutex<Registry>>,
}

/// Every subscription of one store.
#[derive(Clone, Default)]
pub(crate) struct Subscribers {
    registry: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    next_id: u64,
    // Ordered by age, so that a simulation wakes its readers in the same order each time.
    wakes: BTreeMap<u64, Arc<dyn Fn(Revision) + Send + Sync>>,
}

// === impl Subscription ===

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            lock(&registry).wakes.remove(&self.id);
        }
    }
}

// === impl Subscribers ===

impl Subscribers {
    pub(crate) fn add(&self, wake: Wake) -> Subscription {
        let mut registry = lock(&self.registry);
        let id = registry.next_id;
        registry.next_id += 1;
        registry.wakes.insert(id, Arc::from(wake));
        Subscription { id, registry: Arc::downgrade(&self.registry) }
    }

    /// Calls every subscriber, outside the registry's lock: one may drop its own subscription.
    pub(crate) fn wake(&self, revision: Revision) {
        let wakes: Vec<_> = lock(&self.registry).wakes.values().cloned().collect();
        for wake in wakes {
            wake(revision);
        }
    }
}

// The map stays valid whatever thread panicked, so poison tells nothing.
fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}
