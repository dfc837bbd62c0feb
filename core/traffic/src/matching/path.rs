//! The path, without its query string.

use serde::Serialize;

use super::header::Pattern;

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PathMatch {
    /// Bytes at the beginning; `/out` also takes `/out2`.
    Prefix(String),
    Exact(String),
    /// The whole path.
    Regex(Pattern),
    /// A wish for a tunnel (`CONNECT`), which has no path; nothing else takes one.
    Connect,
}

impl PathMatch {
    /// Whether it takes the request, whose path without query string is `path`.
    pub fn takes_request(&self, method: &str, path: &str) -> bool {
        match self {
            Self::Connect => method == "CONNECT",
            _ => self.takes(path) && method != "CONNECT",
        }
    }

    /// Whether it takes `path` (without a query string).
    pub fn takes(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Exact(exact) => path == exact,
            Self::Regex(pattern) => pattern.is_match(path),
            Self::Connect => false,
        }
    }
}

impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
            Self::Exact(exact) => write!(f, "path {exact}"),
            Self::Regex(pattern) => write!(f, "path regex {}", pattern.as_str()),
            Self::Connect => f.write_str("method CONNECT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_envoy_takes_them() {
        let prefix = |text: &str| PathMatch::Prefix(text.to_owned());
        let exact = |text: &str| PathMatch::Exact(text.to_owned());
        let regex = |text: &str| PathMatch::Regex(Pattern::new(text).expect("a valid expression"));
        for (condition, path, taken) in [
            (prefix("/"), "/x", true),
            (prefix("/out"), "/out2", true),
            (prefix("/out/"), "/out", false),
            (prefix("/Out"), "/out", false),
            (prefix(""), "*", true),
            (exact("/p"), "/p", true),
            (exact("/p"), "/p/", false),
            (regex("/re.*x"), "/re/x", true),
            (regex("/re.*x"), "/rexy", false),
            (regex("/a|/b"), "/a", true),
            (regex("/a|/b"), "/ab", false),
        ] {
            assert_eq!(condition.takes(path), taken, "{condition} on {path}");
        }
    }
}
