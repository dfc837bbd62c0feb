//! A parameter of the query string.

use serde::Serialize;

use super::header::Pattern;
use super::request::Target;

/// A condition on one parameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryMatch {
    pub name: String,
    pub condition: QueryCondition,
}

/// What its value must be, as it is written (nothing is percent-decoded); of a repeated parameter the first counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum QueryCondition {
    Present,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Pattern),
}

impl QueryMatch {
    /// Whether it takes a request for `target`.
    pub fn takes(&self, target: &Target<'_>) -> bool {
        let Some(value) = target.parameter(&self.name) else { return false };
        match &self.condition {
            QueryCondition::Present => true,
            QueryCondition::Exact(exact) => value == exact,
            QueryCondition::Prefix(prefix) => value.starts_with(prefix.as_str()),
            QueryCondition::Suffix(suffix) => value.ends_with(suffix.as_str()),
            QueryCondition::Contains(part) => value.contains(part.as_str()),
            QueryCondition::Regex(pattern) => pattern.is_match(value),
        }
    }
}

impl std::fmt::Display for QueryMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match &self.condition {
            QueryCondition::Present => write!(f, "parameter {name} present"),
            QueryCondition::Exact(text) => write!(f, "parameter {name} = {text}"),
            QueryCondition::Prefix(text) => write!(f, "parameter {name} begins with {text}"),
            QueryCondition::Suffix(text) => write!(f, "parameter {name} ends with {text}"),
            QueryCondition::Contains(text) => write!(f, "parameter {name} contains {text}"),
            QueryCondition::Regex(pattern) => write!(f, "parameter {name} matches {}", pattern.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_as_envoy_takes_them() {
        let exact = |text: &str| QueryCondition::Exact(text.to_owned());
        for (condition, target, taken) in [
            (exact("a b"), "/q?k=a%20b", false),
            (exact("a%20b"), "/q?k=a%20b", true),
            (exact("2"), "/q?k=1&k=2", false),
            (exact(""), "/q?k", true),
            (QueryCondition::Present, "/q?k", true),
            (QueryCondition::Present, "/q", false),
            (QueryCondition::Prefix("v".into()), "/q?k=v1", true),
            (QueryCondition::Suffix("1".into()), "/q?k=v1", true),
            (QueryCondition::Contains("x".into()), "/q?k=v1", false),
            (QueryCondition::Regex(Pattern::new("v.").expect("valid")), "/q?k=v1", true),
            (QueryCondition::Regex(Pattern::new("v").expect("valid")), "/q?k=v1", false),
        ] {
            let condition = QueryMatch { name: "k".to_owned(), condition };
            assert_eq!(condition.takes(&Target::parse(target)), taken, "{condition} on {target}");
        }
    }
}
