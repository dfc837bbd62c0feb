//! Outlier detection applied: one task a cluster, which ejects hosts and takes them back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use selvedge_telemetry::ClusterStats;
use selvedge_traffic::OutlierDetection;
use selvedge_traffic::outlier::detector::success_rate_outliers;
use selvedge_traffic::outlier::{Detection, Detector, Ejection};
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::host::{HealthFlag, Host};
use crate::random;

/// Decides on detections and returns hosts at each interval, until the cluster is gone.
pub(crate) async fn run(
    cluster: Weak<Cluster>,
    config: OutlierDetection,
    mut detections: mpsc::Receiver<(u64, Detection)>,
) {
    let mut detector = Detector::new(config);
    let mut interval = tokio::time::interval(config.interval.max(std::time::Duration::from_millis(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval.tick().await;
    loop {
        tokio::select! {
            detected = detections.recv() => {
                let Some((host, detection)) = detected else { return };
                let Some(cluster) = cluster.upgrade() else { return };
                detect(&cluster, &mut detector, host, detection);
            }
            _ = interval.tick() => {
                let Some(cluster) = cluster.upgrade() else { return };
                tick(&cluster, &mut detector);
            }
        }
    }
}

fn detect(cluster: &Cluster, detector: &mut Detector<u64>, id: u64, detection: Detection) {
    let hosts = hosts(cluster);
    let Some(host) = hosts.get(&id) else { return };
    let stats: &ClusterStats = &cluster.stats;
    match detection {
        Detection::Consecutive5xx => stats.ejections_detected_consecutive_5xx.inc(),
        Detection::ConsecutiveGatewayFailure => stats.ejections_detected_consecutive_gateway_failure.inc(),
        Detection::SuccessRate => stats.ejections_detected_success_rate.inc(),
    }
    match detector.handle_detected(id, detection, Instant::now(), hosts.len(), random::next()) {
        Ejection::Ejected => {
            stats.ejections_enforced_total.inc();
            stats.ejections_total.inc();
            match detection {
                Detection::Consecutive5xx => {
                    stats.ejections_enforced_consecutive_5xx.inc();
                    stats.ejections_consecutive_5xx.inc();
                }
                Detection::ConsecutiveGatewayFailure => {
                    stats.ejections_enforced_consecutive_gateway_failure.inc()
                }
                Detection::SuccessRate => {
                    stats.ejections_enforced_success_rate.inc();
                    stats.ejections_success_rate.inc();
                }
            }
            tracing::info!(cluster = &*cluster.name, host = %host.address, ?detection, "host ejected");
            host.set_flag(HealthFlag::FailedOutlierCheck, true);
            cluster.health_changed();
        }
        Ejection::Overflow => stats.ejections_overflow.inc(),
        Ejection::AlreadyOut | Ejection::NotEnforced => {}
    }
    count_active(stats, detector);
}

fn tick(cluster: &Cluster, detector: &mut Detector<u64>) {
    let hosts = hosts(cluster);
    detector.retain(|host| hosts.contains_key(host));
    let now = Instant::now();
    // A passed health check brings a host back before its time is served.
    let mut returned: Vec<u64> = hosts
        .values()
        .filter(|host| detector.is_ejected(&host.id) && !host.has_flag(HealthFlag::FailedOutlierCheck))
        .map(|host| host.id)
        .collect();
    returned.retain(|host| detector.handle_healthy(host, now));
    returned.extend(detector.handle_interval(now));
    for host in returned.iter().filter_map(|id| hosts.get(id)) {
        host.set_flag(HealthFlag::FailedOutlierCheck, false);
        host.streak().into_iter().for_each(|streak| streak.clear());
    }
    if !returned.is_empty() {
        cluster.health_changed();
    }
    let buckets: Vec<(u64, u32, u32)> = hosts
        .values()
        .filter_map(|host| host.streak().map(|streak| (host.id, streak.take_bucket())))
        .map(|(id, (requests, successes))| (id, requests, successes))
        .collect();
    for host in success_rate_outliers(&buckets) {
        detect(cluster, detector, host, Detection::SuccessRate);
    }
    count_active(&cluster.stats, detector);
}

fn count_active(stats: &ClusterStats, detector: &Detector<u64>) {
    stats.ejections_active.set(u64::try_from(detector.ejected()).unwrap_or(u64::MAX));
}

fn hosts(cluster: &Cluster) -> HashMap<u64, Arc<Host>> {
    cluster.hosts().members.iter().map(|member| (member.host.id, Arc::clone(&member.host))).collect()
}
