//! `cluster.<name>.…`

use super::{Group, Statistic};
use crate::Sharded;

/// Statistics that Envoy makes only with the feature behind them, or at their first use: hidden while zero.
pub(crate) fn is_lazy(name: &str) -> bool {
    name.starts_with("health_check.")
        || name.starts_with("outlier_detection.")
        || name.ends_with("upstream_rq_time")
}

/// Whether a reader who asked only for what has been used wants to hear of a cluster: it has had traffic, or not all of
/// its hosts are well. A configuration of thousands of idle clusters is worth no series. Whoever counts what makes the upkeep
/// noteworthy tells it ([`Sharded::tell`]).
pub(crate) fn is_noteworthy(group: &Sharded<ClusterStats>, upkeep: Option<&Sharded<ClusterUpkeep>>) -> bool {
    let (mut total, mut healthy, mut moved) = (0, 0, false);
    for shard in upkeep.into_iter().flat_map(Sharded::shards) {
        total += shard.membership_total.value();
        healthy += shard.membership_healthy.value();
        moved |= shard.health_check_attempt.value() > 0;
    }
    for shard in group.shards() {
        shard.visit(&mut |_, statistic| {
            moved |= match statistic {
                Statistic::Counter(counter) | Statistic::Code(_, counter) => counter.value() > 0,
                Statistic::Gauge(gauge) => gauge.value() != 0,
                Statistic::Histogram(histogram) => !histogram.is_empty(),
            };
        });
    }
    moved || healthy != total
}

super::stat_group! {
    /// Statistics of one upstream cluster's traffic.
    pub struct ClusterStats {
        counters {
            bind_errors,
            breaker_cluster_opened = "breaker.cluster_opened",
            breaker_endpoint_opened = "breaker.endpoint_opened",
            breaker_rejected = "breaker.rejected",
            lb_healthy_panic,
            lb_recalculate_zone_structures,
            lb_subsets_fallback,
            lb_subsets_selected,
            lb_zone_cluster_too_small,
            lb_zone_no_capacity_left,
            lb_zone_routing_all_directly,
            lb_zone_routing_cross_zone,
            lb_zone_routing_sampled,
            original_dst_host_invalid,
            ejections_consecutive_5xx = "outlier_detection.ejections_consecutive_5xx",
            ejections_detected_consecutive_5xx = "outlier_detection.ejections_detected_consecutive_5xx",
            ejections_detected_consecutive_gateway_failure = "outlier_detection.ejections_detected_consecutive_gateway_failure",
            ejections_detected_consecutive_local_origin_failure = "outlier_detection.ejections_detected_consecutive_local_origin_failure",
            ejections_detected_degradation = "outlier_detection.ejections_detected_degradation",
            ejections_detected_failure_percentage = "outlier_detection.ejections_detected_failure_percentage",
            ejections_detected_local_origin_failure_percentage = "outlier_detection.ejections_detected_local_origin_failure_percentage",
            ejections_detected_local_origin_success_rate = "outlier_detection.ejections_detected_local_origin_success_rate",
            ejections_detected_success_rate = "outlier_detection.ejections_detected_success_rate",
            ejections_enforced_consecutive_5xx = "outlier_detection.ejections_enforced_consecutive_5xx",
            ejections_enforced_consecutive_gateway_failure = "outlier_detection.ejections_enforced_consecutive_gateway_failure",
            ejections_enforced_consecutive_local_origin_failure = "outlier_detection.ejections_enforced_consecutive_local_origin_failure",
            ejections_enforced_failure_percentage = "outlier_detection.ejections_enforced_failure_percentage",
            ejections_enforced_local_origin_failure_percentage = "outlier_detection.ejections_enforced_local_origin_failure_percentage",
            ejections_enforced_local_origin_success_rate = "outlier_detection.ejections_enforced_local_origin_success_rate",
            ejections_enforced_success_rate = "outlier_detection.ejections_enforced_success_rate",
            ejections_enforced_total = "outlier_detection.ejections_enforced_total",
            ejections_overflow = "outlier_detection.ejections_overflow",
            ejections_success_rate = "outlier_detection.ejections_success_rate",
            ejections_total = "outlier_detection.ejections_total",
            http2_keepalive_timeout = "http2.keepalive_timeout",
            retry_or_shadow_abandoned,
            upstream_cx_close_notify,
            upstream_cx_connect_attempts_exceeded,
            upstream_cx_connect_fail,
            upstream_cx_connect_timeout,
            upstream_cx_destroy,
            upstream_cx_destroy_local,
            upstream_cx_destroy_local_with_active_rq,
            upstream_cx_destroy_remote,
            upstream_cx_destroy_remote_with_active_rq,
            upstream_cx_destroy_with_active_rq,
            upstream_cx_http1_total,
            upstream_cx_http2_total,
            upstream_cx_http3_total,
            upstream_cx_idle_timeout,
            upstream_cx_max_duration_reached,
            upstream_cx_max_requests,
            upstream_cx_none_healthy,
            upstream_cx_overflow,
            upstream_cx_pool_overflow,
            upstream_cx_preconnect_skipped,
            upstream_cx_protocol_error,
            upstream_cx_rx_bytes_total,
            upstream_cx_total,
            upstream_cx_tx_bytes_total,
            upstream_flow_control_backed_up_total,
            upstream_flow_control_drained_total,
            upstream_flow_control_paused_reading_total,
            upstream_flow_control_resumed_reading_total,
            upstream_internal_redirect_failed_total,
            upstream_internal_redirect_succeeded_total,
            upstream_queue_overloaded,
            upstream_rq_active_overflow,
            upstream_rq_cancelled,
            upstream_rq_maintenance_mode,
            upstream_rq_max_duration_reached,
            upstream_rq_pending_failure_eject,
            upstream_rq_pending_overflow,
            upstream_rq_pending_total,
            upstream_rq_per_try_idle_timeout,
            upstream_rq_retry_stale_connection,
            upstream_rq_per_try_timeout,
            upstream_rq_retry,
            upstream_rq_retry_backoff_exponential,
            upstream_rq_retry_backoff_ratelimited,
            upstream_rq_retry_limit_exceeded,
            upstream_rq_retry_overflow,
            upstream_rq_retry_success,
            upstream_rq_rx_reset,
            upstream_rq_rx_reset_no_error,
            upstream_rq_timeout,
            upstream_rq_total,
            upstream_rq_tx_reset,
        }
        gauges {
            default_cx_open = "circuit_breakers.default.cx_open",
            default_cx_pool_open = "circuit_breakers.default.cx_pool_open",
            default_rq_open = "circuit_breakers.default.rq_open",
            default_rq_pending_open = "circuit_breakers.default.rq_pending_open",
            default_rq_retry_open = "circuit_breakers.default.rq_retry_open",
            high_cx_open = "circuit_breakers.high.cx_open",
            high_cx_pool_open = "circuit_breakers.high.cx_pool_open",
            high_rq_open = "circuit_breakers.high.rq_open",
            high_rq_pending_open = "circuit_breakers.high.rq_pending_open",
            high_rq_retry_open = "circuit_breakers.high.rq_retry_open",
            breaker_cluster_half_open = "breaker.cluster_half_open",
            breaker_cluster_open = "breaker.cluster_open",
            breaker_endpoints_half_open = "breaker.endpoints_half_open",
            breaker_endpoints_open = "breaker.endpoints_open",
            ejections_active = "outlier_detection.ejections_active",
            upstream_cx_active,
            upstream_cx_rx_bytes_buffered,
            upstream_cx_tx_bytes_buffered,
            upstream_rq_active,
            upstream_rq_pending_active,
        }
        histograms {
            external_upstream_rq_time = "external.upstream_rq_time",
            internal_upstream_rq_time = "internal.upstream_rq_time",
            upstream_cx_connect_ms,
            upstream_cx_length_ms,
            upstream_rq_per_cx,
            upstream_rq_time,
        }
        codes {
            rq = "",
            external = "external.",
            internal = "internal.",
            retry = "retry.",
        }
    }
}

super::stat_group! {
    /// … and of its upkeep: what moves without any traffic, on the control thread. Apart, so that a cluster that nobody
    /// calls need not hold the others.
    pub struct ClusterUpkeep {
        counters {
            assignment_stale,
            assignment_timeout_received,
            assignment_use_cached,
            health_check_attempt = "health_check.attempt",
            health_check_failure = "health_check.failure",
            health_check_network_failure = "health_check.network_failure",
            health_check_passive_failure = "health_check.passive_failure",
            health_check_success = "health_check.success",
            health_check_verify_cluster = "health_check.verify_cluster",
            init_fetch_timeout,
            membership_change,
            update_attempt,
            update_empty,
            update_failure,
            update_no_rebuild,
            update_rejected,
            update_success,
        }
        gauges {
            health_check_degraded = "health_check.degraded",
            health_check_healthy = "health_check.healthy",
            max_host_weight,
            membership_degraded,
            membership_excluded,
            membership_healthy,
            membership_total,
            version,
            warming_state,
        }
        histograms {}
        codes {}
    }
}
