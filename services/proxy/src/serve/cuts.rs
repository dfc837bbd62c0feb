//! When what is left of configurations that have gone is cut off.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Configurations that go within this time of each other are cut off together, so that a storm of changes is remembered in
/// as few moments as a drain has of these.
const GRAIN: Duration = Duration::from_secs(1);

/// Moments at which connections are to look whether their time is over, earliest first.
#[derive(Debug, Default)]
pub(super) struct Cuts(VecDeque<Instant>);

impl Cuts {
    /// Connections of a configuration that has gone have until `at`; they are woken no more than [`GRAIN`] later.
    pub(super) fn add(&mut self, at: Instant) {
        match self.0.back() {
            Some(last) if *last >= at => {}
            Some(_) => self.0.push_back(at + GRAIN),
            None => self.0.push_back(at),
        }
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().copied()
    }

    /// Whether a moment has come; it is forgotten.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.0.iter().take_while(|at| **at <= now).count();
        self.0.drain(..due).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_woken_after_its_time_and_a_storm_of_them_seldom() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut cuts = Cuts::default();
        for millis in 0..10_000 {
            cuts.add(at(millis));
        }
        assert!(cuts.0.len() <= 11, "{}", cuts.0.len());
        assert_eq!(cuts.next(), Some(at(0)));
        assert!(!cuts.take_due(start - Duration::from_millis(1)) && cuts.take_due(at(0)));
        let next = cuts.next().expect("more");
        assert!(next > at(1) && next <= at(1) + GRAIN);
        assert!(cuts.take_due(at(12_000)) && cuts.next().is_none());
    }
}
