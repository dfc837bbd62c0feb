//! Entering a state, and beginning its work.

use selvedge_query::Path;
use serde_json::Value;

use super::absent;
use super::branch::{BranchId, ParallelRun, Phase};
use super::evaluate::{Evaluation, Seen, Unevaluated};
use super::event::{Detail, Failure, StateType};
use super::{At, Execution, later};
use crate::syntax::{ChoiceTest, Until};
use crate::{Definition, Flow, Kind, QueryLanguage, State, parse_timestamp};

const WAIT_SECONDS_MAX: u64 = 99_999_999;

/// How a state's work began.
pub(super) enum Begun {
    /// It is done, with this result.
    Finished(Value),
    /// A Choice state goes there.
    Chosen(Chosen),
    /// The branch has got into another phase, or ended.
    Pending,
}

/// What a Choice state decided.
pub(super) struct Chosen {
    pub(super) next: Box<str>,
    /// The rule; none is the default.
    pub(super) rule: Option<usize>,
}

impl State {
    pub(super) fn state_type(&self) -> StateType {
        match self.kind {
            Kind::Pass { .. } => StateType::Pass,
            Kind::Task(_) => StateType::Task,
            Kind::Choice { .. } => StateType::Choice,
            Kind::Wait(_) => StateType::Wait,
            Kind::Succeed => StateType::Succeed,
            Kind::Fail { .. } => StateType::Fail,
            Kind::Parallel { .. } => StateType::Parallel,
            Kind::Map(_) => StateType::Map,
        }
    }
}

impl Execution {
    pub(super) fn state_of<'d>(&self, id: BranchId, definition: &'d Definition) -> &'d State {
        let run = &self.branches[&id];
        definition.state(run.scope, &run.state).expect("a branch is in a state of its definition")
    }

    /// Takes one step of a branch that is ready.
    pub(super) fn advance(&mut self, id: BranchId, at: &mut At<'_>) {
        if self.last_event + 1 >= self.options.history_events {
            let most = self.options.history_events;
            let cause = format!("The execution reached the maximum number of history events ({most}).");
            let previous = self.branches[&id].last_event;
            let detail = Detail::ExecutionFailed(Failure::new("States.Runtime", cause));
            self.end(super::Status::Failed, detail, previous, at.now_ms);
            return;
        }
        if matches!(self.branches[&id].phase, Phase::Enter) {
            self.enter(id, at);
        }
        match self.begin(id, at) {
            Ok(Begun::Finished(result)) => self.finish(id, result, at),
            Ok(Begun::Chosen(chosen)) => self.leave_choice(id, &chosen, at),
            Ok(Begun::Pending) => {}
            Err(unevaluated) => self.fail_evaluating(id, unevaluated, at),
        }
    }

    fn enter(&mut self, id: BranchId, at: &mut At<'_>) {
        let state = self.state_of(id, at.definition);
        let run = self.branches.get_mut(&id).expect("it is being advanced");
        let input = run.input_text.take().unwrap_or_else(|| run.input.to_string());
        let detail = Detail::StateEntered { kind: state.state_type(), name: state.name.clone(), input };
        let event = self.record(id, at.now_ms, detail);
        let run = self.branches.get_mut(&id).expect("it is being advanced");
        run.entered_event = event;
        run.entered_ms = at.now_ms;
        run.attempts.clear();
        run.retry_count = 0;
        run.phase = Phase::Work;
    }

    pub(super) fn begin(&mut self, id: BranchId, at: &mut At<'_>) -> Result<Begun, Unevaluated> {
        let state = self.state_of(id, at.definition);
        match &state.kind {
            Kind::Pass { result } => self.evaluate(id, Seen::default(), at, |evaluation| {
                let input = evaluation.effective_input()?;
                let shaped = evaluation.arguments(&input)?;
                Ok(Begun::Finished(result.clone().or(shaped).unwrap_or(input)))
            }),
            Kind::Succeed => {
                let input =
                    self.evaluate(id, Seen::default(), at, |evaluation| evaluation.effective_input())?;
                Ok(Begun::Finished(input))
            }
            Kind::Wait(until) => self.wait(id, until, at),
            Kind::Choice { rules, default } => {
                let chosen = self.evaluate(id, Seen::default(), at, |evaluation| {
                    let input = evaluation.effective_input()?;
                    for (index, rule) in rules.iter().enumerate() {
                        if evaluation.holds(&rule.test, index, &input)? {
                            return Ok(Chosen { next: rule.next.clone(), rule: Some(index) });
                        }
                    }
                    let next = default.clone().ok_or_else(|| evaluation.no_choice())?;
                    Ok::<_, Unevaluated>(Chosen { next, rule: None })
                })?;
                Ok(Begun::Chosen(chosen))
            }
            Kind::Fail { error, cause } => {
                let failure = self.evaluate(id, Seen::default(), at, |evaluation| {
                    let input = evaluation.input;
                    let mut text = |field, text: &Option<_>| {
                        text.as_ref().map(|text| evaluation.text(field, text, input)).transpose()
                    };
                    Ok::<_, Unevaluated>(Failure {
                        error: text("Error", error)?,
                        cause: text("Cause", cause)?,
                    })
                })?;
                self.fail(id, failure, at);
                Ok(Begun::Pending)
            }
            Kind::Task(task) => self.begin_task(id, task, at),
            Kind::Parallel { branches } => {
                let input = self.work_input(id, at)?;
                if let Some(failure) = self.oversized(id, &input) {
                    return Err(failure.into());
                }
                self.remove_below(id);
                let started = self.record(id, at.now_ms, Detail::ParallelStateStarted);
                for (index, scope) in branches.iter().enumerate() {
                    self.fork(Some((id, index)), *scope, input.clone(), started, at.definition);
                }
                let results = vec![None; branches.len()];
                self.phase(id, Phase::Parallel(ParallelRun { results }));
                Ok(Begun::Pending)
            }
            Kind::Map(map) => self.begin_map(id, map, at),
        }
    }

    /// What a Task or a Parallel state's work is given.
    pub(super) fn work_input(&mut self, id: BranchId, at: &mut At<'_>) -> Result<Value, Unevaluated> {
        self.evaluate(id, Seen::default(), at, |evaluation| {
            let input = evaluation.effective_input()?;
            Ok(evaluation.arguments(&input)?.unwrap_or(input))
        })
    }

    pub(super) fn phase(&mut self, id: BranchId, phase: Phase) {
        if let Some(run) = self.branches.get_mut(&id) {
            run.phase = phase;
        }
    }

    fn wait(&mut self, id: BranchId, until: &Until, at: &mut At<'_>) -> Result<Begun, Unevaluated> {
        let now_ms = at.now_ms;
        let (until_ms, input) = self.evaluate(id, Seen::default(), at, |evaluation| {
            let input = evaluation.effective_input()?;
            let timestamp = |text: &Value, path: Option<&Path>| {
                let parsed = text.as_str().and_then(parse_timestamp);
                // Rounded up: nothing goes on early.
                let ms = parsed.ok_or_else(|| absent::no_timestamp(path, text))?.div_euclid(1_000_000) + 1;
                Ok::<_, String>(i64::try_from(ms - 1).unwrap_or(i64::MAX))
            };
            let until_ms = match until {
                Until::Seconds(seconds) => {
                    later(now_ms, evaluation.number("Seconds", seconds, &input, 0..=WAIT_SECONDS_MAX)?)
                }
                Until::Timestamp(text) => {
                    timestamp(&Value::from(&**text), None).map_err(|detail| evaluation.runtime(detail))?
                }
                Until::TimestampPath(path) => {
                    let found = evaluation.path("TimestampPath", path, &input)?;
                    timestamp(&found, Some(path)).map_err(|detail| evaluation.runtime(detail))?
                }
                Until::TimestampExpression(expression) => {
                    let found = evaluation.expression("Timestamp", expression)?;
                    timestamp(&found, None).map_err(|detail| evaluation.query("Timestamp", &detail))?
                }
            };
            Ok::<_, Unevaluated>((until_ms, input))
        })?;
        if until_ms <= now_ms {
            return Ok(Begun::Finished(input));
        }
        self.phase(id, Phase::Wait { until_ms });
        Ok(Begun::Pending)
    }

    /// What was due has come.
    pub(super) fn elapsed(&mut self, id: BranchId, at: &mut At<'_>) {
        match &self.branches[&id].phase {
            Phase::Wait { .. } => {
                let input = self.evaluate(id, Seen::default(), at, |evaluation| evaluation.effective_input());
                match input {
                    Ok(input) => self.finish(id, input, at),
                    Err(failure) => self.fail(id, failure, at),
                }
            }
            Phase::Backoff { .. } => {
                self.phase(id, Phase::Work);
                self.ready.push_back(id);
            }
            Phase::Task(_) => self.task_elapsed(id, at),
            _ => {}
        }
    }

    pub(super) fn leave_choice(&mut self, id: BranchId, chosen: &Chosen, at: &mut At<'_>) {
        let state = self.state_of(id, at.definition);
        let Kind::Choice { rules, .. } = &state.kind else { return };
        let rule = chosen.rule.map(|index| &rules[index]);
        let assign = rule.map_or(state.assign.as_ref(), |rule| rule.assign.as_ref());
        let output = rule.and_then(|rule| rule.output.as_ref()).or(state.output.as_ref());
        let left = self.evaluate(id, Seen::default(), at, |evaluation| {
            let input = evaluation.effective_input()?;
            let output = match (state.language, output) {
                (QueryLanguage::JsonAta, Some(output)) => evaluation.payload("Output", output, &input)?,
                (QueryLanguage::JsonAta, None) => input.clone(),
                (QueryLanguage::JsonPath, _) => {
                    evaluation.shaped("OutputPath", state.output_path.as_ref(), &input)?
                }
            };
            let assigned = assign.map(|assign| evaluation.payload("Assign", assign, &input)).transpose()?;
            Ok::<_, Unevaluated>((output, assigned))
        });
        match left {
            Ok((output, assigned)) => self.exit(id, output, assigned, &Flow::Next(chosen.next.clone()), at),
            Err(unevaluated) => self.fail_evaluating(id, unevaluated, at),
        }
    }
}

impl Evaluation<'_> {
    /// The state's input as its fields see it.
    pub(super) fn effective_input(&self) -> Result<Value, Failure> {
        match self.state.language {
            QueryLanguage::JsonAta => Ok(self.input.clone()),
            QueryLanguage::JsonPath => self.shaped("InputPath", self.state.input_path.as_ref(), self.input),
        }
    }

    /// `Parameters` or `Arguments`, where there are any.
    pub(super) fn arguments(&mut self, input: &Value) -> Result<Option<Value>, Unevaluated> {
        let field = if self.state.language == QueryLanguage::JsonAta { "Arguments" } else { "Parameters" };
        let state = self.state;
        state.arguments.as_ref().map(|arguments| self.payload(field, arguments, input)).transpose()
    }

    fn holds(&mut self, test: &ChoiceTest, index: usize, input: &Value) -> Result<bool, Unevaluated> {
        match test {
            ChoiceTest::Constant(constant) => Ok(*constant),
            ChoiceTest::Condition(condition) => {
                let scope =
                    selvedge_query::Scope { input, context: &self.context, variables: self.variables };
                let held = condition.holds(&scope, &self.budget);
                held.map_err(|(path, error)| self.runtime(absent::in_condition(&path, &error)).into())
            }
            ChoiceTest::Expression(expression) => {
                let field = format!("Choices/{index}/Condition");
                match self.expression(&field, expression)? {
                    Value::Bool(holds) => Ok(holds),
                    other => Err(self
                        .query(&field, &format!("A condition is true or false, and its value is {other}."))),
                }
            }
        }
    }

    fn no_choice(&self) -> Failure {
        let detail = "Failed to transition out of the state. The state does not point to a next state.";
        match self.state.language {
            QueryLanguage::JsonAta => Failure::new(
                "States.NoChoiceMatched",
                super::evaluate::cause(&self.state.name, self.entered_event, detail),
            ),
            QueryLanguage::JsonPath => self.runtime(detail),
        }
    }
}
