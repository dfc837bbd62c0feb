//! A parameter of the query string.

use serde::Serialize;

use super::header::Pattern;

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
