//! Whose hands move the engine: threads of its own, or a caller who steps it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;

use super::Engine;

/// Who does what is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drive {
    /// The engine: a thread for time-outs, the runtime's threads for the rest.
    #[default]
    Threads,
    /// Its owner, by [`Engine::handle_timeout`]. What would block a thread is done where the runtime stands, so that on a runtime of
    /// one thread a run is a function of its inputs: for simulations.
    Steps,
}

impl Engine {
    /// When [`Engine::handle_timeout`] has something to do, in milliseconds since 1970.
    pub fn next_timeout(&self) -> Option<i64> {
        self.timer.first().into_iter().chain(self.schedules.first()).min()
    }

    /// Does what is due: what executions wait for, and what schedules start. With [`Drive::Threads`] the engine does so itself.
    pub fn handle_timeout(self: &Arc<Self>) {
        let now_ms = self.now_ms();
        while let Some((due_ms, key)) = self.timer.take_due(now_ms) {
            self.time_out(due_ms, key);
        }
        if let Err(error) = self.tick() {
            tracing::error!(%error, "what a schedule is due for could not be stored; it is tried again");
        }
    }

    /// Does what may block, and resolves to what came of it.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self.settings.drive {
            Drive::Threads => tokio::task::spawn_blocking(f).await,
            Drive::Steps => {
                // As long as a thread might have taken, by chance: others have their turn.
                for _ in 0..self.surroundings.draw() % 4 {
                    tokio::task::yield_now().await;
                }
                Ok(f())
            }
        }
    }

    /// Whether another worker is known to have taken over.
    pub(crate) fn is_superseded(&self) -> bool {
        self.lease.is_lost()
    }

    /// Waits before something is tried again: for ever, where another worker has taken over and does it.
    pub(crate) async fn pause(&self, time: Duration) {
        if self.is_superseded() {
            std::future::pending().await
        }
        tokio::time::sleep(time).await;
    }

    /// Does what may block, and nobody waits for.
    pub(crate) fn behind(&self, f: impl FnOnce() + Send + 'static) {
        match self.settings.drive {
            Drive::Threads => drop(self.runtime.spawn_blocking(f)),
            Drive::Steps => drop(self.runtime.spawn(async move { f() })),
        }
    }
}
