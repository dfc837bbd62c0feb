//! Make before break: what must wait, and for how long at most.

use std::time::{Duration, Instant};

use selvedge_traffic::ResourceKind;

/// Longest wait of listeners and routes for the clusters below them: a proxy that never answers must not keep its
/// routes for ever.
const CHANGES_WAIT_MAX: Duration = Duration::from_secs(1);

/// Longest wait of a cluster's removal for the listeners and routes that used it.
const REMOVALS_WAIT_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Order {
    changes_until: Option<Instant>,
    removals_until: Option<Instant>,
    /// A listener or route table was rejected: the one in force may use what is to be removed.
    removals_refused: bool,
    changes_expired: bool,
    removals_expired: bool,
}

impl Order {
    /// `below`: clusters or endpoints are not there yet. `in_use`: listeners or routes that may use what is to be
    /// removed have not changed yet. `refused`: they were rejected.
    pub(super) fn refresh(&mut self, now: Instant, below: bool, in_use: bool, refused: bool) {
        refresh(&mut self.changes_until, &mut self.changes_expired, below, now, CHANGES_WAIT_MAX);
        refresh(&mut self.removals_until, &mut self.removals_expired, in_use, now, REMOVALS_WAIT_MAX);
        self.removals_refused = refused;
    }

    pub(super) fn holds_changes(&self, kind: ResourceKind, now: Instant) -> bool {
        matches!(kind, ResourceKind::Listener | ResourceKind::Routes)
            && self.changes_until.is_some_and(|until| now < until)
    }

    pub(super) fn holds_removals(&self, kind: ResourceKind, now: Instant) -> bool {
        matches!(kind, ResourceKind::Cluster | ResourceKind::Endpoints)
            && (self.removals_refused || self.removals_until.is_some_and(|until| now < until))
    }

    /// When the first wait ends by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let changes = self.changes_until.filter(|_| !self.changes_expired);
        let removals = self.removals_until.filter(|_| !self.removals_expired);
        match (changes, removals) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

fn refresh(until: &mut Option<Instant>, expired: &mut bool, waits: bool, now: Instant, wait_max: Duration) {
    if !waits {
        *until = None;
        *expired = false;
    } else {
        let until = *until.get_or_insert(now + wait_max);
        *expired = now >= until;
    }
}
