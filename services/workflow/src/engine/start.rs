//! Executions begin.

use std::borrow::Cow;
use std::sync::Arc;

use selvedge_asl::{At, Execution, Identity};
use selvedge_store::Error as StoreError;

use super::live::Live;
use super::{Engine, Express, LiveKey, StartError};
use crate::extension::spill::SPILL_BYTES;
use crate::log::Plan;
use crate::record::{ChildOf, ExecutionRecord, Revision};

/// What an execution is started from.
pub(crate) struct Start {
    pub(crate) identity: Identity,
    pub(crate) machine: String,
    pub(crate) name: String,
    pub(crate) revision: Arc<Revision>,
    pub(crate) version_arn: Option<String>,
    pub(crate) alias_arn: Option<String>,
    pub(crate) input: String,
    pub(crate) trace_header: Option<String>,
    /// Which child of which map run it is.
    pub(crate) child: Option<ChildOf>,
    /// How many executions wait for it, one for the other.
    pub(crate) depth: u64,
}

impl Engine {
    /// Starts an execution; it has run as far as it goes by itself when this returns, and that is durable.
    pub(crate) fn start(&self, start: Start) -> Result<ExecutionRecord, StartError> {
        let mut live = self.begin(start)?;
        match self.commit_new(&mut live) {
            Ok(commands) => {
                let record = live.record.clone();
                self.keep(live, commands);
                Ok(record)
            }
            Err((StartError::Store(error @ StoreError::Uncertain(_)), commands)) => {
                // If it is there, it has to run, whatever its caller is told.
                let (key, attempted) = (live.key(), live.execution.last_event());
                self.live.insert_lost(key.clone());
                match self.read_back(&key, attempted) {
                    Ok(durable) => {
                        let is_there = durable.has_happened;
                        self.adopt(&key, durable, commands);
                        if is_there { Ok(live.record) } else { Err(error.into()) }
                    }
                    Err(_) => {
                        self.read_back_later(&key, attempted, commands);
                        Err(error.into())
                    }
                }
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Starts children of a map run in as few transactions as they fit into. Their names are their own.
    pub(crate) fn start_children(&self, starts: Vec<Start>) -> Result<(), StoreError> {
        let mut lives = Vec::with_capacity(starts.len());
        for start in starts {
            match self.begin(start) {
                Ok(live) => lives.push(live),
                Err(StartError::Store(error)) => return Err(error),
                // Their inputs were made here, and nobody else has their names.
                Err(other) => return Err(StoreError::Corrupt(format!("a child cannot begin: {other:?}"))),
            }
        }
        let commands = self.commit_children(&mut lives)?;
        for (live, commands) in lives.into_iter().zip(commands) {
            self.keep(live, commands);
        }
        Ok(())
    }

    /// Begins an execution whose steps are kept.
    fn begin(&self, start: Start) -> Result<Live, StartError> {
        let tokens = self.tokens.of(LiveKey::new(&start.machine, &start.name));
        let (begun, now_ms) = self.run_in_memory(&start, |execution| execution.with_tokens(tokens))?;
        let Express { execution, definition, plan, trace, extension, .. } = begun;
        let record = ExecutionRecord::new(start, now_ms);
        Ok(Live { plan, extension, trace, ..Live::new(execution, definition, record, 0) })
    }

    /// Runs an execution as far as it goes by itself, and says when; nothing is stored. `equip` has it before its first step.
    pub(super) fn run_in_memory(
        &self,
        start: &Start,
        equip: impl FnOnce(Execution) -> Execution,
    ) -> Result<(Express, i64), StartError> {
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
        let mut execution = equip(execution.map_err(StartError::Input)?);
        let now_ms = self.now_ms();
        execution.handle_start(&mut At {
            definition: &definition,
            now_ms,
            entropy: &mut || self.surroundings.draw(),
        });
        let plan = Plan::read(&start.revision.logging).filter(|_| self.logs.is_on());
        let trace = self.place(&start.identity.arn, now_ms, start.trace_header.as_deref(), &start.revision);
        Ok((Express { execution, definition, plan, trace, recorder: None, extension }, now_ms))
    }
}
