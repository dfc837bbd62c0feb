//! A world with a clock that jumps to whatever is due, and answers for tasks by their state's name.

use std::collections::{BTreeMap, VecDeque};

use selvedge_asl::{
    At, Command, Definition, Event, Execution, Failure, Identity, MapRunOutcome, Options, Status, TaskId,
    TaskOutcome, TaskRequest, parse,
};
use serde_json::Value;

/// What one call of a task ends with.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Output(Value),
    Error(&'static str, &'static str),
    /// Nobody answers.
    Silence,
    /// Started, and nothing more.
    Started,
}

/// One execution in its world.
pub(crate) struct World {
    pub(crate) definition: Definition,
    pub(crate) execution: Execution,
    pub(crate) now_ms: i64,
    pub(crate) events: Vec<Event>,
    pub(crate) requests: Vec<TaskRequest>,
    pub(crate) cancelled: Vec<TaskId>,
    answers: BTreeMap<String, VecDeque<Answer>>,
    seed: u64,
}

pub(crate) const START_MS: i64 = 1_700_000_000_000;

impl World {
    #[track_caller]
    pub(crate) fn new(definition: &Value, input: &Value) -> Self {
        let text = definition.to_string();
        let (definition, diagnostics) = parse(&text);
        let definition = definition.unwrap_or_else(|| panic!("{diagnostics:#?}"));
        let identity = Identity {
            arn: "arn:aws:states:us-east-1:000000000000:execution:M:e".into(),
            name: "e".into(),
            machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:M".into(),
            machine_name: "M".into(),
            role_arn: "arn:aws:iam::000000000000:role/r".into(),
            region: "us-east-1".into(),
        };
        let execution = Execution::new(identity, Options::default(), &input.to_string()).unwrap();
        Self {
            definition,
            execution,
            now_ms: START_MS,
            events: Vec::new(),
            requests: Vec::new(),
            cancelled: Vec::new(),
            answers: BTreeMap::new(),
            seed: 1,
        }
    }

    /// The next call of `state`'s task ends so; without an answer a task echoes its parameters.
    pub(crate) fn answer(mut self, state: &str, answer: Answer) -> Self {
        self.answers.entry(state.to_owned()).or_default().push_back(answer);
        self
    }

    /// Runs until nothing happens by itself any more.
    pub(crate) fn run(mut self) -> Self {
        self.with(|execution, at| execution.handle_start(at));
        self.settle();
        self
    }

    pub(crate) fn with<T>(&mut self, f: impl FnOnce(&mut Execution, &mut At<'_>) -> T) -> T {
        let seed = &mut self.seed;
        let mut entropy = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *seed
        };
        let mut at = At { definition: &self.definition, now_ms: self.now_ms, entropy: &mut entropy };
        f(&mut self.execution, &mut at)
    }

    /// Carries out commands and lets time pass until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            self.checkpoint();
            while let Some(event) = self.execution.poll_event() {
                self.events.push(event);
            }
            if let Some(command) = self.execution.poll_command() {
                self.carry_out(command);
            } else if let Some(due) = self.execution.next_timeout() {
                self.now_ms = self.now_ms.max(due);
                self.with(|execution, at| execution.handle_timeout(at));
            } else {
                return;
            }
        }
        panic!("the execution never comes to rest");
    }

    /// Each step is stored and read back: a checkpoint must hold everything but what was polled.
    fn checkpoint(&mut self) {
        let mut events = Vec::new();
        while let Some(event) = self.execution.poll_event() {
            events.push(event);
        }
        self.events.extend(events);
        let mut commands = Vec::new();
        while let Some(command) = self.execution.poll_command() {
            commands.push(command);
        }
        let stored = serde_json::to_string(&self.execution).unwrap();
        self.execution = serde_json::from_str(&stored).unwrap();
        for command in commands {
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Cancel(task) => self.cancelled.push(task),
            Command::RunMap(request) => {
                let items = match &request.source {
                    selvedge_asl::ItemSource::Items(items) => {
                        items.iter().map(|(_, value)| value.clone()).collect()
                    }
                    selvedge_asl::ItemSource::Reader { arguments, .. } => arguments.clone(),
                };
                let arn = "arn:aws:states:us-east-1:000000000000:mapRun:M/x:1".into();
                self.with(|execution, at| {
                    execution.handle_map_run(request.id, MapRunOutcome::Started { arn }, at)
                });
                let outcome = match self.answers.get_mut(&*request.state).and_then(VecDeque::pop_front) {
                    Some(Answer::Error(error, cause)) => MapRunOutcome::Failed(Failure::new(error, cause)),
                    _ => MapRunOutcome::Succeeded { output: items },
                };
                self.with(|execution, at| execution.handle_map_run(request.id, outcome, at));
            }
            Command::Schedule(request) => {
                self.requests.push((*request).clone());
                let answer = self.answers.get_mut(&*request.state).and_then(VecDeque::pop_front);
                let outcome = match answer {
                    None => TaskOutcome::Succeeded { output: request.parameters.clone() },
                    Some(Answer::Output(output)) => TaskOutcome::Succeeded { output },
                    Some(Answer::Error(error, cause)) => TaskOutcome::Failed(Failure::new(error, cause)),
                    Some(Answer::Started) => TaskOutcome::Started { worker: None },
                    Some(Answer::Silence) => return,
                };
                self.with(|execution, at| execution.handle_task(request.id, outcome, at));
            }
        }
    }

    /// The history in the form `id<previous Type`.
    pub(crate) fn history(&self) -> Vec<String> {
        self.events
            .iter()
            .map(|event| format!("{}<{} {}", event.id, event.previous, event.detail.type_name()))
            .collect()
    }

    pub(crate) fn types(&self) -> Vec<String> {
        self.events.iter().map(|event| event.detail.type_name()).collect()
    }

    #[track_caller]
    pub(crate) fn output(&self) -> Value {
        assert_eq!(
            self.execution.status(),
            Status::Succeeded,
            "{:?}\n{:#?}",
            self.execution.failure(),
            self.events
        );
        serde_json::from_str(self.execution.output().unwrap()).unwrap()
    }

    #[track_caller]
    pub(crate) fn failure(&self) -> (String, String) {
        assert_eq!(self.execution.status(), Status::Failed, "{:#?}", self.events);
        let failure = self.execution.failure().unwrap().clone();
        (failure.error.unwrap_or_default(), failure.cause.unwrap_or_default())
    }
}

/// A machine with these states, the first being `S`.
pub(crate) fn machine(states: Value) -> Value {
    serde_json::json!({ "StartAt": "S", "States": states })
}
