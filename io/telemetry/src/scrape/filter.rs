//! Which statistics a scrape shows.

use regex::{Regex, RegexBuilder};

/// A compiled expression may not grow beyond this many bytes.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

/// The `filter`, `invert_filter` and `usedonly` parameters of `/stats`.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub name: Option<Regex>,
    pub inverted: bool,
    pub used_only: bool,
}

impl Filter {
    /// An expression that matches anywhere in the name.
    ///
    /// # Errors
    /// The expression is not a regular expression, or too large a one.
    pub fn with_name(mut self, expression: &str) -> Result<Self, regex::Error> {
        self.name = Some(RegexBuilder::new(expression).size_limit(EXPRESSION_BYTES_MAX).build()?);
        Ok(self)
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|regex| regex.is_match(name) != self.inverted)
    }
}
