//! Access logs, of nodes and gateways.

use selvedge_model::{AccessLog, Logging, LoggingFormat};
use selvedge_traffic::AccessLogFormat;

/// The logs that a specification asks for.
pub(crate) fn access_logs(logging: Option<&Logging>) -> Vec<selvedge_traffic::AccessLog> {
    let Some(AccessLog::File(file)) = logging.and_then(|logging| logging.access_log.as_ref()) else {
        return Vec::new();
    };
    let format = match &file.format {
        None => AccessLogFormat::Default,
        Some(LoggingFormat::Text(text)) => AccessLogFormat::Text(text.clone()),
        Some(LoggingFormat::Json(members)) => {
            AccessLogFormat::Json(members.iter().map(|one| (one.key.clone(), one.value.clone())).collect())
        }
    };
    vec![selvedge_traffic::AccessLog::new(&*file.path, format)]
}
