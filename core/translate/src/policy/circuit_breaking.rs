//! Bounds towards a node, and when its instances are left out.

use selvedge_model::policy::{CircuitBreaking, Outlier};
use selvedge_traffic::circuit::RetryBudget;
use selvedge_traffic::outlier::FailurePercentage;
use selvedge_traffic::{CircuitBreakers, Cluster, OutlierDetection, SuccessRate, Thresholds};

pub(super) fn apply(spec: &CircuitBreaking, cluster: &mut Cluster) {
    let unlimited = Thresholds::UNLIMITED;
    let bounds = Thresholds {
        connections_max: spec.max_connections.unwrap_or(unlimited.connections_max),
        pending_requests_max: spec.max_pending_requests.unwrap_or(unlimited.pending_requests_max),
        requests_max: spec.max_requests.unwrap_or(unlimited.requests_max),
        retries_max: spec.max_retries.unwrap_or(unlimited.retries_max),
        pools_max: spec.max_connection_pools,
        retry_budget: spec.retry_budget.as_ref().map(|budget| {
            let default = RetryBudget::default();
            RetryBudget {
                percent: budget.percent.map_or(default.percent, f64::from),
                retries_min: budget.min_retries.unwrap_or(default.retries_min),
            }
        }),
        ..unlimited
    };
    cluster.circuit_breakers = CircuitBreakers { default: bounds, high: bounds };
    if let Some(outlier) = &spec.outlier {
        cluster.outlier_detection = Some(detection(outlier));
    }
}

fn detection(spec: &Outlier) -> OutlierDetection {
    let default = OutlierDetection::default();
    let base = spec.base_ejection_time.map_or(default.base_ejection_time, |span| span.0);
    OutlierDetection {
        consecutive_5xx: spec.consecutive_5xx.unwrap_or(default.consecutive_5xx),
        consecutive_gateway_failure: spec
            .consecutive_gateway_failure
            .unwrap_or(default.consecutive_gateway_failure),
        enforcing_consecutive_gateway_failure: if spec.consecutive_gateway_failure.is_some() {
            100
        } else {
            0
        },
        interval: spec.interval.map_or(default.interval, |span| span.0),
        base_ejection_time: base,
        max_ejection_time: spec.max_ejection_time.map_or(default.max_ejection_time, |span| span.0).max(base),
        max_ejection_percent: spec.max_ejection_percent.unwrap_or(default.max_ejection_percent),
        // What a policy does not ask for does not happen.
        success_rate: match &spec.success_rate {
            None => SuccessRate { enforcing: 0, ..default.success_rate },
            Some(rate) => SuccessRate {
                hosts_min: rate.min_hosts.unwrap_or(default.success_rate.hosts_min),
                requests_min: rate.min_requests.unwrap_or(default.success_rate.requests_min),
                deviation_factor: rate.deviation_factor.unwrap_or(default.success_rate.deviation_factor),
                ..default.success_rate
            },
        },
        failure_percentage: match &spec.failure_percentage {
            None => default.failure_percentage,
            Some(share) => FailurePercentage {
                enforcing: 100,
                threshold: share.threshold,
                hosts_min: share.min_hosts.unwrap_or(default.failure_percentage.hosts_min),
                requests_min: share.min_requests.unwrap_or(default.failure_percentage.requests_min),
                ..default.failure_percentage
            },
        },
        ..default
    }
}
