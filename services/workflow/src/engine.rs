//! Running executions, durably.
//!
//! One step of an execution – an input handed to it, everything that follows from it without the world – is one
//! transaction: its events, its checkpoint and its record. Only when that is durable are its commands carried out and its
//! caller told. A step that cannot be stored did not happen: the execution is read back from its last checkpoint.
//!
//! What is alive is in memory; the store is its log. Each execution has one writer, its lock. The store gathers the
//! transactions of different executions into one commit.

mod activity;
mod call;
mod commit;
mod doubt;
mod drive;
mod ended;
mod express;
mod lease;
mod live;
mod machines;
mod recovery;
mod retention;
mod revisions;
mod shard;
mod share;
mod start;
mod take_up;
mod task;
mod timer;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use selvedge_asl::{At, Definition, Execution, Failure, Status, TaskId, TaskOutcome};
use selvedge_store::{Error as StoreError, Store};

use crate::audit::Deed;
use crate::extension;
use crate::log::Logs;
use crate::map_run::Run;
use crate::objects::{Nowhere, Objects};
use crate::record::{self, ExecutionRecord, Revision, key};
use crate::schedule;
use crate::tasks::{Tasks, approval};
use crate::traces::Recording;
use crate::{Settings, Surroundings};
pub(crate) use activity::{Poll, Waiting};
pub use call::NESTED_MAX;
pub(crate) use commit::StartError;
pub use drive::Drive;
pub(crate) use express::Express;
pub use lease::Sharing;
pub(crate) use live::LiveKey;
use live::{Found, Live};
pub use live::{LIVE_MAX, LIVE_OF_MACHINE_MAX};
pub(crate) use machines::Known;
pub use revisions::REVISIONS_SPARE_MAX;
pub use shard::{SHARDS, Shard};
pub(crate) use start::Start;
pub(crate) use take_up::TakenUp;
pub use task::CAUSE_CHARACTERS_MAX;
pub(crate) use task::{TokenError, bounded};

/// The engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("failed to read the executions that are under way")]
    Store(#[from] StoreError),
    /// A thread could not be started.
    #[error("failed to start the timer")]
    Thread(#[from] std::io::Error),
}

/// The engine over a store of its own.
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: Settings,
    pub(crate) surroundings: Arc<dyn Surroundings>,
    /// The same store: who may write in it.
    lease: Arc<lease::Fenced>,
    live: live::Table,
    tokens: token::Tokens,
    activities: activity::Queues,
    timer: timer::Timer,
    ended: ended::Ended,
    /// Revisions that nobody refers to.
    spare: revisions::Spare,
    /// By the id of their revision.
    definitions: Mutex<HashMap<String, Arc<Definition>>>,
    machines: machines::Machines,
    logs: Logs,
    /// Where spans go, if anywhere.
    pub(crate) recording: Option<Recording>,
    /// What machines have beyond the original.
    pub(crate) extensions: extension::Known,
    /// Where data sets of map runs come from, and their results go.
    pub(crate) objects: Arc<dyn Objects>,
    /// The map runs that are under way, by their id.
    pub(crate) map_runs: Mutex<HashMap<String, Arc<Run>>>,
    /// Express executions that nobody waits for.
    pub(crate) unawaited: Arc<tokio::sync::Semaphore>,
    /// What calls share.
    pub(crate) tasks: Tasks,
    /// What starts by the clock.
    pub(crate) schedules: schedule::Table,
    /// Who waits for people.
    pub(crate) approvals: approval::Waiting,
    /// Where calls of services run.
    pub(crate) runtime: tokio::runtime::Handle,
    /// For calls, which outlive the step that began them.
    pub(crate) own: Weak<Self>,
}

impl Engine {
    /// Takes up every execution that was under way, and goes on. Calls of services run on `runtime`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        store: Arc<dyn Store>,
        settings: Settings,
        surroundings: Arc<dyn Surroundings>,
        runtime: tokio::runtime::Handle,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_with(store, settings, surroundings, runtime, Arc::new(Nowhere))
    }

    /// The same, with a place for the objects of distributed Map states.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_with(
        store: Arc<dyn Store>,
        settings: Settings,
        surroundings: Arc<dyn Surroundings>,
        runtime: tokio::runtime::Handle,
        objects: Arc<dyn Objects>,
    ) -> Result<Arc<Self>, OpenError> {
        let lease = Arc::new(lease::Fenced::take_over(store, settings.sharing.clone())?);
        let store: Arc<dyn Store> = Arc::<lease::Fenced>::clone(&lease);
        let tokens = token::Tokens::of_store(&*store, || surroundings.draw())?;
        let logs = settings.logs.clone();
        let recording = Recording::start(&runtime, settings.traces.as_ref());
        let engine = Arc::new_cyclic(|own| Self {
            store,
            lease,
            objects,
            map_runs: Mutex::default(),
            tasks: Tasks::new(&settings.calls),
            approvals: approval::Waiting::default(),
            schedules: schedule::Table::default(),
            settings,
            surroundings,
            live: live::Table::default(),
            tokens,
            activities: activity::Queues::default(),
            timer: timer::Timer::default(),
            ended: ended::Ended::default(),
            spare: revisions::Spare::default(),
            definitions: Mutex::default(),
            machines: machines::Machines::default(),
            logs: Logs::new(logs),
            recording,
            extensions: extension::Known::default(),
            unawaited: Arc::new(tokio::sync::Semaphore::new(crate::operations::BEHIND_MAX)),
            runtime,
            own: Weak::clone(own),
        });
        engine.recover()?;
        engine.take_up_runs()?;
        engine.take_up_schedules()?;
        let own = Arc::clone(&engine);
        engine.behind(move || match own.close_lost_approvals() {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "approvals of tasks that had ended are closed"),
            Err(error) => tracing::error!(%error, "approvals could not be looked at"),
        });
        if engine.settings.drive == Drive::Threads {
            timer::start(&engine)?;
            retention::start(&engine);
            schedule::start_ticking(&engine);
        }
        Ok(engine)
    }

    /// Tells that the clock has been set: what is due by it is done at once, and not when it is looked at next.
    pub fn clock_was_set(&self) {
        self.timer.look();
        self.schedules.look();
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.surroundings.now_ms()
    }

    /// The definition of a revision, parsed once.
    pub(crate) fn definition(
        &self,
        machine: &str,
        revision: &Revision,
    ) -> Result<Arc<Definition>, StoreError> {
        const KEPT_MAX: usize = 1024;
        let mut known = self.definitions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(definition) = known.get(&revision.id) {
            return Ok(Arc::clone(definition));
        }
        let (definition, _) = selvedge_asl::parse(&revision.definition);
        let definition = definition.ok_or_else(|| {
            StoreError::Corrupt(format!(
                "the definition of {machine} at revision {} does not parse",
                revision.id
            ))
        })?;
        let definition = Arc::new(definition);
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(revision.id.clone(), Arc::clone(&definition));
        Ok(definition)
    }

    pub(crate) fn is_live(&self, key: &LiveKey) -> bool {
        self.live.contains(key)
    }

    /// How an execution stands, as far as that is durable.
    pub(crate) fn status_of(&self, key: &LiveKey) -> Result<Option<Status>, StoreError> {
        let found = self.store.snapshot()?.get(&key::execution(&key.machine, &key.name))?;
        let record: Option<ExecutionRecord> = found.as_ref().map(record::decode).transpose()?;
        Ok(record.map(|record| record.status))
    }

    /// The task that an execution has under way in a state, if it has.
    pub(crate) fn task_of(&self, key: &LiveKey, state: &str) -> Result<Option<TaskId>, StoreError> {
        let found = self.step(key, |execution, _| {
            execution
                .pending_tasks()
                .find(|(request, _)| &*request.state == state)
                .map(|(request, _)| request.id)
        })?;
        Ok(found.flatten())
    }

    /// Hands an input to a live execution. None when it is not alive.
    pub(crate) fn step<T>(
        &self,
        key: &LiveKey,
        input: impl FnOnce(&mut Execution, &mut At<'_>) -> T,
    ) -> Result<Option<T>, StoreError> {
        self.step_of(key, None, input)
    }

    /// The same, at somebody's word: the audit trail's entry is in the step's transaction.
    fn step_of<T>(
        &self,
        key: &LiveKey,
        deed: Option<Deed>,
        input: impl FnOnce(&mut Execution, &mut At<'_>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let cell = loop {
            match self.live.find(key) {
                Found::Nowhere => return Ok(None),
                Found::Lost => {
                    let reason = format!("the execution {key} is being read back");
                    return Err(StoreError::Unavailable(reason));
                }
                Found::Asleep => match self.read_live(key)? {
                    Some(live) => self.live.wake(key, live),
                    None => {
                        self.live.remove(key);
                        return Ok(None);
                    }
                },
                Found::Awake(cell) => break cell,
            }
        };
        let mut live = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if live.is_asleep {
            // It has gone to sleep since it was looked up.
            drop(live);
            return self.step_of(key, deed, input);
        }
        if live.execution.status() != Status::Running {
            return Ok(None);
        }
        let definition = Arc::clone(&live.definition);
        let now_ms = self.now_ms();
        let mut draw = || self.surroundings.draw();
        let answer =
            input(&mut live.execution, &mut At { definition: &definition, now_ms, entropy: &mut draw });
        match self.commit(&mut live, deed) {
            Ok(commands) => {
                self.settle(key, &mut live);
                drop(live);
                self.carry_out(key, commands);
                Ok(Some(answer))
            }
            Err((error, commands)) => {
                // Whoever holds it looks it up once more: what is durable is what counts.
                live.is_asleep = true;
                let attempted = live.execution.last_event();
                self.live.lose(key);
                match self.read_back(key, attempted) {
                    Ok(durable) => {
                        let has_happened = durable.has_happened && matches!(error, StoreError::Uncertain(_));
                        drop(live);
                        self.adopt(key, durable, commands);
                        if has_happened { Ok(Some(answer)) } else { Err(error) }
                    }
                    Err(_) => {
                        self.read_back_later(key, attempted, commands);
                        Err(error)
                    }
                }
            }
        }
    }

    /// The id of the last durable event of an execution that is under way.
    pub(crate) fn last_event(&self, machine: &str, name: &str) -> Result<Option<u64>, StoreError> {
        let key = LiveKey::new(machine, name);
        let of =
            |live: &Live| (live.execution.status() == Status::Running).then(|| live.execution.last_event());
        match self.live.find(&key) {
            Found::Nowhere => return Ok(None),
            Found::Awake(cell) => {
                let live = cell.lock().unwrap_or_else(PoisonError::into_inner);
                if !live.is_asleep {
                    return Ok(of(&live));
                }
            }
            Found::Asleep | Found::Lost => {}
        }
        Ok(self.read_live(&key)?.as_ref().and_then(of))
    }

    /// Stops an execution; `deed` is written with it.
    pub(crate) fn stop(
        &self,
        key: &LiveKey,
        failure: Failure,
        deed: Option<Deed>,
    ) -> Result<bool, StoreError> {
        Ok(self.step_of(key, deed, |execution, at| execution.handle_stop(failure, at))?.is_some())
    }

    /// Tells what became of a task. False when nobody waits for it any more.
    ///
    /// What is due by the clock comes first.
    pub(crate) fn task(&self, key: &LiveKey, task: TaskId, outcome: TaskOutcome) -> Result<bool, StoreError> {
        let outcome = bounded(outcome);
        let told = self.step(key, |execution, at| {
            task::elapse(execution, at);
            execution.handle_task(task, outcome, at)
        })?;
        Ok(told.unwrap_or(false))
    }

    /// Sees to it that an execution's next time-out is not missed, and forgets one that has ended.
    fn settle(&self, key: &LiveKey, live: &mut Live) {
        if live.execution.status() != Status::Running {
            self.live.remove(key);
            self.ended.tell(key);
            self.record_ended(live.trace, &live.record);
            self.child_ended(&live.record);
            return;
        }
        self.arm(key, live);
        if self.may_sleep(live) {
            live.is_asleep = true;
            self.live.sleep(key);
        }
    }

    /// Whether an execution does nothing but wait, for long enough to be read again then.
    fn may_sleep(&self, live: &Live) -> bool {
        const WORTH_MS: i64 = 2000;
        live.execution.idle_until().is_some_and(|until| until - self.now_ms() >= WORTH_MS)
    }

    /// Tells the map run of a child.
    fn child_ended(&self, record: &ExecutionRecord) {
        if let Some(child) = &record.child
            && let Some(run) = self.map_run(&child.run)
        {
            run.child_ended(child.index, child.items, record.status);
        }
    }

    /// Sets the timer, unless it looks soon enough anyway: one entry an execution, however many steps it takes.
    fn arm(&self, key: &LiveKey, live: &mut Live) {
        let Some(due_ms) = live.execution.next_timeout() else { return };
        let now_ms = self.now_ms();
        // What is due at once stands behind those that have been due for longer.
        let due_ms = due_ms.max(now_ms);
        if live.armed_ms.is_none_or(|armed_ms| due_ms < armed_ms || armed_ms <= now_ms) {
            live.armed_ms = Some(due_ms);
            self.timer.set(due_ms, key.clone());
        }
    }
}
