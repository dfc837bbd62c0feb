//! Time-outs: one thread that sleeps until the next is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::live::Found;
use super::{Engine, LiveKey};

/// How long the thread sleeps at the most: the clock may have been set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What could not be stored is tried again so much later.
pub(super) const TRY_AGAIN_MS: i64 = 1000;
/// The same of what panicked.
const TRY_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Timer {
    due: Mutex<BinaryHeap<Reverse<(i64, LiveKey)>>>,
    earlier: Condvar,
    /// How many time-outs panicked.
    panics: AtomicU64,
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

    /// An execution that is due, and since when.
    pub(super) fn take_due(&self, now_ms: i64) -> Option<(i64, LiveKey)> {
        pop_due(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner), now_ms)
    }

    /// Waits for an execution that is due, or for [`SLEEP_MAX`].
    fn wait(&self, now_ms: i64) -> Option<(i64, LiveKey)> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = pop_due(&mut due, now_ms) {
            return Some(found);
        }
        let sleep = due.peek().map_or(SLEEP_MAX, |Reverse((first, _))| {
            Duration::from_millis(u64::try_from(first - now_ms).unwrap_or(0)).min(SLEEP_MAX)
        });
        drop(self.earlier.wait_timeout(due, sleep).unwrap_or_else(PoisonError::into_inner));
        None
    }
}

fn pop_due(due: &mut BinaryHeap<Reverse<(i64, LiveKey)>>, now_ms: i64) -> Option<(i64, LiveKey)> {
    let Reverse((first, _)) = due.peek()?;
    if *first > now_ms {
        return None;
    }
    due.pop().map(|Reverse(found)| found)
}

/// Starts the thread; it ends with the engine.
pub(super) fn start(engine: &Arc<Engine>) -> std::io::Result<()> {
    let engine = Arc::downgrade(engine);
    std::thread::Builder::new().name("workflow-timer".into()).spawn(move || run(&engine)).map(drop)
}

fn run(engine: &Weak<Engine>) {
    while let Some(engine) = engine.upgrade() {
        if engine.lease.is_lost() {
            return;
        }
        let Some((due_ms, key)) = engine.timer.wait(engine.now_ms()) else { continue };
        // Nobody would start this thread again: one execution that makes it panic must not keep the others from their time-outs.
        if catch_unwind(AssertUnwindSafe(|| engine.time_out(due_ms, key.clone()))).is_err() {
            engine.isolate(&key);
        }
    }
}

impl Engine {
    /// Forgets what is in memory of an execution whose time-out panicked: it may be half of a step. It is read back after a while,
    /// as after a restart.
    fn isolate(&self, key: &LiveKey) {
        let panics = self.timer.panics.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(execution = %key, panics, "a time-out panicked; the execution is read back and goes on in a moment");
        if let Found::Awake(cell) = self.live.find(key) {
            cell.lock().unwrap_or_else(PoisonError::into_inner).is_asleep = true;
        }
        self.live.lose(key);
        let Some(engine) = self.own.upgrade() else { return };
        let key = key.clone();
        self.runtime.spawn(async move {
            loop {
                engine.pause(TRY_AGAIN).await;
                let (own, there) = (Arc::clone(&engine), key.clone());
                match engine.aside(move || own.take_up_held(&there)).await {
                    Ok(Ok(_)) => return,
                    Ok(Err(error)) => {
                        tracing::error!(execution = %key, %error, "the execution cannot be read back; it is tried again")
                    }
                    Err(_) => return,
                }
            }
        });
    }

    /// How many time-outs panicked since the start.
    pub fn timer_panics(&self) -> u64 {
        self.timer.panics.load(Ordering::Relaxed)
    }

    /// Does what is due in an execution since that time. One entry of the timer an execution: each look leaves as many as it found.
    pub(super) fn time_out(&self, due_ms: i64, key: LiveKey) {
        if !self.lease.holds_key(&key) {
            self.live.remove(&key);
            return;
        }
        let handled = self.step(&key, |execution, at| {
            if execution.next_timeout().is_some_and(|next_ms| next_ms <= at.now_ms) {
                execution.handle_timeout(at);
            }
            at.now_ms
        });
        match handled {
            // The clock was set back since it was looked up, and the step saw no need for another entry.
            Ok(Some(now_ms)) if now_ms < due_ms => self.timer.set(due_ms, key),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(execution = %key, %error, "a time-out could not be stored; it is tried again");
                // What was read back has an entry of its own.
                if matches!(self.live.find(&key), Found::Asleep) {
                    self.timer.set(self.now_ms() + TRY_AGAIN_MS, key);
                }
            }
        }
    }
}
