//! State machines: a definition, `---` on a line, and the input of an execution. Whatever is understood is run, in a world that
//! answers tasks by chance and stores each step.

use selvedge_asl::{
    At, Command, Definition, Event, Execution, Failure, Identity, ItemSource, MapRunOutcome, Options, Status,
    TaskOutcome, Trial, parse,
};
use selvedge_query::Entropy;
use serde_json::{Value, json};

use crate::chance::Chance;

/// Steps of one execution that are looked at.
const STEPS_MAX: usize = 60;
/// States of one machine that are tried alone.
const TRIALS_MAX: usize = 20;

/// A definition is understood, or told what is wrong with it; its execution keeps its history whole.
pub(super) fn machine(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, input) = text.split_once("\n---\n").unwrap_or((text, "{}"));
    let (definition, diagnostics) = parse(text);
    let lines = text.split('\n').count();
    for found in &diagnostics {
        let (line, column) = found.place;
        assert!((1..=lines).contains(&line) && column >= 1, "{found:?}");
        assert!(!found.message.is_empty() && !found.location.is_empty(), "{found:?}");
    }
    let Some(definition) = definition else {
        assert!(!diagnostics.is_empty(), "what is refused is told why");
        return;
    };
    let Some(execution) = execution(input) else { return };
    let mut chance = Chance::of(bytes);
    tried(&definition, input, &mut chance);
    World { definition: &definition, execution, chance, now_ms: 1_700_000_000_000, events: Vec::new() }.run();
}

fn execution(input: &str) -> Option<Execution> {
    let identity = Identity {
        arn: "arn:aws:states:us-east-1:000000000000:execution:M:e".into(),
        name: "e".into(),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:M".into(),
        machine_name: "M".into(),
        role_arn: "arn:aws:iam::000000000000:role/r".into(),
        region: "us-east-1".into(),
    };
    Execution::new(identity, Options { history_events: 500, ..Options::default() }, input).ok()
}

/// Each state alone, with and without a mock.
fn tried(definition: &Definition, input: &str, chance: &mut Chance) {
    let names = definition.scopes.iter().flat_map(|scope| scope.states.keys());
    for name in names.take(TRIALS_MAX) {
        let mock = match chance.draw() % 3 {
            0 => None,
            1 => Some(Ok(chance.value())),
            _ => Some(Err(Failure::new("E", "c"))),
        };
        let trial = Trial { mock, retries: chance.draw() % 3, ..Trial::default() };
        let Some(execution) = execution(input) else { return };
        let mut at = At { definition, now_ms: 1_700_000_000_000, entropy: chance };
        let tried = execution.try_state(name, trial, &mut at);
        for shown in tried.output.iter() {
            let _: Value = serde_json::from_str(shown).expect("an output is JSON");
        }
    }
}

struct World<'d> {
    definition: &'d Definition,
    execution: Execution,
    chance: Chance,
    now_ms: i64,
    events: Vec<Event>,
}

impl World<'_> {
    fn run(mut self) {
        self.with(|execution, at| execution.handle_start(at));
        for _ in 0..STEPS_MAX {
            let commands = self.settle();
            let is_idle = commands.is_empty();
            commands.into_iter().for_each(|command| self.carry_out(command));
            match self.execution.next_timeout() {
                Some(due) if is_idle => {
                    self.now_ms = self.now_ms.max(due);
                    self.with(|execution, at| execution.handle_timeout(at));
                }
                None if is_idle => break,
                _ => {}
            }
        }
        let status = self.execution.status();
        if status == Status::Running {
            self.with(|execution, at| execution.handle_stop(Failure::default(), at));
        }
        self.settle();
        let ends = |event: &&Event| event.detail.type_name().starts_with("Execution") && event.id > 1;
        assert_eq!(self.events.iter().filter(ends).count(), 1, "an execution ends once");
        assert!(self.events.last().iter().all(ends), "and nothing follows");
        if matches!(status, Status::Failed | Status::TimedOut) {
            self.with(|execution, at| execution.handle_redrive(at));
            self.settle();
        }
    }

    /// Takes what happened, and puts a checkpoint in the execution's place.
    fn settle(&mut self) -> Vec<Command> {
        while let Some(event) = self.execution.poll_event() {
            assert_eq!(event.id, self.events.len() as u64 + 1, "a history has no gaps");
            assert!(event.previous < event.id);
            self.events.push(event);
        }
        let commands = std::iter::from_fn(|| self.execution.poll_command()).collect();
        let stored = serde_json::to_string(&self.execution).expect("an execution can be stored");
        self.execution = serde_json::from_str(&stored).expect("what was stored can be read back");
        assert!(self.execution.fits(self.definition));
        commands
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Cancel(_) => {}
            Command::RunMap(request) => {
                let arn = "arn:aws:states:us-east-1:000000000000:mapRun:M/x:1".into();
                if let (Some(mut selection), ItemSource::Items(items)) = (request.selection, &request.source)
                {
                    for (index, (key, value)) in (0..).zip(items.iter().take(3)) {
                        let mut at = At {
                            definition: self.definition,
                            now_ms: self.now_ms,
                            entropy: &mut self.chance,
                        };
                        let _ = selection.fill(index, key.as_deref(), value, &mut at);
                    }
                }
                self.with(|execution, at| {
                    execution.handle_map_run(request.id, MapRunOutcome::Started { arn }, at)
                });
                let outcome = match self.chance.draw() % 3 {
                    0 => MapRunOutcome::Failed(Failure::new("States.ItemReaderFailed", "c")),
                    _ => MapRunOutcome::Succeeded { output: self.chance.value() },
                };
                self.with(|execution, at| execution.handle_map_run(request.id, outcome, at));
            }
            Command::Schedule(request) => {
                let outcomes = match self.chance.draw() % 6 {
                    0 => vec![TaskOutcome::Failed(Failure::new("E", "c"))],
                    1 => vec![TaskOutcome::Failed(Failure::new("States.Timeout", ""))],
                    2 => vec![TaskOutcome::Started { worker: None }, TaskOutcome::Heartbeat],
                    3 => vec![
                        TaskOutcome::Submitted { output: json!({}) },
                        TaskOutcome::Succeeded { output: self.chance.value() },
                    ],
                    4 => vec![TaskOutcome::Succeeded { output: self.chance.value() }],
                    _ => vec![TaskOutcome::Succeeded { output: request.parameters.clone() }],
                };
                for outcome in outcomes {
                    self.with(|execution, at| execution.handle_task(request.id, outcome, at));
                }
            }
        }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Execution, &mut At<'_>) -> T) -> T {
        let mut at = At { definition: self.definition, now_ms: self.now_ms, entropy: &mut self.chance };
        f(&mut self.execution, &mut at)
    }
}
