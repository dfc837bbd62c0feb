//! The thread that brings what was acknowledged into the database, many batches at a time.

use super::shared::Core;
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// It is done when so much is pending …
pub(super) const APPLY_BYTES: usize = 1 << 20;
/// … or after so long.
const APPLY_AFTER: Duration = Duration::from_millis(250);
/// What failed is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Starts it; it ends when the log is closed, with everything applied that can be.
pub(super) fn start(core: &Arc<Core>) -> io::Result<JoinHandle<()>> {
    let core = Arc::clone(core);
    std::thread::Builder::new().name("store-apply".into()).spawn(move || run(&core))
}

fn run(core: &Core) {
    loop {
        let mut shared = core.shared();
        while shared.last <= shared.applied && !shared.is_closing {
            shared = core.work.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
        let patience = if shared.failure.is_some() { TRY_AGAIN } else { APPLY_AFTER };
        let is_early = |shared: &mut super::shared::Shared| {
            let is_little = shared.layer.bytes() < APPLY_BYTES && !shared.is_wanted;
            !shared.is_closing && (shared.failure.is_some() || is_little)
        };
        let (shared, _) =
            core.work.wait_timeout_while(shared, patience, is_early).unwrap_or_else(PoisonError::into_inner);
        let (last, is_closing) = (shared.last, shared.is_closing);
        drop(shared);
        // What fails is told by the next write, which goes to the database itself then.
        let applied = core.apply(last);
        if is_closing && (applied.is_err() || core.shared().last == last) {
            return;
        }
    }
}
