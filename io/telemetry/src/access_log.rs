//! Access logs: a line or a JSON object for each request or connection, in Envoy's operators.
//!
//! A format is compiled once. A record is written into a buffer of the calling worker; one thread of its own empties
//! the buffers into the files, so that a slow disk delays nobody, and what does not fit is dropped and counted.

mod escape;
mod facts;
mod file;
mod format;
mod json;
mod operator;
mod record;
mod template;
mod time;
mod tls;
mod value;

pub(crate) use file::LogFile;
pub use file::{AccessLogs, BUFFER_BYTES_MAX};
pub use format::FormatError;
pub use record::{HeaderSource, Protocol, Record, RecordKind};
pub use template::Template;
pub use time::iso_time;
pub use tls::{CertificateFact, TlsSource, Whose};

use std::fmt;
use std::sync::Arc;

use facts::Facts;
use format::Format;
use selvedge_traffic::LogFilter;

use crate::runtime::Runtime;

/// Writes records where they belong; cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLogger {
    output: Output,
    filter: Option<Arc<LogFilter>>,
    runtime: Runtime,
}

/// Takes records that are no lines.
pub trait RecordSink: fmt::Debug + Send + Sync {
    /// Keeps what is wanted of a record. Never waits.
    fn take(&self, record: &Record<'_>);
}

#[derive(Clone, Debug)]
enum Output {
    /// One file in one format.
    Line {
        format: Arc<Format>,
        file: Arc<LogFile>,
    },
    Sink(Arc<dyn RecordSink>),
}

impl AccessLogger {
    /// Formats `record` into the calling worker's buffer, or hands it on. Never waits for a disk.
    pub fn log(&self, record: &Record<'_>) {
        if let Some(filter) = &self.filter
            && !filter.takes(&Facts { record, runtime: &self.runtime })
        {
            return;
        }
        match &self.output {
            Output::Line { format, file } => file.append(|line| format.write(record, line)),
            Output::Sink(sink) => sink.take(record),
        }
    }
}
