//! The demo's live table.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::output;

use super::mesh::{SERVICE, VERSIONS, Weights};

/// Characters of a full bar.
const BAR: usize = 40;

/// Rates and shares are those of the last second: a shift shows at once, and chance does not shake them much.
const WINDOW: Duration = Duration::from_secs(1);

/// One look at the counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) received: [u64; 2],
    pub(super) failed: u64,
}

/// Draws one table over the other on a terminal, one below the other elsewhere.
#[derive(Debug)]
pub(super) struct View {
    live: bool,
    lines_drawn: usize,
    /// What was seen within the last [`WINDOW`], the oldest first.
    seen: VecDeque<(Instant, Sample)>,
}

impl View {
    pub(super) fn new(now: Instant) -> Self {
        let seen = VecDeque::from([(now, Sample::default())]);
        Self { live: std::io::stdout().is_terminal(), lines_drawn: 0, seen }
    }

    /// How often to draw: a terminal is redrawn, a log is not flooded.
    pub(super) fn pause(&self) -> Duration {
        if self.live { Duration::from_millis(250) } else { Duration::from_secs(1) }
    }

    /// Draws the counters and what they have gained within the window.
    pub(super) fn draw(&mut self, weights: Weights, sample: Sample, now: Instant) {
        self.seen.push_back((now, sample));
        while self.seen.len() > 2 && now.duration_since(self.seen[1].0) >= WINDOW {
            self.seen.pop_front();
        }
        let (since, before) = self.seen[0];
        let lines = table(weights, before, sample, now.duration_since(since));
        let mut text = String::new();
        if self.live && self.lines_drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.lines_drawn));
        }
        for line in &lines {
            text.push_str(if self.live { "\x1b[2K" } else { "" });
            text.push_str(line);
            text.push('\n');
        }
        self.lines_drawn = lines.len();
        // A reader that went away ends the demo by its own signal.
        let _ = output::emit(&text);
    }
}

fn table(weights: Weights, last: Sample, sample: Sample, elapsed: Duration) -> Vec<String> {
    let sum: u64 = weights.iter().sum::<u64>().max(1);
    let new = [0, 1].map(|index: usize| sample.received[index].saturating_sub(last.received[index]));
    let new_sum = new.iter().sum::<u64>().max(1);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let mut lines =
        vec![format!("{SERVICE:<12} {:>8} {:>10} {:>8} {:>8}", "weight", "requests", "req/s", "share")];
    for index in 0..2 {
        let share = new[index] as f64 / new_sum as f64;
        lines.push(format!(
            "{:<12} {:>6} % {:>10} {:>8.0} {:>6.1} %  {}",
            VERSIONS[index],
            100 * weights[index] / sum,
            sample.received[index],
            new[index] as f64 / seconds,
            100.0 * share,
            "#".repeat((share * BAR as f64).round() as usize),
        ));
    }
    lines.push(format!("{:<12} {:>19}", "failed", sample.failed));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_since_the_last_look() {
        let before = Sample { received: [800, 200], failed: 0 };
        let after = Sample { received: [850, 250], failed: 1 };
        let lines = table([50, 50], before, after, Duration::from_secs(1));
        assert_eq!(
            lines[1],
            format!("colors-v1        50 %        850       50   50.0 %  {}", "#".repeat(20))
        );
        assert_eq!(lines[3], "failed                         1");
    }
}
