//! One state, run alone, with everything that is computed on the way: what `TestState` shows.

use serde_json::{Map, Value, json};

use super::begin::Begun;
use super::branch::{BranchId, Phase};
use super::evaluate::{Evaluation, Seen, Unevaluated};
use super::event::{Detail, Failure};
use super::task::token;
use super::{At, Execution, Status};
use crate::retry::takes;
use crate::{Kind, QueryLanguage, State};

/// What a state is tried with.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Members of the context object, in place of those that are made up.
    pub context: Option<Value>,
    /// The variables that it sees.
    pub variables: Map<String, Value>,
    /// What its task, its branches or its items come to.
    pub mock: Option<Result<Value, Failure>>,
    /// How often it has been tried before.
    pub retries: u64,
    /// How many of a Map state's items failed.
    pub failed_items: Option<u64>,
    /// What a Map state's `ItemReader` read.
    pub reader_data: Option<Value>,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With an output.
    Succeeded,
    /// With an error that nobody takes.
    Failed,
    /// With an error for which a retrier tries anew.
    Retriable,
    /// With an error that a catcher took.
    Caught,
    /// It cannot go on: its task, branches or items need a mock.
    NeedsMock,
}

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct Tried {
    /// How it ended.
    pub verdict: Verdict,
    /// Its output, as JSON.
    pub output: Option<String>,
    /// Where it goes.
    pub next: Option<Box<str>>,
    /// What it failed with, whoever took that.
    pub failure: Option<Failure>,
    /// What was computed on the way, under the API's names.
    pub inspection: Map<String, Value>,
}

impl Execution {
    /// Runs a state of `definition` alone, in an execution that has not begun.
    ///
    /// # Panics
    /// For a name that the definition does not have.
    pub fn try_state(mut self, name: &str, trial: Trial, at: &mut At<'_>) -> Tried {
        let (scope, state) = at.definition.find(name).expect("the caller has looked for the state");
        self.started_ms = at.now_ms;
        self.given_context = trial.context.clone().map(Box::new);
        let input = self.input.clone();
        let id = self.fork(None, scope, input, 0, at.definition);
        self.ready.clear();
        let run = self.branches.get_mut(&id).expect("forked just now");
        run.state = name.into();
        run.variables = trial.variables.clone();
        run.attempts = vec![trial.retries; state.retry.len()];
        run.retry_count = trial.retries;
        run.entered_ms = at.now_ms;
        run.phase = Phase::Work;
        let mut inspection = Map::new();
        inspection.insert("input".into(), self.input_text.to_string().into());
        let begun = self.inspect(id, state, &trial, &mut inspection, at);
        let failure = match begun {
            Err(unevaluated) => {
                let failure = unevaluated.failure.clone();
                self.fail_evaluating(id, unevaluated, at);
                Some(failure)
            }
            Ok(false) => {
                return Tried {
                    verdict: Verdict::NeedsMock,
                    output: None,
                    next: None,
                    failure: None,
                    inspection,
                };
            }
            Ok(true) => self.outcome_of(id, state, &trial, &mut inspection, at),
        };
        self.tried(id, state, failure, inspection, at.now_ms)
    }

    /// Computes what the state's work is given. False when the work cannot be done without a mock.
    fn inspect(
        &mut self,
        id: BranchId,
        state: &State,
        trial: &Trial,
        inspection: &mut Map<String, Value>,
        at: &mut At<'_>,
    ) -> Result<bool, Unevaluated> {
        let is_json_ata = state.language == QueryLanguage::JsonAta;
        // A token that nobody takes: its state is not waited for.
        let token =
            matches!(&state.kind, Kind::Task(task) if task.resource.has_token()).then(|| token(at.entropy));
        let seen = Seen { token: token.as_deref(), ..Seen::default() };
        self.evaluate(id, seen, at, |evaluation| {
            let mut see = |name: &str, value: &Value| {
                inspection.insert(name.to_owned(), value.to_string().into());
            };
            let input = evaluation.effective_input()?;
            if !is_json_ata && state.input_path.is_some() {
                see("afterInputPath", &input);
            }
            if !matches!(state.kind, Kind::Fail { .. })
                && let Some(arguments) = evaluation.arguments(&input)?
            {
                see(if is_json_ata { "afterArguments" } else { "afterParameters" }, &arguments);
            }
            if let Kind::Map(map) = &state.kind {
                evaluation.inspect_map(map, &input, trial, inspection)?;
            }
            Ok::<_, Unevaluated>(())
        })?;
        let needs_mock = matches!(state.kind, Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_));
        Ok(!needs_mock || trial.mock.is_some())
    }

    /// Does the work; gives back what it failed with.
    fn outcome_of(
        &mut self,
        id: BranchId,
        state: &State,
        trial: &Trial,
        inspection: &mut Map<String, Value>,
        at: &mut At<'_>,
    ) -> Option<Failure> {
        let failure = match &trial.mock {
            Some(Ok(result)) => match self.too_many_failed(id, state, trial, at) {
                None => {
                    self.inspect_result(id, state, result, inspection, at);
                    self.finish(id, result.clone(), at);
                    return self.failed_with();
                }
                failure => failure,
            },
            Some(Err(failure)) => Some(failure.clone()),
            None => None,
        };
        if let Some(failure) = failure {
            self.fail(id, failure.clone(), at);
            return Some(failure);
        }
        match self.begin(id, at) {
            Ok(Begun::Finished(result)) => {
                self.inspect_result(id, state, &result, inspection, at);
                self.finish(id, result, at);
            }
            Ok(Begun::Chosen(chosen)) => self.leave_choice(id, &chosen, at),
            // A Wait state, which is not waited for; a Fail state has failed.
            Ok(Begun::Pending) => {
                if self.status == Status::Running {
                    self.elapsed(id, at);
                }
            }
            Err(unevaluated) => {
                let failure = unevaluated.failure.clone();
                self.fail_evaluating(id, unevaluated, at);
                return Some(failure);
            }
        }
        self.failed_with()
    }

    fn failed_with(&self) -> Option<Failure> {
        self.failure.clone().or_else(|| {
            self.events.iter().find_map(|event| match &event.detail {
                Detail::EvaluationFailed { failure, .. } => Some(failure.clone()),
                _ => None,
            })
        })
    }

    fn too_many_failed(
        &self,
        id: BranchId,
        state: &State,
        trial: &Trial,
        at: &mut At<'_>,
    ) -> Option<Failure> {
        let (Kind::Map(map), Some(failed)) = (&state.kind, trial.failed_items) else { return None };
        let items = match &trial.mock {
            Some(Ok(Value::Array(items))) => items.len() as u64,
            _ => 0,
        };
        let tolerated = self.evaluate(id, Seen::default(), at, |evaluation| {
            let input = evaluation.effective_input().map_err(Unevaluated::from)?;
            evaluation.tolerance(map, &input)
        });
        let (count, percentage) = tolerated.ok()?;
        let is_over = match (count, percentage) {
            (None, None) => failed > 0,
            (count, percentage) => {
                count.is_some_and(|count| failed > count)
                    || percentage.is_some_and(|share| failed as f64 * 100.0 > share * items as f64)
            }
        };
        is_over.then(|| {
            let cause = "The specified tolerated failure threshold was exceeded";
            Failure::new("States.ExceedToleratedFailureThreshold", cause)
        })
    }

    /// What becomes of a result on its way to the output, as far as that goes well.
    fn inspect_result(
        &self,
        id: BranchId,
        state: &State,
        result: &Value,
        inspection: &mut Map<String, Value>,
        at: &mut At<'_>,
    ) {
        inspection.insert("result".into(), result.to_string().into());
        if state.language == QueryLanguage::JsonAta {
            return;
        }
        self.evaluate(id, Seen::default(), at, |evaluation| {
            let selected = match &state.result_selector {
                Some(selector) => evaluation.payload("ResultSelector", selector, result).ok(),
                None => Some(result.clone()),
            };
            let Some(selected) = selected else { return };
            if state.result_selector.is_some() {
                inspection.insert("afterResultSelector".into(), selected.to_string().into());
            }
            if let Ok(placed) = evaluation.placed(state.result_path.as_ref(), selected) {
                inspection.insert("afterResultPath".into(), placed.to_string().into());
            }
        });
    }

    fn tried(
        mut self,
        id: BranchId,
        state: &State,
        failure: Option<Failure>,
        mut inspection: Map<String, Value>,
        now_ms: i64,
    ) -> Tried {
        let mut output = None;
        while let Some(event) = self.poll_event() {
            if let Detail::StateExited { output: text, .. } = event.detail {
                output = Some(text);
            }
        }
        let run = self.branches.get(&id);
        let backoff_ms = match run.map(|run| &run.phase) {
            Some(Phase::Backoff { until_ms }) => Some(until_ms - now_ms),
            _ => None,
        };
        let next = run.filter(|run| matches!(run.phase, Phase::Enter)).map(|run| run.state.clone());
        let verdict = match (&output, &failure, backoff_ms) {
            (_, _, Some(_)) => Verdict::Retriable,
            (Some(_), Some(_), None) => Verdict::Caught,
            (Some(_), None, None) => Verdict::Succeeded,
            _ => Verdict::Failed,
        };
        if let Some(failure) = &failure {
            let place = |equals: &[Box<str>]| takes(equals, failure.name());
            let mut details = Map::new();
            if let Some(backoff_ms) = backoff_ms {
                let index = state.retry.iter().position(|retrier| place(&retrier.error_equals));
                details.insert("retryIndex".into(), index.unwrap_or_default().into());
                details.insert("retryBackoffIntervalSeconds".into(), (backoff_ms / 1000).into());
            } else if verdict == Verdict::Caught {
                let index = state.catch.iter().position(|catcher| place(&catcher.error_equals));
                details.insert("catchIndex".into(), index.unwrap_or_default().into());
            }
            if !details.is_empty() {
                inspection.insert("errorDetails".into(), Value::Object(details));
            }
        }
        if let Some(variables) = run.map(|run| &run.variables).filter(|variables| !variables.is_empty()) {
            inspection.insert("variables".into(), json!(variables).to_string().into());
        }
        Tried { verdict, output, next, failure, inspection }
    }
}

impl Evaluation<'_> {
    /// What a Map state does with its items before anything is run.
    fn inspect_map(
        &mut self,
        map: &crate::MapState,
        input: &Value,
        trial: &Trial,
        inspection: &mut Map<String, Value>,
    ) -> Result<(), Unevaluated> {
        let distributed = map.distributed.as_ref();
        let items: Vec<(Option<Box<str>>, Value)> = match (&trial.reader_data, distributed) {
            (Some(data), Some(_)) => {
                let pointer = distributed.and_then(|map| map.reader_config.as_ref());
                let config = match pointer {
                    Some(payload) => self.payload("ReaderConfig", payload, input)?,
                    None => Value::Null,
                };
                let found = config["ItemsPointer"].as_str().and_then(|pointer| data.pointer(pointer));
                if let Some(found) = found {
                    inspection.insert("afterItemsPointer".into(), found.to_string().into());
                }
                let items = found.unwrap_or(data).as_array().cloned().unwrap_or_default();
                items.into_iter().map(|item| (None, item)).collect()
            }
            (None, Some(distributed)) if distributed.reader.is_some() => Vec::new(),
            _ => {
                let items = self.items(map, input)?;
                let shown: Vec<&Value> = items.iter().map(|(_, item)| item).collect();
                inspection.insert("afterItemsPath".into(), json!(shown).to_string().into());
                items
            }
        };
        if let Some(selector) = &map.item_selector {
            let mut selected = Vec::with_capacity(items.len());
            let mut bytes = 0;
            for (index, (key, item)) in items.iter().enumerate() {
                if self.context.is_object() {
                    let mut member = json!({ "Index": index, "Value": item });
                    if distributed.is_some_and(|distributed| distributed.reader.is_none()) {
                        member["Source"] = "STATE_DATA".into();
                    }
                    if let Some(key) = key {
                        member["Key"] = Value::from(&**key);
                    }
                    self.context["Map"] = json!({ "Item": member });
                }
                let filled = self.payload("ItemSelector", selector, input)?;
                let added = self.budget.add(&mut bytes, &filled);
                added.map_err(|spent| self.overspent("ItemSelector", spent))?;
                selected.push(filled);
            }
            inspection.insert("afterItemSelector".into(), Value::Array(selected).to_string().into());
        }
        if let Some(batcher) = distributed.and_then(|map| map.batcher.as_ref()) {
            let filled = self.payload("ItemBatcher", batcher, input)?;
            inspection.insert("afterItemBatcher".into(), filled.to_string().into());
        }
        let (count, percentage) = self.tolerance(map, input)?;
        if let Some(count) = count {
            inspection.insert("toleratedFailureCount".into(), count.into());
        }
        if let Some(percentage) = percentage {
            inspection.insert("toleratedFailurePercentage".into(), percentage.into());
        }
        let most =
            self.number("MaxConcurrency", &map.max_concurrency, input, 0..=super::map::CONCURRENCY_MAX)?;
        if most > 0 {
            inspection.insert("maxConcurrency".into(), most.into());
        }
        Ok(())
    }
}
