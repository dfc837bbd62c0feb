//! A circuit breaker with visible states, as the field draws it; beside Envoy's thresholds, which only count.
//!
//! ```text
//!                failures in a row, or their share
//!      Closed ───────────────────────────────────────▶ Open
//!        ▲                                             │  ▲
//!        │ enough probes succeed            time served │  │ a probe fails (longer each time)
//!        └───────────────── Half-open ◀────────────────┘  │
//!                               └─────────────────────────┘
//! ```
//!
//! A cluster's definition carries it as metadata under `selvedge.breaker`, so that a real Envoy, which has no such thing,
//! takes the cluster as it is.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Where breakers stand in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BreakerPolicy {
    /// One for each endpoint: an open one is passed over while others take its part.
    pub endpoint: Option<BreakerConfig>,
    /// One for the whole cluster: while it is open requests are answered 503 at once.
    pub cluster: Option<BreakerConfig>,
}

/// When one breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerConfig {
    /// So many failures in a row open it; 0 is no bound.
    pub failures_in_a_row: u32,
    /// From this share of failed requests in a window on it opens, in percent; 0 is no bound …
    pub failure_percent: u32,
    /// … if the window saw so many requests.
    pub requests_min: u32,
    pub window: Duration,
    /// How long it stays open; each time that a probe fails, twice as long …
    pub open_time: Duration,
    /// … up to this.
    pub open_time_max: Duration,
    /// Requests let through at a time while half-open; as many successes close it. At least 1.
    pub probes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures_in_a_row: 5,
            failure_percent: 50,
            requests_min: 20,
            window: Duration::from_secs(10),
            open_time: Duration::from_secs(5),
            open_time_max: Duration::from_secs(60),
            probes: 1,
        }
    }
}

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests pass.
    #[default]
    Closed,
    /// None passes.
    Open,
    /// A few pass, to find out.
    HalfOpen,
}

impl BreakerState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Leave to send one request. It is given back with [`Breaker::handle_outcome`] or, when the request came to nothing that
/// says anything, with [`Breaker::handle_abandoned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The phase in which it was given: outcomes of requests that began in an earlier one say nothing.
    phase: u64,
    probe: bool,
}

/// One breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: BreakerState,
    /// Counts the changes of state.
    phase: u64,
    /// Closed: what the window saw. Half-open: probes that succeeded.
    window_since: Instant,
    requests: u32,
    failures: u32,
    in_a_row: u32,
    probing: u32,
    opened_at: Instant,
    /// How often in succession it has opened.
    openings: u32,
}

impl Breaker {
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            config,
            state: BreakerState::Closed,
            phase: 0,
            window_since: now,
            requests: 0,
            failures: 0,
            in_a_row: 0,
            probing: 0,
            opened_at: now,
            openings: 0,
        }
    }

    /// What it is doing at `now`; an open one whose time is served counts as half-open.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            BreakerState::Open if now >= self.opens_until() => BreakerState::HalfOpen,
            state => state,
        }
    }

    /// The state that it last entered: an open one stays so until somebody asks after its time is served.
    pub fn state_entered(&self) -> BreakerState {
        self.state
    }

    /// When an open breaker lets its first probe through.
    pub fn next_timeout(&self) -> Option<Instant> {
        (self.state == BreakerState::Open).then(|| self.opens_until())
    }

    /// Asks leave to send a request.
    pub fn handle_request(&mut self, now: Instant) -> Option<Permit> {
        if self.state == BreakerState::Open && now >= self.opens_until() {
            self.enter(BreakerState::HalfOpen, now);
        }
        match self.state {
            BreakerState::Closed => Some(Permit { phase: self.phase, probe: false }),
            BreakerState::Open => None,
            BreakerState::HalfOpen if self.probing + self.requests < self.config.probes.max(1) => {
                self.probing += 1;
                Some(Permit { phase: self.phase, probe: true })
            }
            BreakerState::HalfOpen => None,
        }
    }

    /// Tells how a request ended. Whether the state changed.
    pub fn handle_outcome(&mut self, permit: Permit, success: bool, now: Instant) -> bool {
        if permit.phase != self.phase {
            return false;
        }
        match self.state {
            BreakerState::Closed => self.count(success, now),
            BreakerState::HalfOpen => {
                self.probing = self.probing.saturating_sub(u32::from(permit.probe));
                self.probe(success, now)
            }
            BreakerState::Open => false,
        }
    }

    /// The request was given up before it said anything about the host: its place is free again.
    pub fn handle_abandoned(&mut self, permit: Permit) {
        if permit.phase == self.phase && permit.probe {
            self.probing = self.probing.saturating_sub(1);
        }
    }

    fn count(&mut self, success: bool, now: Instant) -> bool {
        if now.duration_since(self.window_since) >= self.config.window {
            (self.window_since, self.requests, self.failures) = (now, 0, 0);
        }
        self.requests = self.requests.saturating_add(1);
        if success {
            self.in_a_row = 0;
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let config = &self.config;
        let in_a_row = config.failures_in_a_row > 0 && self.in_a_row >= config.failures_in_a_row;
        let share = config.failure_percent > 0
            && self.requests >= config.requests_min.max(1)
            && u64::from(self.failures) * 100 >= u64::from(config.failure_percent) * u64::from(self.requests);
        if !in_a_row && !share {
            return false;
        }
        self.openings = 1;
        self.enter(BreakerState::Open, now);
        true
    }

    fn probe(&mut self, success: bool, now: Instant) -> bool {
        if !success {
            self.openings = self.openings.saturating_add(1);
            self.enter(BreakerState::Open, now);
            return true;
        }
        self.requests += 1;
        if self.requests < self.config.probes.max(1) {
            return false;
        }
        self.openings = 0;
        self.enter(BreakerState::Closed, now);
        true
    }

    fn enter(&mut self, state: BreakerState, now: Instant) {
        self.state = state;
        self.phase += 1;
        (self.requests, self.failures, self.in_a_row, self.probing) = (0, 0, 0, 0);
        self.window_since = now;
        if state == BreakerState::Open {
            self.opened_at = now;
        }
    }

    fn opens_until(&self) -> Instant {
        let factor = 1_u32.checked_shl(self.openings.saturating_sub(1)).unwrap_or(u32::MAX);
        let max = self.config.open_time_max.max(self.config.open_time);
        self.opened_at + self.config.open_time.saturating_mul(factor).min(max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other source; the tests only add to it"
        )]
        Instant::now()
    }

    fn config() -> BreakerConfig {
        BreakerConfig {
            failures_in_a_row: 3,
            open_time: 5 * SECOND,
            open_time_max: 15 * SECOND,
            ..Default::default()
        }
    }

    fn one(breaker: &mut Breaker, success: bool, now: Instant) -> bool {
        let permit = breaker.handle_request(now).expect("it lets the request through");
        breaker.handle_outcome(permit, success, now)
    }

    fn fail(breaker: &mut Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            one(breaker, false, now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let now = start();
        let mut breaker = Breaker::new(config(), now);
        for success in [false, false, true, false, false] {
            assert!(!one(&mut breaker, success, now));
        }
        assert!(one(&mut breaker, false, now));
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert_eq!(breaker.handle_request(now + 4 * SECOND), None);
        assert_eq!(breaker.next_timeout(), Some(now + 5 * SECOND));
    }

    #[test]
    fn a_share_of_failures_opens_it_once_there_is_volume() {
        let now = start();
        let config =
            BreakerConfig { failures_in_a_row: 0, failure_percent: 50, requests_min: 10, ..config() };
        let mut breaker = Breaker::new(config, now);
        for number in 0..9 {
            assert!(!one(&mut breaker, number % 2 == 0, now), "too few requests");
        }
        assert!(one(&mut breaker, false, now), "five of ten");
        let mut calm = Breaker::new(config, now);
        for number in 0..30 {
            let later = now + SECOND * (number / 9 * 11);
            assert!(!one(&mut calm, number % 2 == 0, later), "each window for itself");
        }
    }

    #[test]
    fn half_open_admits_a_bounded_number_of_probes_and_closes_on_their_success() {
        let now = start();
        let mut breaker = Breaker::new(BreakerConfig { probes: 2, ..config() }, now);
        fail(&mut breaker, 3, now);
        let later = now + 5 * SECOND;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        let probes =
            [breaker.handle_request(later), breaker.handle_request(later)].map(|one| one.expect("a probe"));
        assert_eq!(breaker.handle_request(later), None, "two at a time");
        assert!(!breaker.handle_outcome(probes[0], true, later));
        assert_eq!(
            breaker.handle_request(later),
            None,
            "one more success is all that is missing, and under way"
        );
        assert!(breaker.handle_outcome(probes[1], true, later));
        assert_eq!(breaker.state(later), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer_each_time() {
        let mut now = start();
        let mut breaker = Breaker::new(config(), now);
        fail(&mut breaker, 3, now);
        for seconds in [5, 10, 15, 15] {
            assert_eq!(breaker.handle_request(now + seconds * SECOND - Duration::from_millis(1)), None);
            now += seconds * SECOND;
            assert!(one(&mut breaker, false, now), "after {seconds} s");
        }
        now += 15 * SECOND;
        assert!(one(&mut breaker, true, now));
        fail(&mut breaker, 3, now);
        assert_eq!(breaker.next_timeout(), Some(now + 5 * SECOND), "as long as the first time");
    }

    #[test]
    fn what_began_before_a_change_says_nothing_and_a_given_up_probe_makes_room() {
        let now = start();
        let mut breaker = Breaker::new(config(), now);
        let early = breaker.handle_request(now).expect("closed");
        fail(&mut breaker, 3, now);
        let later = now + 5 * SECOND;
        let probe = breaker.handle_request(later).expect("a probe");
        assert!(!breaker.handle_outcome(early, false, later), "the old request does not fail the probe");
        breaker.handle_abandoned(probe);
        assert!(breaker.handle_request(later).is_some());
    }

    proptest! {
        /// Whatever happens, a half-open breaker has no more probes under way than it may, and an open one none.
        #[test]
        fn probes_stay_bounded(probes in 1_u32..5, steps in proptest::collection::vec((0_u8..4, 0_u64..4_000), 1..200)) {
            let mut now = start();
            let mut breaker = Breaker::new(BreakerConfig { probes, failures_in_a_row: 2, ..config() }, now);
            let mut under_way: Vec<(Permit, u64)> = Vec::new();
            for (step, millis) in steps {
                now += Duration::from_millis(millis);
                match (step, under_way.pop()) {
                    (0 | 1, one) => {
                        under_way.extend(one);
                        under_way.extend(breaker.handle_request(now).map(|permit| (permit, breaker.phase)));
                    }
                    (2, Some((permit, _))) => { breaker.handle_outcome(permit, millis % 2 == 0, now); }
                    (_, Some((permit, _))) => breaker.handle_abandoned(permit),
                    (_, None) => {}
                }
                let probing = under_way.iter().filter(|(permit, phase)| permit.probe && *phase == breaker.phase).count();
                match breaker.state {
                    BreakerState::HalfOpen => prop_assert!(probing <= probes as usize),
                    BreakerState::Open => prop_assert_eq!(probing, 0),
                    BreakerState::Closed => {}
                }
            }
        }
    }
}
