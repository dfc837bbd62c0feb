//! What the engine is held to.

use std::time::Duration;

/// What a work came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// A second.
    pub(super) rate: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// All that one run has measured; what is absent was not measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) fsync: Figures,
    pub(super) durable: Figures,
    pub(super) express: Figures,
    pub(super) start: Figures,
    /// MiB, while executions wait, and before them.
    pub(super) waiting: Option<(u64, u64)>,
    pub(super) restart: Option<Duration>,
    /// Of one expression: ours, and jsonata-js's.
    pub(super) expression: Option<(Duration, Option<Duration>)>,
    /// Executions a second.
    pub(super) moto: Option<f64>,
}

/// With an fsync of at most this, the higher of the two goals holds.
const QUICK_FSYNC: Duration = Duration::from_micros(200);
const QUICK_RATE: f64 = 6_000.0;
const SLOW_RATE: f64 = 2_000.0;
const TO_MOTO: f64 = 20.0;
const EXPRESS_TO_MOTO: f64 = 100.0;
const EXPRESS_P99: Duration = Duration::from_millis(5);
const START_TO_FSYNC: f64 = 2.0;
const WAITING_MIB: u64 = 200;
const RESTART: Duration = Duration::from_secs(5);
const EXPRESSION_TO_NODE: f64 = 0.1;

/// A line of the table: a work, its goal, what was measured; none of the last where it was not.
type Line = (&'static str, String, Option<(String, bool)>);

impl Measured {
    /// The table of goals.
    pub(super) fn table(&self) -> String {
        let mut table = String::from("goals\n");
        for (work, goal, measured) in self.lines() {
            let (measured, verdict) = match measured {
                Some((measured, true)) => (measured, "reached"),
                Some((measured, false)) => (measured, "NOT REACHED"),
                None => ("not measured".to_owned(), ""),
            };
            table.push_str(&format!("  {work:<44} {goal:<34} {measured:<34} {verdict}\n"));
        }
        table
    }

    fn lines(&self) -> Vec<Line> {
        let rate = if self.fsync.p50 <= QUICK_FSYNC { QUICK_RATE } else { SLOW_RATE };
        let ratio = |ours: f64, least: f64| {
            self.moto.map(|moto| (format!("{:.0} × moto", ours / moto), ours >= least * moto))
        };
        let to_fsync = self.start.p50.as_secs_f64() / self.fsync.p50.as_secs_f64();
        let expression = self.expression.and_then(|(ours, theirs)| {
            let share = ours.as_secs_f64() / theirs?.as_secs_f64();
            Some((format!("{share:.3} of it"), share <= EXPRESSION_TO_NODE))
        });
        vec![
            (
                "ten states, durable, 64 clients",
                format!("≥ {rate:.0}/s (fsync {:.2?})", self.fsync.p50),
                Some((format!("{:.0}/s", self.durable.rate), self.durable.rate >= rate)),
            ),
            ("the same", format!("≥ {TO_MOTO} × moto"), ratio(self.durable.rate, TO_MOTO)),
            (
                "ten states, express, synchronous, 8 clients",
                format!("p99 ≤ {EXPRESS_P99:?}"),
                Some((format!("p99 {:.2?}", self.express.p99), self.express.p99 <= EXPRESS_P99)),
            ),
            ("the same", format!("≥ {EXPRESS_TO_MOTO} × moto"), ratio(self.express.rate, EXPRESS_TO_MOTO)),
            (
                "StartExecution acknowledged, 1 client",
                format!("≤ {START_TO_FSYNC} × fsync"),
                Some((format!("{to_fsync:.2} × ({:.2?})", self.start.p50), to_fsync <= START_TO_FSYNC)),
            ),
            (
                "executions that wait",
                format!("≤ {WAITING_MIB} MiB"),
                self.waiting.map(|(mib, before)| (format!("{mib} MiB, {before} before"), mib <= WAITING_MIB)),
            ),
            (
                "restart to ready with them",
                format!("≤ {RESTART:?}"),
                self.restart.map(|taken| (format!("{taken:.2?}"), taken <= RESTART)),
            ),
            ("a JSONata expression over 1 KiB", format!("≤ {EXPRESSION_TO_NODE} of jsonata-js"), expression),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_or_not_or_was_not_measured() {
        let of = |micros| Duration::from_micros(micros);
        let measured = Measured {
            fsync: Figures { p50: of(100), ..Figures::default() },
            durable: Figures { rate: 5_999.0, ..Figures::default() },
            start: Figures { p50: of(200), ..Figures::default() },
            expression: Some((of(10), Some(of(100)))),
            ..Measured::default()
        };
        let lines = measured.lines();
        let verdict = |index: usize| lines[index].2.as_ref().map(|(_, reached)| *reached);
        assert_eq!((verdict(0), verdict(1), verdict(4), verdict(5)), (Some(false), None, Some(true), None));
        assert_eq!(verdict(7), Some(true));
        let slow = Measured { fsync: Figures { p50: of(3000), ..Figures::default() }, ..measured };
        assert_eq!(slow.lines()[0].2.as_ref().map(|(_, reached)| *reached), Some(true));
        assert!(slow.table().contains("not measured"));
    }
}
