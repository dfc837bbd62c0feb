//! Express executions: begun here, and run in memory by whoever waits for them.

use std::borrow::Cow;
use std::sync::Arc;

use selvedge_asl::{At, Definition, Execution};

use super::{Engine, Start, StartError};
use crate::extension::Extension;
use crate::extension::spill::SPILL_BYTES;
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
    /// Runs an express execution to its end, in memory. None when it has not come to its end in time.
    pub(crate) fn run_express(&self, start: &Start) -> Result<Express, StartError> {
        let definition = self.definition(&start.machine, &start.revision)?;
        let extension = self.extension(&start.machine)?;
        let options = self.options(&extension);
        // What was kept as a blob may be handed over by its reference.
        let input = match options.payload_bytes > SPILL_BYTES {
            true => Cow::Owned(crate::tasks::blob::input(&*self.store, &start.input)?),
            false => Cow::Borrowed(&start.input),
        };
        if start.child.is_none() {
            extension.check_input(&input).map_err(StartError::Misfit)?;
        }
        let execution = Execution::new(start.identity.clone(), options, &input);
        let mut execution = execution.map_err(StartError::Input)?;
        let now_ms = self.now_ms();
        execution.handle_start(&mut At {
            definition: &definition,
            now_ms,
            entropy: &mut || self.surroundings.draw(),
        });
        let plan = Plan::read(&start.revision.logging).filter(|_| self.logs.is_on());
        Ok(Express { execution, definition, plan, extension })
    }

    /// Logs what an express execution did.
    pub(crate) fn log_express(&self, plan: &Plan, lines: &str) {
        self.logs.append(plan, lines);
    }
}
