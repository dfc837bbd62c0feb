//! How far a run has come, and whether too much of it has failed.

use std::collections::BTreeMap;

use selvedge_asl::{Failure, Status};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use super::CHILDREN_AT_ONCE_MAX;
use crate::record::{ExecutionRecord, MapRunRecord};

/// How many there are of each kind: of items, or of children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) running: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
    pub(crate) aborted: u64,
    pub(crate) total: u64,
    pub(crate) results_written: u64,
}

/// Why a run ends.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// Everything has been run.
    Done,
    Failed(Failure),
    /// Its parent ended.
    Cancelled,
}

/// A child under way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) items: u64,
    /// Ends an express child; a standard one is stopped by its key.
    pub(super) abort: Option<AbortHandle>,
}

/// What the ends of children change.
pub(crate) struct Progress {
    pub(crate) record: MapRunRecord,
    pub(super) verdict: Option<Verdict>,
    pub(super) in_flight: BTreeMap<u64, InFlight>,
    /// Express children that have ended and are not written down yet.
    pub(super) ended: Vec<(u64, ExecutionRecord)>,
    /// How many items there are, once that is known.
    known_items: Option<u64>,
}

impl Counts {
    pub(super) fn add(&mut self, status: Status, count: u64) {
        *self.of(status) += count;
    }

    pub(super) fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Running => &mut self.running,
            Status::Succeeded => &mut self.succeeded,
            Status::Failed => &mut self.failed,
            Status::TimedOut => &mut self.timed_out,
            Status::Aborted => &mut self.aborted,
        }
    }

    /// Those that did not end well.
    fn lost(&self) -> u64 {
        self.failed + self.timed_out + self.aborted
    }

    /// Known and not started.
    pub(crate) fn pending(&self) -> u64 {
        self.total.saturating_sub(self.running + self.succeeded + self.lost())
    }
}

impl Progress {
    pub(super) fn new(record: MapRunRecord) -> Self {
        Self { record, verdict: None, in_flight: BTreeMap::new(), ended: Vec::new(), known_items: None }
    }

    /// How many more children may start.
    pub(super) fn free(&self) -> usize {
        let most = match self.record.max_concurrency {
            0 => CHILDREN_AT_ONCE_MAX,
            most => most.min(CHILDREN_AT_ONCE_MAX),
        };
        usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(self.in_flight.len())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.ended.is_empty()
    }

    /// A child has been found, or been started.
    pub(super) fn started(&mut self, index: u64, items: u64, abort: Option<AbortHandle>) {
        if self.in_flight.insert(index, InFlight { items, abort }).is_none() {
            self.record.items.running += items;
            self.record.executions.running += 1;
        }
    }

    /// A child that was to be started has not been, as far as anybody knows.
    pub(super) fn not_started(&mut self, index: u64, items: u64) {
        if self.in_flight.remove(&index).is_some() {
            self.record.items.running = self.record.items.running.saturating_sub(items);
            self.record.executions.running = self.record.executions.running.saturating_sub(1);
        }
    }

    /// A child that had ended badly runs once more.
    pub(super) fn redriven(&mut self, status: Status, items: u64) {
        for (counts, count) in [(&mut self.record.items, items), (&mut self.record.executions, 1)] {
            let of = counts.of(status);
            *of = of.saturating_sub(count);
        }
    }

    /// A child has ended. What ended twice is counted once.
    pub(super) fn ended(&mut self, index: u64, items: u64, status: Status) {
        if self.in_flight.remove(&index).is_none() {
            return;
        }
        self.record.items.running = self.record.items.running.saturating_sub(items);
        self.record.executions.running = self.record.executions.running.saturating_sub(1);
        self.record.items.add(status, items);
        self.record.executions.add(status, 1);
        self.judge();
    }

    /// So many items and children are known of.
    pub(super) fn known(&mut self, items: u64, children: u64) {
        self.record.items.total = self.record.items.total.max(items);
        self.record.executions.total = self.record.executions.total.max(children);
    }

    /// There are no more items than so many.
    pub(super) fn exhausted(&mut self, items: u64) {
        self.known_items = Some(items);
        self.judge();
    }

    /// Fails the run when more has failed than is tolerated. A percentage is judged once the number of items is known.
    pub(super) fn judge(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        let lost = self.record.items.lost();
        let (count, percentage) = (self.record.tolerated_count, self.record.tolerated_percentage);
        let is_over_count = match (count, percentage) {
            (Some(count), _) => lost > count,
            (None, Some(percentage)) if percentage > 0.0 => false,
            (None, _) => lost > 0,
        };
        let is_over_percentage = match (percentage, self.known_items) {
            (Some(percentage), Some(items)) => lost as f64 * 100.0 > percentage * items as f64,
            _ => false,
        };
        if is_over_count || is_over_percentage {
            let cause = "The specified tolerated failure threshold was exceeded";
            self.verdict =
                Some(Verdict::Failed(Failure::new("States.ExceedToleratedFailureThreshold", cause)));
        }
    }
}
