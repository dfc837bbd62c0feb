//! From events to spans.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use selvedge_asl::{Detail, Event, Failure, StateType, TaskName};
use selvedge_outbound::traces::{Attribute, Kind, Span};

use super::{Trace, span_id};

/// Spans of one execution; what begins later is not recorded, and the execution's span says how many that are.
pub const SPANS_OF_EXECUTION_MAX: usize = 1000;
/// Events of one execution that are looked at: as many as the original's histories have.
pub const EVENTS_MAX: usize = 25_000;
/// The longest name of an error that is told.
const ERROR_CHARS_MAX: usize = 256;

/// Makes spans of events, one after the other.
#[derive(Debug)]
pub(crate) struct Recorder {
    place: Trace,
    arn: String,
    machine: String,
    /// When the execution began, or was driven on.
    began_ms: i64,
    redrive_count: u64,
    /// How it ended, and when.
    ended: Option<(&'static str, i64, Option<String>)>,
    /// What has begun, by the event that began it.
    open: BTreeMap<u64, Open>,
    /// In which state, or call, an event is: by the event that began that.
    inside: HashMap<u64, u64>,
    spans: Vec<Span>,
    /// How many spans there are, those that are open among them.
    begun: u64,
    left_out: u64,
}

/// What has begun and not ended.
#[derive(Debug)]
struct Open {
    /// The event that began what it is in; 0 is the execution.
    container: u64,
    began_ms: i64,
    kind: Kind,
    name: String,
    attributes: Vec<(&'static str, Attribute)>,
    is_left_out: bool,
}

impl Recorder {
    pub(crate) fn new(place: Trace, arn: &str, machine: &str) -> Self {
        Self {
            place,
            arn: arn.to_owned(),
            machine: machine.to_owned(),
            began_ms: 0,
            redrive_count: 0,
            ended: None,
            open: BTreeMap::new(),
            inside: HashMap::new(),
            spans: Vec::new(),
            begun: 0,
            left_out: 0,
        }
    }

    /// Takes the next event.
    pub(crate) fn take(&mut self, event: &Event) {
        let within = self.inside.get(&event.previous).copied().unwrap_or(0);
        match &event.detail {
            Detail::ExecutionStarted { .. } => self.began_ms = event.at_ms,
            Detail::ExecutionRedriven { redrive_count } => self.begin_anew(*redrive_count, event.at_ms),
            Detail::ExecutionSucceeded { .. } => self.ended = Some(("SUCCEEDED", event.at_ms, None)),
            Detail::ExecutionFailed(failure) => self.end_with("FAILED", event, failure),
            Detail::ExecutionTimedOut(failure) => self.end_with("TIMED_OUT", event, failure),
            Detail::ExecutionAborted(failure) => self.end_with("ABORTED", event, failure),
            Detail::StateEntered { kind, name, .. } => {
                let attributes = vec![("selvedge.state.type", kind_name(*kind).into())];
                self.begin(event, within, Kind::Internal, name.to_string(), attributes);
            }
            Detail::StateExited { .. } => self.close(within, event, None),
            Detail::StateAborted(_) => self.close(within, event, Some("aborted".to_owned())),
            Detail::TaskScheduled { task, .. } => {
                self.begin(event, within, Kind::Client, task_name(task), Vec::new());
            }
            Detail::LambdaFunctionScheduled { resource, .. } => {
                let attributes = vec![("aws.lambda.invoked_arn", (&**resource).into())];
                self.begin(event, within, Kind::Client, "lambda".to_owned(), attributes);
            }
            Detail::ActivityScheduled { resource, .. } => {
                let attributes = vec![("aws.step_functions.activity.arn", (&**resource).into())];
                self.begin(event, within, Kind::Client, "activity".to_owned(), attributes);
            }
            Detail::TaskSucceeded { .. }
            | Detail::LambdaFunctionSucceeded { .. }
            | Detail::ActivitySucceeded { .. } => self.close(within, event, None),
            Detail::TaskFailed { failure, .. }
            | Detail::TaskTimedOut { failure, .. }
            | Detail::LambdaFunctionFailed(failure)
            | Detail::LambdaFunctionTimedOut(failure)
            | Detail::ActivityFailed(failure)
            | Detail::ActivityTimedOut(failure) => self.close(within, event, Some(failure.name().to_owned())),
            _ => self.put(event.id, within),
        }
    }

    /// The spans of what has ended: of the whole execution, or since it was driven on.
    pub(crate) fn into_spans(mut self) -> Vec<Span> {
        let Some((status, ended_ms, error)) = self.ended.take() else { return Vec::new() };
        // The innermost first, as everything ends.
        while let Some((began, _)) = self.open.last_key_value() {
            self.finish(*began, ended_ms, error.clone());
        }
        let mut attributes = vec![
            ("selvedge.execution.arn", Attribute::Text(self.arn.clone())),
            ("selvedge.execution.status", status.into()),
        ];
        if self.redrive_count > 0 {
            attributes.push(("selvedge.execution.redrives", whole(self.redrive_count)));
        }
        if self.left_out > 0 {
            attributes.push(("selvedge.spans.left_out", whole(self.left_out)));
        }
        let name = self.machine.clone();
        let (began_ms, kind) = (self.began_ms, Kind::Server);
        let own = Open { container: 0, began_ms, kind, name, attributes, is_left_out: false };
        let mut span = self.span(self.id_of(0), own, ended_ms, error);
        span.parent = self.place.parent;
        self.spans.push(span);
        self.spans
    }

    /// What was before has been recorded.
    fn begin_anew(&mut self, redrive_count: u64, at_ms: i64) {
        (self.began_ms, self.redrive_count, self.ended) = (at_ms, redrive_count, None);
        self.open.clear();
        self.spans.clear();
        (self.begun, self.left_out) = (0, 0);
    }

    fn end_with(&mut self, status: &'static str, event: &Event, failure: &Failure) {
        self.ended = Some((status, event.at_ms, Some(failure.error.clone().unwrap_or_default())));
    }

    fn begin(
        &mut self,
        event: &Event,
        container: u64,
        kind: Kind,
        name: String,
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        let is_left_out = self.begun >= SPANS_OF_EXECUTION_MAX as u64;
        *(if is_left_out { &mut self.left_out } else { &mut self.begun }) += 1;
        self.put(event.id, event.id);
        let began_ms = event.at_ms;
        self.open.insert(event.id, Open { container, began_ms, kind, name, attributes, is_left_out });
    }

    fn put(&mut self, event: u64, within: u64) {
        if self.inside.len() < EVENTS_MAX {
            self.inside.insert(event, within);
        }
    }

    /// Ends what an event is in; whatever follows is in what that was in.
    fn close(&mut self, began: u64, event: &Event, error: Option<String>) {
        let container = self.open.get(&began).map_or(0, |open| open.container);
        self.put(event.id, container);
        self.finish(began, event.at_ms, error);
    }

    fn finish(&mut self, began: u64, ended_ms: i64, error: Option<String>) {
        if let Some(open) = self.open.remove(&began).filter(|open| !open.is_left_out) {
            let container = open.container;
            let mut span = self.span(self.id_of(began), open, ended_ms, error);
            span.parent = Some(self.id_of(container));
            self.spans.push(span);
        }
    }

    fn span(&self, id: u64, open: Open, ended_ms: i64, error: Option<String>) -> Span {
        let mut attributes = open.attributes;
        let error = error.map(|error| error.chars().take(ERROR_CHARS_MAX).collect::<String>());
        if let Some(error) = error.as_ref().filter(|error| !error.is_empty()) {
            attributes.push(("error.type", error.as_str().into()));
        }
        let began = Duration::from_millis(u64::try_from(open.began_ms).unwrap_or(0));
        let took = Duration::from_millis(u64::try_from(ended_ms - open.began_ms).unwrap_or(0));
        let (kind, name) = (open.kind, open.name);
        let error = error.map(Into::into);
        Span { trace: self.place.trace, id, parent: None, kind, name, began, took, attributes, error }
    }

    fn id_of(&self, began: u64) -> u64 {
        let redrive_count = if began == 0 { self.redrive_count } else { 0 };
        span_id(&self.arn, redrive_count, began)
    }
}

fn whole(number: u64) -> Attribute {
    Attribute::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn task_name(task: &TaskName) -> String {
    format!("{}:{}", task.resource_type, task.resource)
}

fn kind_name(kind: StateType) -> &'static str {
    match kind {
        StateType::Pass => "Pass",
        StateType::Task => "Task",
        StateType::Choice => "Choice",
        StateType::Wait => "Wait",
        StateType::Succeed => "Succeed",
        StateType::Fail => "Fail",
        StateType::Parallel => "Parallel",
        StateType::Map => "Map",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use selvedge_asl::{At, Command, Execution, Identity, Options, Status, TaskOutcome};
    use serde_json::{Value, json};

    use super::*;

    /// Runs a machine whose tasks fail where their parameters say so; each step takes a second.
    fn events(definition: &Value, stop: bool) -> Vec<Event> {
        let (definition, _) = selvedge_asl::parse(&definition.to_string());
        let definition = definition.unwrap();
        let identity = Identity {
            arn: "arn".into(),
            name: "n".into(),
            machine_arn: "m".into(),
            machine_name: "M".into(),
            role_arn: "r".into(),
            region: "us-east-1".into(),
        };
        let mut execution = Execution::new(identity, Options::default(), "{}").unwrap();
        let mut now_ms = 1_800_000_000_000;
        let mut step = |execution: &mut Execution, f: &dyn Fn(&mut Execution, &mut At<'_>)| {
            now_ms += 1000;
            f(execution, &mut At { definition: &definition, now_ms, entropy: &mut || 7 });
        };
        step(&mut execution, &|execution, at| execution.handle_start(at));
        let mut events = Vec::new();
        loop {
            while let Some(event) = execution.poll_event() {
                events.push(event);
            }
            if execution.status() != Status::Running {
                return events;
            }
            let Some(Command::Schedule(request)) = execution.poll_command() else {
                step(&mut execution, &|execution, at| {
                    execution.handle_timeout(at);
                });
                continue;
            };
            step(&mut execution, &|execution, at| {
                execution.handle_task(request.id, TaskOutcome::Started { worker: None }, at);
            });
            let outcome = match request.parameters["fails"] == json!(true) {
                true => TaskOutcome::Failed(Failure::new("E", "a secret")),
                false => TaskOutcome::Succeeded { output: json!({}) },
            };
            step(&mut execution, &|execution, at| match stop {
                true => execution.handle_stop(Failure { error: Some("Stopped".into()), cause: None }, at),
                false => drop(execution.handle_task(request.id, outcome.clone(), at)),
            });
        }
    }

    fn recorded(events: &[Event]) -> Vec<Span> {
        let place = Trace { trace: 9, parent: Some(5), sampled: true };
        let mut recorder = Recorder::new(place, "arn", "M");
        events.iter().for_each(|event| recorder.take(event));
        recorder.into_spans()
    }

    /// Each span by its path of names, with its error and how many seconds it took.
    fn told(spans: &[Span]) -> Vec<String> {
        let by_id: BTreeMap<u64, &Span> = spans.iter().map(|span| (span.id, span)).collect();
        assert_eq!(by_id.len(), spans.len(), "each has an id of its own");
        let path = |span: &Span| {
            let (mut path, mut at) = (span.name.clone(), span.parent);
            while let Some(parent) = at.and_then(|id| by_id.get(&id)) {
                path = format!("{}/{path}", parent.name);
                at = parent.parent;
            }
            path
        };
        let mut told: Vec<String> = spans
            .iter()
            .map(|span| format!("{} {:?} {}s", path(span), span.error.as_deref(), span.took.as_secs()))
            .collect();
        told.sort();
        told
    }

    fn task(fails: bool) -> Value {
        json!({ "Type": "Task", "Resource": "arn:aws:states:::http:invoke", "Parameters": { "fails": fails }, "End": true })
    }

    #[test]
    fn an_execution_has_its_states_and_those_their_calls() {
        let mut first = task(false);
        first.as_object_mut().unwrap().remove("End");
        first["Next"] = "B".into();
        let branches = json!([ { "StartAt": "B1", "States": { "B1": task(false) } },
                               { "StartAt": "B2", "States": { "B2": { "Type": "Pass", "End": true } } } ]);
        let definition = json!({ "StartAt": "A", "States": {
            "A": first, "B": { "Type": "Parallel", "Branches": branches, "Next": "C" },
            "C": { "Type": "Map", "ItemsPath": "$", "ItemProcessor": { "StartAt": "D", "States": { "D": { "Type": "Pass", "End": true } } },
                   "End": true } } });
        let spans = recorded(&events(&definition, false));
        assert_eq!(
            told(&spans),
            [
                "M None 4s",
                "M/A None 2s",
                "M/A/http:invoke None 2s",
                "M/B None 2s",
                "M/B/B1 None 2s",
                "M/B/B1/http:invoke None 2s",
                "M/B/B2 None 0s",
                "M/C None 0s",
                "M/C/D None 0s",
                "M/C/D None 0s",
            ]
        );
        let own = spans.last().unwrap();
        assert_eq!((own.trace, own.parent, own.kind), (9, Some(5), Kind::Server));
        assert!(spans.iter().all(|span| span.trace == 9 && span.began.as_secs() >= 1_800_000_001));
    }

    #[test]
    fn what_fails_says_of_what_and_nothing_that_was_sent() {
        let caught = json!({ "Type": "Task", "Resource": "arn:aws:states:::http:invoke", "Parameters": { "fails": true },
            "Retry": [ { "ErrorEquals": [ "E" ], "MaxAttempts": 1, "IntervalSeconds": 1 } ],
            "Catch": [ { "ErrorEquals": [ "E" ], "Next": "B" } ], "Next": "B" });
        let definition = json!({ "StartAt": "A", "States": { "A": caught, "B": task(true) } });
        let spans = recorded(&events(&definition, false));
        assert_eq!(
            told(&spans).iter().map(|line| line.rsplit_once(' ').unwrap().0).collect::<Vec<_>>(),
            [
                "M Some(\"E\")",
                "M/A None",
                "M/A/http:invoke Some(\"E\")",
                "M/A/http:invoke Some(\"E\")",
                "M/B Some(\"E\")",
                "M/B/http:invoke Some(\"E\")",
            ]
        );
        assert!(!format!("{spans:?}").contains("secret"));
    }

    #[test]
    fn what_is_stopped_ends_with_it() {
        let definition = json!({ "StartAt": "A", "States": { "A": task(false) } });
        let spans = recorded(&events(&definition, true));
        assert_eq!(
            told(&spans),
            ["M Some(\"Stopped\") 2s", "M/A Some(\"Stopped\") 2s", "M/A/http:invoke Some(\"Stopped\") 2s"]
        );
        assert_eq!(recorded(&[]), [], "one that has not ended is not recorded");
    }

    #[test]
    fn what_was_driven_on_is_recorded_from_there() {
        let definition = json!({ "StartAt": "A", "States": { "A": task(true) } });
        let mut events = events(&definition, false);
        let first = recorded(&events);
        let last = events.last().unwrap().id;
        let detail = |offset: u64, detail| Event {
            id: last + offset,
            previous: last + offset - 1,
            at_ms: 1_900_000_000_000,
            detail,
        };
        events.push(detail(1, Detail::ExecutionRedriven { redrive_count: 1 }));
        events.push(detail(2, Detail::ExecutionSucceeded { output: "{}".into() }));
        let second = recorded(&events);
        assert_eq!((first.len(), second.len()), (3, 1));
        assert_ne!(first.last().unwrap().id, second[0].id);
        assert_eq!((second[0].began.as_secs(), second[0].error.is_some()), (1_900_000_000, false));
    }

    #[test]
    fn a_long_execution_says_how_much_is_left_out() {
        let at = |id: u64, detail| Event { id, previous: id - 1, at_ms: 0, detail };
        let mut events = vec![at(1, Detail::ExecutionStarted { input: "{}".into(), role_arn: "r".into() })];
        for n in 0..SPANS_OF_EXECUTION_MAX as u64 + 5 {
            let (kind, name) = (StateType::Pass, Box::from("P"));
            events.push(at(2 * n + 2, Detail::StateEntered { kind, name, input: "{}".into() }));
            let (name, output) = (Box::from("P"), "{}".into());
            events.push(at(2 * n + 3, Detail::StateExited { kind, name, output, assigned: None }));
        }
        let last = events.len() as u64 + 1;
        events.push(at(last, Detail::ExecutionSucceeded { output: "{}".into() }));
        let spans = recorded(&events);
        assert_eq!(spans.len(), SPANS_OF_EXECUTION_MAX + 1);
        assert!(
            spans.last().unwrap().attributes.contains(&("selvedge.spans.left_out", Attribute::Number(5)))
        );
    }
}
