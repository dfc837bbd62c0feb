//! A step whose transaction failed: what is durable is what counts.
//!
//! Most failures say that nothing was written; some leave that open. Either way the execution is read back. Where the step
//! turns out to be durable, it has happened: its commands are carried out. While the store cannot be read nobody may touch the
//! execution, and it is tried until it can.

use std::sync::Arc;
use std::time::Duration;

use selvedge_asl::{Command, Status};
use selvedge_store::Error as StoreError;

use super::live::Live;
use super::timer::TRY_AGAIN_MS;
use super::{Engine, LiveKey};
use crate::record::{self, ExecutionRecord, key};

const TRY_AGAIN: Duration = Duration::from_millis(100);

/// An execution as it was read back.
pub(super) struct Durable {
    /// The step happened.
    pub(super) has_happened: bool,
    /// The execution, where it goes on.
    pub(super) live: Option<Live>,
    /// Its record, where there is one.
    record: Option<ExecutionRecord>,
}

impl Engine {
    /// Reads an execution back after a step that would have ended with the event `attempted`.
    pub(super) fn read_back(&self, key: &LiveKey, attempted: u64) -> Result<Durable, StoreError> {
        let view = self.store.snapshot()?;
        let found = view.get(&key::execution(&key.machine, &key.name))?;
        let record: Option<ExecutionRecord> = found.as_ref().map(record::decode).transpose()?;
        let live = self.read_live_from(&*view, key)?;
        let live = live.filter(|live| live.execution.status() == Status::Running);
        let last_event = match &live {
            Some(live) => Some(live.execution.last_event()),
            None => record.as_ref().map(|record| record.last_event),
        };
        Ok(Durable { has_happened: last_event == Some(attempted), live, record })
    }

    /// Goes on with what was read back; the table holds it from here on, or does not know it any more.
    pub(super) fn adopt(&self, key: &LiveKey, durable: Durable, commands: Vec<Command>) {
        match durable.live {
            Some(_) if !self.lease.holds_key(key) => {
                // Its shard is another's by now, and so is what it asks for.
                self.live.remove(key);
                return;
            }
            Some(mut live) => {
                // What is due and could not be stored is tried again, and not at once: the store may be away for long.
                let least_ms = if durable.has_happened { 0 } else { self.now_ms() + TRY_AGAIN_MS };
                let armed_ms = live.execution.next_timeout().map(|due_ms| due_ms.max(least_ms));
                live.armed_ms = armed_ms;
                self.live.insert(key.clone(), live);
                if let Some(armed_ms) = armed_ms {
                    self.timer.set(armed_ms, key.clone());
                }
            }
            None => {
                self.live.remove(key);
                self.ended.tell(key);
                if let Some(record) = &durable.record {
                    self.child_ended(record);
                }
            }
        }
        if durable.has_happened {
            self.carry_out(key, commands);
        }
    }

    /// Reads an execution back as soon as the store can be read.
    pub(super) fn read_back_later(&self, key: &LiveKey, attempted: u64, commands: Vec<Command>) {
        let Some(engine) = self.own.upgrade() else { return };
        let key = key.clone();
        self.runtime.spawn(async move {
            let mut commands = Some(commands);
            loop {
                engine.pause(TRY_AGAIN).await;
                let (own, key, taken) = (Arc::clone(&engine), key.clone(), commands.take());
                let read = engine.aside(move || match own.read_back(&key, attempted) {
                    Ok(durable) => {
                        own.adopt(&key, durable, taken.unwrap_or_default());
                        None
                    }
                    Err(error) => {
                        tracing::error!(execution = %key, %error, "the execution cannot be read back; it is tried again");
                        taken
                    }
                });
                match read.await {
                    Ok(Some(left)) => commands = Some(left),
                    _ => return,
                }
            }
        });
    }
}
