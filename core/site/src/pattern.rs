//! Regular expressions from a configuration, within bounds.
//!
//! lighttpd's are Perl's. Those without look-around and back-references run in linear time; the others may go back, and
//! are stopped when they go back too often.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};

/// The longest expression.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// How much memory a compiled expression may take.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// How often a match may go back before it is given up.
pub const PATTERN_BACKTRACKS_MAX: usize = 20_000;
/// The groups of an expression that a substitution can name, without group 0.
pub const PATTERN_GROUPS_MAX: usize = 19;

/// A compiled expression. Clones are cheap and share it.
#[derive(Clone)]
pub struct Pattern {
    regex: Arc<Regex>,
}

/// Why an expression was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternInvalid {
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("the expression is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// It does not parse, or its compiled form is too large.
    #[error("{0}")]
    Syntax(String),
    /// More than [`PATTERN_GROUPS_MAX`] groups, or more than may be used here.
    #[error("Too many captures in regex, use (?:...) instead of (...)")]
    TooManyGroups,
}

/// A match went back more than [`PATTERN_BACKTRACKS_MAX`] times and was given up: nobody knows whether it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the expression takes too long on this text")]
pub struct PatternExhausted;

/// What the groups of an expression matched in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Byte ranges; group 0 is the whole match.
    ranges: Vec<Option<Range<usize>>>,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it is too long, does not parse, or has too many groups.
    pub fn new(expression: &str) -> Result<Self, PatternInvalid> {
        if expression.len() > PATTERN_BYTES_MAX {
            return Err(PatternInvalid::TooLong);
        }
        let regex = RegexBuilder::new(expression)
            .backtrack_limit(PATTERN_BACKTRACKS_MAX)
            .delegate_size_limit(PATTERN_COMPILED_BYTES_MAX)
            .delegate_dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| PatternInvalid::Syntax(error.to_string()))?;
        if regex.captures_len() > PATTERN_GROUPS_MAX + 1 {
            return Err(PatternInvalid::TooManyGroups);
        }
        Ok(Self { regex: Arc::new(regex) })
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// How many groups it has, without group 0.
    pub fn groups_len(&self) -> usize {
        self.regex.captures_len() - 1
    }

    /// Whether it matches anywhere in `text`.
    ///
    /// # Errors
    /// [`PatternExhausted`].
    pub fn matches(&self, text: &str) -> Result<bool, PatternExhausted> {
        self.regex.is_match(text).map_err(|_| PatternExhausted)
    }

    /// What its groups match in `text`; `None` when it does not match.
    ///
    /// # Errors
    /// [`PatternExhausted`].
    pub fn groups(&self, text: &str) -> Result<Option<Groups>, PatternExhausted> {
        let found = self.regex.captures(text).map_err(|_| PatternExhausted)?;
        Ok(found.map(|found| Groups {
            ranges: (0..found.len()).map(|group| found.get(group).map(|one| one.range())).collect(),
        }))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pattern({:?})", self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Groups {
    /// Only group 0, which is `range`.
    pub(crate) fn whole(range: Range<usize>) -> Self {
        Self { ranges: vec![Some(range)] }
    }

    /// How many there are, with group 0.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Never: group 0 is always there.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// What group `number` matched in the text that the groups come from; empty when it took no part.
    pub fn get<'a>(&self, text: &'a str, number: usize) -> &'a str {
        self.ranges.get(number).cloned().flatten().and_then(|range| text.get(range)).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perls_look_ahead_is_understood() {
        let pattern = Pattern::new("^/(?!static/)(.*)$").expect("valid");
        assert_eq!(pattern.matches("/static/a"), Ok(false));
        let groups = pattern.groups("/app/a").expect("quick").expect("matches");
        assert_eq!(groups.get("/app/a", 1), "app/a");
        assert_eq!(groups.get("/app/a", 2), "");
    }

    #[test]
    fn an_expression_that_goes_back_without_end_is_given_up() {
        let text = format!("{}b", "a".repeat(40));
        let pattern = Pattern::new("^(?=(a+)+$)\\1x").expect("valid");
        assert!(matches!(pattern.matches(&text), Ok(false) | Err(PatternExhausted)));
        let pattern =
            Pattern::new("(?:(?=a)a|a)*(?:(?=a)a|a)*(?:(?=a)a|a)*(?:(?=a)a|a)*\\z(?<=c)").expect("valid");
        assert_eq!(pattern.matches(&text), Err(PatternExhausted));
    }

    #[test]
    fn plain_expressions_take_linear_time() {
        let pattern = Pattern::new("(a+)+$").expect("valid");
        assert_eq!(pattern.matches(&format!("{}b", "a".repeat(100_000))), Ok(false));
    }

    #[test]
    fn long_large_and_grouped_expressions_are_refused() {
        assert_eq!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)), Err(PatternInvalid::TooLong));
        assert!(matches!(Pattern::new("(?:a{1000}){1000}"), Err(PatternInvalid::Syntax(_))));
        assert!(matches!(Pattern::new("(a"), Err(PatternInvalid::Syntax(_))));
        assert_eq!(Pattern::new(&"(a)".repeat(PATTERN_GROUPS_MAX + 1)), Err(PatternInvalid::TooManyGroups));
    }
}
