//! How the path and the host change on the way.

use serde::Serialize;

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
}
