//! Express executions: begun here, and run in memory by whoever waits for them.

use std::sync::Arc;

use selvedge_asl::{Definition, Execution};

use super::{Engine, Start, StartError};
use crate::extension::Extension;
use crate::log::Plan;
use crate::traces::{Recorder, Trace};

/// An express execution that is being run.
pub(crate) struct Express {
    pub(crate) execution: Execution,
    pub(crate) definition: Arc<Definition>,
    /// What it logs.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Its place in a trace.
    pub(crate) trace: Option<Trace>,
    /// What is recorded of it.
    pub(crate) recorder: Option<Recorder>,
    /// What its machine has beyond the original.
    pub(crate) extension: Arc<Extension>,
}

impl Engine {
    /// Begins an express execution, in memory: whoever waits for it drives it on.
    pub(crate) fn run_express(&self, start: &Start) -> Result<Express, StartError> {
        let mut begun = self.run_in_memory(start, |execution| execution)?.0;
        let sampled = begun.trace.filter(|place| place.sampled);
        begun.recorder = sampled.map(|place| Recorder::new(place, &start.identity.arn, &start.machine));
        Ok(begun)
    }

    /// Logs what an express execution did.
    pub(crate) fn log_express(&self, plan: &Plan, lines: &str) {
        self.logs.append(plan, lines);
    }
}
