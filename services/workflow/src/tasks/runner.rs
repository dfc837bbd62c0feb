//! Running calls: bounded, cancelled, told until it is heard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_asl::{Failure, Identity, Pattern, Resource, TaskId, TaskOutcome, TaskRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::Call;
use crate::Engine;
use crate::audit;
use crate::engine::LiveKey;
use crate::traces::Trace;

/// How many calls of one integration are under way at a time; more wait for their turn.
pub(crate) const CALLS_MAX: usize = 256;
/// How many of them one machine has: a machine whose calls stand still leaves places for others.
pub const CALLS_OF_MACHINE_MAX: usize = 192;
/// The longest pause before the store is asked again to take an outcome.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The calls that are under way, and the places that each integration has.
#[derive(Default)]
pub(crate) struct Running {
    calls: Mutex<HashMap<(LiveKey, TaskId), AbortHandle>>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    /// By integration.
    shared: HashMap<Box<str>, Arc<Semaphore>>,
    /// By machine and integration, while somebody calls or waits.
    own: HashMap<(Box<str>, Box<str>), Arc<Semaphore>>,
    /// How many there may be before those that nobody holds are removed.
    swept: usize,
}

/// Held as long as a call is under way.
struct Place(
    #[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "the same")] OwnedSemaphorePermit,
);

impl Running {
    /// Whatever this call still does is of no use any more.
    pub(crate) fn cancel(&self, key: &LiveKey, task: TaskId) {
        let found = self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&(key.clone(), task));
        if let Some(call) = found {
            call.abort();
        }
    }

    fn forget(&self, key: &LiveKey, task: TaskId) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&(key.clone(), task));
    }

    /// A place for a call of a machine's: first one of those that the machine has at that integration, then one of the integration's.
    /// None when the server ends.
    async fn place(&self, machine: &str, resource: &Resource) -> Option<Place> {
        let (own, shared) = self.slots(machine, resource);
        let own = own.acquire_owned().await.ok()?;
        let shared = shared.acquire_owned().await.ok()?;
        Some(Place(own, shared))
    }

    /// The places of a machine at an integration, and those of all. There are as many integrations as the code knows, and one for
    /// the rest.
    fn slots(&self, machine: &str, resource: &Resource) -> (Arc<Semaphore>, Arc<Semaphore>) {
        const KNOWN_MAX: usize = 64;
        let name = match resource {
            Resource::Lambda(_) => "lambda",
            Resource::Activity(_) => "activity",
            Resource::Service { service, .. } => service,
        };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if slots.shared.len() < KNOWN_MAX || slots.shared.contains_key(name) { name } else { "" };
        // Whoever has a place at one, or waits for it, has it too.
        if slots.own.len() >= slots.swept.max(KNOWN_MAX) {
            slots.own.retain(|_, own| Arc::strong_count(own) > 1);
            slots.swept = 2 * slots.own.len();
        }
        let shared = slots.shared.entry(name.into()).or_insert_with(|| Arc::new(Semaphore::new(CALLS_MAX)));
        let shared = Arc::clone(shared);
        let own = slots.own.entry((machine.into(), name.into()));
        let own = own.or_insert_with(|| Arc::new(Semaphore::new(CALLS_OF_MACHINE_MAX)));
        (Arc::clone(own), shared)
    }
}

impl Engine {
    /// Makes a call away from the step that asked for it, and tells the execution what came of it.
    pub(crate) fn dispatch(
        &self,
        key: &LiveKey,
        request: TaskRequest,
        identity: Identity,
        trace: Option<Trace>,
    ) {
        let Some(engine) = self.own.upgrade() else { return };
        let (key, id) = (key.clone(), request.id);
        let entry = (key.clone(), id);
        // Held until the call is in the table: it cannot end before.
        let mut calls = self.tasks.running.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let spawned = self.runtime.spawn(async move {
            let call = Call::new(request, identity, &key.machine, &key.name, trace);
            engine.run_call(&key, call).await;
            engine.tasks.running.forget(&key, id);
        });
        calls.insert(entry, spawned.abort_handle());
    }

    async fn run_call(self: &Arc<Self>, key: &LiveKey, call: Call) {
        let id = call.request.id;
        if is_approval(&call.request.resource) {
            return self.run_approval(key, &call).await;
        }
        let place = self.tasks.running.place(&call.identity.machine_name, &call.request.resource).await;
        let Some(_place) = place else { return };
        // Its time counts from here.
        if !self.inform(key, id, TaskOutcome::Started { worker: None }).await {
            return;
        }
        let outcome = match self.perform_noted(&call).await {
            Ok(output) if waits_for_token(&call.request.resource) => TaskOutcome::Submitted { output },
            Ok(output) => TaskOutcome::Succeeded { output },
            Err(failure) => TaskOutcome::Failed(failure),
        };
        if let TaskOutcome::Failed(failure) = &outcome {
            let error = failure.error.as_deref().unwrap_or_default();
            tracing::debug!(execution = %key, task = id.0, error, "a task failed");
        }
        self.inform(key, id, outcome).await;
    }

    /// Tells an execution about its task, as often as it takes. False when nobody waits for it any more.
    pub(crate) async fn inform(self: &Arc<Self>, key: &LiveKey, task: TaskId, outcome: TaskOutcome) -> bool {
        let mut pause = Duration::from_millis(100);
        loop {
            let (own, key_there, outcome_there) = (Arc::clone(self), key.clone(), outcome.clone());
            let told = self.aside(move || own.task(&key_there, task, outcome_there)).await;
            match told {
                Ok(Ok(is_awaited)) => return is_awaited,
                Ok(Err(error)) => {
                    tracing::error!(execution = %key, %error, "a task's outcome could not be stored; it is tried again");
                }
                Err(error) => {
                    tracing::error!(execution = %key, %error, "a task's outcome could not be told");
                    return false;
                }
            }
            self.pause(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Whether somebody else than the called one ends the task.
pub(crate) fn waits_for_token(resource: &Resource) -> bool {
    matches!(resource, Resource::Service { pattern: Pattern::TaskToken, .. })
}

/// A person ends this one.
pub(crate) fn is_approval(resource: &Resource) -> bool {
    matches!(resource, Resource::Service { service, action, .. } if &**service == "approval" && &**action == "request")
}

impl Engine {
    /// Makes the call of an express execution, which keeps its own time.
    pub(crate) async fn perform_in_turn(self: &Arc<Self>, call: &Call) -> Result<serde_json::Value, Failure> {
        if is_approval(&call.request.resource) || waits_for_token(&call.request.resource) {
            return Err(Failure::new("States.Runtime", "an express execution waits for nobody's answer"));
        }
        let place = self.tasks.running.place(&call.identity.machine_name, &call.request.resource).await;
        let Some(_place) = place else {
            return Err(Failure::new("States.TaskFailed", "the server is ending"));
        };
        self.perform_noted(call).await
    }

    /// A call that went where none may go is in the audit trail.
    async fn perform_noted(self: &Arc<Self>, call: &Call) -> Result<serde_json::Value, Failure> {
        let done = self.perform(call).await;
        if let Err(failure) = &done
            && failure.error.as_deref() == Some(super::EGRESS_REFUSED)
        {
            let details = serde_json::json!({ "state": call.request.state, "cause": failure.cause });
            audit::note_first(self, "EgressRefused", &call.identity.role_arn, &call.identity.arn, details)
                .await;
        }
        done
    }
}
