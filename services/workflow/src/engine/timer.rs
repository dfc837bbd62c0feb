//! Time-outs: one thread that sleeps until the next is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::{Engine, LiveKey};

/// How long the thread sleeps at the most: the clock may have been set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Timer {
    due: Mutex<BinaryHeap<Reverse<(i64, LiveKey)>>>,
    earlier: Condvar,
}

impl Timer {
    /// Wakes an execution at that time. An entry that has become meaningless costs a look.
    pub(super) fn set(&self, due_ms: i64, key: LiveKey) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = due.peek().is_none_or(|Reverse((first, _))| due_ms < *first);
        due.push(Reverse((due_ms, key)));
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Has the thread look at the clock.
    pub(super) fn look(&self) {
        drop(self.due.lock().unwrap_or_else(PoisonError::into_inner));
        self.earlier.notify_one();
    }

    /// The time of the first.
    pub(super) fn first(&self) -> Option<i64> {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.peek().map(|Reverse((first, _))| *first)
    }

    /// An execution that is due.
    pub(super) fn take_due(&self, now_ms: i64) -> Option<LiveKey> {
        pop_due(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner), now_ms)
    }

    /// Waits for an execution that is due, or for [`SLEEP_MAX`].
    fn wait(&self, now_ms: i64) -> Option<LiveKey> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = pop_due(&mut due, now_ms) {
            return Some(key);
        }
        let sleep = due.peek().map_or(SLEEP_MAX, |Reverse((first, _))| {
            Duration::from_millis(u64::try_from(first - now_ms).unwrap_or(0)).min(SLEEP_MAX)
        });
        drop(self.earlier.wait_timeout(due, sleep).unwrap_or_else(PoisonError::into_inner));
        None
    }
}

fn pop_due(due: &mut BinaryHeap<Reverse<(i64, LiveKey)>>, now_ms: i64) -> Option<LiveKey> {
    let Reverse((first, _)) = due.peek()?;
    if *first > now_ms {
        return None;
    }
    due.pop().map(|Reverse((_, key))| key)
}

/// Starts the thread; it ends with the engine.
pub(super) fn start(engine: &Arc<Engine>) -> std::io::Result<()> {
    let engine = Arc::downgrade(engine);
    std::thread::Builder::new().name("workflow-timer".into()).spawn(move || run(&engine)).map(drop)
}

fn run(engine: &Weak<Engine>) {
    while let Some(engine) = engine.upgrade() {
        if let Some(key) = engine.timer.wait(engine.now_ms()) {
            engine.time_out(key);
        }
    }
}

impl Engine {
    /// Does what is due in an execution.
    pub(super) fn time_out(&self, key: LiveKey) {
        let handled = self.step(&key, |execution, at| {
            let due_ms = execution.next_timeout().filter(|due_ms| *due_ms > at.now_ms);
            if due_ms.is_none() {
                execution.handle_timeout(at);
            }
            due_ms
        });
        match handled {
            // Not yet: the clock was set back meanwhile, or something else was due and is no more.
            Ok(Some(Some(due_ms))) => self.timer.set(due_ms, key),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(execution = %key, %error, "a time-out could not be stored; it is tried again");
                self.timer.set(self.now_ms() + 1000, key);
            }
        }
    }
}
