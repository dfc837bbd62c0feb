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
    /// What is needed has not even been sent: the proxy owes an answer. No wait is too long for that.
    changes_blocked: bool,
    /// The same for what must change before anything may be removed; or a listener or route table was rejected, and the
    /// one in force may use it.
    removals_blocked: bool,
    changes_expired: bool,
    removals_expired: bool,
}

/// What stands before a change or a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    None,
    /// Something that was sent, or that the proxy has not asked for; it may never come.
    Bounded,
    /// Something that cannot be sent yet, or was rejected.
    Blocked,
}

impl Order {
    pub(super) fn refresh(&mut self, now: Instant, changes: Wait, removals: Wait) {
        let (below, in_use) = (changes == Wait::Bounded, removals == Wait::Bounded);
        refresh(&mut self.changes_until, &mut self.changes_expired, below, now, CHANGES_WAIT_MAX);
        refresh(&mut self.removals_until, &mut self.removals_expired, in_use, now, REMOVALS_WAIT_MAX);
        self.changes_blocked = changes == Wait::Blocked;
        self.removals_blocked = removals == Wait::Blocked;
    }

    pub(super) fn holds_changes(&self, kind: ResourceKind, now: Instant) -> bool {
        matches!(kind, ResourceKind::Listener | ResourceKind::Routes)
            && (self.changes_blocked || self.changes_until.is_some_and(|until| now < until))
    }

    pub(super) fn holds_removals(&self, kind: ResourceKind, now: Instant) -> bool {
        matches!(kind, ResourceKind::Cluster | ResourceKind::Endpoints)
            && (self.removals_blocked || self.removals_until.is_some_and(|until| now < until))
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
