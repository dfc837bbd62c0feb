//! Active health checks and outlier detection.

use selvedge_traffic::{HealthCheck, HealthProbe, OutlierDetection};
use selvedge_xds_proto::envoy::config::cluster::v3 as cluster;
use selvedge_xds_proto::envoy::config::core::v3 as proto;
use selvedge_xds_proto::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use selvedge_xds_proto::envoy::r#type::v3::CodecClientType;

use super::duration;

pub(super) fn check(check: &HealthCheck) -> proto::HealthCheck {
    proto::HealthCheck {
        timeout: Some(duration::encode(check.timeout)),
        interval: Some(duration::encode(check.interval)),
        unhealthy_threshold: Some(check.unhealthy_threshold),
        healthy_threshold: Some(check.healthy_threshold),
        alt_port: check.port.map(u32::from),
        health_checker: Some(probe(&check.probe)),
    }
}

fn probe(probe: &HealthProbe) -> HealthChecker {
    match probe {
        HealthProbe::Http { path, host, http2 } => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            host: host.clone(),
            path: path.clone(),
            codec_client_type: if *http2 { CodecClientType::Http2 } else { CodecClientType::Http1 }.into(),
        }),
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
        enforcing_success_rate: Some(outlier.enforcing_success_rate),
    }
}
