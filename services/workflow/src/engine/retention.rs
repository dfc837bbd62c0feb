//! Executions that ended long ago leave, with their histories and the children of their map runs; then revisions that nobody refers to.

use std::sync::{Arc, Weak};
use std::time::Duration;

use selvedge_store::{Error as StoreError, PAGE_MAX};

use super::{Engine, LiveKey};
use crate::dead::Letter;
use crate::extension::spill;
use crate::record::{self, ExecutionRecord, MapRunRecord, Summary, key};

/// How often it is looked for them.
const EVERY: Duration = Duration::from_secs(600);
/// Documents that one transaction deletes, so that others have their turn.
const TOGETHER: usize = 512;

/// Looks for them now and then, as long as the engine is there.
pub(super) fn start(engine: &Arc<Engine>) {
    let weak: Weak<Engine> = Arc::downgrade(engine);
    engine.runtime.spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(engine) = weak.upgrade() else { return };
            match tokio::task::spawn_blocking(move || engine.sweep()).await {
                Ok(Ok(0)) => {}
                Ok(Ok(count)) => tracing::info!(count, "executions that ended long ago have left"),
                Ok(Err(error)) => {
                    tracing::error!(%error, "old executions could not be removed; it is tried again")
                }
                Err(error) if error.is_panic() => {
                    tracing::error!("the removal of old executions panicked; it is tried again")
                }
                Err(_) => return,
            }
        }
    });
}

impl Engine {
    /// Removes what ended before the time that executions are kept; gives back how many left.
    ///
    /// # Errors
    /// When the store fails; what has been removed by then is gone.
    pub fn sweep(&self) -> Result<u64, StoreError> {
        let count = self.sweep_executions()?;
        let revisions = self.sweep_revisions()?;
        if revisions > 0 {
            tracing::info!(revisions, "revisions of machines that nobody refers to have left");
        }
        Ok(count)
    }

    fn sweep_executions(&self) -> Result<u64, StoreError> {
        let Some(retention) = self.settings.retention else { return Ok(0) };
        let before_ms = self.now_ms() - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let (mut after, mut count): (Option<String>, u64) = (None, 0);
        loop {
            // A page a snapshot: there may be very many.
            let page = self.store.snapshot()?.scan("started/", after.as_deref(), PAGE_MAX)?;
            for found in &page {
                let summary: Summary = record::decode(found)?;
                let Some(machine) = found.key.split('/').nth(1) else { continue };
                let execution = LiveKey::new(machine, &summary.name);
                let is_old = summary.ended_ms.is_some_and(|ended_ms| ended_ms < before_ms);
                if is_old && !self.live.contains(&execution) {
                    self.remove_execution(&execution, Some(&found.key))?;
                    count += 1;
                }
            }
            if page.len() < PAGE_MAX {
                return Ok(count);
            }
            after = page.last().map(|last| last.key.clone());
        }
    }

    /// Removes an execution and everything below it. The execution itself goes last: what is left of a sweep that failed is
    /// found by the next.
    fn remove_execution(&self, execution: &LiveKey, listed: Option<&str>) -> Result<(), StoreError> {
        let (machine, name) = (&*execution.machine, &*execution.name);
        let runs = self.store.snapshot()?.scan_all(&key::map_runs_of(machine, name))?;
        for run in runs {
            self.remove_map_run(&String::from_utf8_lossy(&run.value))?;
            self.delete(&[run.key])?;
        }
        self.delete_below(&key::histories(machine, name))?;
        self.delete_below(&key::checkpoints(machine, name))?;
        self.delete_below(&key::lates(machine, name))?;
        let spilled = spill::prefix(machine, name);
        for found in self.store.snapshot()?.scan_all(&spilled)? {
            let hash = found.key.strip_prefix(&spilled).unwrap_or_default();
            self.store.transact(&mut |tx| Ok(spill::release(tx, machine, name, hash)?))?;
        }
        let found = self.store.snapshot()?.get(&key::execution(machine, name))?;
        let found: Option<ExecutionRecord> = found.as_ref().map(record::decode).transpose()?;
        let letter = found.as_ref().and_then(Letter::key_of);
        let own = [Some(key::execution(machine, name)), listed.map(str::to_owned), letter];
        self.delete(&own.into_iter().flatten().collect::<Vec<_>>())
    }

    fn remove_map_run(&self, run: &str) -> Result<(), StoreError> {
        loop {
            let page = self.store.snapshot()?.scan(&key::children(run), None, PAGE_MAX)?;
            for found in &page {
                let summary: Summary = record::decode(found)?;
                if let Some(machine) = &summary.machine {
                    self.remove_execution(&LiveKey::new(machine, &summary.name), Some(&found.key))?;
                }
            }
            if page.len() < PAGE_MAX {
                break;
            }
        }
        let found = self.store.snapshot()?.get(&key::map_run(run))?;
        if let Some(found) = found {
            let record: MapRunRecord = record::decode(&found)?;
            self.delete(&[key::map_run(&record.id)])?;
        }
        Ok(())
    }

    fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        loop {
            let page = self.store.snapshot()?.scan(prefix, None, TOGETHER)?;
            let keys: Vec<String> = page.into_iter().map(|found| found.key).collect();
            self.delete(&keys)?;
            if keys.len() < TOGETHER {
                return Ok(());
            }
        }
    }

    fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.store.transact(&mut |tx| {
            for key in keys {
                tx.delete(key)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}
