//! Who waits for an execution to end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::LiveKey;

/// Waiters by execution.
#[derive(Default)]
pub(super) struct Ended(Mutex<HashMap<LiveKey, Vec<oneshot::Sender<()>>>>);

impl Ended {
    /// Resolves when the execution ends. Subscribe first, then look whether it has ended already.
    pub(super) fn subscribe(&self, key: &LiveKey) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().push(sender);
        receiver
    }

    pub(super) fn tell(&self, key: &LiveKey) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        for sender in waiting.into_iter().flatten() {
            // Whoever does not wait any more need not know.
            let _ = sender.send(());
        }
    }
}
