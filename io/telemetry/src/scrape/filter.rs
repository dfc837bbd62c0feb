//! Which statistics a scrape shows.

use regex::{Regex, RegexBuilder};

use super::Value;

/// A compiled expression may not grow beyond this many bytes.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

/// The `filter`, `invert_filter`, `usedonly` and `type` parameters of `/stats`.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub name: Option<Regex>,
    pub inverted: bool,
    /// Only what has moved, and of the clusters only those with traffic or with hosts that are not well.
    pub used_only: bool,
    /// Of the clusters only those with traffic or with hosts that are not well, with all that they count.
    pub idle_clusters_hidden: bool,
    pub kind: StatisticKind,
}

/// The `type` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatisticKind {
    #[default]
    All,
    Counters,
    Gauges,
    Histograms,
    TextReadouts,
}

impl StatisticKind {
    /// Envoy's word, of any case.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "all" => Self::All,
            "counters" => Self::Counters,
            "gauges" => Self::Gauges,
            "histograms" => Self::Histograms,
            "textreadouts" => Self::TextReadouts,
            _ => return None,
        })
    }
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

    /// Whether a name is let through.
    pub fn matches(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|regex| regex.is_match(name) != self.inverted)
    }

    pub(crate) fn takes(&self, value: &Value) -> bool {
        match self.kind {
            StatisticKind::All => true,
            StatisticKind::Counters => matches!(value, Value::Counter(_)),
            StatisticKind::Gauges => matches!(value, Value::Gauge(_)),
            StatisticKind::Histograms => matches!(value, Value::Histogram { .. }),
            StatisticKind::TextReadouts => false,
        }
    }

    pub(crate) fn takes_texts(&self) -> bool {
        matches!(self.kind, StatisticKind::All | StatisticKind::TextReadouts)
    }
}
