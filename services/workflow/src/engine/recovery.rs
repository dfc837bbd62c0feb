//! After a restart: every execution that is under way goes on from its last checkpoint.

use selvedge_asl::Status;
use selvedge_store::Error as StoreError;

use super::live::Live;
use super::{Engine, LiveKey};

impl Engine {
    /// Reads what is alive. Its cost is that of what is alive, not of what has ever been.
    ///
    /// # Errors
    /// When the store fails: nothing is under way then, and it is to be tried again as a whole.
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
                // Others' go on at others; what was claimed anew goes on as it is.
                if !self.lease.holds_key(&key) || self.live.contains(&key) {
                    continue;
                }
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
                    Err(error @ StoreError::Corrupt(_)) => {
                        tracing::error!(execution = %key, %error, "the execution cannot be taken up")
                    }
                    // One that cannot be read at the moment would stand still until the next start.
                    Err(error) => return Err(error),
                }
            }
        }
        let count = taken_up.len() + asleep;
        for (key, live) in taken_up {
            self.go_on_with(&key, live);
        }
        if count > 0 {
            tracing::info!(count, "executions go on after the restart");
        }
        Ok(())
    }

    /// Goes on with an execution that is in the store, and that nobody has in memory. False where somebody has, or it has ended.
    pub(crate) fn take_up_again(&self, key: &LiveKey) -> Result<bool, StoreError> {
        if !self.live.claim(key) {
            return Ok(false);
        }
        self.take_up_held(key).inspect_err(|_| self.live.remove(key))
    }

    /// The same by whoever holds its place already, and goes on to do so if the store fails.
    pub(super) fn take_up_held(&self, key: &LiveKey) -> Result<bool, StoreError> {
        match self.read_live(key)? {
            Some(live) if live.execution.status() == Status::Running => {
                self.go_on_with(key, live);
                Ok(true)
            }
            _ => {
                self.live.remove(key);
                Ok(false)
            }
        }
    }

    fn go_on_with(&self, key: &LiveKey, mut live: Live) {
        let pending: Vec<_> = live
            .execution
            .pending_tasks()
            .map(|(request, is_handed_over)| (request.clone(), is_handed_over))
            .collect();
        let map_runs = live.execution.pending_map_runs(&live.definition);
        let due_ms = live.execution.next_timeout().map(|due_ms| due_ms.max(self.now_ms()));
        live.armed_ms = due_ms;
        self.live.insert(key.clone(), live);
        if let Some(due_ms) = due_ms {
            // Not before it has its place: the timer would find it lost, and look no more.
            self.timer.set(due_ms, key.clone());
        }
        for (request, is_handed_over) in pending {
            self.resume(key, request, is_handed_over);
        }
        for request in map_runs {
            self.map(key, request);
        }
    }
}
