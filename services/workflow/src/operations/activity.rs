//! Activities, and the workers that ask for their tasks.

use std::sync::Arc;
use std::time::Duration;

use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::{
    ACTIVITY_ALREADY_EXISTS, ACTIVITY_DOES_NOT_EXIST, ACTIVITY_LIMIT_EXCEEDED,
    ACTIVITY_WORKER_LIMIT_EXCEEDED, INVALID_ARN,
};
use selvedge_model::Value;
use selvedge_store::{Read, WriteError};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Failed, Outcome, Performed, Refused, Scope, encryption, list, name, seconds, tag};
use crate::Engine;
use crate::arn::{Arn, Resource};
use crate::engine::{Poll, Waiting};
use crate::record::{self, Activity, key};

/// The most activities.
pub(crate) const ACTIVITIES_MAX: usize = 10_000;
/// How long a worker waits for a task.
const PATIENCE: Duration = Duration::from_secs(60);

fn activity_of(arn: &Arn) -> Result<&str, Failed> {
    match &arn.resource {
        Resource::Activity(name) => Ok(name),
        _ => Err(INVALID_ARN
            .because(format!("Invalid Arn: 'Resource type not valid in this context: {arn}'"))
            .into()),
    }
}

pub(super) fn find(view: &dyn Read, arn: &Arn) -> Result<Activity, Failed> {
    let missing =
        || -> ApiError { ACTIVITY_DOES_NOT_EXIST.because(format!("Activity Does Not Exist: '{arn}'")) };
    let found = view.get(&key::activity(activity_of(arn)?))?.ok_or_else(missing)?;
    let activity: Activity = record::decode(&found)?;
    if activity.arn != arn.to_string() {
        return Err(missing().into());
    }
    Ok(activity)
}

pub(super) fn create(scope: &Scope<'_>) -> Result<Value, Failed> {
    let name = scope.text("name");
    name::check(name)?;
    let tags = tag::given(scope)?;
    let encryption = encryption::given(scope)?;
    let arn = scope.arn_of(Resource::Activity(name.into())).to_string();
    let now_ms = scope.now_ms();
    let is_full = list::is_full(&*scope.engine.store.snapshot()?, "activity/", ACTIVITIES_MAX)?;
    let (activity, _) = scope.engine.store.write::<Activity, ApiError>(|tx| {
        if let Some(found) = tx.get(&key::activity(name))? {
            let found: Activity = record::decode(&found)?;
            if found.encryption != encryption {
                let message = "Activity already exists. EncryptionConfiguration may not be updated.";
                return Err(WriteError::Refused(ACTIVITY_ALREADY_EXISTS.because(message)));
            }
            return Ok(found);
        }
        if is_full {
            let message = format!("there are {ACTIVITIES_MAX} activities, as many as there may be");
            return Err(WriteError::Refused(ACTIVITY_LIMIT_EXCEEDED.because(message)));
        }
        let activity = Activity {
            arn: arn.clone(),
            name: name.to_owned(),
            created_ms: now_ms,
            tags: tags.clone(),
            encryption: encryption.clone(),
        };
        tx.put(&key::activity(name), record::encode(&activity))?;
        scope.note(tx, &activity.arn)?;
        Ok(activity)
    })?;
    Ok(json!({ "activityArn": activity.arn, "creationDate": seconds(activity.created_ms) }))
}

fn shown(activity: &Activity) -> Value {
    json!({ "activityArn": activity.arn, "name": activity.name, "creationDate": seconds(activity.created_ms) })
}

pub(super) fn describe(scope: &Scope<'_>) -> Result<Value, Failed> {
    let activity = find(&*scope.engine.store.snapshot()?, &scope.arn("activityArn")?)?;
    let mut output = shown(&activity);
    if !activity.encryption.is_null() {
        output["encryptionConfiguration"] = activity.encryption;
    }
    Ok(output)
}

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failed> {
    let view = scope.engine.store.snapshot()?;
    let page = list::page(scope, &*view, "activities", "activity/", |found| {
        Ok(Some(shown(&record::decode::<Activity>(found)?)))
    })?;
    Ok(Value::Object(page))
}

pub(super) fn delete(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("activityArn")?;
    let name = activity_of(&arn)?;
    let deleted = scope.engine.store.write::<(), ApiError>(|tx| {
        if tx.delete(&key::activity(name))? {
            scope.note(tx, &arn.to_string())?;
        }
        Ok(())
    });
    deleted?;
    Ok(json!({}))
}

/// `GetActivityTask`: a task at once, or as soon as there is one.
pub(super) fn take(scope: &Scope<'_>) -> Performed {
    let found = scope.arn("activityArn").and_then(|arn| find(&*scope.engine.store.snapshot()?, &arn));
    let activity = match found {
        Ok(activity) => activity.arn,
        Err(failed) => return Performed::Now(Err(Refused::from(failed))),
    };
    let worker = scope.call.text("workerName").map(str::to_owned);
    let engine = Arc::clone(scope.engine);
    Performed::Later(Box::pin(async move { wait(engine, activity, worker).await }))
}

/// A worker's place in the queue. A task that comes just as the worker gives up, or hangs up, waits for the next one.
struct Place<'e> {
    engine: &'e Engine,
    activity: &'e str,
    receiver: oneshot::Receiver<Waiting>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(task) = self.receiver.try_recv() {
            self.engine.give_back(self.activity, task);
        }
    }
}

async fn wait(engine: Arc<Engine>, activity: String, worker: Option<String>) -> Outcome {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let waiting = match engine.poll_activity(&activity) {
            Poll::Task(task) => task,
            Poll::Wait(receiver) => {
                let mut place = Place { engine: &engine, activity: &activity, receiver };
                match tokio::time::timeout_at(deadline, &mut place.receiver).await {
                    Ok(Ok(task)) => task,
                    // Nothing came, as workers expect it to be told.
                    _ => return Ok(json!({ "taskToken": null })),
                }
            }
            Poll::Full => {
                let message =
                    "The maximum number of workers concurrently polling for activity tasks has been reached.";
                return Err(Refused { error: ACTIVITY_WORKER_LIMIT_EXCEEDED.because(message), cause: None });
            }
        };
        let task = waiting.clone();
        let (own, worker) = (Arc::clone(&engine), worker.clone());
        let handed = engine.aside(move || own.hand_out(&task, worker)).await;
        match handed {
            Ok(Ok(true)) => return Ok(json!({ "taskToken": waiting.token, "input": waiting.input })),
            // Its execution ended while it waited: the next one.
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                engine.give_back(&activity, waiting);
                return Err(Refused::from(Failed::Store(error)));
            }
            Err(_) => return Ok(json!({ "taskToken": null })),
        }
    }
}
