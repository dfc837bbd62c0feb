//! After a restart: every execution that is under way goes on from its last checkpoint.

use selvedge_asl::Status;
use selvedge_store::Error as StoreError;

use super::{Engine, LiveKey};

impl Engine {
    /// Reads what is alive. Its cost is that of what is alive, not of what has ever been.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let (mut taken_up, mut asleep) = (Vec::new(), 0);
        {
            let view = self.store.snapshot()?;
            for found in view.scan_all("live/")? {
                let Some((machine, name)) =
                    found.key.strip_prefix("live/").and_then(|rest| rest.split_once('/'))
                else {
                    continue;
                };
                let key = LiveKey::new(machine, name);
                if let Some(due_ms) =
                    std::str::from_utf8(&found.value).ok().and_then(|text| text.parse().ok())
                {
                    // It only waits: it is read when it is due.
                    self.live.insert_asleep(key.clone());
                    self.timer.set(due_ms, key);
                    asleep += 1;
                    continue;
                }
                match self.read_live_from(&*view, &key) {
                    Ok(Some(live)) if live.execution.status() == Status::Running => {
                        taken_up.push((key, live))
                    }
                    Ok(_) => {}
                    // One that is damaged must not keep the others from going on.
                    Err(error) => {
                        tracing::error!(execution = %key, %error, "the execution cannot be taken up")
                    }
                }
            }
        }
        let count = taken_up.len() + asleep;
        for (key, mut live) in taken_up {
            let pending: Vec<_> = live
                .execution
                .pending_tasks()
                .map(|(request, is_handed_over)| (request.clone(), is_handed_over))
                .collect();
            let map_runs = live.execution.pending_map_runs(&live.definition);
            self.arm(&key, &mut live);
            self.live.insert(key.clone(), live);
            for (request, is_handed_over) in pending {
                self.resume(&key, request, is_handed_over);
            }
            for request in map_runs {
                self.map(&key, request);
            }
        }
        if count > 0 {
            tracing::info!(count, "executions go on after the restart");
        }
        Ok(())
    }
}
