//! Express executions: begun here, and run in memory by whoever waits for them.

use std::sync::Arc;

use selvedge_asl::{Definition, Execution};

use super::{Engine, Start, StartError};
use crate::extension::Extension;
use crate::log::Plan;

/// An express execution that is being run.
pub(crate) struct Express {
    pub(crate) execution: Execution,
    pub(crate) definition: Arc<Definition>,
    /// What it logs.
    pub(crate) plan: Option<Arc<Plan>>,
    /// What its machine has beyond the original.
    pub(crate) extension: Arc<Extension>,
}

impl Engine {
    /// Begins an express execution, in memory: whoever waits for it drives it on.
    pub(crate) fn run_express(&self, start: &Start) -> Result<Express, StartError> {
        Ok(self.run_in_memory(start, |execution| execution)?.0)
    }

    /// Logs what an express execution did.
    pub(crate) fn log_express(&self, plan: &Plan, lines: &str) {
        self.logs.append(plan, lines);
    }
}
