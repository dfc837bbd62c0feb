//! Access logs.

use prost_types::{Struct, Value, value};
use selvedge_traffic::{AccessLog, AccessLogFormat};
use selvedge_xds_proto::envoy::config::accesslog::v3 as proto;
use selvedge_xds_proto::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source, substitution_format_string,
};
use selvedge_xds_proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};

use crate::any::pack;

/// Always a file logger, as App Mesh sent it for `/dev/stdout` too.
pub(super) fn encode(log: &AccessLog) -> proto::AccessLog {
    let file = FileAccessLog {
        path: log.path.clone(),
        access_log_format: format(&log.format).map(file_access_log::AccessLogFormat::LogFormat),
    };
    proto::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(proto::access_log::ConfigType::TypedConfig(pack(&file))),
    }
}

pub(super) fn all(logs: &[AccessLog]) -> Vec<proto::AccessLog> {
    logs.iter().map(encode).collect()
}

fn format(format: &AccessLogFormat) -> Option<SubstitutionFormatString> {
    let format = match format {
        AccessLogFormat::Default => return None,
        AccessLogFormat::Text(line) => substitution_format_string::Format::TextFormatSource(DataSource {
            specifier: Some(data_source::Specifier::InlineString(line.clone())),
        }),
        AccessLogFormat::Json(members) => {
            let fields = members
                .iter()
                .map(|(key, text)| {
                    (key.clone(), Value { kind: Some(value::Kind::StringValue(text.clone())) })
                })
                .collect();
            substitution_format_string::Format::JsonFormat(Struct { fields })
        }
    };
    Some(SubstitutionFormatString { format: Some(format) })
}
