//! Executions that are under way.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_asl::{Definition, Execution};

use crate::record::ExecutionRecord;

/// How many executions may be under way at a time.
pub const LIVE_MAX: usize = 1_000_000;

/// Which execution: its machine's name and its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LiveKey {
    pub(crate) machine: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl LiveKey {
    pub(crate) fn new(machine: &str, name: &str) -> Self {
        Self { machine: machine.into(), name: name.into() }
    }
}

impl fmt::Display for LiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.machine, self.name)
    }
}

/// An execution with what is stored beside it.
pub(super) struct Live {
    pub(super) execution: Execution,
    pub(super) definition: Arc<Definition>,
    pub(super) record: ExecutionRecord,
    /// How many parts its last checkpoint has.
    pub(super) checkpoint_parts: usize,
    /// When the timer looks at it next, if it does.
    pub(super) armed_ms: Option<i64>,
}

impl Live {
    pub(super) fn key(&self) -> LiveKey {
        LiveKey::new(&self.record.machine, &self.record.name)
    }
}

/// The executions in memory, each with its lock: its one writer. The table's own lock is held to look one up.
#[derive(Default)]
pub(super) struct Table(Mutex<HashMap<LiveKey, Arc<Mutex<Live>>>>);

impl Table {
    pub(super) fn get(&self, key: &LiveKey) -> Option<Arc<Mutex<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn insert(&self, key: LiveKey, live: Live) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(Mutex::new(live)));
    }

    pub(super) fn remove(&self, key: &LiveKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
