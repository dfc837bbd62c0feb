//! A container's health, by its check.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::super::task::HealthCheck;
use crate::supervise::Spec;

/// While a container is starting it is asked more often than its interval says, so that whoever waits need not.
const STARTING_INTERVAL: Duration = Duration::from_millis(250);

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// Turns outcomes into health: one success makes healthy, so many failures in a row make unhealthy, and failures while the
/// container is starting count for nothing.
#[derive(Debug)]
pub(super) struct Judge {
    retries: u32,
    starting_until: Instant,
    failures: u32,
    pub(super) health: Health,
}

impl Judge {
    pub(super) fn new(check: &HealthCheck, started: Instant) -> Self {
        let starting_until = started + Duration::from_secs(check.start_period);
        Self { retries: check.retries.max(1), starting_until, failures: 0, health: Health::Unknown }
    }

    pub(super) fn handle_outcome(&mut self, succeeded: bool, now: Instant) {
        if succeeded {
            (self.failures, self.health) = (0, Health::Healthy);
        } else if self.health != Health::Unknown || now >= self.starting_until {
            self.failures += 1;
            if self.failures >= self.retries {
                self.health = Health::Unhealthy;
            }
        }
    }
}

/// Asks again and again, and tells; ends when nobody listens.
pub(super) async fn watch(check: HealthCheck, probe: Spec, told: watch::Sender<Health>) {
    let mut judge = Judge::new(&check, Instant::now());
    let patience = Duration::from_secs(check.timeout.max(1));
    loop {
        let succeeded = ask(&probe, patience).await;
        judge.handle_outcome(succeeded, Instant::now());
        if told.send(judge.health).is_err() {
            return;
        }
        let starting = judge.health == Health::Unknown && check.start_period > 0;
        let interval = Duration::from_secs(check.interval.max(1));
        tokio::time::sleep(if starting { STARTING_INTERVAL.min(interval) } else { interval }).await;
    }
}

async fn ask(probe: &Spec, patience: Duration) -> bool {
    let mut probe = probe.clone();
    // Its output is nobody's business.
    probe.silent = true;
    let Ok(mut child) = probe.start() else { return false };
    match timeout(patience, child.ended()).await {
        Ok(ended) => ended.code == 0,
        Err(_) => {
            child.stop(Duration::ZERO).await;
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(retries: u32, start_period: u64, started: Instant) -> Judge {
        let check = HealthCheck { command: Vec::new(), interval: 5, timeout: 2, retries, start_period };
        Judge::new(&check, started)
    }

    #[test]
    fn failures_count_in_a_row_and_after_the_start() {
        let started = Instant::now();
        let after = |seconds| started + Duration::from_secs(seconds);
        let mut judge = judge(2, 10, started);
        judge.handle_outcome(false, after(1));
        judge.handle_outcome(false, after(2));
        assert_eq!(judge.health, Health::Unknown, "it is starting");
        judge.handle_outcome(true, after(3));
        assert_eq!(judge.health, Health::Healthy);
        judge.handle_outcome(false, after(4));
        judge.handle_outcome(true, after(5));
        judge.handle_outcome(false, after(6));
        assert_eq!(judge.health, Health::Healthy, "not in a row");
        judge.handle_outcome(false, after(7));
        assert_eq!(judge.health, Health::Unhealthy);
        judge.handle_outcome(true, after(8));
        assert_eq!(judge.health, Health::Healthy);
    }

    #[test]
    fn a_container_that_never_comes_up_is_unhealthy_once_its_start_is_over() {
        let started = Instant::now();
        let mut judge = judge(3, 10, started);
        for second in [9, 11, 12] {
            judge.handle_outcome(false, started + Duration::from_secs(second));
        }
        assert_eq!(judge.health, Health::Unknown);
        judge.handle_outcome(false, started + Duration::from_secs(13));
        assert_eq!(judge.health, Health::Unhealthy);
    }
}
