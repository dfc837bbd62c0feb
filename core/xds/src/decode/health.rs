//! Active health checks and outlier detection.

use std::ops::Range;
use std::time::Duration;

use selvedge_traffic::{
    FailurePercentage, HealthCheck, HealthLog, HealthPace, HealthProbe, OutlierDetection, SuccessRate,
};
use selvedge_xds_proto::envoy::config::cluster::v3 as cluster;
use selvedge_xds_proto::envoy::config::core::v3 as proto;
use selvedge_xds_proto::envoy::config::core::v3::health_check::HealthChecker;
use selvedge_xds_proto::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use selvedge_xds_proto::envoy::r#type::v3::{CodecClientType, Int64Range};

use super::bounds::{known, not_empty, port, unknown, unpack};
use super::{Reason, duration};
use crate::any::holds;

pub(super) fn check(message: proto::HealthCheck) -> Result<HealthCheck, Reason> {
    Ok(HealthCheck {
        interval: positive("health_checks.interval", message.interval)?,
        pace: pace(&message)?,
        timeout: positive("health_checks.timeout", message.timeout)?,
        healthy_threshold: message
            .healthy_threshold
            .ok_or(Reason::Missing("health_checks.healthy_threshold"))?,
        unhealthy_threshold: message
            .unhealthy_threshold
            .ok_or(Reason::Missing("health_checks.unhealthy_threshold"))?,
        port: message.alt_port.map(|value| port("health_checks.alt_port", value)).transpose()?,
        probe: probe(message.health_checker)?,
        log: HealthLog {
            paths: log_paths(message.event_log_path, message.event_logger)?,
            failures: message.always_log_health_check_failures,
            successes: message.always_log_health_check_success,
        },
    })
}

fn pace(message: &proto::HealthCheck) -> Result<HealthPace, Reason> {
    let above_zero = |field, value: &Option<prost_types::Duration>| {
        value.map(|value| positive(field, Some(value))).transpose()
    };
    let none = Duration::ZERO;
    Ok(HealthPace {
        initial_jitter: duration::or("health_checks.initial_jitter", message.initial_jitter, none)?,
        jitter: duration::or("health_checks.interval_jitter", message.interval_jitter, none)?,
        jitter_percent: message.interval_jitter_percent,
        no_traffic: above_zero("health_checks.no_traffic_interval", &message.no_traffic_interval)?,
        no_traffic_healthy: above_zero(
            "health_checks.no_traffic_healthy_interval",
            &message.no_traffic_healthy_interval,
        )?,
        unhealthy: above_zero("health_checks.unhealthy_interval", &message.unhealthy_interval)?,
        unhealthy_edge: above_zero(
            "health_checks.unhealthy_edge_interval",
            &message.unhealthy_edge_interval,
        )?,
        healthy_edge: above_zero("health_checks.healthy_edge_interval", &message.healthy_edge_interval)?,
    })
}

/// Half-open ranges of statuses, as Envoy has them.
fn statuses(ranges: &[Int64Range]) -> Result<Vec<Range<u16>>, Reason> {
    let one = |range: &Int64Range| {
        let bounds = (u16::try_from(range.start).ok()?, u16::try_from(range.end).ok()?);
        (bounds.0 >= 100 && bounds.0 < bounds.1 && bounds.1 <= 600).then_some(bounds.0..bounds.1)
    };
    let invalid = |range: &Int64Range| Reason::Invalid {
        field: "health_checks.http_health_check.expected_statuses",
        value: format!("[{}, {})", range.start, range.end),
        expected: "is no range of statuses within [100, 600)",
    };
    ranges.iter().map(|range| one(range).ok_or_else(|| invalid(range))).collect()
}

/// The file of the older field, and those of the sinks that stand for it.
fn log_paths(path: String, sinks: Vec<proto::TypedExtensionConfig>) -> Result<Vec<String>, Reason> {
    let mut paths: Vec<String> = Some(path).filter(|path| !path.is_empty()).into_iter().collect();
    for sink in sinks {
        let Some(any) = sink.typed_config else { return Err(unknown(&sink.name, None)) };
        if !holds::<HealthCheckEventFileSink>(&any) {
            return Err(unknown(&sink.name, Some(&any)));
        }
        let sink: HealthCheckEventFileSink = unpack(&any)?;
        paths.push(not_empty("health_checks.event_logger.event_log_path", sink.event_log_path)?);
    }
    Ok(paths)
}

pub(super) fn positive(
    field: &'static str,
    value: Option<prost_types::Duration>,
) -> Result<Duration, Reason> {
    match duration::optional(field, value)? {
        None => Err(Reason::Missing(field)),
        Some(Duration::ZERO) => {
            Err(Reason::Invalid { field, value: "0".to_owned(), expected: "is not above 0" })
        }
        Some(duration) => Ok(duration),
    }
}

fn probe(checker: Option<HealthChecker>) -> Result<HealthProbe, Reason> {
    Ok(match checker {
        None => return Err(Reason::Missing("health_checks.health_checker")),
        Some(HealthChecker::TcpHealthCheck(_)) => HealthProbe::Tcp,
        Some(HealthChecker::GrpcHealthCheck(grpc)) => {
            HealthProbe::Grpc { service: grpc.service_name, authority: grpc.authority }
        }
        Some(HealthChecker::HttpHealthCheck(http)) => HealthProbe::Http {
            path: not_empty("health_checks.http_health_check.path", http.path)?,
            host: http.host,
            statuses: statuses(&http.expected_statuses)?,
            http2: match known("health_checks.http_health_check.codec_client_type", http.codec_client_type)? {
                CodecClientType::Http1 => false,
                CodecClientType::Http2 => true,
                CodecClientType::Http3 => {
                    return Err(Reason::Unsupported {
                        field: "health_checks.http_health_check.codec_client_type",
                        value: "HTTP3".to_owned(),
                    });
                }
            },
        },
    })
}

/// What is not said is Envoy's default.
pub(super) fn outlier(message: &cluster::OutlierDetection) -> Result<OutlierDetection, Reason> {
    let default = OutlierDetection::default();
    let base_ejection_time = duration::or(
        "outlier_detection.base_ejection_time",
        message.base_ejection_time,
        default.base_ejection_time,
    )?;
    // The default gives way to a first ejection that is longer; what is said does not.
    let max_ejection_time = duration::or(
        "outlier_detection.max_ejection_time",
        message.max_ejection_time,
        default.max_ejection_time.max(base_ejection_time),
    )?;
    for (field, time) in [
        ("outlier_detection.interval", message.interval),
        ("outlier_detection.base_ejection_time", message.base_ejection_time),
    ] {
        // None is the default, which is some time.
        if time.is_some() {
            positive(field, time)?;
        }
    }
    if max_ejection_time < base_ejection_time {
        let (field, value) = ("outlier_detection.max_ejection_time", format!("{max_ejection_time:?}"));
        return Err(Reason::Invalid { field, value, expected: "is below base_ejection_time" });
    }
    for (field, share) in [
        ("outlier_detection.max_ejection_percent", message.max_ejection_percent),
        ("outlier_detection.enforcing_consecutive_5xx", message.enforcing_consecutive_5xx),
        (
            "outlier_detection.enforcing_consecutive_gateway_failure",
            message.enforcing_consecutive_gateway_failure,
        ),
        ("outlier_detection.enforcing_success_rate", message.enforcing_success_rate),
        ("outlier_detection.enforcing_failure_percentage", message.enforcing_failure_percentage),
        ("outlier_detection.failure_percentage_threshold", message.failure_percentage_threshold),
    ] {
        if let Some(share @ 101..) = share {
            return Err(Reason::Invalid { field, value: share.to_string(), expected: "is no percentage" });
        }
    }
    let success_rate = SuccessRate {
        enforcing: message.enforcing_success_rate.unwrap_or(default.success_rate.enforcing),
        enforcing_local_origin: message
            .enforcing_local_origin_success_rate
            .unwrap_or(default.success_rate.enforcing_local_origin),
        hosts_min: message.success_rate_minimum_hosts.unwrap_or(default.success_rate.hosts_min),
        requests_min: message.success_rate_request_volume.unwrap_or(default.success_rate.requests_min),
        deviation_factor: message.success_rate_stdev_factor.unwrap_or(default.success_rate.deviation_factor),
    };
    let failures = default.failure_percentage;
    let failure_percentage = FailurePercentage {
        enforcing: message.enforcing_failure_percentage.unwrap_or(failures.enforcing),
        enforcing_local_origin: message
            .enforcing_failure_percentage_local_origin
            .unwrap_or(failures.enforcing_local_origin),
        threshold: message.failure_percentage_threshold.unwrap_or(failures.threshold),
        hosts_min: message.failure_percentage_minimum_hosts.unwrap_or(failures.hosts_min),
        requests_min: message.failure_percentage_request_volume.unwrap_or(failures.requests_min),
    };
    Ok(OutlierDetection {
        consecutive_5xx: message.consecutive_5xx.unwrap_or(default.consecutive_5xx),
        consecutive_gateway_failure: message
            .consecutive_gateway_failure
            .unwrap_or(default.consecutive_gateway_failure),
        interval: duration::or("outlier_detection.interval", message.interval, default.interval)?,
        base_ejection_time,
        max_ejection_time,
        max_ejection_percent: message.max_ejection_percent.unwrap_or(default.max_ejection_percent),
        enforcing_consecutive_5xx: message
            .enforcing_consecutive_5xx
            .unwrap_or(default.enforcing_consecutive_5xx),
        enforcing_consecutive_gateway_failure: message
            .enforcing_consecutive_gateway_failure
            .unwrap_or(default.enforcing_consecutive_gateway_failure),
        always_eject_one_host: message.always_eject_one_host.unwrap_or(default.always_eject_one_host),
        ejection_time_jitter: duration::or(
            "outlier_detection.max_ejection_time_jitter",
            message.max_ejection_time_jitter,
            default.ejection_time_jitter,
        )?,
        unejected_by_health_check: message
            .successful_active_health_check_uneject_host
            .unwrap_or(default.unejected_by_health_check),
        split_local_origin: message.split_external_local_origin_errors,
        consecutive_local_origin_failure: message
            .consecutive_local_origin_failure
            .unwrap_or(default.consecutive_local_origin_failure),
        enforcing_consecutive_local_origin_failure: message
            .enforcing_consecutive_local_origin_failure
            .unwrap_or(default.enforcing_consecutive_local_origin_failure),
        success_rate,
        failure_percentage,
    })
}
