//! How the path and the host change on the way.

use regex::Regex;
use serde::Serialize;

use crate::matching::header::{PATTERN_SIZE_MAX, PatternInvalid, reason};
use crate::matching::{PathMatch, Target, re2};

/// A new path for the upstream request; the query string stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PathRewrite {
    /// The matched prefix (or the whole matched path, for an exact match) becomes this.
    Prefix(String),
    /// The whole path becomes this.
    Full(String),
    /// What matches becomes the substitution (RE2 syntax, `\1` for groups).
    Regex { pattern: String, substitution: String },
}

/// A new `Host` (`:authority`) for the upstream request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HostRewrite {
    Literal(String),
    /// The hostname of the chosen endpoint.
    Auto,
    /// The value of a request header; where it is missing or empty, the host stays.
    Header(String),
    /// What the expression makes of the path.
    PathRegex {
        pattern: String,
        substitution: String,
    },
}

impl HostRewrite {
    /// The new authority where it depends on the endpoint at most; `None` leaves the request's own, as for an endpoint without a hostname.
    pub fn apply<'a>(&'a self, endpoint_hostname: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Literal(host) => Some(host),
            Self::Auto => endpoint_hostname.filter(|hostname| !hostname.is_empty()),
            Self::Header(_) | Self::PathRegex { .. } => None,
        }
    }
}

/// An expression with its substitution, ready to be applied.
#[derive(Clone, Debug)]
pub struct Substitution {
    regex: Box<Regex>,
    replacement: String,
}

impl Substitution {
    /// Compiles an expression (RE2) with its substitution (`\\1` is the first group).
    ///
    /// # Errors
    /// When the expression cannot be used.
    pub fn new(pattern: &str, substitution: &str) -> Result<Self, PatternInvalid> {
        let invalid = |reason| PatternInvalid { source_text: pattern.to_owned(), reason };
        re2::check(pattern).map_err(invalid)?;
        let built = regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE_MAX).build();
        let regex = built.map_err(|error| invalid(reason(&error)))?;
        Ok(Self { regex: Box::new(regex), replacement: from_re2(substitution) })
    }

    /// What it makes of the path of a request target; the query is not looked at.
    pub fn apply(&self, request_target: &str) -> String {
        let Target { path, .. } = Target::parse(request_target);
        self.regex.replace_all(path, self.replacement.as_str()).into_owned()
    }
}

/// A path rewrite, ready to be applied.
#[derive(Clone, Debug)]
pub enum Rewriter {
    Prefix(String),
    Full(String),
    Regex(Substitution),
}

impl Rewriter {
    /// Compiles a rewrite.
    ///
    /// # Errors
    /// When its expression cannot be used.
    pub fn new(rewrite: &PathRewrite) -> Result<Self, PatternInvalid> {
        Ok(match rewrite {
            PathRewrite::Prefix(prefix) => Self::Prefix(prefix.clone()),
            PathRewrite::Full(path) => Self::Full(path.clone()),
            PathRewrite::Regex { pattern, substitution } => {
                Self::Regex(Substitution::new(pattern, substitution)?)
            }
        })
    }

    /// The new request target. The upstream also learns the old one: whoever applies this sets
    /// `x-envoy-original-path` to the request's target as it was, query included.
    pub fn apply(&self, matched: &PathMatch, request_target: &str) -> String {
        let Target { path, .. } = Target::parse(request_target);
        let rest = &request_target[path.len()..];
        match self {
            Self::Prefix(prefix) => {
                let matched_len = match matched {
                    PathMatch::Prefix(matched) if path.starts_with(matched.as_str()) => matched.len(),
                    PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => {
                        path.len()
                    }
                };
                [prefix.as_str(), &request_target[matched_len..]].concat()
            }
            Self::Full(full) => [full.as_str(), rest].concat(),
            Self::Regex(substitution) => [&substitution.apply(path), rest].concat(),
        }
    }
}

/// RE2's `\1` (and `\\`) in the words of the regex crate, where `$` is the special character.
fn from_re2(substitution: &str) -> String {
    let mut replacement = String::with_capacity(substitution.len());
    let mut characters = substitution.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => replacement.push_str("$$"),
            '\\' => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => replacement.extend(["${", &digit.to_string(), "}"]),
                Some(other) => replacement.push(other),
                None => replacement.push('\\'),
            },
            other => replacement.push(other),
        }
    }
    replacement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::header::Pattern;

    #[test]
    fn paths_are_rewritten_and_queries_stay() {
        let prefix = |text: &str| PathMatch::Prefix(text.to_owned());
        let exact = |text: &str| PathMatch::Exact(text.to_owned());
        let regex = |text: &str| PathMatch::Regex(Pattern::new(text).expect("valid"));
        let to = |text: &str| PathRewrite::Prefix(text.to_owned());
        let full = |text: &str| PathRewrite::Full(text.to_owned());
        let replace = |pattern: &str, substitution: &str| PathRewrite::Regex {
            pattern: pattern.to_owned(),
            substitution: substitution.to_owned(),
        };
        for (matched, rewrite, target, expected) in [
            (prefix("/api/"), to("/"), "/api/x?y=/api/", "/x?y=/api/"),
            (prefix("/api"), to("/"), "/api?y", "/?y"),
            (prefix("/api"), to("/"), "/apix", "/x"),
            (exact("/a"), to("/b/c"), "/a?q", "/b/c?q"),
            (regex("/a.*"), to("/b"), "/a/z?q", "/b?q"),
            (prefix("/"), full("/one"), "/two/three?q#f", "/one?q#f"),
            (prefix("/"), replace("^/v1/(.*)/x$", r"/\1/$2"), "/v1/u/x?k", "/u/$2?k"),
            (prefix("/"), replace("a", "b"), "/aa?a", "/bb?a"),
            (prefix("/"), replace("(/)", r"\\\1"), "/q", r"\/q"),
        ] {
            let rewriter = Rewriter::new(&rewrite).expect("a valid rewrite");
            assert_eq!(rewriter.apply(&matched, target), expected, "{rewrite:?} of {target}");
        }
    }

    #[test]
    fn an_invalid_expression_is_refused() {
        assert!(
            Rewriter::new(&PathRewrite::Regex { pattern: "(".into(), substitution: String::new() }).is_err()
        );
    }

    #[test]
    fn the_host_becomes_the_literal_or_the_endpoints_name() {
        let literal = HostRewrite::Literal("a.b".into());
        assert_eq!(literal.apply(Some("x")), Some("a.b"));
        assert_eq!(HostRewrite::Auto.apply(Some("x")), Some("x"));
        assert_eq!(HostRewrite::Auto.apply(Some("")), None);
        assert_eq!(HostRewrite::Auto.apply(None), None);
    }
}
