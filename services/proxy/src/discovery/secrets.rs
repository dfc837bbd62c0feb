//! The secrets that clusters and listeners ask for: which have been answered, and which are still waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use selvedge_traffic::tls::SecretRef;

use super::failure::Failures;

/// No proxy asks for more secrets: each of another service than the control plane has a stream of its own.
pub const SECRETS_MAX: usize = 256;

/// What is known of a secret; nothing of what is in it.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    /// Empty of one that does not exist.
    pub(super) version: String,
    pub(super) since: Instant,
    pub(super) exists: bool,
}

#[derive(Debug, Default)]
pub(super) struct SecretTable {
    pub(super) wanted: BTreeSet<SecretRef>,
    pub(super) answered: BTreeMap<SecretRef, Answered>,
    pub(super) failures: Failures,
}

impl SecretTable {
    /// A secret is in force, under a version.
    pub(super) fn arrived(&mut self, name: &SecretRef, version: &str, now: Instant) {
        if self.wanted.contains(name) {
            self.failures.clear(&name.name);
            let answered = Answered { version: version.to_owned(), since: now, exists: true };
            self.answered.insert(name.clone(), answered);
        }
    }

    /// Whoever was asked does not know it: nobody need wait for it. One that was in force stays, as with Envoy.
    pub(super) fn absent(&mut self, name: &SecretRef, now: Instant) {
        if self.wanted.contains(name) {
            let answered = Answered { version: String::new(), since: now, exists: false };
            self.answered.entry(name.clone()).or_insert(answered);
        }
    }

    /// Whether nothing need be waited for.
    pub(super) fn is_answered(&self, name: &SecretRef) -> bool {
        self.answered.contains_key(name)
    }

    pub(super) fn is_in_force(&self, name: &SecretRef) -> bool {
        self.answered.get(name).is_some_and(|answered| answered.exists)
    }

    /// Follows what is asked for; whether that changed.
    pub(super) fn want(&mut self, wanted: BTreeSet<SecretRef>) -> bool {
        if wanted == self.wanted {
            return false;
        }
        self.wanted = wanted;
        let Self { wanted, answered, failures } = self;
        answered.retain(|name, _| wanted.contains(name));
        failures.retain(|failed| wanted.iter().any(|name| name.name == *failed));
        true
    }
}
