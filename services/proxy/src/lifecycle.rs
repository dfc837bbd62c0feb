//! Where a proxy stands between start and end, and who may move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use selvedge_wire::drain::DrainState;
use tokio::sync::watch;

use crate::bootstrap::Drain;
use crate::discovery::Phase;

/// A drain that somebody asked for without wanting the process to end has no deadline to speak of.
const WITHOUT_END: Duration = Duration::from_secs(365 * 24 * 3600);

/// A proxy's state, as `/ready` and `/server_info` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    Live,
    Draining,
    PreInitializing,
    Initializing,
}

impl ServerState {
    /// Envoy's word.
    pub fn text(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }

    /// Envoy's number: the gauge `server.state`.
    pub fn number(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::Draining => 1,
            Self::PreInitializing => 2,
            Self::Initializing => 3,
        }
    }
}

/// How `/drain_listeners` drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerDrain {
    /// Connections are still accepted for a while.
    pub graceful: bool,
    /// They are accepted to the end: connections are drained, listeners stay.
    pub skip_exit: bool,
    /// Outbound listeners serve on.
    pub inbound_only: bool,
}

/// Moves a proxy through its life; shared by signals, admin endpoint and discovery.
#[derive(Debug)]
pub struct Lifecycle {
    phase: watch::Receiver<Phase>,
    drain: watch::Sender<DrainState>,
    quit: watch::Sender<bool>,
    failed: AtomicBool,
    /// The listeners that discovery published have been bound, or cannot be.
    applied: AtomicBool,
    settings: Drain,
    pub started: Instant,
}

impl Lifecycle {
    pub fn new(phase: watch::Receiver<Phase>, settings: Drain, started: Instant) -> Arc<Self> {
        Arc::new(Self {
            phase,
            drain: watch::Sender::default(),
            quit: watch::Sender::default(),
            failed: AtomicBool::new(false),
            applied: AtomicBool::new(false),
            settings,
            started,
        })
    }

    /// What the data path follows.
    pub fn drain(&self) -> watch::Receiver<DrainState> {
        self.drain.subscribe()
    }

    pub fn state(&self) -> ServerState {
        if self.drain.borrow().is_draining() || self.failed.load(Ordering::Relaxed) {
            return ServerState::Draining;
        }
        match *self.phase.borrow() {
            Phase::PreInitializing => ServerState::PreInitializing,
            Phase::Initializing => ServerState::Initializing,
            Phase::Live if !self.applied.load(Ordering::Relaxed) => ServerState::Initializing,
            Phase::Live => ServerState::Live,
        }
    }

    /// Whether the data path has taken up every listener that was published to it. Once it has, later changes do not
    /// make the proxy unready.
    pub fn listeners_applied(&self, applied: bool) {
        self.applied.fetch_or(applied && *self.phase.borrow() == Phase::Live, Ordering::Relaxed);
    }

    /// Whether traffic should be sent here.
    pub fn is_ready(&self) -> bool {
        self.state() == ServerState::Live
    }

    /// `/healthcheck/fail` and `/healthcheck/ok`: readiness alone; traffic goes on.
    pub fn fail(&self, failed: bool) {
        self.failed.store(failed, Ordering::Relaxed);
    }

    /// Takes leave: unready and announced at once, connections still accepted for a while, an end by the deadline.
    pub fn begin_drain(&self, now: Instant) {
        let Drain { accept, deadline } = self.settings;
        self.drain.send_replace(DrainState::begin(now, accept, deadline));
    }

    /// `/drain_listeners`: as [`Lifecycle::begin_drain`], but the process stays. Not `graceful`: no connection is
    /// accepted from this moment on.
    pub fn drain_listeners(&self, drain: ListenerDrain, now: Instant) {
        let accept = match drain {
            ListenerDrain { skip_exit: true, .. } => WITHOUT_END,
            ListenerDrain { graceful: true, .. } => self.settings.accept,
            ListenerDrain { .. } => Duration::ZERO,
        };
        self.drain.send_if_modified(|state| {
            let begins = !state.is_draining();
            if begins {
                *state = DrainState::begin(now, accept, WITHOUT_END);
            }
            begins
        });
    }

    /// Ends the process; with a drain before it.
    pub fn quit(&self) {
        self.quit.send_replace(true);
    }

    /// Resolves when somebody asked for the end.
    pub async fn quitting(&self) {
        // The sender lives in `self`: waiting cannot fail while it is borrowed.
        let _ = self.quit.subscribe().wait_for(|quit| *quit).await;
    }

    /// When what is still open is to be cut; `None` while serving.
    pub fn deadline(&self) -> Option<Instant> {
        match *self.drain.borrow() {
            DrainState::Serving => None,
            DrainState::Draining { deadline, .. } => Some(deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle() -> (watch::Sender<Phase>, Arc<Lifecycle>, Instant) {
        let (phase, watched) = watch::channel(Phase::PreInitializing);
        let now = Instant::now();
        let settings = Drain { accept: Duration::from_secs(2), deadline: Duration::from_secs(20) };
        (phase, Lifecycle::new(watched, settings, now), now)
    }

    #[test]
    fn readiness_follows_discovery_until_it_is_taken_back() {
        let (phase, lifecycle, _) = lifecycle();
        assert_eq!(lifecycle.state(), ServerState::PreInitializing);
        phase.send_replace(Phase::Initializing);
        assert_eq!(lifecycle.state(), ServerState::Initializing);
        lifecycle.listeners_applied(true);
        phase.send_replace(Phase::Live);
        assert!(!lifecycle.is_ready(), "not before the listeners are bound");
        lifecycle.listeners_applied(true);
        assert!(lifecycle.is_ready());
        lifecycle.fail(true);
        assert_eq!(lifecycle.state().text(), "DRAINING");
        lifecycle.fail(false);
        assert!(lifecycle.is_ready());
    }

    #[test]
    fn a_drain_accepts_for_a_while_and_ends_at_its_deadline() {
        let (phase, lifecycle, now) = lifecycle();
        phase.send_replace(Phase::Live);
        lifecycle.listeners_applied(true);
        assert!(lifecycle.is_ready());
        lifecycle.begin_drain(now);
        assert!(!lifecycle.is_ready());
        let DrainState::Draining { accept_until, deadline } = *lifecycle.drain().borrow() else {
            panic!("draining")
        };
        assert_eq!((accept_until, deadline), (now + Duration::from_secs(2), now + Duration::from_secs(20)));
    }

    #[test]
    fn listeners_that_were_drained_get_a_deadline_when_the_process_ends() {
        let (_phase, lifecycle, now) = lifecycle();
        lifecycle.drain_listeners(ListenerDrain::default(), now);
        assert!(lifecycle.deadline().is_some_and(|at| at > now + Duration::from_secs(3600)));
        lifecycle.begin_drain(now);
        assert_eq!(lifecycle.deadline(), Some(now + Duration::from_secs(20)));
    }
}
