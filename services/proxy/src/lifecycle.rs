//! Where a proxy stands between start and end, and who may move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use selvedge_wire::drain::{DrainState, Drains};
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
    drain: watch::Sender<Drains>,
    /// A successor has this process's sockets.
    handed_over: AtomicBool,
    quit: watch::Sender<bool>,
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
            handed_over: AtomicBool::new(false),
            quit: watch::Sender::default(),
            applied: AtomicBool::new(false),
            settings,
            started,
        })
    }

    /// What the data path follows.
    pub fn drain(&self) -> watch::Receiver<Drains> {
        self.drain.subscribe()
    }

    pub fn state(&self) -> ServerState {
        let drains = *self.drain.borrow();
        if drains.failing || drains.inbound.is_draining() {
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

    /// `/healthcheck/fail` and `/healthcheck/ok`: readiness, and what clients are told with each response; traffic goes on.
    pub fn fail(&self, failing: bool) {
        self.drain.send_modify(|drains| drains.failing = failing);
    }

    /// Takes leave of those who call the application: unready and announced at once, connections still accepted for a
    /// while, an end by the deadline. What the application itself calls is served until [`Lifecycle::drain_outbound`].
    pub fn begin_drain(&self, now: Instant) {
        if self.handed_over.load(Ordering::Relaxed) {
            return;
        }
        let Drain { accept, deadline, .. } = self.settings;
        self.drain.send_modify(|drains| drains.inbound = DrainState::begin(now, accept, deadline));
    }

    /// Nobody calls the application any more: what it calls is announced too. New connections of its own are accepted to
    /// the end, and the end is when it has none.
    pub fn drain_outbound(&self, now: Instant) {
        let accept = self.settings.accept;
        self.drain.send_modify(|drains| {
            let deadline = drains.inbound.deadline().unwrap_or(now);
            if !drains.leaving {
                let accept_until = (now + accept).min(deadline);
                drains.outbound = DrainState::Draining { listen_until: deadline, accept_until, deadline };
                drains.leaving = true;
            }
        });
    }

    /// A successor accepts from now on: nothing is accepted here, and connections go over with their next response.
    pub fn hand_over(&self, now: Instant) {
        self.handed_over.store(true, Ordering::Relaxed);
        let deadline = now + self.settings.deadline;
        self.drain.send_replace(Drains::from(DrainState::Draining {
            listen_until: now,
            accept_until: deadline,
            deadline,
        }));
        self.quit();
    }

    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// `/drain_listeners`: as [`Lifecycle::begin_drain`], but the process stays. Not `graceful`: no connection is
    /// accepted from this moment on, and those that are idle stay until they are told.
    pub fn drain_listeners(&self, drain: ListenerDrain, now: Instant) {
        let (listen, accept) = match drain {
            ListenerDrain { skip_exit: true, .. } => (WITHOUT_END, self.settings.accept),
            ListenerDrain { graceful: true, .. } => (self.settings.accept, self.settings.accept),
            ListenerDrain { .. } => (Duration::ZERO, WITHOUT_END),
        };
        let state = DrainState::Draining {
            listen_until: now + listen,
            accept_until: now + accept,
            deadline: now + WITHOUT_END,
        };
        self.drain.send_modify(|drains| {
            if !drains.inbound.is_draining() {
                drains.inbound = state;
            }
            if !drain.inbound_only && !drains.outbound.is_draining() {
                drains.outbound = state;
            }
        });
    }

    /// Whether the process ends as soon as nobody is connected.
    pub fn exits_without_connections(&self) -> bool {
        self.settings.exit_without_connections
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
        self.drain.borrow().inbound.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle() -> (watch::Sender<Phase>, Arc<Lifecycle>, Instant) {
        let (phase, watched) = watch::channel(Phase::PreInitializing);
        let now = Instant::now();
        let settings = Drain {
            accept: Duration::from_secs(2),
            deadline: Duration::from_secs(20),
            exit_without_connections: true,
        };
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
        let DrainState::Draining { accept_until, deadline, .. } = lifecycle.drain().borrow().inbound else {
            panic!("draining")
        };
        assert_eq!((accept_until, deadline), (now + Duration::from_secs(2), now + Duration::from_secs(20)));
    }

    #[test]
    fn the_applications_own_calls_are_served_until_nobody_calls_it() {
        let (_phase, lifecycle, now) = lifecycle();
        lifecycle.begin_drain(now);
        let drains = *lifecycle.drain().borrow();
        assert!(drains.inbound.is_draining() && !drains.outbound.is_draining() && !drains.leaving);
        lifecycle.drain_outbound(now + Duration::from_secs(5));
        let drains = *lifecycle.drain().borrow();
        assert_eq!(drains.outbound.listen_until(), Some(now + Duration::from_secs(20)), "to the end");
        assert!(drains.leaving);
    }

    #[test]
    fn inbound_listeners_can_be_drained_alone() {
        let (_phase, lifecycle, now) = lifecycle();
        lifecycle.drain_listeners(ListenerDrain { inbound_only: true, ..ListenerDrain::default() }, now);
        let drains = *lifecycle.drain().borrow();
        assert_eq!(drains.inbound.listen_until(), Some(now));
        assert!(!drains.outbound.is_draining() && !drains.leaving);
    }

    #[test]
    fn what_is_handed_over_accepts_no_more_and_closes_nothing_that_is_idle() {
        let (_phase, lifecycle, now) = lifecycle();
        lifecycle.hand_over(now);
        let DrainState::Draining { listen_until, accept_until, .. } = lifecycle.drain().borrow().outbound
        else {
            panic!("draining")
        };
        assert_eq!((listen_until, accept_until), (now, now + Duration::from_secs(20)));
        lifecycle.begin_drain(now + Duration::from_secs(1));
        assert_eq!(lifecycle.drain().borrow().inbound.listen_until(), Some(now), "stays as it is");
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
