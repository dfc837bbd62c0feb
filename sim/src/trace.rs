//! What happened, line by line.

use crate::moment::Moment;
use std::fmt;

/// The most lines a run may leave; one that needs more is not converging.
const LINES_MAX: usize = 200_000;

/// The story of a run. Two runs of one seed tell the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// Adds what `who` did or met at `at`.
    pub fn note(&mut self, at: Moment, who: impl fmt::Display, what: impl fmt::Display) {
        assert!(self.lines.len() < LINES_MAX, "the run does not end; it last said {:?}", self.lines.last());
        self.lines.push(format!("{at:>8} {who:<9} {what}"));
    }

    /// All lines, oldest first.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Takes the lines told since the last call.
    pub fn drain(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}
