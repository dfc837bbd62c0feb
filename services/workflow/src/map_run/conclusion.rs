//! The end of a run: its results are gathered, its status is written down, its parent is told.

use std::sync::Arc;

use selvedge_asl::{Failure, MapRunOutcome, MapRunRequest, Status};
use selvedge_store::Error as StoreError;
use serde_json::Value;

use super::feed::Feed;
use super::progress::Verdict;
use super::writer::{self, Written};
use super::{Next, Run};
use crate::Engine;
use crate::extension::spill;
use crate::record::{self, ExecutionRecord, MapRunRecord, RunStatus, Summary, key};

impl Run {
    pub(super) fn conclude(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        verdict: &Verdict,
        feed: &Feed,
    ) -> Result<Next, StoreError> {
        let mut record = {
            let mut progress = self.progress();
            progress.known(feed.items(), feed.children());
            progress.record.children = progress.record.children.max(feed.children());
            progress.record.clone()
        };
        record.ended_ms = Some(engine.now_ms());
        match verdict {
            Verdict::Done => record.status = RunStatus::Succeeded,
            Verdict::Failed(failure) => {
                record.status = RunStatus::Failed;
                record.failure = Some((failure.error.clone(), failure.cause.clone()));
            }
            Verdict::Cancelled => record.status = RunStatus::Aborted,
        }
        let outcome = engine.outcome(&record, &self.request)?;
        if let MapRunOutcome::Failed(failure) = &outcome
            && record.status == RunStatus::Succeeded
        {
            record.status = RunStatus::Failed;
            record.failure = Some((failure.error.clone(), failure.cause.clone()));
        }
        if self.request.writer.as_ref().is_some_and(|(resource, _, _)| !resource.is_empty())
            && record.status == RunStatus::Succeeded
        {
            record.items.results_written = record.items.succeeded;
            record.executions.results_written = record.executions.succeeded;
        }
        self.progress().record = record;
        engine.store_map_run(self)?;
        let is_told = !matches!(verdict, Verdict::Cancelled);
        Ok(Next::Over(is_told.then_some(outcome)))
    }
}

impl Engine {
    /// What the parent is told of a run that is over. The same, however often it is asked.
    pub(super) fn outcome(
        &self,
        record: &MapRunRecord,
        request: &MapRunRequest,
    ) -> Result<MapRunOutcome, StoreError> {
        let mut results = Results { engine: self, record, next: 0 };
        let written = match &request.writer {
            Some((resource, arguments, config)) if !resource.is_empty() => {
                Some(writer::write(&*self.objects, resource, arguments, config, record, &mut |f| {
                    results.each(f)
                })?)
            }
            _ => None,
        };
        if let Some((error, cause)) = &record.failure {
            return Ok(MapRunOutcome::Failed(Failure { error: error.clone(), cause: cause.clone() }));
        }
        if record.status == RunStatus::Aborted {
            return Ok(MapRunOutcome::Failed(Failure::default()));
        }
        Ok(match written {
            Some(Written::Done(output)) => MapRunOutcome::Succeeded { output },
            Some(Written::Failed(cause)) => {
                MapRunOutcome::Failed(Failure::new("States.ResultWriterFailed", cause))
            }
            None => {
                let config = request.writer.as_ref().map_or(&Value::Null, |(_, _, config)| config);
                self.gathered(record, config, request.payload_bytes, &mut results)?
            }
        })
    }

    /// The results in one value, in the order of the items.
    fn gathered(
        &self,
        record: &MapRunRecord,
        config: &Value,
        most: usize,
        results: &mut Results<'_>,
    ) -> Result<MapRunOutcome, StoreError> {
        let (mut output, mut bytes) = (Vec::new(), 2);
        let shape = writer::Shape::read(config, writer::Transformation::Compact);
        results.each(&mut |child| {
            writer::results(&shape, record, child, &mut |value| {
                bytes += value.to_string().len() + 1;
                if bytes <= most + 1 {
                    output.push(value);
                }
            });
            bytes <= most + 1
        })?;
        if bytes > most + 1 {
            let cause = format!(
                "The results of the map run have more than {most} bytes: name a ResultWriter, which writes them elsewhere."
            );
            return Ok(MapRunOutcome::Failed(Failure::new("States.DataLimitExceeded", cause)));
        }
        Ok(MapRunOutcome::Succeeded { output: Value::Array(output) })
    }
}

/// The children of a run in the order of their items, one at a time.
struct Results<'e> {
    engine: &'e Engine,
    record: &'e MapRunRecord,
    next: u64,
}

/// Children that are read in one snapshot.
const CHILDREN_AT_A_TIME: u64 = 512;

impl Results<'_> {
    /// Calls `f` for each, until it says no.
    fn each(&mut self, f: &mut dyn FnMut(&ExecutionRecord) -> bool) -> Result<(), StoreError> {
        self.next = 0;
        while self.next < self.record.children {
            let view = self.engine.store.snapshot()?;
            let end = self.record.children.min(self.next + CHILDREN_AT_A_TIME);
            for index in self.next..end {
                let Some(found) = view.get(&key::child(&self.record.id, index))? else { continue };
                let summary: Summary = record::decode(&found)?;
                if summary.status == Status::Running {
                    continue;
                }
                let Some(machine) = summary.machine.as_deref() else { continue };
                let Some(found) = view.get(&key::execution(machine, &summary.name))? else { continue };
                let mut child: ExecutionRecord = record::decode(&found)?;
                // What a child of an extended machine kept elsewhere is a result like any other.
                child.input = spill::whole(&*self.engine.store, &child.input)?;
                child.output =
                    child.output.map(|output| spill::whole(&*self.engine.store, &output)).transpose()?;
                if !f(&child) {
                    return Ok(());
                }
            }
            self.next = end;
        }
        Ok(())
    }
}
