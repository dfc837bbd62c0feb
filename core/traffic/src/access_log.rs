//! Where and how requests and connections are logged.

use serde::Serialize;

/// A log file and its format.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AccessLog {
    /// A file path; `/dev/stdout` and `/dev/stderr` are the process's own.
    pub path: String,
    pub format: AccessLogFormat,
}

/// How a record is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum AccessLogFormat {
    /// Envoy's default line.
    Default,
    /// A line with command operators, written as it stands: it brings its own newline.
    Text(String),
    /// A JSON object a record; keys in order, values with command operators.
    Json(Vec<(String, String)>),
}
