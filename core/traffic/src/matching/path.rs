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
}
