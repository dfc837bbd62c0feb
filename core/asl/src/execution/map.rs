//! Map states: a branch for each item, or children of their own.

use serde_json::Value;

use super::begin::Begun;
use super::branch::{BranchId, Item, MapProgress, Phase};
use super::evaluate::{Evaluation, Seen, Unevaluated};
use super::event::{Detail, Failure};
use super::{At, Execution};
use crate::MapState;

/// How many branches of an inline Map state run at once.
const INLINE_CONCURRENCY_MAX: u64 = 40;
pub(super) const CONCURRENCY_MAX: u64 = 10_000;

pub(super) type Items = Vec<(Option<Box<str>>, Value)>;

impl Execution {
    pub(super) fn begin_map(
        &mut self,
        id: BranchId,
        map: &MapState,
        at: &mut At<'_>,
    ) -> Result<Begun, Unevaluated> {
        self.remove_below(id);
        if let Some(distributed) = &map.distributed {
            return self.begin_map_run(id, map, distributed, at);
        }
        let (items, most_running, tolerated) = self.evaluate(id, Seen::default(), at, |evaluation| {
            let input = evaluation.effective_input()?;
            let items = evaluation.items(map, &input)?;
            let most =
                evaluation.number("MaxConcurrency", &map.max_concurrency, &input, 0..=CONCURRENCY_MAX)?;
            let most = if most == 0 { INLINE_CONCURRENCY_MAX } else { most.min(INLINE_CONCURRENCY_MAX) };
            let (count, percentage) = evaluation.tolerance(map, &input)?;
            let share = percentage.map(|percentage| (items.len() as f64 * percentage / 100.0) as u64);
            let tolerated = match (count, share) {
                (Some(count), Some(share)) => Some(count.min(share)),
                (count, share) => count.or(share),
            };
            Ok::<_, Unevaluated>((items, usize::try_from(most).unwrap_or(usize::MAX), tolerated))
        })?;
        let length = items.len();
        self.record(id, at.now_ms, Detail::MapStateStarted { length: length as u64 });
        let results = vec![Value::Null; length];
        let progress =
            MapProgress { items, next: 0, running: 0, most_running, results, failed: 0, tolerated };
        self.phase(id, Phase::Map(Box::new(progress)));
        if length == 0 {
            let last_event = self.branches[&id].last_event;
            self.map_done(id, last_event, at);
            return Ok(Begun::Pending);
        }
        let from = self.branches[&id].last_event;
        self.start_items(id, from, at);
        Ok(Begun::Pending)
    }

    /// Begins as many items as may run; their first event follows `from`.
    fn start_items(&mut self, id: BranchId, from: u64, at: &mut At<'_>) {
        loop {
            let Some(Phase::Map(progress)) = self.branches.get_mut(&id).map(|run| &mut run.phase) else {
                return;
            };
            if progress.running >= progress.most_running || progress.next >= progress.items.len() {
                return;
            }
            let index = progress.next;
            progress.next += 1;
            progress.running += 1;
            // An item is needed once.
            let (key, value) = std::mem::take(&mut progress.items[index]);
            let state = self.state_of(id, at.definition);
            let crate::Kind::Map(map) = &state.kind else { return };
            let name = state.name.clone();
            let started =
                self.emit(from, at.now_ms, Detail::MapIterationStarted { name, index: index as u64 });
            let seen = Seen { item: Some((index as u64, &value, key.as_deref())), ..Seen::default() };
            let selected = self.evaluate(id, seen, at, |evaluation| match &map.item_selector {
                Some(selector) => {
                    let input = evaluation.effective_input()?;
                    evaluation.payload("ItemSelector", selector, &input)
                }
                None => Ok(value.clone()),
            });
            match selected {
                Ok(input) => {
                    if let Some(failure) = self.oversized(id, &input) {
                        self.give_up_items(id, failure.into(), at);
                        return;
                    }
                    let child = self.fork(Some((id, index)), map.processor, input, started, at.definition);
                    let run = self.branches.get_mut(&child).expect("forked just now");
                    run.item = Some(Item { index: index as u64, value, key });
                }
                Err(unevaluated) => {
                    self.give_up_items(id, unevaluated, at);
                    return;
                }
            }
        }
    }

    /// An item's input could not be made: the state fails, and its other items end.
    fn give_up_items(&mut self, id: BranchId, unevaluated: Unevaluated, at: &mut At<'_>) {
        self.abort_below(id, at);
        self.remove_below(id);
        self.phase(id, Phase::Work);
        self.fail_evaluating(id, unevaluated, at);
    }

    /// An item's branch has ended well, or badly within what is tolerated.
    pub(super) fn item_done(
        &mut self,
        id: BranchId,
        index: usize,
        outcome: Result<Value, Failure>,
        last_event: u64,
        at: &mut At<'_>,
    ) {
        let name = self.branches[&id].state.clone();
        let Some(Phase::Map(progress)) = self.branches.get_mut(&id).map(|run| &mut run.phase) else { return };
        progress.running -= 1;
        let detail = match outcome {
            Ok(output) => {
                progress.results[index] = output;
                Detail::MapIterationSucceeded { name, index: index as u64 }
            }
            Err(failure) => {
                progress.results[index] = failure.output();
                Detail::MapIterationFailed { name, index: index as u64 }
            }
        };
        let is_done = progress.running == 0 && progress.next >= progress.items.len();
        // A leaf of the history: the next item goes on from before it.
        self.emit(last_event, at.now_ms, detail);
        if is_done {
            self.map_done(id, last_event, at);
        } else {
            self.start_items(id, last_event, at);
        }
    }

    fn map_done(&mut self, id: BranchId, last_event: u64, at: &mut At<'_>) {
        let Some(Phase::Map(progress)) = self.branches.get_mut(&id).map(|run| &mut run.phase) else { return };
        let results = Value::Array(std::mem::take(&mut progress.results));
        self.emit(last_event, at.now_ms, Detail::MapStateSucceeded);
        self.continue_from(id, last_event);
        self.finish(id, results, at);
    }

    /// An item's branch has failed. What the whole state fails with, unless that is tolerated.
    pub(super) fn item_failed(
        &mut self,
        child: BranchId,
        id: BranchId,
        index: usize,
        failure: Failure,
        at: &mut At<'_>,
    ) -> Option<Failure> {
        let last_event = self.branches[&child].last_event;
        let name = self.branches[&id].state.clone();
        let Some(Phase::Map(progress)) = self.branches.get_mut(&id).map(|run| &mut run.phase) else {
            return Some(failure);
        };
        progress.failed += 1;
        let failed = progress.failed;
        match progress.tolerated {
            Some(tolerated) if failed <= tolerated => {
                self.branches.remove(&child);
                self.item_done(id, index, Err(failure), last_event, at);
                return None;
            }
            _ => {}
        }
        // Whoever drives the execution on gives it another chance.
        progress.failed -= 1;
        let has_tolerance = progress.tolerated.is_some();
        self.emit(last_event, at.now_ms, Detail::MapIterationFailed { name, index: index as u64 });
        self.abort_below(id, at);
        let event = self.emit(last_event, at.now_ms, Detail::MapStateFailed);
        self.continue_from(id, event);
        if has_tolerance {
            let cause = "The specified tolerated failure threshold was exceeded";
            return Some(Failure::new("States.ExceedToleratedFailureThreshold", cause));
        }
        Some(failure)
    }
}

impl Evaluation<'_> {
    pub(super) fn items(&mut self, map: &MapState, input: &Value) -> Result<Items, Unevaluated> {
        let found = match (&map.items, &map.items_path) {
            (Some(items), _) => self.payload("Items", items, input)?,
            (None, Some(path)) => self.path("ItemsPath", path, input)?,
            (None, None) => input.clone(),
        };
        match found {
            Value::Array(items) => Ok(items.into_iter().map(|item| (None, item)).collect()),
            Value::Object(members) if map.items.is_some() => {
                Ok(members.into_iter().map(|(key, value)| (Some(key.into()), value)).collect())
            }
            other => {
                let path = map.items_path.as_ref().map_or_else(|| "$".to_owned(), ToString::to_string);
                let kind = if other.is_object() { "an object" } else { "no array" };
                let detail = match map.items {
                    Some(_) => {
                        return Err(self.query("Items", "The field 'Items' needs an array or an object."));
                    }
                    None => format!("Reference path \"{path}\" must point to array, and there is {kind}."),
                };
                Err(self.runtime(detail).into())
            }
        }
    }

    pub(super) fn tolerance(
        &mut self,
        map: &MapState,
        input: &Value,
    ) -> Result<(Option<u64>, Option<f64>), Unevaluated> {
        let count = map.tolerated_count.as_ref();
        let count = count
            .map(|number| self.number("ToleratedFailureCount", number, input, 0..=u64::MAX >> 1))
            .transpose()?;
        let percentage = map.tolerated_percentage.as_ref();
        let percentage = percentage
            .map(|number| self.percentage("ToleratedFailurePercentage", number, input))
            .transpose()?;
        Ok((count, percentage))
    }
}
