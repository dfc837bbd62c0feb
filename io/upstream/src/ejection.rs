//! Outlier detection applied: one task a cluster, which ejects hosts and takes them back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use selvedge_telemetry::{ClusterStats, Counter};
use selvedge_traffic::OutlierDetection;
use selvedge_traffic::outlier::detector::judge;
use selvedge_traffic::outlier::{Detection, Detector, Ejection, Interval};
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
                tick(&cluster, &mut detector, &config);
            }
        }
    }
}

fn detect(cluster: &Arc<Cluster>, detector: &mut Detector<u64>, id: u64, detection: Detection) {
    let hosts = hosts(cluster);
    let Some(host) = hosts.get(&id) else { return };
    if detector.is_ejected(&id) {
        return;
    }
    let stats: &ClusterStats = &cluster.stats;
    detected(stats, detection).inc();
    match detection {
        Detection::Consecutive5xx => stats.ejections_consecutive_5xx.inc(),
        Detection::SuccessRate => stats.ejections_success_rate.inc(),
        _ => {}
    }
    if let Some(streak) = host.streak() {
        streak.clear_row(detection);
    }
    let ejection = detector.handle_detected(id, detection, Instant::now(), hosts.len(), random::next());
    if matches!(ejection, Ejection::Ejected | Ejection::NotEnforced)
        && matches!(detection, Detection::Consecutive5xx | Detection::SuccessRate)
    {
        stats.ejections_total.inc();
    }
    match ejection {
        Ejection::Ejected => {
            stats.ejections_enforced_total.inc();
            enforced(stats, detection).inc();
            tracing::info!(cluster = &*cluster.name, host = %host.address, ?detection, "host ejected");
            host.set_flag(HealthFlag::FailedOutlierCheck, true);
            cluster.health_changed();
        }
        Ejection::Overflow => stats.ejections_overflow.inc(),
        Ejection::AlreadyOut | Ejection::NotEnforced => {}
    }
    count_active(stats, detector);
}

fn detected(stats: &ClusterStats, detection: Detection) -> &Counter {
    match detection {
        Detection::Consecutive5xx => &stats.ejections_detected_consecutive_5xx,
        Detection::ConsecutiveGatewayFailure => &stats.ejections_detected_consecutive_gateway_failure,
        Detection::ConsecutiveLocalOriginFailure => {
            &stats.ejections_detected_consecutive_local_origin_failure
        }
        Detection::SuccessRate => &stats.ejections_detected_success_rate,
        Detection::SuccessRateLocalOrigin => &stats.ejections_detected_local_origin_success_rate,
        Detection::FailurePercentage => &stats.ejections_detected_failure_percentage,
        Detection::FailurePercentageLocalOrigin => &stats.ejections_detected_local_origin_failure_percentage,
    }
}

fn enforced(stats: &ClusterStats, detection: Detection) -> &Counter {
    match detection {
        Detection::Consecutive5xx => &stats.ejections_enforced_consecutive_5xx,
        Detection::ConsecutiveGatewayFailure => &stats.ejections_enforced_consecutive_gateway_failure,
        Detection::ConsecutiveLocalOriginFailure => {
            &stats.ejections_enforced_consecutive_local_origin_failure
        }
        Detection::SuccessRate => &stats.ejections_enforced_success_rate,
        Detection::SuccessRateLocalOrigin => &stats.ejections_enforced_local_origin_success_rate,
        Detection::FailurePercentage => &stats.ejections_enforced_failure_percentage,
        Detection::FailurePercentageLocalOrigin => &stats.ejections_enforced_local_origin_failure_percentage,
    }
}

fn tick(cluster: &Arc<Cluster>, detector: &mut Detector<u64>, config: &OutlierDetection) {
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
        host.became_healthy();
        tracing::info!(cluster = &*cluster.name, host = %host.address, "host returns");
    }
    if !returned.is_empty() {
        cluster.health_changed();
    }
    judge_interval(cluster, detector, config, &hosts);
    count_active(&cluster.stats, detector);
}

/// Ejects who did worse than may be in the interval that has ended; who is out already is not judged.
fn judge_interval(
    cluster: &Arc<Cluster>,
    detector: &mut Detector<u64>,
    config: &OutlierDetection,
    hosts: &HashMap<u64, Arc<Host>>,
) {
    let mut intervals = [Vec::new(), Vec::new()];
    let volume_min = config.success_rate.requests_min.min(config.failure_percentage.requests_min);
    for host in hosts.values() {
        let Some(streak) = host.streak() else { continue };
        let sides = [streak.take_external(), streak.take_local()];
        let in_service = !detector.is_ejected(&host.id);
        let rate =
            |side: &Interval| side.success_rate().filter(|_| in_service && side.requests >= volume_min);
        host.set_success_rates([rate(&sides[0]), rate(&sides[1])]);
        if in_service {
            for (all, side) in intervals.iter_mut().zip(sides) {
                all.push((host.id, side));
            }
        }
    }
    let sorts = [
        [Detection::SuccessRate, Detection::FailurePercentage],
        [Detection::SuccessRateLocalOrigin, Detection::FailurePercentageLocalOrigin],
    ];
    for (intervals, [success_rate, failure_percentage]) in intervals.iter().zip(sorts) {
        let judgement = judge(config, intervals);
        for host in judgement.by_success_rate {
            detect(cluster, detector, host, success_rate);
        }
        for host in judgement.by_failure_percentage {
            detect(cluster, detector, host, failure_percentage);
        }
    }
}

fn count_active(stats: &ClusterStats, detector: &Detector<u64>) {
    stats.ejections_active.set(u64::try_from(detector.ejected()).unwrap_or(u64::MAX));
}

fn hosts(cluster: &Cluster) -> HashMap<u64, Arc<Host>> {
    cluster.hosts().members.iter().map(|member| (member.host.id, Arc::clone(&member.host))).collect()
}
