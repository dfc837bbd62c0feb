//! Access logs.

use prost_types::Value;
use prost_types::value::Kind;
use selvedge_traffic::access_log::filter::Operator;
use selvedge_traffic::access_log::{Comparison, LogFilter, TAGS_MAX};
use selvedge_traffic::{AccessLog, AccessLogFormat, FileLog, GrpcLog, GrpcRecords, JsonTemplate, LogSink};
use selvedge_xds_proto::envoy::config::accesslog::v3 as proto;
use selvedge_xds_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use selvedge_xds_proto::envoy::config::accesslog::v3::comparison_filter::Op;
use selvedge_xds_proto::envoy::config::core::v3::{SubstitutionFormatString, substitution_format_string};
use selvedge_xds_proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use selvedge_xds_proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use selvedge_xds_proto::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use selvedge_xds_proto::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::bounds::{known, not_empty, unknown, unpack};
use super::filter::{grpc_service_with_metadata, transport_version};
use super::route::inline_text;
use super::{Reason, duration, matching, tracing};
use crate::any::holds;

/// Objects and lists within a JSON format, at most.
const DEPTH_MAX: usize = 16;

pub(super) fn all(logs: Vec<proto::AccessLog>) -> Result<Vec<AccessLog>, Reason> {
    logs.into_iter().map(decode).collect()
}

fn decode(log: proto::AccessLog) -> Result<AccessLog, Reason> {
    let any = log.config_type.map(|proto::access_log::ConfigType::TypedConfig(any)| any);
    let Some(any) = any else { return Err(unknown(&log.name, None)) };
    let sink = if holds::<FileAccessLog>(&any) {
        let file: FileAccessLog = unpack(&any)?;
        let substitution =
            file.access_log_format.map(|file_access_log::AccessLogFormat::LogFormat(format)| format);
        file_sink(not_empty("access log path", file.path)?, substitution)?
    } else if holds::<StdoutAccessLog>(&any) {
        let log: StdoutAccessLog = unpack(&any)?;
        let substitution =
            log.access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
        file_sink("/dev/stdout".to_owned(), substitution)?
    } else if holds::<StderrAccessLog>(&any) {
        let log: StderrAccessLog = unpack(&any)?;
        let substitution =
            log.access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
        file_sink("/dev/stderr".to_owned(), substitution)?
    } else if holds::<HttpGrpcAccessLogConfig>(&any) {
        let log: HttpGrpcAccessLogConfig = unpack(&any)?;
        let lower = |names: Vec<String>| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let records = GrpcRecords::Http {
            request_headers: lower(log.additional_request_headers_to_log),
            response_headers: lower(log.additional_response_headers_to_log),
            response_trailers: lower(log.additional_response_trailers_to_log),
        };
        grpc(log.common_config, records)?
    } else if holds::<TcpGrpcAccessLogConfig>(&any) {
        let log: TcpGrpcAccessLogConfig = unpack(&any)?;
        grpc(log.common_config, GrpcRecords::Tcp)?
    } else {
        return Err(unknown(&log.name, Some(&any)));
    };
    let filter = log.filter.map(|message| filter(message, 0)).transpose()?;
    Ok(AccessLog { sink, filter })
}

fn file_sink(path: String, substitution: Option<SubstitutionFormatString>) -> Result<LogSink, Reason> {
    let omit_empty = substitution.as_ref().is_some_and(|format| format.omit_empty_values);
    Ok(LogSink::File(FileLog { path, format: format(substitution)?, omit_empty }))
}

fn grpc(config: Option<CommonGrpcAccessLogConfig>, records: GrpcRecords) -> Result<LogSink, Reason> {
    let config = config.ok_or(Reason::Missing("common_config"))?;
    transport_version("common_config.transport_api_version", config.transport_api_version)?;
    let (cluster, authority, metadata) =
        grpc_service_with_metadata("common_config.grpc_service", config.grpc_service)?;
    if config.custom_tags.len() > TAGS_MAX {
        let value = config.custom_tags.len().to_string();
        return Err(Reason::Invalid { field: "common_config.custom_tags", value, expected: "are too many" });
    }
    let field = "common_config.buffer_flush_interval";
    let flush_interval = duration::or(field, config.buffer_flush_interval, GrpcLog::FLUSH_INTERVAL_DEFAULT)?;
    if flush_interval.is_zero() {
        return Err(Reason::Invalid { field, value: "0".to_owned(), expected: "is not above 0" });
    }
    Ok(LogSink::Grpc(GrpcLog {
        name: not_empty("common_config.log_name", config.log_name)?,
        cluster,
        authority,
        metadata,
        tags: config.custom_tags.into_iter().map(tracing::tag).collect::<Result<_, _>>()?,
        flush_interval,
        buffer_bytes: config.buffer_size_bytes.unwrap_or(GrpcLog::BUFFER_BYTES_DEFAULT),
        records,
    }))
}

/// Members of a JSON format are ordered by key: protobuf's maps know no other order.
fn format(format: Option<SubstitutionFormatString>) -> Result<AccessLogFormat, Reason> {
    let Some(format) = format else { return Ok(AccessLogFormat::Default) };
    match format.format {
        None => Err(Reason::Missing("log_format.format")),
        Some(substitution_format_string::Format::TextFormatSource(source)) => {
            inline_text("log_format.text_format_source", source).map(AccessLogFormat::Text)
        }
        Some(substitution_format_string::Format::JsonFormat(members)) => {
            let members: Vec<(String, JsonTemplate)> = members
                .fields
                .into_iter()
                .map(|(key, value)| Ok((key, template(value, 0)?)))
                .collect::<Result<_, Reason>>()?;
            let texts = members.iter().map(|(key, value)| match value {
                JsonTemplate::Text(text) => Some((key.clone(), text.clone())),
                _ => None,
            });
            match texts.collect::<Option<Vec<_>>>() {
                Some(texts) => Ok(AccessLogFormat::Json(texts)),
                None => Ok(AccessLogFormat::JsonTree(members)),
            }
        }
    }
}

fn template(value: Value, depth: usize) -> Result<JsonTemplate, Reason> {
    let unsupported =
        |value: &str| Reason::Unsupported { field: "log_format.json_format", value: value.to_owned() };
    if depth > DEPTH_MAX {
        return Err(unsupported("such a depth"));
    }
    Ok(match value.kind {
        Some(Kind::StringValue(text)) => JsonTemplate::Text(text),
        Some(Kind::NumberValue(number)) => JsonTemplate::Number(number),
        Some(Kind::BoolValue(value)) => JsonTemplate::Bool(value),
        Some(Kind::StructValue(members)) => JsonTemplate::Object(
            members
                .fields
                .into_iter()
                .map(|(key, value)| Ok((key, template(value, depth + 1)?)))
                .collect::<Result<_, Reason>>()?,
        ),
        Some(Kind::ListValue(list)) => JsonTemplate::List(
            list.values.into_iter().map(|value| template(value, depth + 1)).collect::<Result<_, Reason>>()?,
        ),
        Some(Kind::NullValue(_)) | None => return Err(unsupported("null")),
    })
}

fn filter(message: proto::AccessLogFilter, depth: usize) -> Result<LogFilter, Reason> {
    if depth > selvedge_traffic::access_log::filter::DEPTH_MAX {
        return Err(Reason::Unsupported { field: "access_log.filter", value: "such a depth".to_owned() });
    }
    let several = |filters: Vec<proto::AccessLogFilter>| match filters.len() {
        0 | 1 => Err(Reason::Missing("access_log.filter.filters: at least two")),
        _ => filters.into_iter().map(|one| filter(one, depth + 1)).collect::<Result<Vec<_>, _>>(),
    };
    Ok(match message.filter_specifier {
        None => return Err(Reason::Missing("access_log.filter.filter_specifier")),
        Some(FilterSpecifier::StatusCodeFilter(filter)) => LogFilter::Status(comparison(filter.comparison)?),
        Some(FilterSpecifier::DurationFilter(filter)) => LogFilter::Duration(comparison(filter.comparison)?),
        Some(FilterSpecifier::NotHealthCheckFilter(_)) => LogFilter::NotHealthCheck,
        Some(FilterSpecifier::TraceableFilter(_)) => LogFilter::Traceable,
        Some(FilterSpecifier::RuntimeFilter(filter)) => {
            let percent = filter.percent_sampled.unwrap_or_default();
            LogFilter::Sampled {
                key: not_empty("access_log.filter.runtime_key", filter.runtime_key)?,
                numerator: percent.numerator,
                denominator: match known("access_log.filter.percent_sampled", percent.denominator)? {
                    DenominatorType::Hundred => 100,
                    DenominatorType::TenThousand => 10_000,
                    DenominatorType::Million => 1_000_000,
                },
                independent: filter.use_independent_randomness,
            }
        }
        Some(FilterSpecifier::AndFilter(filter)) => LogFilter::And(several(filter.filters)?),
        Some(FilterSpecifier::OrFilter(filter)) => LogFilter::Or(several(filter.filters)?),
        Some(FilterSpecifier::HeaderFilter(filter)) => {
            let header = filter.header.ok_or(Reason::Missing("access_log.filter.header"))?;
            LogFilter::Header(matching::header(header)?)
        }
        Some(FilterSpecifier::ResponseFlagFilter(filter)) => LogFilter::Flags(filter.flags),
        Some(FilterSpecifier::GrpcStatusFilter(filter)) => LogFilter::GrpcStatus {
            statuses: filter
                .statuses
                .into_iter()
                .map(|status| {
                    known("access_log.filter.statuses", status)
                        .map(|status: proto::grpc_status_filter::Status| status as i32 as u32)
                })
                .collect::<Result<_, _>>()?,
            exclude: filter.exclude,
        },
    })
}

fn comparison(message: Option<proto::ComparisonFilter>) -> Result<Comparison, Reason> {
    let message = message.ok_or(Reason::Missing("access_log.filter.comparison"))?;
    let value = message.value.unwrap_or_default();
    let operator = match known("access_log.filter.comparison.op", message.op)? {
        Op::Eq => Operator::Equal,
        Op::Ge => Operator::AtLeast,
        Op::Le => Operator::AtMost,
        Op::Ne => Operator::NotEqual,
    };
    Ok(Comparison { operator, value: value.default_value, key: value.runtime_key })
}
