//! Where and how requests and connections are logged.

pub mod filter;

use std::time::Duration;

use serde::Serialize;

use crate::tracing::CustomTag;
pub use crate::tracing::TAGS_MAX;
pub use filter::{Comparison, LogFilter, LogFilterInvalid};

/// A log: where it is written, and of what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccessLog {
    pub sink: LogSink,
    /// Which records are written; `None` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<LogFilter>,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum LogSink {
    File(FileLog),
    Grpc(GrpcLog),
}

/// A log file and its format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileLog {
    /// A file path; `/dev/stdout` and `/dev/stderr` are the process's own.
    pub path: String,
    pub format: AccessLogFormat,
    /// What has no value is left out of a JSON object and empty in a line, in place of `null` and `-`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omit_empty: bool,
}

/// An access log service (`envoy.service.accesslog.v3`), to which records are streamed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct GrpcLog {
    /// What the service is told that the log is called.
    pub name: String,
    /// Where the service is.
    pub cluster: String,
    /// Its authority; empty is the cluster's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authority: String,
    /// Headers of the call to it; lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<(String, String)>,
    /// What it is told of each record besides, at most [`TAGS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<CustomTag>,
    /// What has been buffered for so long is sent …
    pub flush_interval: Duration,
    /// … or once it is so many bytes.
    pub buffer_bytes: u32,
    pub records: GrpcRecords,
}

/// What is logged of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum GrpcRecords {
    /// Requests, with these headers besides those that always stand there; lower case.
    Http { request_headers: Vec<String>, response_headers: Vec<String>, response_trailers: Vec<String> },
    /// Connections.
    Tcp,
}

impl GrpcLog {
    pub const FLUSH_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
    pub const BUFFER_BYTES_DEFAULT: u32 = 16_384;
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
    /// A file of all records.
    pub fn new(path: impl Into<String>, format: AccessLogFormat) -> Self {
        Self { sink: LogSink::File(FileLog::new(path, format)), filter: None }
    }

    /// What it is called where it must be told apart.
    pub fn name(&self) -> &str {
        match &self.sink {
            LogSink::File(file) => &file.path,
            LogSink::Grpc(grpc) => &grpc.name,
        }
    }
}

impl FileLog {
    pub fn new(path: impl Into<String>, format: AccessLogFormat) -> Self {
        Self { path: path.into(), format, omit_empty: false }
    }
}
