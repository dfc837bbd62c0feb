//! Access logs.

use prost_types::{ListValue, Struct, Value, value};
use selvedge_traffic::access_log::filter::Operator;
use selvedge_traffic::access_log::{Comparison, LogFilter};
use selvedge_traffic::{AccessLog, AccessLogFormat, JsonTemplate};
use selvedge_xds_proto::envoy::config::accesslog::v3 as proto;
use selvedge_xds_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use selvedge_xds_proto::envoy::config::accesslog::v3::comparison_filter::Op;
use selvedge_xds_proto::envoy::config::core::v3::{
    DataSource, RuntimeUInt32, SubstitutionFormatString, data_source, substitution_format_string,
};
use selvedge_xds_proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use selvedge_xds_proto::envoy::r#type::v3::FractionalPercent;
use selvedge_xds_proto::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::matching;
use crate::any::pack;

/// Always a file logger, as App Mesh sent it for `/dev/stdout` too.
pub(super) fn encode(log: &AccessLog) -> proto::AccessLog {
    let file = FileAccessLog {
        path: log.path.clone(),
        access_log_format: format(log).map(file_access_log::AccessLogFormat::LogFormat),
    };
    proto::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: log.filter.as_ref().map(filter),
        config_type: Some(proto::access_log::ConfigType::TypedConfig(pack(&file))),
    }
}

pub(super) fn all(logs: &[AccessLog]) -> Vec<proto::AccessLog> {
    logs.iter().map(encode).collect()
}

fn format(log: &AccessLog) -> Option<SubstitutionFormatString> {
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
