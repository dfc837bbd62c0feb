//! Active health checks and outlier detection.

use std::time::Duration;

use selvedge_traffic::{HealthCheck, HealthProbe, OutlierDetection};
use selvedge_xds_proto::envoy::config::cluster::v3 as cluster;
use selvedge_xds_proto::envoy::config::core::v3 as proto;
use selvedge_xds_proto::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use selvedge_xds_proto::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use selvedge_xds_proto::envoy::r#type::v3::{CodecClientType, Int64Range};

use super::duration;
use crate::any::pack;

pub(super) fn check(check: &HealthCheck) -> proto::HealthCheck {
    proto::HealthCheck {
        timeout: Some(duration::encode(check.timeout)),
        interval: Some(duration::encode(check.interval)),
        initial_jitter: chance(check.pace.initial_jitter),
        interval_jitter: chance(check.pace.jitter),
        interval_jitter_percent: check.pace.jitter_percent,
        no_traffic_interval: check.pace.no_traffic.map(duration::encode),
        no_traffic_healthy_interval: check.pace.no_traffic_healthy.map(duration::encode),
        unhealthy_interval: check.pace.unhealthy.map(duration::encode),
        unhealthy_edge_interval: check.pace.unhealthy_edge.map(duration::encode),
        healthy_edge_interval: check.pace.healthy_edge.map(duration::encode),
        unhealthy_threshold: Some(check.unhealthy_threshold),
        healthy_threshold: Some(check.healthy_threshold),
        alt_port: check.port.map(u32::from),
        health_checker: Some(probe(&check.probe)),
        event_log_path: String::new(),
        event_logger: check.log.paths.iter().map(|path| sink(path)).collect(),
        always_log_health_check_failures: check.log.failures,
        always_log_health_check_success: check.log.successes,
    }
}

fn chance(jitter: Duration) -> Option<prost_types::Duration> {
    (!jitter.is_zero()).then(|| duration::encode(jitter))
}

fn sink(path: &str) -> proto::TypedExtensionConfig {
    proto::TypedExtensionConfig {
        name: "envoy.health_check.event_sinks.file".to_owned(),
        typed_config: Some(pack(&HealthCheckEventFileSink { event_log_path: path.to_owned() })),
    }
}

fn probe(probe: &HealthProbe) -> HealthChecker {
    match probe {
        HealthProbe::Http { path, host, http2, statuses } => {
            HealthChecker::HttpHealthCheck(HttpHealthCheck {
                host: host.clone(),
                path: path.clone(),
                expected_statuses: statuses
                    .iter()
                    .map(|range| Int64Range { start: range.start.into(), end: range.end.into() })
                    .collect(),
                codec_client_type: if *http2 { CodecClientType::Http2 } else { CodecClientType::Http1 }
                    .into(),
            })
        }
        HealthProbe::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.clone(),
            authority: authority.clone(),
        }),
        HealthProbe::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck {}),
    }
}

pub(super) fn outlier(outlier: &OutlierDetection) -> cluster::OutlierDetection {
    cluster::OutlierDetection {
        consecutive_5xx: Some(outlier.consecutive_5xx),
        consecutive_gateway_failure: Some(outlier.consecutive_gateway_failure),
        interval: Some(duration::encode(outlier.interval)),
        base_ejection_time: Some(duration::encode(outlier.base_ejection_time)),
        max_ejection_time: Some(duration::encode(outlier.max_ejection_time)),
        max_ejection_percent: Some(outlier.max_ejection_percent),
        enforcing_consecutive_5xx: Some(outlier.enforcing_consecutive_5xx),
        enforcing_consecutive_gateway_failure: Some(outlier.enforcing_consecutive_gateway_failure),
        enforcing_success_rate: Some(outlier.success_rate.enforcing),
        success_rate_minimum_hosts: Some(outlier.success_rate.hosts_min),
        success_rate_request_volume: Some(outlier.success_rate.requests_min),
        success_rate_stdev_factor: Some(outlier.success_rate.deviation_factor),
        split_external_local_origin_errors: outlier.split_local_origin,
        consecutive_local_origin_failure: Some(outlier.consecutive_local_origin_failure),
        enforcing_consecutive_local_origin_failure: Some(outlier.enforcing_consecutive_local_origin_failure),
        enforcing_local_origin_success_rate: Some(outlier.success_rate.enforcing_local_origin),
        failure_percentage_threshold: Some(outlier.failure_percentage.threshold),
        enforcing_failure_percentage: Some(outlier.failure_percentage.enforcing),
        enforcing_failure_percentage_local_origin: Some(outlier.failure_percentage.enforcing_local_origin),
        failure_percentage_minimum_hosts: Some(outlier.failure_percentage.hosts_min),
        failure_percentage_request_volume: Some(outlier.failure_percentage.requests_min),
        max_ejection_time_jitter: Some(duration::encode(outlier.ejection_time_jitter)),
        successful_active_health_check_uneject_host: Some(outlier.unejected_by_health_check),
        always_eject_one_host: Some(outlier.always_eject_one_host),
    }
}
