//! Where and how requests and connections are logged.

pub mod filter;

use serde::Serialize;

pub use filter::{Comparison, LogFilter, LogFilterInvalid};

/// A log file and its format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccessLog {
    /// A file path; `/dev/stdout` and `/dev/stderr` are the process's own.
    pub path: String,
    pub format: AccessLogFormat,
    /// Which records are written; `None` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<LogFilter>,
    /// What has no value is left out of a JSON object and empty in a line, in place of `null` and `-`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omit_empty: bool,
}

/// How a record is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum AccessLogFormat {
    /// Envoy's default line.
    Default,
    /// A line with command operators, written as it stands: it brings its own newline.
    Text(String),
    /// A JSON object a record; keys in order, values with command operators.
    Json(Vec<(String, String)>),
    /// A JSON object a record that holds more than texts.
    JsonTree(Vec<(String, JsonTemplate)>),
}

/// A value of a JSON format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum JsonTemplate {
    /// With command operators.
    Text(String),
    Number(f64),
    Bool(bool),
    Object(Vec<(String, Self)>),
    List(Vec<Self>),
}

impl AccessLog {
    /// A log of all records.
    pub fn new(path: impl Into<String>, format: AccessLogFormat) -> Self {
        Self { path: path.into(), format, filter: None, omit_empty: false }
    }
}
