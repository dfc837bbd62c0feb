//! Map runs: the children of a distributed Map state.
//!
//! ```text
//!   data set ─▶ Feed: select, batch ─▶ start, as many at once as may run ─▶ children end ─▶ Progress
//!                                         ▲                                                    │
//!                                         └──────────────── one more may start ◀───────────────┘
//! ```
//!
//! A child is an execution of its own. What it has come to is a document below its run, in the order of the items: after a
//! restart the data set is read once more, and the children that are there already are passed over. The memory of a run is
//! that of its children under way.

mod children;
mod conclusion;
mod feed;
mod progress;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use selvedge_asl::{At, Definition, Failure, Kind, MapRunOutcome, MapRunRequest, TaskId};
use selvedge_store::Error as StoreError;

use crate::Engine;
use crate::arn::{Arn, Resource};
use crate::engine::LiveKey;
use crate::record::{self, MapRunRecord, Revision, RunStatus, key};
use feed::Feed;
pub(crate) use progress::Counts;
use progress::{Progress, Verdict};

/// How many map runs may be under way at a time.
pub const MAP_RUNS_MAX: usize = 1000;
/// How many children of one run may be under way at a time.
pub const CHILDREN_AT_ONCE_MAX: u64 = 10_000;
/// After a failure of the store the run tries again, so much later.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// A map run that is under way.
pub(crate) struct Run {
    pub(crate) id: String,
    /// The children's machine, as keys have it: `N:label`.
    machine: String,
    /// The children's machine, as ARNs have it: `N/label`.
    machine_path: String,
    request: MapRunRequest,
    /// The parent's.
    definition: Arc<Definition>,
    /// The children's.
    revision: Arc<Revision>,
    arn: Arn,
    feed: Mutex<Feed>,
    progress: Mutex<Progress>,
    wake: tokio::sync::Notify,
    /// How many executions wait for its children.
    depth: u64,
}

/// What comes after a step of a run.
enum Next {
    More,
    Wait,
    Over(Option<MapRunOutcome>),
}

impl Run {
    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing between its changes can panic.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child has ended, durably.
    pub(crate) fn child_ended(&self, index: u64, items: u64, status: selvedge_asl::Status) {
        self.progress().ended(index, items, status);
        self.wake.notify_one();
    }

    /// Its parent has no use for it any more.
    pub(crate) fn cancel(&self) {
        self.progress().verdict = Some(Verdict::Cancelled);
        self.wake.notify_one();
    }

    /// Takes other bounds than it began with.
    pub(crate) fn update(&self, change: impl FnOnce(&mut MapRunRecord)) -> MapRunRecord {
        let mut progress = self.progress();
        change(&mut progress.record);
        progress.judge();
        self.wake.notify_one();
        progress.record.clone()
    }

    /// One step: what ended is written down, and as many children are started as may be.
    fn pump(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<Next, StoreError> {
        self.store_ended(engine)?;
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = self.progress().verdict.clone();
        if let Some(verdict) = verdict {
            if self.stop_children(engine)? {
                return Ok(Next::Wait);
            }
            return self.conclude(engine, &verdict, &feed);
        }
        let free = self.progress().free();
        if free > 0 && !feed.is_exhausted() {
            let mut draw = || engine.surroundings.draw();
            let mut at = At { definition: &self.definition, now_ms: engine.now_ms(), entropy: &mut draw };
            let most_bytes = self.request.payload_bytes;
            if let Err(failure) = feed.fill(free, most_bytes, &engine.objects, &mut at) {
                self.progress().verdict = Some(Verdict::Failed(failure));
                return Ok(Next::More);
            }
        }
        if free > 0 && feed.has_pending() {
            self.start_children(engine, &mut feed)?;
            return Ok(Next::More);
        }
        if !feed.is_exhausted() {
            return Ok(Next::Wait);
        }
        {
            let mut progress = self.progress();
            progress.exhausted(feed.items());
            if progress.verdict.is_some() {
                return Ok(Next::More);
            }
            if !progress.is_idle() {
                return Ok(Next::Wait);
            }
        }
        self.conclude(engine, &Verdict::Done, &feed)
    }
}

impl Engine {
    /// The map run of that id, if it is under way.
    pub(crate) fn map_run(&self, id: &str) -> Option<Arc<Run>> {
        self.map_runs.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Ends a map run whose parent has no use for it any more.
    pub(crate) fn cancel_map_run(&self, parent: &LiveKey, task: TaskId) {
        if let Some(run) = self.map_run(&id_of(parent, task)) {
            run.cancel();
        }
    }

    /// Runs the children of a distributed Map state, or goes on with them.
    pub(crate) fn run_map(self: &Arc<Self>, parent: &LiveKey, request: MapRunRequest) {
        let (engine, parent) = (Arc::clone(self), parent.clone());
        self.runtime.spawn(async move {
            let task = request.id;
            let run = loop {
                let (own, key, begun) = (Arc::clone(&engine), parent.clone(), request.clone());
                match engine.aside(move || own.open_map_run(&key, begun)).await {
                    Ok(Ok(Opened::Run(run))) => break run,
                    Ok(Ok(Opened::Over(outcome))) => return engine.report(&parent, task, outcome).await,
                    Ok(Err(error @ StoreError::Corrupt(_))) => {
                        let cause = format!("The map run cannot begin: {error}");
                        let failure = Failure::new("States.Runtime", cause);
                        return engine.report(&parent, task, MapRunOutcome::Failed(failure)).await;
                    }
                    Ok(Err(error)) => {
                        tracing::error!(execution = %parent, %error, "the store failed; the map run begins later");
                        engine.pause(TRY_AGAIN).await;
                    }
                    Err(_) => return,
                }
            };
            let arn = run.arn.to_string().into();
            engine.report(&parent, task, MapRunOutcome::Started { arn }).await;
            let outcome = drive(&engine, &run).await;
            engine.map_runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&run.id);
            if let Some(outcome) = outcome {
                engine.report(&parent, task, outcome).await;
            }
        });
    }

    /// Tells the parent. What cannot be stored is tried again: it would wait for ever.
    async fn report(self: &Arc<Self>, parent: &LiveKey, task: TaskId, outcome: MapRunOutcome) {
        loop {
            let (own, key, told) = (Arc::clone(self), parent.clone(), outcome.clone());
            let step = move || own.step(&key, |execution, at| execution.handle_map_run(task, told, at));
            match self.aside(step).await {
                Ok(Err(error)) => {
                    tracing::error!(execution = %parent, %error, "a map run's outcome could not be stored; it is tried again");
                    self.pause(TRY_AGAIN).await;
                }
                _ => return,
            }
        }
    }

    fn open_map_run(
        self: &Arc<Self>,
        parent: &LiveKey,
        request: MapRunRequest,
    ) -> Result<Opened, StoreError> {
        let view = self.store.snapshot()?;
        let Some(found) = view.get(&key::execution(&parent.machine, &parent.name))? else {
            return Err(StoreError::Corrupt(format!("the execution {parent} is gone")));
        };
        let execution: record::ExecutionRecord = record::decode(&found)?;
        let revision = Revision::known(&*view, &execution.machine, &execution.revision)?;
        let definition = self.definition(&execution.machine, &revision)?;
        let distributed = match definition.state(request.scope, &request.state).map(|state| &state.kind) {
            Some(Kind::Map(map)) => map.distributed.as_ref(),
            _ => None,
        };
        let Some(distributed) = distributed else {
            return Err(StoreError::Corrupt(format!("the definition of {parent} has no such Map state")));
        };
        let id = id_of(parent, request.id);
        let label = match &request.label {
            Some(label) => label.to_string(),
            None => label_of(&execution.machine, &request.state),
        };
        let parent_arn = Arn::parse(&execution.arn)
            .map_err(|error| StoreError::Corrupt(format!("the ARN of {parent}: {error}")))?;
        let machine = format!("{}:{label}", execution.machine);
        let machine_path = machine.replace(':', "/");
        let arn = parent_arn
            .sibling(Resource::MapRun { machine: machine_path.as_str().into(), name: id.as_str().into() });
        let child = Revision::new(
            &distributed.machine().to_string(),
            &revision.role_arn,
            [&revision.logging, &revision.tracing, &revision.encryption],
            revision.updated_ms,
        );
        let found = view.get(&key::map_run(&id))?;
        let found: Option<MapRunRecord> = found.as_ref().map(record::decode).transpose()?;
        drop(view);
        let is_resumed = found.is_some();
        let now_ms = self.now_ms();
        let mut record = found.unwrap_or_else(|| MapRunRecord {
            arn: arn.to_string(),
            id: id.clone(),
            execution_arn: execution.arn.clone(),
            machine_arn: parent_arn
                .sibling(Resource::Machine { name: machine_path.as_str().into(), qualifier: None })
                .to_string(),
            parent: (execution.machine.clone(), execution.name.clone()),
            status: RunStatus::Running,
            started_ms: now_ms,
            ended_ms: None,
            max_concurrency: request.max_concurrency,
            tolerated_count: request.tolerated_count,
            tolerated_percentage: request.tolerated_percentage,
            express: request.express,
            redrive_count: 0,
            redriven_ms: None,
            items: Counts::default(),
            executions: Counts::default(),
            children: 0,
            failure: None,
        });
        let is_over = record.status != RunStatus::Running;
        if request.redrive_count > record.redrive_count {
            record.redrive_count = request.redrive_count;
            record.redriven_ms = Some(now_ms);
            record.status = RunStatus::Running;
            record.ended_ms = None;
            record.failure = None;
        } else if is_over {
            // It ended just before the process did; its parent has not been told.
            return Ok(Opened::Over(self.outcome(&record, &request)?));
        }
        let mut progress = Progress::new(record);
        if is_resumed {
            self.count_children(&id, &mut progress)?;
        }
        let feed = Feed::new(&request, is_resumed);
        let run = Arc::new(Run {
            id: id.clone(),
            machine,
            machine_path,
            definition,
            revision: Arc::new(child),
            arn,
            feed: Mutex::new(feed),
            progress: Mutex::new(progress),
            wake: tokio::sync::Notify::new(),
            depth: execution.depth + 1,
            request,
        });
        {
            let mut runs = self.map_runs.lock().unwrap_or_else(PoisonError::into_inner);
            if runs.len() >= MAP_RUNS_MAX {
                let failure = Failure::new(
                    "States.Runtime",
                    format!("There are {MAP_RUNS_MAX} map runs under way, as many as there may be."),
                );
                return Ok(Opened::Over(MapRunOutcome::Failed(failure)));
            }
            // From here on the ends of its children find it.
            runs.insert(id.clone(), Arc::clone(&run));
        }
        let adopted = self.adopt_children(&run).and_then(|()| self.store_map_run(&run));
        if let Err(error) = adopted {
            self.map_runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            return Err(error);
        }
        Ok(Opened::Run(run))
    }

    /// Writes down what is known of a run.
    fn store_map_run(&self, run: &Run) -> Result<(), StoreError> {
        let record = run.progress().record.clone();
        let revision_key = key::revision(&run.machine, &run.revision.id);
        let of = key::map_run_of(&record.parent.0, &record.parent.1, record.started_ms, &record.id);
        let document = record::encode(&record);
        self.store.transact(&mut |tx| {
            if tx.get(&revision_key)?.is_none() {
                run.revision.write(tx, &run.machine)?;
            }
            tx.put(&of, bytes::Bytes::copy_from_slice(record.id.as_bytes()))?;
            tx.put(&key::map_run(&record.id), document.clone())?;
            Ok(())
        })?;
        Ok(())
    }
}

enum Opened {
    Run(Arc<Run>),
    /// There is nothing left to run.
    Over(MapRunOutcome),
}

/// Steps until the run is over.
async fn drive(engine: &Arc<Engine>, run: &Arc<Run>) -> Option<MapRunOutcome> {
    loop {
        let (own, same) = (Arc::clone(engine), Arc::clone(run));
        match engine.aside(move || same.pump(&own)).await {
            Ok(Ok(Next::More)) => {}
            Ok(Ok(Next::Wait)) => run.wake.notified().await,
            Ok(Ok(Next::Over(outcome))) => return outcome,
            Ok(Err(error)) => {
                tracing::error!(map_run = %run.id, %error, "the store failed; the map run tries again");
                engine.pause(TRY_AGAIN).await;
            }
            // The process ends, or a bug: the run goes on after a restart.
            Err(_) => return None,
        }
    }
}

/// The same for the same state of the same execution, always: a run that is begun once more is found.
fn id_of(parent: &LiveKey, task: TaskId) -> String {
    record::fingerprint(&["map run", &parent.machine, &parent.name, &task.0.to_string()])
}

/// A label for a state that names none.
fn label_of(machine: &str, state: &str) -> String {
    record::fingerprint(&["label", machine, state])
}
