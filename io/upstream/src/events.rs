//! Where a proxy's clusters log what happens to their hosts.

use std::sync::Arc;

use selvedge_telemetry::AccessLogs;
use selvedge_telemetry::events::EventLog;

/// The files of events, written by whoever writes access logs.
#[derive(Clone, Debug)]
pub struct EventLogs {
    logs: Arc<AccessLogs>,
    outlier: Option<EventLog>,
}

impl EventLogs {
    /// Ejections go to the file `outlier`, if there is one; the files of health checks are the clusters' to name.
    pub fn new(logs: Arc<AccessLogs>, outlier: Option<&str>) -> Self {
        let outlier = outlier.map(|path| logs.events(path));
        Self { logs, outlier }
    }

    pub(crate) fn outlier(&self) -> Option<EventLog> {
        self.outlier.clone()
    }

    pub(crate) fn health(&self, path: &str) -> EventLog {
        self.logs.events(path)
    }
}
