//! When and how the store fails.

use crate::chance::Chance;
use selvedge_store::memory::{Failpoints, Fault, Point};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A dial for the failures of a store: how many passages of a point in a thousand are struck.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    per_mille: Arc<AtomicU16>,
    /// Strikes the next transaction, whatever the weather.
    bolt: Arc<Mutex<Option<Fault>>>,
}

struct Plan {
    storm: Storm,
    chance: Chance,
}

// === impl Storm ===

impl Storm {
    /// Strikes so many passages in a thousand from here on; 0 is calm.
    pub fn blow(&self, per_mille: u16) {
        self.per_mille.store(per_mille, Ordering::SeqCst);
    }

    /// Has `fault` strike the next transaction.
    pub fn strike(&self, fault: Fault) {
        *self.bolt.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// The plan to hand to a store, which draws its faults from `chance`.
    pub fn failpoints(&self, chance: Chance) -> Box<dyn Failpoints> {
        Box::new(Plan { storm: self.clone(), chance })
    }
}

// === impl Plan ===

impl Failpoints for Plan {
    fn strike(&mut self, point: Point) -> Option<Fault> {
        // Drawn in calm as well, so that a storm's strength does not shift what comes after it.
        let (is_struck, kind) = (self.chance.below(1000), self.chance.bits());
        if point == Point::Transact
            && let Some(bolt) = self.storm.bolt.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return Some(bolt);
        }
        if is_struck >= usize::from(self.storm.per_mille.load(Ordering::SeqCst)) {
            return None;
        }
        let mut kind = Chance::new(kind);
        Some(match point {
            Point::Changes | Point::Snapshot => Fault::Unavailable,
            Point::Wake => Fault::LoseWake,
            Point::Transact => kind.pick(&[
                Fault::Unavailable,
                Fault::Full,
                Fault::Retry,
                Fault::TimeoutDone,
                Fault::TimeoutDone,
                Fault::TimeoutUndone,
                Fault::CrashBeforeCommit,
                Fault::CrashAfterCommit,
            ]),
        })
    }
}
