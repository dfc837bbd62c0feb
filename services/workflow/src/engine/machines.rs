//! The machines that executions are started of, in memory: nothing is read from the store for one that is known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use selvedge_aws::ApiError;
use selvedge_store::{Revision as StoreRevision, Transaction, WriteError};

use super::Engine;
use crate::record::{Machine, Revision};

/// How many are known at a time.
const KNOWN_MAX: usize = 1024;

/// A machine and its current revision.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) machine: Arc<Machine>,
    pub(crate) revision: Arc<Revision>,
}

/// Machines by their ARN, as they were last read.
#[derive(Default)]
pub(super) struct Machines(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// Counts the times that everything was forgotten: what was read before the last is not kept.
    generation: u64,
    known: HashMap<String, Known>,
}

impl Machines {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// The machine of that ARN, read by `read` unless it is known.
    pub(crate) fn known_machine<E>(
        &self,
        arn: &str,
        read: impl FnOnce() -> Result<Known, E>,
    ) -> Result<Known, E> {
        let generation = {
            let table = self.machines.table();
            if let Some(known) = table.known.get(arn) {
                return Ok(known.clone());
            }
            table.generation
        };
        let known = read()?;
        let mut table = self.machines.table();
        if table.generation == generation {
            if table.known.len() >= KNOWN_MAX {
                table.known.clear();
            }
            table.known.insert(arn.to_owned(), known.clone());
        }
        Ok(known)
    }

    /// A transaction that may change machines.
    pub(crate) fn change_machines<T>(
        &self,
        f: impl FnMut(&mut dyn Transaction) -> Result<T, WriteError<ApiError>>,
    ) -> Result<(T, StoreRevision), WriteError<ApiError>> {
        let written = self.store.write(f);
        // Whatever came of it: a failure may not be what it says.
        let mut table = self.machines.table();
        table.generation += 1;
        table.known.clear();
        written
    }
}
