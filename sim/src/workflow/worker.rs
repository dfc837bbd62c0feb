//! A worker: the real engine, on a runtime of one thread whose time stands still unless it is moved.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_aws::operations::{find_in, scheduler, stepfunctions};
use selvedge_aws::{Call, Protocol};
use selvedge_workflow::{
    Calls, Context, Drive, Engine, Performed, Settings, Surroundings, api, operations, schedule,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::line::Line;
use super::outside::Seen;
use super::scene::Scene;
use crate::chance::Chance;

/// How often a poll is looked at before the worker at the other end hangs up.
const LOOKS: usize = 40;

/// A clock of its own, and chance from the seed.
pub(super) struct Around {
    /// The true time, which is everybody's.
    now_ms: Arc<AtomicI64>,
    /// How far its clock is off.
    skew_ms: AtomicI64,
    chance: Mutex<Chance>,
}

impl Surroundings for Around {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst) + self.skew_ms.load(Ordering::SeqCst)
    }

    fn draw(&self) -> u64 {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).bits()
    }
}

pub(super) struct Worker {
    pub(super) number: u32,
    pub(super) line: Arc<Line>,
    engine: Arc<Engine>,
    around: Arc<Around>,
    runtime: Runtime,
}

impl Worker {
    /// Starts one over what the store holds; none where the store fails it.
    pub(super) fn start(scene: &Scene, skew_ms: i64) -> Option<Self> {
        let number = scene.next_worker();
        let mut chance = scene.chance().fork();
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime of one thread needs nothing");
        let line = Arc::new(Line::new(Arc::clone(&scene.store), scene.planted, chance.fork()));
        let around = Arc::new(Around {
            now_ms: Arc::clone(&scene.now_ms),
            skew_ms: AtomicI64::new(skew_ms),
            chance: Mutex::new(chance),
        });
        let functions = Arc::new(Seen { outside: scene.outside.clone(), worker: number });
        let settings = Settings {
            drive: Drive::Steps,
            retention: None,
            calls: Calls { functions: Some(functions), ..Calls::default() },
            ..Settings::default()
        };
        let store = Arc::<Line>::clone(&line);
        let surroundings: Arc<dyn Surroundings> = Arc::<Around>::clone(&around);
        let opened = Engine::open(store, settings, surroundings, runtime.handle().clone());
        scene.note(
            format_args!("worker {number}"),
            match &opened {
                Ok(_) => format!("takes over, with a clock that is {skew_ms} ms off"),
                Err(error) => format!("cannot start: {error}"),
            },
        );
        Some(Self { number, line, engine: opened.ok()?, around, runtime })
    }

    /// Lets what is under way go on, for so many turns.
    pub(super) fn turn(&self, turns: usize) {
        self.runtime.block_on(async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Has time pass for what sleeps.
    pub(super) fn pass(&self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// Does what is due by its clock.
    pub(super) fn elapse(&self) {
        self.engine.handle_timeout();
    }

    pub(super) fn set_clock(&self, skew_ms: i64) {
        self.around.skew_ms.store(skew_ms, Ordering::SeqCst);
    }

    /// Calls an operation; none where a poll has nothing yet.
    pub(super) fn call(&self, operation: &str, input: Value) -> Option<Result<Value, String>> {
        let operation = find_in(&stepfunctions::SERVICE, operation).expect("an operation");
        let Value::Object(input) = input else { panic!("an input is an object") };
        let call =
            Call { service: &stepfunctions::SERVICE, operation, input, protocol: Protocol::AwsJson1_0 };
        let outcome = match operations::perform(&self.engine, &Context::default(), &call) {
            Performed::Now(outcome) => outcome,
            Performed::Later(mut later) => self.runtime.block_on(async {
                let looks = async {
                    for _ in 0..LOOKS {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    outcome = &mut later => Some(outcome),
                    () = looks => None,
                }
            })?,
        };
        Some(outcome.map_err(|refused| refused.error.shape.code.to_owned()))
    }

    /// Makes a schedule.
    pub(super) fn schedule(&self, input: Value) -> Result<Value, String> {
        let operation = find_in(&scheduler::SERVICE, "CreateSchedule").expect("an operation");
        let Value::Object(input) = input else { panic!("an input is an object") };
        let call = Call { service: &scheduler::SERVICE, operation, input, protocol: Protocol::RestJson1 };
        let outcome = schedule::perform(&self.engine, &Context::default(), &call);
        outcome.map_err(|refused| refused.error.message)
    }

    /// Calls our own API: what it says, or the error's code.
    pub(super) fn own(&self, method: &str, path: &str, query: &str, body: &Value) -> Result<Value, String> {
        let text = self.reply(method, path, query, body)?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// The same, where it says lines.
    pub(super) fn lines(&self, path: &str, query: &str) -> Result<Vec<String>, String> {
        let text = self.reply("GET", path, query, &Value::Null)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn reply(&self, method: &str, path: &str, query: &str, body: &Value) -> Result<String, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = api::Request {
            method,
            path,
            query,
            content_type: "application/json",
            body: body.as_bytes(),
            actor: "ada",
        };
        let reply = api::handle(&self.engine, &request);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        if reply.status < 300 {
            return Ok(text);
        }
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        Err(told["__type"].as_str().unwrap_or("an error without a code").to_owned())
    }
}
