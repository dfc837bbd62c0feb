//! What all workers, clients and functions share.

use std::fmt::Display;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use selvedge_asl::Failure;
use selvedge_store::memory::Memory;
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::line::Planted;
use super::machines::{ACTIVITY, ITEMS, KINDS, Kind, QUICK};
use super::outside::Outside;
use super::people::People;
use super::worker::Worker;
use crate::chance::Chance;
use crate::moment::Moment;
use crate::storm::Storm;
use crate::trace::Trace;

/// When a run begins: milliseconds since 1970.
pub(super) const START_MS: i64 = 1_700_000_000_000;

pub(super) struct Scene {
    pub(super) store: Arc<Memory>,
    pub(super) storm: Storm,
    pub(super) outside: Outside,
    pub(super) planted: Planted,
    /// The true time.
    pub(super) now_ms: Arc<AtomicI64>,
    /// Workers that took over while another stood still.
    pub(super) arrivals: Mutex<Vec<Worker>>,
    chance: Mutex<Chance>,
    trace: Mutex<Trace>,
    listener: Option<fn(&str)>,
    ledger: Mutex<Ledger>,
    people: Mutex<People>,
    workers: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene {
    pub(super) fn new(mut chance: Chance, planted: Planted, listener: Option<fn(&str)>) -> Self {
        let (store, storm) = (Arc::new(Memory::new()), Storm::default());
        store.fail_with(Some(storm.failpoints(chance.fork())));
        Self {
            store,
            storm,
            outside: Outside::default(),
            planted,
            now_ms: Arc::new(AtomicI64::new(START_MS)),
            arrivals: Mutex::default(),
            chance: Mutex::new(chance),
            trace: Mutex::default(),
            listener,
            ledger: Mutex::default(),
            people: Mutex::default(),
            workers: AtomicU32::new(0),
        }
    }

    pub(super) fn chance(&self) -> MutexGuard<'_, Chance> {
        lock(&self.chance)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(super) fn people(&self) -> MutexGuard<'_, People> {
        lock(&self.people)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    pub(super) fn arrivals(&self) -> MutexGuard<'_, Vec<Worker>> {
        lock(&self.arrivals)
    }

    pub(super) fn workers(&self) -> u32 {
        self.workers.load(Ordering::SeqCst)
    }

    pub(super) fn next_worker(&self) -> u32 {
        self.workers.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn take_trace(&self) -> Vec<String> {
        lock(&self.trace).drain()
    }

    pub(super) fn note(&self, who: impl Display, what: impl Display) {
        let passed = self.now_ms.load(Ordering::SeqCst) - START_MS;
        let at = Moment::START + Duration::from_millis(u64::try_from(passed).unwrap_or(0));
        let mut trace = lock(&self.trace);
        trace.note(at, who.to_string(), what);
        if let (Some(tell), Some(line)) = (self.listener, trace.lines().last()) {
            tell(line);
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.chance().below(bound)
    }

    /// Calls a worker, and notes what came of it.
    pub(super) fn ask(
        &self,
        worker: &Worker,
        operation: &str,
        input: Value,
    ) -> Option<Result<Value, String>> {
        let answer = worker.call(operation, input.clone());
        let told = match &answer {
            None => "nothing yet".to_owned(),
            Some(Ok(_)) => "ok".to_owned(),
            Some(Err(code)) => code.clone(),
        };
        let about = ["name", "executionArn", "taskToken"].iter().find_map(|member| input[*member].as_str());
        let about: String =
            about.unwrap_or_default().rsplit(':').next().unwrap_or_default().chars().take(12).collect();
        self.note(format_args!("worker {}", worker.number), format_args!("{operation} {about}: {told}"));
        answer
    }

    /// Activities and machines, before anything fails.
    pub(super) fn prepare(&self, worker: &Worker) {
        let created = worker.call("CreateActivity", json!({ "name": "work" }));
        assert!(matches!(created, Some(Ok(_))), "nothing fails yet: {created:?}");
        for kind in KINDS.into_iter().chain([QUICK]) {
            let machine = json!({
                "name": kind.name(), "roleArn": "arn:aws:iam::123456789012:role/r",
                "definition": kind.definition().to_string(),
                "type": if kind == QUICK { "EXPRESS" } else { "STANDARD" },
            });
            let created = worker.call("CreateStateMachine", machine);
            assert!(matches!(created, Some(Ok(_))), "nothing fails yet: {created:?}");
        }
        let path = format!("machines/{}/extension", Kind::Large.name());
        let extended = worker.own("PUT", &path, "", &json!({ "mode": "EXTENDED" }));
        assert!(extended.is_ok(), "nothing fails yet: {extended:?}");
        self.prepare_schedule(worker);
    }

    /// A client starts an execution, or tries again what it has heard nothing good of.
    pub(super) fn start(&self, worker: &Worker) {
        let again = self.ledger().unacknowledged();
        let number = match again {
            Some(number) if self.below(3) == 0 => number,
            _ => self.ledger().begin(),
        };
        self.start_numbered(worker, number);
    }

    /// True where it was acknowledged.
    pub(super) fn start_numbered(&self, worker: &Worker, number: u64) -> bool {
        let kind = Kind::of(number);
        let items: Vec<u64> = (0..ITEMS).collect();
        let input = json!({
            "stateMachineArn": kind.arn(), "name": format!("e{number}"),
            "input": json!({ "items": items, "n": number }).to_string(),
        });
        let Some(Ok(started)) = self.ask(worker, "StartExecution", input) else { return false };
        self.ledger().acknowledge(number, started["executionArn"].as_str().unwrap_or_default());
        true
    }

    /// A person asks for work, and answers, works on, or keeps it for later.
    pub(super) fn work(&self, worker: &Worker) {
        let Some(Ok(task)) = self.ask(worker, "GetActivityTask", json!({ "activityArn": ACTIVITY })) else {
            return;
        };
        let Some(token) = task["taskToken"].as_str() else { return };
        self.ledger().handed_out(token);
        match self.below(6) {
            0..=2 => self.answer(worker, token.to_owned()),
            3 => {
                self.ask(worker, "SendTaskHeartbeat", json!({ "taskToken": token }));
                self.outside.keep_token(token.to_owned());
            }
            _ => self.outside.keep_token(token.to_owned()),
        }
    }

    /// Somebody who has a token uses it.
    pub(super) fn use_token(&self, worker: &Worker) {
        let token = self.outside.take_token(&mut self.chance());
        if let Some(token) = token {
            self.answer(worker, token);
        }
    }

    fn answer(&self, worker: &Worker, token: String) {
        if self.below(5) == 0 {
            let input = json!({ "taskToken": token, "error": "Flaky" });
            if let Some(Ok(_)) = self.ask(worker, "SendTaskFailure", input) {
                self.ledger().failed(&token);
            }
            return;
        }
        for _ in 0..1 + self.below(2) {
            let output = self.ledger().next_output();
            self.ledger().sent(&token, &output);
            let input = json!({ "taskToken": token, "output": json!(output).to_string() });
            match self.ask(worker, "SendTaskSuccess", input) {
                Some(Ok(_)) => self.ledger().resolved(&token, &output),
                // Nobody knows whether it came through: it is tried again some time.
                Some(Err(code)) if code == "ServiceUnavailable" || code == "InternalServerException" => {
                    self.outside.keep_token(token.clone());
                }
                _ => {}
            }
        }
    }

    /// A function answers, well or badly; or it does not, and the task's time passes.
    pub(super) fn answer_function(&self) {
        let output = self.ledger().next_output();
        let answered = self.outside.answer(&mut self.chance(), |_, chance| {
            if chance.hits(200) { Err(Failure::new("Flaky", "by chance")) } else { Ok(json!(output)) }
        });
        match answered {
            Some(told) => {
                self.ledger().said(&output);
                self.note("outside", told);
            }
            None => self.note("outside", "nobody calls"),
        }
    }

    /// A client looks at an execution.
    pub(super) fn look(&self, worker: &Worker) {
        let arn = self.ledger().any(&mut self.chance());
        let Some(arn) = arn else { return };
        if let Some(Ok(found)) = self.ask(worker, "DescribeExecution", json!({ "executionArn": arn }))
            && found["status"] != "RUNNING"
        {
            self.ledger().saw_end(&arn, &found);
        }
    }

    /// A client stops an execution.
    pub(super) fn stop(&self, worker: &Worker) {
        let arn = self.ledger().any(&mut self.chance());
        let Some(arn) = arn else { return };
        self.ask(worker, "StopExecution", json!({ "executionArn": arn }));
        self.ledger().stopped(&arn);
    }
}
