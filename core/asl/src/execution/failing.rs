//! Errors: tried anew, caught, or handed to the state around.

use selvedge_query::Entropy;
use serde_json::Value;

use super::branch::{BranchId, Phase};
use super::evaluate::{Seen, Unevaluated};
use super::event::{Detail, Failure};
use super::{At, Command, Execution, Status};
use crate::retry::takes;
use crate::{Catcher, Flow, Kind, QueryLanguage};

impl Execution {
    /// A field of a branch's state could not be computed.
    pub(super) fn fail_evaluating(&mut self, id: BranchId, unevaluated: Unevaluated, at: &mut At<'_>) {
        let failure = self.unevaluated(id, unevaluated, at);
        self.fail(id, failure, at);
    }

    /// An expression that failed is an event of its own.
    fn unevaluated(&mut self, id: BranchId, unevaluated: Unevaluated, at: &At<'_>) -> Failure {
        let Unevaluated { failure, location } = unevaluated;
        if let Some(location) = location {
            let state = self.branches[&id].state.clone();
            self.record(
                id,
                at.now_ms,
                Detail::EvaluationFailed { state, location, failure: failure.clone() },
            );
        }
        failure
    }

    /// A branch's state has failed: the first handler from there to the top that takes the error has it.
    pub(super) fn fail(&mut self, id: BranchId, failure: Failure, at: &mut At<'_>) {
        let (mut id, mut failure) = (id, failure);
        loop {
            if self.try_anew(id, &failure, at) {
                return;
            }
            match self.catch(id, &failure, at) {
                Ok(true) => return,
                Ok(false) => {}
                Err(worse) => failure = worse,
            }
            let run = self.branches.get_mut(&id).expect("a failing branch is there");
            // What its branches have done is kept, for whoever drives the execution on.
            match &mut run.phase {
                Phase::Parallel(_) | Phase::Map(_) => {}
                Phase::MapRun(map_run) => map_run.is_over = true,
                phase => *phase = Phase::Failed(failure.clone()),
            }
            let (last_event, parent) = (run.last_event, run.parent);
            let Some((parent, index)) = parent else {
                self.end(Status::Failed, Detail::ExecutionFailed(failure), last_event, at.now_ms);
                return;
            };
            if matches!(self.branches[&parent].phase, Phase::Map(_)) {
                match self.item_failed(id, parent, index, failure, at) {
                    Some(whole) => failure = whole,
                    None => return,
                }
            } else {
                self.abort_below(parent, at);
                let event = self.emit(last_event, at.now_ms, Detail::ParallelStateFailed);
                self.continue_from(parent, event);
            }
            id = parent;
        }
    }

    fn try_anew(&mut self, id: BranchId, failure: &Failure, at: &mut At<'_>) -> bool {
        let state = self.state_of(id, at.definition);
        let found =
            state.retry.iter().enumerate().find(|(_, retrier)| takes(&retrier.error_equals, failure.name()));
        let Some((index, retrier)) = found else { return false };
        let run = self.branches.get_mut(&id).expect("a failing branch is there");
        run.attempts.resize(state.retry.len(), 0);
        if run.attempts[index] >= retrier.max_attempts {
            return false;
        }
        run.attempts[index] += 1;
        run.retry_count += 1;
        let delay_ms = retrier.delay_ms(run.attempts[index], unit(at.entropy));
        let until_ms = at.now_ms.saturating_add(i64::try_from(delay_ms).unwrap_or(i64::MAX));
        run.phase = Phase::Backoff { until_ms };
        self.remove_below(id);
        true
    }

    /// Whether a catcher took the error. One that fails itself makes it worse.
    fn catch(&mut self, id: BranchId, failure: &Failure, at: &mut At<'_>) -> Result<bool, Failure> {
        let state = self.state_of(id, at.definition);
        let Some(catcher) = state.catch.iter().find(|catcher| takes(&catcher.error_equals, failure.name()))
        else {
            return Ok(false);
        };
        let error_output = failure.output();
        let seen = Seen { error_output: Some(&error_output), ..Seen::default() };
        let language = state.language;
        let caught =
            self.evaluate(id, seen, at, |evaluation| caught(evaluation, catcher, language, &error_output));
        let (output, assigned) = match caught {
            Ok(caught) => caught,
            Err(unevaluated) => return Err(self.unevaluated(id, unevaluated, at)),
        };
        self.exit(id, output, assigned, &Flow::Next(catcher.next.clone()), at);
        Ok(true)
    }

    /// Ends every branch below the state of this one that has not ended by itself.
    pub(super) fn abort_below(&mut self, id: BranchId, at: &mut At<'_>) {
        let below: Vec<(BranchId, usize)> = self
            .branches
            .range(id..)
            .filter_map(|(child, run)| {
                run.parent.filter(|(above, _)| *above == id).map(|(_, index)| (*child, index))
            })
            .collect();
        for (child, index) in below {
            let is_active = match &self.branches[&child].phase {
                Phase::Done | Phase::Failed(_) | Phase::Aborted => false,
                Phase::MapRun(map_run) => !map_run.is_over,
                _ => true,
            };
            if !is_active {
                continue;
            }
            self.abort_below(child, at);
            if let Phase::Task(task) = &self.branches[&child].phase {
                self.commands.push_back(Command::Cancel(task.id));
            }
            let map_run = match &self.branches[&child].phase {
                Phase::MapRun(map_run) => Some(map_run.request.id),
                _ => None,
            };
            if let Some(map_run) = map_run {
                self.commands.push_back(Command::Cancel(map_run));
                self.record(child, at.now_ms, Detail::MapRunAborted);
            }
            let state = self.state_of(child, at.definition);
            if matches!(state.kind, Kind::Task(_) | Kind::Wait(_) | Kind::Parallel { .. } | Kind::Map(_)) {
                self.record(child, at.now_ms, Detail::StateAborted(state.state_type()));
            }
            if matches!(self.branches[&id].phase, Phase::Map(_)) {
                let name = self.branches[&id].state.clone();
                self.record(child, at.now_ms, Detail::MapIterationAborted { name, index: index as u64 });
            }
            match self.branches.get_mut(&child).map(|run| &mut run.phase) {
                Some(Phase::MapRun(map_run)) => map_run.is_over = true,
                Some(phase) => *phase = Phase::Aborted,
                None => {}
            }
        }
        self.ready.retain(|ready| {
            self.branches
                .get(ready)
                .is_some_and(|run| !matches!(run.phase, Phase::Aborted | Phase::Failed(_)))
        });
    }
}

fn caught(
    evaluation: &mut super::evaluate::Evaluation<'_>,
    catcher: &Catcher,
    language: QueryLanguage,
    error_output: &Value,
) -> Result<(Value, Option<Value>), Unevaluated> {
    let output = match (language, &catcher.output) {
        (QueryLanguage::JsonAta, Some(output)) => evaluation.payload("Catch/Output", output, &Value::Null)?,
        (QueryLanguage::JsonAta, None) => error_output.clone(),
        (QueryLanguage::JsonPath, _) => {
            evaluation.placed(catcher.result_path.as_ref(), error_output.clone())?
        }
    };
    let assigned = catcher
        .assign
        .as_ref()
        .map(|assign| evaluation.payload("Catch/Assign", assign, error_output))
        .transpose()?;
    Ok((output, assigned))
}

/// A number in `[0, 1)`.
fn unit(entropy: &mut dyn Entropy) -> f64 {
    (entropy.draw() >> 11) as f64 / (1u64 << 53) as f64
}
