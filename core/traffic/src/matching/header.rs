//! A request header (or `:method`, `:scheme`, `:authority`, `:path`).

use regex::Regex;
use serde::{Serialize, Serializer};

use super::re2;
use super::request::RequestView;

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

impl HeaderMatch {
    /// Whether it takes `request`.
    pub fn takes(&self, request: &impl RequestView) -> bool {
        let test = |value: &[u8]| self.condition.holds(value);
        let held = match self.name.as_str() {
            ":authority" | "host" => pseudo(request.authority(), test),
            ":method" => pseudo(request.method(), test),
            ":path" => pseudo(request.path(), test),
            ":scheme" => pseudo(request.scheme(), test),
            name => request.any_value(name, test),
        };
        match held {
            Some(held) => held != self.invert,
            None => self.invert && matches!(self.condition, HeaderCondition::Present),
        }
    }
}

fn pseudo(value: &str, mut test: impl FnMut(&[u8]) -> bool) -> Option<bool> {
    (!value.is_empty()).then(|| test(value.as_bytes()))
}

impl HeaderCondition {
    /// Whether one line of the header satisfies it.
    pub(crate) fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
            Self::Contains(part) => {
                part.is_empty() || value.windows(part.len()).any(|window| window == part.as_bytes())
            }
            Self::Regex(pattern) => std::str::from_utf8(value).is_ok_and(|value| pattern.is_match(value)),
            Self::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.trim_ascii().parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
        }
    }
}

impl std::fmt::Display for HeaderMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        let not = if self.invert { "not " } else { "" };
        match &self.condition {
            HeaderCondition::Present => write!(f, "{not}header {name} present"),
            HeaderCondition::Exact(text) => write!(f, "{not}header {name} = {text}"),
            HeaderCondition::Prefix(text) => write!(f, "{not}header {name} begins with {text}"),
            HeaderCondition::Suffix(text) => write!(f, "{not}header {name} ends with {text}"),
            HeaderCondition::Contains(text) => write!(f, "{not}header {name} contains {text}"),
            HeaderCondition::Regex(pattern) => write!(f, "{not}header {name} matches {}", pattern.as_str()),
            HeaderCondition::Range { start, end } => write!(f, "{not}header {name} in [{start}, {end})"),
        }
    }
}

/// A compiled expression that must match the whole text (RE2's full match).
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

/// Memory that one compiled expression may take, in bytes; [`re2::PROGRAM_SIZE_MAX`] bounds its length.
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
    /// When it is no valid expression of both dialects, or too large: see [`re2::check`].
    pub fn new(source: &str) -> Result<Self, PatternInvalid> {
        re2::check(source).map_err(|reason| PatternInvalid { source_text: source.to_owned(), reason })?;
        regex::RegexBuilder::new(&format!("^(?:{source})$"))
            .size_limit(PATTERN_SIZE_MAX)
            .build()
            .map(|regex| Self { source: source.to_owned(), regex })
            .map_err(|error| PatternInvalid { source_text: source.to_owned(), reason: reason(&error) })
    }

    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// Why an expression is refused, in one line: the parser's drawing of the place is left out.
pub(crate) fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
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

#[cfg(test)]
mod tests {
    use super::super::request::PlainRequest;
    use super::*;

    fn check(name: &str, condition: &HeaderCondition, invert: bool, lines: &[&str]) -> bool {
        let request = lines.iter().fold(PlainRequest::new("GET", "a.B", "/p?x=1"), |request, line| {
            request.with_header("x-a", line)
        });
        HeaderMatch { name: name.to_owned(), condition: condition.clone(), invert }.takes(&request)
    }

    /// Each row was sent to Envoy 1.40.
    #[test]
    fn headers_are_taken_as_envoy_takes_them() {
        let exact = |text: &str| HeaderCondition::Exact(text.to_owned());
        let prefix = |text: &str| HeaderCondition::Prefix(text.to_owned());
        let suffix = |text: &str| HeaderCondition::Suffix(text.to_owned());
        let regex = |text: &str| HeaderCondition::Regex(Pattern::new(text).expect("valid"));
        let range = HeaderCondition::Range { start: 1, end: 5 };
        let (plain, inverted) = (false, true);
        let rows: [(HeaderCondition, bool, &[&str], bool); 24] = [
            (exact("1"), inverted, &[], false),
            (exact("1"), inverted, &["2"], true),
            (exact("1"), inverted, &["1"], false),
            (exact("x"), inverted, &[""], true),
            (HeaderCondition::Present, plain, &[""], true),
            (HeaderCondition::Present, plain, &[], false),
            (HeaderCondition::Present, inverted, &[], true),
            (HeaderCondition::Present, inverted, &[""], false),
            (range.clone(), inverted, &[], false),
            (range.clone(), inverted, &["abc"], true),
            (range.clone(), inverted, &["3"], false),
            (range.clone(), plain, &["+3"], true),
            (range.clone(), plain, &["3abc"], false),
            (range.clone(), plain, &["5"], false),
            (range, plain, &["1 "], true),
            (exact("1"), plain, &["1", "2"], true),
            (exact("2"), plain, &["1", "2"], true),
            (exact("1,2"), plain, &["1", "2"], false),
            (exact("1,2"), plain, &["1,2"], true),
            (regex("1,.*2"), plain, &["1", "2"], false),
            (prefix("1"), plain, &["1", "2"], true),
            (suffix("2"), plain, &["1", "2"], true),
            (exact("1"), inverted, &["1", "2"], false),
            (exact("9"), inverted, &["1", "2"], true),
        ];
        for (condition, invert, lines, taken) in rows {
            assert_eq!(check("x-a", &condition, invert, lines), taken, "{condition:?} {invert} {lines:?}");
        }
    }

    #[test]
    fn pseudo_headers_and_host_are_headers_too() {
        let exact = |text: &str| HeaderCondition::Exact(text.to_owned());
        for (name, value, taken) in [
            (":method", "GET", true),
            (":path", "/p?x=1", true),
            (":scheme", "http", true),
            (":authority", "a.B", true),
            (":authority", "a.b", false),
            ("host", "a.B", true),
        ] {
            assert_eq!(check(name, &exact(value), false, &[]), taken, "{name} {value}");
        }
    }

    #[test]
    fn an_expression_beyond_the_bound_is_refused() {
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("(?:a{1000}){1000}").is_err());
    }

    #[test]
    fn bytes_that_are_no_text_match_no_expression() {
        assert!(!HeaderCondition::Regex(Pattern::new(".*").expect("valid")).holds(b"\xff"));
        assert!(HeaderCondition::Prefix("a".into()).holds(b"a\xff"));
    }
}
