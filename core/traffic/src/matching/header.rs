//! A request header (or `:method`, `:scheme`, `:authority`, `:path`).

use regex::Regex;
use serde::{Serialize, Serializer};

/// A condition on one header. A repeated header satisfies it if one of its lines does: Envoy 1.40 looks at each line by
/// itself and joins nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    pub condition: HeaderCondition,
    /// The condition must not hold. An absent header satisfies no condition but inverted presence: as measured on
    /// Envoy 1.40, "not exactly `a`" wants the header to be there.
    pub invert: bool,
}

/// What its value must be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum HeaderCondition {
    Present,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// The whole value.
    Regex(Pattern),
    /// A decimal integer in `[start, end)`.
    Range {
        start: i64,
        end: i64,
    },
}

/// A compiled expression that must match the whole text (RE2's full match).
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

/// Compiled size of one expression, in bytes; the same bound as Envoy's `re2.max_program_size` serves.
pub const PATTERN_SIZE_MAX: usize = 1 << 20;

/// An expression that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the expression {source_text:?} cannot be used: {reason}")]
pub struct PatternInvalid {
    pub source_text: String,
    pub reason: String,
}

impl Pattern {
    /// Compiles `source`.
    ///
    /// # Errors
    /// When it is no valid expression or its program exceeds [`PATTERN_SIZE_MAX`].
    pub fn new(source: &str) -> Result<Self, PatternInvalid> {
        regex::RegexBuilder::new(&format!("^(?:{source})$"))
            .size_limit(PATTERN_SIZE_MAX)
            .build()
            .map(|regex| Self { source: source.to_owned(), regex })
            .map_err(|error| PatternInvalid { source_text: source.to_owned(), reason: error.to_string() })
    }

    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}
