//! A server's life over a store in memory: it is started, called, killed, started again, and its clock is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use selvedge_aws::operations::{find_in, stepfunctions};
use selvedge_aws::{Call, Protocol};
use selvedge_store::memory::Memory;
use selvedge_store::{
    Abort, Change, Committed, Error, Read, Revision, Store, Subscription, Transaction, Wake,
};
use selvedge_workflow::{Context, Engine, Performed, Settings, Surroundings, operations};
use serde_json::{Value, json};

pub(crate) const START_MS: i64 = 1_700_000_000_000;
pub(crate) const PREFIX: &str = "arn:aws:states:us-east-1:123456789012";

/// A clock that is set, and chance from a seed.
pub(crate) struct Around {
    pub(crate) now_ms: AtomicI64,
    seed: AtomicU64,
}

impl Around {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { now_ms: AtomicI64::new(START_MS), seed: AtomicU64::new(seed) })
    }
}

impl Surroundings for Around {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn draw(&self) -> u64 {
        mix(self.seed.fetch_add(1, Ordering::SeqCst))
    }
}

/// SplitMix64.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A server's way to the store: cut when the server dies, so that nothing of it comes after.
struct Line {
    store: Arc<dyn Store>,
    is_cut: Arc<AtomicBool>,
}

impl Line {
    fn check(&self) -> Result<(), Error> {
        if self.is_cut.load(Ordering::SeqCst) { Err(Error::Unavailable("it is dead".into())) } else { Ok(()) }
    }
}

impl Store for Line {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        self.check()?;
        self.store.transact(f)
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error> {
        self.check()?;
        self.store.snapshot()
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        self.store.changes(after, limit)
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.store.subscribe(wake)
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    runtime: Option<tokio::runtime::Runtime>,
    is_cut: Arc<AtomicBool>,
}

impl Server {
    /// Starts one over what the store holds; none where the store fails it.
    pub(crate) fn start(store: &Arc<Memory>, around: &Arc<Around>) -> Option<Self> {
        Self::start_with(store, around, Settings::default())
    }

    pub(crate) fn start_with(store: &Arc<Memory>, around: &Arc<Around>, settings: Settings) -> Option<Self> {
        let store: Arc<dyn Store> = Arc::<Memory>::clone(store);
        Self::over(store, around, settings)
    }

    /// Starts one over a store of any kind.
    pub(crate) fn over(store: Arc<dyn Store>, around: &Arc<Around>, settings: Settings) -> Option<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        let line = Arc::new(Line { store, is_cut: Arc::clone(&is_cut) });
        let around: Arc<dyn Surroundings> = Arc::<Around>::clone(around);
        let engine = Engine::open(line, settings, around, runtime.handle().clone()).ok()?;
        Some(Self { engine, runtime: Some(runtime), is_cut })
    }

    /// A task of an activity that has one, however long the machine takes to hand it out.
    pub(crate) fn take(&self, activity: &str) -> Value {
        let task =
            self.within("GetActivityTask", json!({ "activityArn": activity }), Duration::from_secs(30));
        task.expect("a task")
    }

    /// Calls an operation: its output, or its error's code. A poll for a task gives up after a moment.
    pub(crate) fn call(&self, operation: &str, input: Value) -> Result<Value, String> {
        self.told(operation, input).map_err(|(code, _)| code)
    }

    /// The same, with what the error says.
    pub(crate) fn told(&self, operation: &str, input: Value) -> Result<Value, (String, String)> {
        self.within(operation, input, Duration::from_millis(20))
    }

    /// Calls an operation so many times at once; the errors' codes, as far as they come at once.
    pub(crate) fn many(&self, operation: &str, input: &Value, count: usize) -> Vec<String> {
        let mut later = Vec::new();
        let mut refused = Vec::new();
        for _ in 0..count {
            match self.perform(operation, input.clone()) {
                Performed::Now(Ok(_)) => {}
                Performed::Now(Err(error)) => refused.push(error.error.shape.code.to_owned()),
                Performed::Later(call) => later.push(call),
            }
        }
        let runtime = self.runtime.as_ref().expect("it runs");
        runtime.block_on(async {
            let mut waiting = Vec::new();
            for mut call in later {
                match std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context)))
                    .await
                {
                    std::task::Poll::Ready(Err(error)) => refused.push(error.error.shape.code.to_owned()),
                    std::task::Poll::Ready(Ok(_)) => {}
                    std::task::Poll::Pending => waiting.push(call),
                }
            }
        });
        refused
    }

    fn perform(&self, operation: &str, input: Value) -> Performed {
        let operation = find_in(&stepfunctions::SERVICE, operation).expect("an operation");
        let Value::Object(input) = input else { panic!("an object") };
        let call =
            Call { service: &stepfunctions::SERVICE, operation, input, protocol: Protocol::AwsJson1_0 };
        operations::perform(&self.engine, &Context::default(), &call)
    }

    fn within(&self, operation: &str, input: Value, patience: Duration) -> Result<Value, (String, String)> {
        let outcome = match self.perform(operation, input) {
            Performed::Now(outcome) => outcome,
            Performed::Later(later) => {
                let runtime = self.runtime.as_ref().expect("it runs");
                match runtime.block_on(async { tokio::time::timeout(patience, later).await }) {
                    Ok(outcome) => outcome,
                    Err(_) => return Ok(json!({ "taskToken": null })),
                }
            }
        };
        outcome.map_err(|refused| (refused.error.shape.code.to_owned(), refused.error.message))
    }
}

impl Drop for Server {
    /// `kill -9`: nothing that it was about to do happens.
    fn drop(&mut self) {
        self.is_cut.store(true, Ordering::SeqCst);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Every event of an execution.
pub(crate) fn history(server: &Server, arn: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut input = json!({ "executionArn": arn, "maxResults": 1000 });
        if !token.is_null() {
            input["nextToken"] = token;
        }
        let page = server.call("GetExecutionHistory", input).expect("a history");
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        token = page["nextToken"].clone();
        if token.is_null() {
            return events;
        }
    }
}
