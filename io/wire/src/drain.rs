//! The announcement that this process is going away.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Whether connections are welcome. Moves only forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainState {
    #[default]
    Serving,
    /// Every response says `connection: close`, every HTTP/2 connection has got its GOAWAY. Listening sockets take new
    /// connections until `listen_until`, since some clients have not heard yet; those that are idle at `accept_until` are
    /// closed; at `deadline` what is still open is cut.
    Draining { listen_until: Instant, accept_until: Instant, deadline: Instant },
}

impl DrainState {
    /// Drains from `now` on.
    pub fn begin(now: Instant, accept: Duration, whole: Duration) -> Self {
        let accept_until = now + accept.min(whole);
        Self::Draining { listen_until: accept_until, accept_until, deadline: now + whole }
    }

    pub fn is_draining(self) -> bool {
        self != Self::Serving
    }

    /// Whether the time for newcomers is over.
    pub fn is_closed(self, now: Instant) -> bool {
        matches!(self, Self::Draining { accept_until, .. } if accept_until <= now)
    }

    /// When the listening sockets are closed.
    pub fn listen_until(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Draining { listen_until, .. } => Some(listen_until),
        }
    }

    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Draining { deadline, .. } => Some(deadline),
        }
    }
}

/// Both sides of a proxy: towards its application, and away from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drains {
    pub inbound: DrainState,
    pub outbound: DrainState,
    /// The process ends once there are no connections.
    pub leaving: bool,
    /// Whoever is answered is asked to come back by another connection, to where another proxy may be; nothing ends.
    pub failing: bool,
}

impl Drains {
    /// The state of one side.
    pub fn side(&self, inbound: bool) -> DrainState {
        if inbound { self.inbound } else { self.outbound }
    }
}

impl From<DrainState> for Drains {
    /// Both sides at once, and then the end.
    fn from(state: DrainState) -> Self {
        Self { inbound: state, outbound: state, leaving: state.is_draining(), failing: false }
    }
}

/// Resolves when the inbound side begins to drain; never if the sender is gone.
pub async fn begun(receiver: &mut watch::Receiver<Drains>) {
    let begun = receiver.wait_for(|drains| drains.inbound.is_draining()).await.is_ok();
    if !begun {
        std::future::pending::<()>().await;
    }
}
