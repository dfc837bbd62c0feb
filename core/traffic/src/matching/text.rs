//! A condition on a piece of text (Envoy's `StringMatcher`).

use serde::Serialize;

use super::header::Pattern;

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextMatch {
    pub condition: TextCondition,
    /// ASCII letters are equal in either case; of no effect on expressions.
    pub ignore_case: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum TextCondition {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// The whole text.
    Regex(Pattern),
}

impl TextMatch {
    /// Exactly this text.
    pub fn exact(text: &str) -> Self {
        Self { condition: TextCondition::Exact(text.to_owned()), ignore_case: false }
    }

    /// Text that begins so.
    pub fn prefix(text: &str) -> Self {
        Self { condition: TextCondition::Prefix(text.to_owned()), ignore_case: false }
    }

    /// Whether it takes `text`. Allocates nothing.
    pub fn takes(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let same = |a: &[u8], b: &[u8]| if self.ignore_case { a.eq_ignore_ascii_case(b) } else { a == b };
        match &self.condition {
            TextCondition::Exact(exact) => same(text, exact.as_bytes()),
            TextCondition::Prefix(prefix) => {
                text.get(..prefix.len()).is_some_and(|start| same(start, prefix.as_bytes()))
            }
            TextCondition::Suffix(suffix) => {
                let start = text.len().checked_sub(suffix.len());
                start.is_some_and(|start| same(&text[start..], suffix.as_bytes()))
            }
            TextCondition::Contains(part) => {
                part.is_empty() || text.windows(part.len()).any(|window| same(window, part.as_bytes()))
            }
            TextCondition::Regex(pattern) => {
                std::str::from_utf8(text).is_ok_and(|text| pattern.is_match(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_in_either_case_only_where_asked() {
        let rows = [
            (TextCondition::Exact("Ab".into()), "ab", false, true),
            (TextCondition::Prefix("Ab".into()), "abc", false, true),
            (TextCondition::Suffix("Bc".into()), "abc", false, true),
            (TextCondition::Contains("B".into()), "abc", false, true),
            (TextCondition::Prefix("abcd".into()), "abc", false, false),
            (TextCondition::Suffix("abcd".into()), "abc", false, false),
            (TextCondition::Contains(String::new()), "", true, true),
            (TextCondition::Prefix("ä".into()), "ü", false, false),
        ];
        for (condition, text, plain, folded) in rows {
            for (ignore_case, takes) in [(false, plain), (true, folded)] {
                let matches = TextMatch { condition: condition.clone(), ignore_case };
                assert_eq!(matches.takes(text), takes, "{matches:?} {text}");
            }
        }
    }
}
