//! Executions that have ended are driven on.

use std::sync::Arc;

use selvedge_asl::{Definition, Execution, Status};
use selvedge_store::Error as StoreError;

use super::{Engine, LiveKey};
use crate::audit::Deed;
use crate::record::ExecutionRecord;

/// What became of an attempt to go on with an execution that had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenUp {
    GoesOn,
    /// It has nothing to go on from.
    Nothing,
    /// Somebody else is going on with it, or has just done so.
    Busy,
}

impl Engine {
    /// Reads an execution that has ended back, and goes on with it if `f` says so; `deed` is written with it.
    pub(crate) fn take_up(
        &self,
        key: &LiveKey,
        deed: Option<Deed>,
        f: impl FnOnce(&mut Execution, &mut ExecutionRecord, &Definition) -> bool,
    ) -> Result<TakenUp, StoreError> {
        // Two who read it back at a time would both go on from the same event.
        if !self.live.claim(key) {
            return Ok(TakenUp::Busy);
        }
        let taken = self.take_up_claimed(key, deed, f);
        if !matches!(taken, Ok(TakenUp::GoesOn) | Err(StoreError::Uncertain(_))) {
            self.live.remove(key);
        }
        taken
    }

    fn take_up_claimed(
        &self,
        key: &LiveKey,
        deed: Option<Deed>,
        f: impl FnOnce(&mut Execution, &mut ExecutionRecord, &Definition) -> bool,
    ) -> Result<TakenUp, StoreError> {
        let Some(mut live) = self.read_live(key)? else { return Ok(TakenUp::Nothing) };
        if matches!(live.execution.status(), Status::Running | Status::Succeeded) {
            // Another has driven it on since it was looked at, and it has come to its end or to a halt.
            return Ok(TakenUp::Busy);
        }
        let definition = Arc::clone(&live.definition);
        if !f(&mut live.execution, &mut live.record, &definition) {
            return Ok(TakenUp::Nothing);
        }
        match self.commit(&mut live, deed) {
            Ok(commands) => self.keep(live, commands),
            Err((error, commands)) => {
                if matches!(error, StoreError::Uncertain(_)) {
                    self.read_back_later(key, live.execution.last_event(), commands);
                }
                return Err(error);
            }
        }
        Ok(TakenUp::GoesOn)
    }
}
