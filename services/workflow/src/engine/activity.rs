//! Activities: tasks wait for workers, workers wait for tasks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use selvedge_asl::TaskId;
use tokio::sync::oneshot;

use super::LiveKey;

/// How many workers may wait at one activity.
pub(crate) const POLLERS_MAX: usize = 1000;

/// A task that waits for a worker.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) key: LiveKey,
    pub(crate) task: TaskId,
    pub(crate) token: String,
    pub(crate) input: String,
}

/// What a worker that asks gets.
pub(crate) enum Poll {
    Task(Waiting),
    /// Nothing yet: the task comes here.
    Wait(oneshot::Receiver<Waiting>),
    /// Too many wait already.
    Full,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Waiting>,
    workers: VecDeque<oneshot::Sender<Waiting>>,
}

impl Queue {
    /// Gives a task to the worker that has waited longest; gives it back when nobody waits.
    fn offer(&mut self, task: Waiting) -> Option<Waiting> {
        let mut task = task;
        while let Some(worker) = self.workers.pop_front() {
            match worker.send(task) {
                Ok(()) => return None,
                // The worker has hung up: the next one.
                Err(returned) => task = returned,
            }
        }
        Some(task)
    }
}

/// The queues, by the activity's ARN.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<String, Queue>>);

impl Queues {
    /// Gives a task to the worker that has waited longest, or keeps it.
    pub(super) fn push(&self, activity: &str, task: Waiting) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(activity.to_owned()).or_default();
        if let Some(task) = queue.offer(task) {
            queue.tasks.push_back(task);
        }
    }

    /// A task whose worker hung up before it had it goes to the next worker, or to the front of the queue.
    pub(super) fn give_back(&self, activity: &str, task: Waiting) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(activity.to_owned()).or_default();
        if let Some(task) = queue.offer(task) {
            queue.tasks.push_front(task);
        }
    }

    pub(super) fn poll(&self, activity: &str) -> Poll {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(activity.to_owned()).or_default();
        if let Some(task) = queue.tasks.pop_front() {
            return Poll::Task(task);
        }
        queue.workers.retain(|worker| !worker.is_closed());
        if queue.workers.len() >= POLLERS_MAX {
            return Poll::Full;
        }
        let (sender, receiver) = oneshot::channel();
        queue.workers.push_back(sender);
        Poll::Wait(receiver)
    }

    pub(super) fn remove(&self, key: &LiveKey, task: TaskId) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.values_mut() {
            queue.tasks.retain(|waiting| !(waiting.task == task && waiting.key == *key));
        }
    }
}
