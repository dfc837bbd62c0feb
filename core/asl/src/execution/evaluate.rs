//! Computing a state's fields, in either language.

use std::ops::RangeInclusive;

use selvedge_query::{
    Bounds, Budget, Entropy, Expression, Names, Overspent, Path, Scope, Variables, nests_within,
};
use serde_json::{Map, Value, json};

use super::absent;
use super::branch::{BranchId, Run, Visible};
use super::event::Failure;
use super::{At, Execution, PAYLOAD_DEPTH_MAX};
use crate::syntax::FailText;
use crate::{Number, Payload, State, format_timestamp};

/// What the fields of one state are computed from.
pub(super) struct Evaluation<'a> {
    pub(super) state: &'a State,
    pub(super) entered_event: u64,
    pub(super) input: &'a Value,
    pub(super) result: Option<&'a Value>,
    pub(super) error_output: Option<&'a Value>,
    pub(super) context: Value,
    pub(super) variables: &'a dyn Variables,
    pub(super) now_ms: i64,
    pub(super) entropy: &'a mut dyn Entropy,
    pub(super) budget: Budget,
}

/// Why a field has no value, and for JSONata which one: it is an event of its own.
#[derive(Debug)]
pub(super) struct Unevaluated {
    pub(super) failure: Failure,
    pub(super) location: Option<Box<str>>,
}

impl From<Failure> for Unevaluated {
    fn from(failure: Failure) -> Self {
        Self { failure, location: None }
    }
}

impl Evaluation<'_> {
    /// How every error of the machine's own begins.
    fn cause(&self, detail: &str) -> String {
        cause(&self.state.name, self.entered_event, detail)
    }

    pub(super) fn runtime(&self, detail: impl AsRef<str>) -> Failure {
        Failure::new("States.Runtime", self.cause(detail.as_ref()))
    }

    /// The fields make too much, or take too long.
    pub(super) fn overspent(&self, field: &str, spent: Overspent) -> Failure {
        let cause = self.cause(&format!("The field '{field}' cannot be computed: {spent}."));
        let error = match spent {
            Overspent::Bytes(_) => "States.DataLimitExceeded",
            Overspent::Time => "States.Runtime",
        };
        Failure::new(error, cause)
    }

    /// Expressions take too long together.
    fn too_slow(&self, field: &str, spent: Overspent) -> Unevaluated {
        self.query(field, &format!("The field '{field}' cannot be computed: {spent}."))
    }

    /// A payload; in JSONPath mode `$` is `subject`.
    pub(super) fn payload(
        &mut self,
        field: &str,
        payload: &Payload,
        subject: &Value,
    ) -> Result<Value, Unevaluated> {
        let value = match payload {
            Payload::Template(template) => {
                let scope = Scope { input: subject, context: &self.context, variables: self.variables };
                let filled = template.fill(&scope, self.entropy, &self.budget);
                filled.map_err(|unfilled| match unfilled.failure {
                    selvedge_query::Failure::Overspent(spent) => self.overspent(field, spent),
                    _ => self.runtime(absent::in_template(field, &unfilled, subject)),
                })?
            }
            Payload::Expressions(node) => {
                let mut bytes = 0;
                node.fill(&mut field.to_owned(), &mut |place, expression| {
                    let value = self.expression(place, expression)?;
                    match self.budget.add(&mut bytes, &value) {
                        Ok(()) => Ok(value),
                        Err(spent @ Overspent::Bytes(_)) => Err(self.overspent(place, spent).into()),
                        Err(spent @ Overspent::Time) => Err(self.too_slow(place, spent)),
                    }
                })?
            }
        };
        // Each variable is a value of its own.
        let levels = PAYLOAD_DEPTH_MAX + usize::from(field.ends_with("Assign"));
        if !nests_within(&value, levels) {
            let detail = format!("The field '{field}' nests more than {PAYLOAD_DEPTH_MAX} levels deep.");
            return Err(Failure::new("States.DataLimitExceeded", self.cause(&detail)).into());
        }
        Ok(value)
    }

    /// What a path of the field selects in `subject`.
    pub(super) fn path(&self, field: &str, path: &Path, subject: &Value) -> Result<Value, Failure> {
        self.budget.check().map_err(|spent| self.overspent(field, spent))?;
        let scope = Scope { input: subject, context: &self.context, variables: self.variables };
        path.evaluate(&scope).map_err(|error| self.runtime(absent::at_path(field, path, &error, subject)))
    }

    /// `InputPath` or `OutputPath`: none is an empty object.
    pub(super) fn shaped(&self, field: &str, path: Option<&Path>, subject: &Value) -> Result<Value, Failure> {
        match path {
            None => Ok(Value::Object(Map::new())),
            Some(path) if path.is_root() && *path.root() == selvedge_query::Root::Input => {
                Ok(subject.clone())
            }
            Some(path) => self.path(field, path, subject),
        }
    }

    pub(super) fn expression(&mut self, field: &str, expression: &Expression) -> Result<Value, Unevaluated> {
        if let Err(spent) = self.budget.check() {
            return Err(self.too_slow(field, spent));
        }
        let mut states = vec![("input", self.input)];
        states.extend(self.result.map(|result| ("result", result)));
        states.extend(self.error_output.map(|error_output| ("errorOutput", error_output)));
        states.push(("context", &self.context));
        let names = Names { states: &states, variables: self.variables };
        let evaluated = expression.evaluate(&names, self.now_ms, self.entropy, Bounds::default());
        let detail = match evaluated {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => format!(
                "The JSONata expression '{expression}' specified for the field '{field}' returned nothing (undefined)."
            ),
            Err(error) => format!(
                "The JSONata expression '{expression}' specified for the field '{field}' threw an error during evaluation. {error}"
            ),
        };
        Err(self.query(field, &detail))
    }

    /// An error of an expression.
    pub(super) fn query(&self, field: &str, detail: &str) -> Unevaluated {
        let failure = Failure::new("States.QueryEvaluationError", self.cause(detail));
        Unevaluated { failure, location: Some(field.into()) }
    }

    /// A number within `range`.
    pub(super) fn number(
        &mut self,
        field: &str,
        number: &Number,
        subject: &Value,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Unevaluated> {
        let value = match number {
            Number::Constant(number) => return Ok(*number),
            Number::Path(path) => self.path(&format!("{field}Path"), path, subject)?,
            Number::Expression(expression) => self.expression(field, expression)?,
        };
        let whole = if let Number::Path(_) = number { value.as_u64() } else { whole(&value) };
        if let Some(number) = whole.filter(|number| range.contains(number)) {
            return Ok(number);
        }
        match number {
            Number::Path(path) if field == "Seconds" => {
                Err(self.runtime(absent::no_seconds(path, &value, *range.end())).into())
            }
            Number::Path(path) => {
                let wanted = format!("an integer from {} to {}", range.start(), range.end());
                Err(self.runtime(absent::no_number(field, path, &value, &wanted)).into())
            }
            _ => {
                let (least, most) = range.into_inner();
                let detail = format!(
                    "The field '{field}' needs an integer from {least} to {most}, and its value is {value}."
                );
                Err(self.query(field, &detail))
            }
        }
    }

    /// A share of a hundred.
    pub(super) fn percentage(
        &mut self,
        field: &str,
        number: &Number<f64>,
        subject: &Value,
    ) -> Result<f64, Unevaluated> {
        let value = match number {
            Number::Constant(share) => return Ok(*share),
            Number::Path(path) => self.path(&format!("{field}Path"), path, subject)?,
            Number::Expression(expression) => self.expression(field, expression)?,
        };
        if let Some(share) = value.as_f64().filter(|share| (0.0..=100.0).contains(share)) {
            return Ok(share);
        }
        const WANTED: &str = "a number from 0 to 100";
        match number {
            Number::Path(path) => Err(self.runtime(absent::no_number(field, path, &value, WANTED)).into()),
            _ => {
                Err(self
                    .query(field, &format!("The field '{field}' needs {WANTED}, and its value is {value}.")))
            }
        }
    }

    /// A text of a Fail state.
    pub(super) fn text(
        &mut self,
        field: &str,
        text: &FailText,
        subject: &Value,
    ) -> Result<String, Unevaluated> {
        let value = match text {
            FailText::Constant(text) => return Ok(text.to_string()),
            FailText::Path(path) => self.path(&format!("{field}Path"), path, subject)?,
            FailText::Intrinsic(intrinsic) => {
                let scope = Scope { input: subject, context: &self.context, variables: self.variables };
                let computed = intrinsic.evaluate(&scope, self.entropy, &self.budget);
                computed.map_err(|failure| match failure {
                    selvedge_query::Failure::Overspent(spent) => self.overspent(field, spent),
                    failure => self.runtime(absent::in_function(&intrinsic.to_string(), &failure, subject)),
                })?
            }
            FailText::Expression(expression) => self.expression(field, expression)?,
        };
        match value {
            Value::String(text) => Ok(text),
            other => {
                let detail = format!("The field '{field}' needs a text, and its value is {other}.");
                match text {
                    FailText::Expression(_) => Err(self.query(field, &detail)),
                    _ => Err(self.runtime(detail).into()),
                }
            }
        }
    }
}

/// An integer that is not negative: JSONata's numbers are doubles.
fn whole(value: &Value) -> Option<u64> {
    const EXACT_MAX: f64 = (1u64 << 53) as f64;
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}

/// How every error of the machine's own begins.
pub(super) fn cause(state: &str, entered_event: u64, detail: &str) -> String {
    format!(
        "An error occurred while executing the state '{state}' (entered at the event id #{entered_event}). {detail}"
    )
}

impl Execution {
    /// Calls `f` with what the fields of the state of branch `id` see.
    pub(super) fn evaluate<T>(
        &self,
        id: BranchId,
        seen: Seen<'_>,
        at: &mut At<'_>,
        f: impl FnOnce(&mut Evaluation<'_>) -> T,
    ) -> T {
        let run = &self.branches[&id];
        let state =
            at.definition.state(run.scope, &run.state).expect("a branch is in a state of its definition");
        let context = if state.uses_context { self.context(run, seen) } else { Value::Null };
        let mut evaluation = Evaluation {
            state,
            entered_event: run.entered_event,
            input: &run.input,
            result: seen.result,
            error_output: seen.error_output,
            context,
            variables: &Visible { branches: &self.branches, id },
            now_ms: at.now_ms,
            entropy: &mut *at.entropy,
            budget: Budget::start(self.options.field_bytes()),
        };
        f(&mut evaluation)
    }

    /// The context object.
    pub(super) fn context(&self, run: &Run, seen: Seen<'_>) -> Value {
        let identity = &self.identity;
        let mut context = json!({
            "Execution": {
                "Id": identity.arn,
                "Input": self.input,
                "Name": identity.name,
                "RoleArn": identity.role_arn,
                "StartTime": format_timestamp(self.started_ms),
                "RedriveCount": self.redrive_count,
            },
            "State": {
                "EnteredTime": format_timestamp(run.entered_ms),
                "Name": run.state,
                "RetryCount": run.retry_count,
            },
            "StateMachine": { "Id": identity.machine_arn, "Name": identity.machine_name },
        });
        if let Some(redriven_ms) = self.redriven_ms {
            context["Execution"]["RedriveTime"] = format_timestamp(redriven_ms).into();
        }
        if let Some(token) = seen.token {
            context["Task"] = json!({ "Token": token });
        }
        let mut branch = Some(run);
        let item = std::iter::from_fn(|| {
            let current = branch?;
            branch = current.parent.and_then(|(parent, _)| self.branches.get(&parent).map(Box::as_ref));
            Some(current)
        })
        .find_map(|run| run.item.as_ref());
        if let Some((index, value, key)) =
            seen.item.or_else(|| item.map(|item| (item.index, &item.value, item.key.as_deref())))
        {
            let mut member = json!({ "Index": index, "Value": value });
            if let Some(key) = key {
                member["Key"] = Value::from(key);
            }
            context["Map"] = json!({ "Item": member });
        }
        if let Some(Value::Object(given)) = self.given_context.as_deref() {
            for (name, member) in given {
                context[name.as_str()] = member.clone();
            }
        }
        context
    }
}

/// What a moment in a state adds to what its fields see.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen<'a> {
    pub(super) result: Option<&'a Value>,
    pub(super) error_output: Option<&'a Value>,
    pub(super) token: Option<&'a str>,
    pub(super) item: Option<(u64, &'a Value, Option<&'a str>)>,
}
