//! The announcement that this process is going away.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Whether connections are welcome. Moves only forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainState {
    #[default]
    Serving,
    /// Every response says `connection: close`, every HTTP/2 connection has got its GOAWAY. New connections are accepted
    /// until `accept_until`, since some clients have not heard yet; at `deadline` what is still open is cut.
    Draining { accept_until: Instant, deadline: Instant },
}

impl DrainState {
    /// Drains from `now` on.
    pub fn begin(now: Instant, accept: Duration, whole: Duration) -> Self {
        Self::Draining { accept_until: now + accept.min(whole), deadline: now + whole }
    }

    pub fn is_draining(self) -> bool {
        self != Self::Serving
    }

    /// Whether the time for newcomers is over.
    pub fn is_closed(self, now: Instant) -> bool {
        matches!(self, Self::Draining { accept_until, .. } if accept_until <= now)
    }
}

/// Resolves when draining begins, with its state; never if the sender is gone.
pub async fn begun(receiver: &mut watch::Receiver<DrainState>) -> DrainState {
    // Copied out of the guard, which must not live across the wait below.
    let begun = receiver.wait_for(|state| state.is_draining()).await.map(|state| *state);
    match begun {
        Ok(state) => state,
        Err(_) => std::future::pending().await,
    }
}
