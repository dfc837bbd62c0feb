//! Access logs.

use prost_types::value::Kind;
use selvedge_traffic::{AccessLog, AccessLogFormat};
use selvedge_xds_proto::envoy::config::accesslog::v3 as proto;
use selvedge_xds_proto::envoy::config::core::v3::{SubstitutionFormatString, substitution_format_string};
use selvedge_xds_proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use selvedge_xds_proto::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};

use super::Reason;
use super::bounds::{not_empty, unknown, unpack};
use super::route::inline_text;
use crate::any::holds;

pub(super) fn all(logs: Vec<proto::AccessLog>) -> Result<Vec<AccessLog>, Reason> {
    logs.into_iter().map(decode).collect()
}

fn decode(log: proto::AccessLog) -> Result<AccessLog, Reason> {
    let any = log.config_type.map(|proto::access_log::ConfigType::TypedConfig(any)| any);
    let Some(any) = any else { return Err(unknown(&log.name, None)) };
    let (path, substitution) = if holds::<FileAccessLog>(&any) {
        let file: FileAccessLog = unpack(&any)?;
        let substitution =
            file.access_log_format.map(|file_access_log::AccessLogFormat::LogFormat(format)| format);
        (not_empty("access log path", file.path)?, substitution)
    } else if holds::<StdoutAccessLog>(&any) {
        let log: StdoutAccessLog = unpack(&any)?;
        let substitution =
            log.access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stdout".to_owned(), substitution)
    } else if holds::<StderrAccessLog>(&any) {
        let log: StderrAccessLog = unpack(&any)?;
        let substitution =
            log.access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stderr".to_owned(), substitution)
    } else {
        return Err(unknown(&log.name, Some(&any)));
    };
    Ok(AccessLog { path, format: format(substitution)? })
}

/// Members of a JSON format are ordered by key: protobuf's maps know no other order.
fn format(format: Option<SubstitutionFormatString>) -> Result<AccessLogFormat, Reason> {
    let Some(format) = format else { return Ok(AccessLogFormat::Default) };
    match format.format {
        None => Err(Reason::Missing("log_format.format")),
        Some(substitution_format_string::Format::TextFormatSource(source)) => {
            inline_text("log_format.text_format_source", source).map(AccessLogFormat::Text)
        }
        Some(substitution_format_string::Format::JsonFormat(members)) => members
            .fields
            .into_iter()
            .map(|(key, value)| match value.kind {
                Some(Kind::StringValue(text)) => Ok((key, text)),
                other => Err(Reason::Unsupported {
                    field: "log_format.json_format",
                    value: format!("{key}: {other:?}"),
                }),
            })
            .collect::<Result<_, _>>()
            .map(AccessLogFormat::Json),
    }
}
