//! Access logs.

use prost_types::{ListValue, Struct, Value, value};
use selvedge_traffic::access_log::filter::Operator;
use selvedge_traffic::access_log::{Comparison, LogFilter};
use selvedge_traffic::{AccessLog, AccessLogFormat, FileLog, GrpcLog, GrpcRecords, JsonTemplate, LogSink};
use selvedge_xds_proto::envoy::config::accesslog::v3 as proto;
use selvedge_xds_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use selvedge_xds_proto::envoy::config::accesslog::v3::comparison_filter::Op;
use selvedge_xds_proto::envoy::config::core::v3::{
    ApiVersion, DataSource, GrpcService, HeaderValue, RuntimeUInt32, SubstitutionFormatString, data_source,
    substitution_format_string,
};
use selvedge_xds_proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use selvedge_xds_proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use selvedge_xds_proto::envoy::r#type::v3::FractionalPercent;
use selvedge_xds_proto::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::filter::grpc_service;
use super::{duration, matching, tracing};
use crate::any::pack;

/// A file logger for `/dev/stdout` too, as App Mesh sent it.
pub(super) fn encode(log: &AccessLog) -> proto::AccessLog {
    let (name, any) = match &log.sink {
        LogSink::File(log) => {
            let file = FileAccessLog {
                path: log.path.clone(),
                access_log_format: format(log).map(file_access_log::AccessLogFormat::LogFormat),
            };
            ("envoy.access_loggers.file", pack(&file))
        }
        LogSink::Grpc(log) => match &log.records {
            GrpcRecords::Http { request_headers, response_headers, response_trailers } => {
                let http = HttpGrpcAccessLogConfig {
                    common_config: Some(common(log)),
                    additional_request_headers_to_log: request_headers.clone(),
                    additional_response_headers_to_log: response_headers.clone(),
                    additional_response_trailers_to_log: response_trailers.clone(),
                };
                ("envoy.access_loggers.http_grpc", pack(&http))
            }
            GrpcRecords::Tcp => {
                let tcp = TcpGrpcAccessLogConfig { common_config: Some(common(log)) };
                ("envoy.access_loggers.tcp_grpc", pack(&tcp))
            }
        },
    };
    proto::AccessLog {
        name: name.to_owned(),
        filter: log.filter.as_ref().map(filter),
        config_type: Some(proto::access_log::ConfigType::TypedConfig(any)),
    }
}

pub(super) fn all(logs: &[AccessLog]) -> Vec<proto::AccessLog> {
    logs.iter().map(encode).collect()
}

fn common(log: &GrpcLog) -> CommonGrpcAccessLogConfig {
    let header = |(key, value): &(String, String)| HeaderValue { key: key.clone(), value: value.clone() };
    let service = GrpcService {
        initial_metadata: log.metadata.iter().map(header).collect(),
        ..grpc_service(&log.cluster, &log.authority, None)
    };
    CommonGrpcAccessLogConfig {
        log_name: log.name.clone(),
        grpc_service: Some(service),
        custom_tags: log.tags.iter().map(tracing::tag).collect(),
        buffer_flush_interval: Some(duration::encode(log.flush_interval)),
        buffer_size_bytes: Some(log.buffer_bytes),
        transport_api_version: ApiVersion::V3.into(),
    }
}

fn format(log: &FileLog) -> Option<SubstitutionFormatString> {
    let format = match &log.format {
        AccessLogFormat::Default => return None,
        AccessLogFormat::Text(line) => substitution_format_string::Format::TextFormatSource(DataSource {
            specifier: Some(data_source::Specifier::InlineString(line.clone())),
        }),
        AccessLogFormat::Json(members) => {
            let text = |text: &String| Value { kind: Some(value::Kind::StringValue(text.clone())) };
            let fields = members.iter().map(|(key, value)| (key.clone(), text(value))).collect();
            substitution_format_string::Format::JsonFormat(Struct { fields })
        }
        AccessLogFormat::JsonTree(members) => substitution_format_string::Format::JsonFormat(object(members)),
    };
    Some(SubstitutionFormatString { format: Some(format), omit_empty_values: log.omit_empty })
}

fn object(members: &[(String, JsonTemplate)]) -> Struct {
    Struct { fields: members.iter().map(|(key, value)| (key.clone(), template(value))).collect() }
}

fn template(template: &JsonTemplate) -> Value {
    let kind = match template {
        JsonTemplate::Text(text) => value::Kind::StringValue(text.clone()),
        JsonTemplate::Number(number) => value::Kind::NumberValue(*number),
        JsonTemplate::Bool(value) => value::Kind::BoolValue(*value),
        JsonTemplate::Object(members) => value::Kind::StructValue(object(members)),
        JsonTemplate::List(items) => {
            value::Kind::ListValue(ListValue { values: items.iter().map(self::template).collect() })
        }
    };
    Value { kind: Some(kind) }
}

fn filter(filter: &LogFilter) -> proto::AccessLogFilter {
    let all = |filters: &[LogFilter]| filters.iter().map(self::filter).collect();
    let specifier = match filter {
        LogFilter::Status(compared) => FilterSpecifier::StatusCodeFilter(proto::StatusCodeFilter {
            comparison: Some(comparison(compared)),
        }),
        LogFilter::Duration(compared) => {
            FilterSpecifier::DurationFilter(proto::DurationFilter { comparison: Some(comparison(compared)) })
        }
        LogFilter::NotHealthCheck => FilterSpecifier::NotHealthCheckFilter(proto::NotHealthCheckFilter {}),
        LogFilter::Traceable => FilterSpecifier::TraceableFilter(proto::TraceableFilter {}),
        LogFilter::Sampled { key, numerator, denominator, independent } => {
            let denominator = match denominator {
                10_000 => DenominatorType::TenThousand,
                1_000_000 => DenominatorType::Million,
                _ => DenominatorType::Hundred,
            };
            FilterSpecifier::RuntimeFilter(proto::RuntimeFilter {
                runtime_key: key.clone(),
                percent_sampled: Some(FractionalPercent {
                    numerator: *numerator,
                    denominator: denominator.into(),
                }),
                use_independent_randomness: *independent,
            })
        }
        LogFilter::And(filters) => FilterSpecifier::AndFilter(proto::AndFilter { filters: all(filters) }),
        LogFilter::Or(filters) => FilterSpecifier::OrFilter(proto::OrFilter { filters: all(filters) }),
        LogFilter::Header(matcher) => {
            FilterSpecifier::HeaderFilter(proto::HeaderFilter { header: Some(matching::header(matcher)) })
        }
        LogFilter::Flags(flags) => {
            FilterSpecifier::ResponseFlagFilter(proto::ResponseFlagFilter { flags: flags.clone() })
        }
        LogFilter::GrpcStatus { statuses, exclude } => {
            FilterSpecifier::GrpcStatusFilter(proto::GrpcStatusFilter {
                statuses: statuses.iter().map(|status| *status as i32).collect(),
                exclude: *exclude,
            })
        }
    };
    proto::AccessLogFilter { filter_specifier: Some(specifier) }
}

fn comparison(comparison: &Comparison) -> proto::ComparisonFilter {
    let op = match comparison.operator {
        Operator::Equal => Op::Eq,
        Operator::AtLeast => Op::Ge,
        Operator::AtMost => Op::Le,
        Operator::NotEqual => Op::Ne,
    };
    let value = RuntimeUInt32 { default_value: comparison.value, runtime_key: comparison.key.clone() };
    proto::ComparisonFilter { op: op.into(), value: Some(value) }
}
