//! Leaving a state: its result becomes its output, variables are assigned, and the branch goes on or ends.

use std::collections::BTreeMap;

use selvedge_query::{bytes_within, nests_within};
use serde_json::{Map, Value};

use super::branch::{BranchId, Phase};
use super::evaluate::{Seen, Unevaluated, cause};
use super::event::{Detail, Failure};
use super::{At, Execution, PAYLOAD_DEPTH_MAX, Status, json_bytes};
use crate::{Flow, Kind, QueryLanguage};

impl Execution {
    /// The work of a branch's state is done.
    pub(super) fn finish(&mut self, id: BranchId, result: Value, at: &mut At<'_>) {
        if let Some(failure) = self.oversized(id, &result) {
            self.fail(id, failure, at);
            return;
        }
        let state = self.state_of(id, at.definition);
        let has_result =
            matches!(state.kind, Kind::Pass { .. } | Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_));
        let is_work = matches!(state.kind, Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_));
        let seen = Seen { result: is_work.then_some(&result), ..Seen::default() };
        let left = self.evaluate(id, seen, at, |evaluation| match state.language {
            QueryLanguage::JsonAta => {
                let output = match &state.output {
                    Some(output) => evaluation.payload("Output", output, &Value::Null)?,
                    None => result.clone(),
                };
                let assigned = state
                    .assign
                    .as_ref()
                    .map(|assign| evaluation.payload("Assign", assign, &Value::Null))
                    .transpose()?;
                Ok::<_, Unevaluated>((output, assigned))
            }
            QueryLanguage::JsonPath => {
                let selected = match &state.result_selector {
                    Some(selector) => evaluation.payload("ResultSelector", selector, &result)?,
                    None => result.clone(),
                };
                let assigned = state
                    .assign
                    .as_ref()
                    .map(|assign| evaluation.payload("Assign", assign, &selected))
                    .transpose()?;
                let combined = if has_result {
                    evaluation.placed(state.result_path.as_ref(), selected)?
                } else {
                    selected
                };
                Ok((evaluation.shaped("OutputPath", state.output_path.as_ref(), &combined)?, assigned))
            }
        });
        match left {
            Ok((output, assigned)) => {
                let flow = state.next.clone().unwrap_or(Flow::End);
                self.exit(id, output, assigned, &flow, at);
            }
            Err(unevaluated) => self.fail_evaluating(id, unevaluated, at),
        }
    }

    /// Leaves a state with an output.
    pub(super) fn exit(
        &mut self,
        id: BranchId,
        output: Value,
        assigned: Option<Value>,
        flow: &Flow,
        at: &mut At<'_>,
    ) {
        let text = output.to_string();
        if let Some(failure) = self.oversized_as(id, &output, text.len()) {
            self.fail(id, failure, at);
            return;
        }
        let assigned = match assigned.map(|assigned| self.assign(id, assigned)).transpose() {
            Ok(assigned) => assigned,
            Err(failure) => {
                self.fail(id, failure, at);
                return;
            }
        };
        let state = self.state_of(id, at.definition);
        let kind = state.state_type();
        let goes_on = matches!(flow, Flow::Next(_));
        let next_text = goes_on.then(|| text.clone());
        self.record(
            id,
            at.now_ms,
            Detail::StateExited { kind, name: state.name.clone(), output: text, assigned },
        );
        self.remove_below(id);
        match flow {
            Flow::Next(next) => {
                let run = self.branches.get_mut(&id).expect("it leaves a state");
                run.state = next.clone();
                run.input = output;
                run.input_text = next_text;
                run.phase = Phase::Enter;
                self.ready.push_back(id);
            }
            Flow::End => self.complete(id, output, at),
        }
    }

    /// The last state of a branch has ended.
    fn complete(&mut self, id: BranchId, output: Value, at: &mut At<'_>) {
        let run = self.branches.get_mut(&id).expect("it has ended just now");
        run.phase = Phase::Done;
        let (last_event, parent) = (run.last_event, run.parent);
        let Some((parent, index)) = parent else {
            let detail = Detail::ExecutionSucceeded { output: output.to_string() };
            self.end(Status::Succeeded, detail, last_event, at.now_ms);
            return;
        };
        if matches!(self.branches.get(&parent).map(|run| &run.phase), Some(Phase::Map(_))) {
            // Nothing of it is needed any more, and there may be many.
            self.branches.remove(&id);
            self.item_done(parent, index, Ok(output), last_event, at);
            return;
        }
        let Some(Phase::Parallel(parallel)) = self.branches.get_mut(&parent).map(|run| &mut run.phase) else {
            return;
        };
        parallel.results[index] = Some(output);
        if parallel.results.iter().all(Option::is_some) {
            let results = std::mem::take(&mut parallel.results).into_iter().flatten().collect();
            // The event of success is a leaf: what follows goes on from before it.
            self.emit(last_event, at.now_ms, Detail::ParallelStateSucceeded);
            self.continue_from(parent, last_event);
            self.finish(parent, results, at);
        }
    }

    pub(super) fn continue_from(&mut self, id: BranchId, event: u64) {
        if let Some(run) = self.branches.get_mut(&id) {
            run.last_event = event;
        }
    }

    /// What a state fails with whose payload is too large, or nests too deep.
    pub(super) fn oversized(&self, id: BranchId, value: &Value) -> Option<Failure> {
        self.oversized_as(id, value, json_bytes(value))
    }

    /// The same for a value that has so many bytes as JSON.
    pub(super) fn oversized_as(&self, id: BranchId, value: &Value, bytes: usize) -> Option<Failure> {
        let what = if bytes > self.options.payload_bytes {
            "with a size exceeding the maximum number of bytes service limit".to_owned()
        } else if !nests_within(value, PAYLOAD_DEPTH_MAX) {
            format!("that nests more than {PAYLOAD_DEPTH_MAX} levels deep")
        } else {
            return None;
        };
        let detail = format!("The state/task '{}' returned a result {what}.", self.branches[&id].state);
        Some(Failure::new("States.DataLimitExceeded", detail))
    }

    /// Assigns variables; gives back what the history shows.
    fn assign(&mut self, id: BranchId, assigned: Value) -> Result<BTreeMap<String, String>, Failure> {
        let Value::Object(assigned) = assigned else { return Ok(BTreeMap::new()) };
        let run = &self.branches[&id];
        let refused = |detail: &str| {
            let cause = cause(&run.state, run.entered_event, detail);
            Err(Failure::new("States.DataLimitExceeded", cause))
        };
        let texts: BTreeMap<String, String> =
            assigned.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        let (one_max, all_max) = (self.options.variable_bytes(), self.options.variables_bytes());
        if texts.values().map(String::len).sum::<usize>() > one_max {
            return refused(&format!("The assigned variables have more than {one_max} bytes."));
        }
        let bytes: usize = self.branches.values().map(|run| variables_bytes(&run.variables)).sum();
        if bytes + texts.values().map(String::len).sum::<usize>() > all_max {
            return refused(&format!("The variables of the execution have more than {all_max} bytes."));
        }
        self.branches.get_mut(&id).expect("looked up above").variables.extend(assigned);
        Ok(texts)
    }

    /// Forgets every branch below the state of this one.
    pub(super) fn remove_below(&mut self, id: BranchId) {
        let mut above = vec![id];
        while let Some(parent) = above.pop() {
            let below: Vec<BranchId> = self
                .branches
                .range(parent..)
                .filter(|(_, run)| run.parent.is_some_and(|(above, _)| above == parent))
                .map(|(id, _)| *id)
                .collect();
            for child in &below {
                self.branches.remove(child);
            }
            above.extend(below);
        }
    }
}

/// Without escapes, so that a long text costs a look and not a walk: this is done at each `Assign`.
fn variables_bytes(variables: &Map<String, Value>) -> usize {
    variables.values().map(|value| bytes_within(value, usize::MAX).unwrap_or(usize::MAX)).sum()
}

impl super::evaluate::Evaluation<'_> {
    /// The state's input with the result at `ResultPath`.
    pub(super) fn placed(
        &self,
        path: Option<&selvedge_query::Path>,
        result: Value,
    ) -> Result<Value, Failure> {
        match path {
            None => Ok(self.input.clone()),
            Some(path) if path.is_root() => Ok(result),
            Some(path) => {
                let mut combined = self.input.clone();
                match path.place(&mut combined, result) {
                    Ok(()) => Ok(combined),
                    Err(error) => {
                        let detail =
                            format!("Unable to apply ReferencePath {path} to the state's input: {error}");
                        let cause = cause(&self.state.name, self.entered_event, &detail);
                        Err(Failure::new("States.ResultPathMatchFailure", cause))
                    }
                }
            }
        }
    }
}
