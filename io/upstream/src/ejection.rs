//! Outlier detection applied: one task a cluster, which ejects hosts and takes them back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use selvedge_telemetry::events::{EventLog, OutlierAction, OutlierEvent, OutlierReason};
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
    log: Option<EventLog>,
) {
    let mut judge = Judge { detector: Detector::new(config), config, log };
    let mut interval = tokio::time::interval(config.interval.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval.tick().await;
    loop {
        tokio::select! {
            detected = detections.recv() => {
                let Some((host, detection)) = detected else { return };
                let Some(cluster) = cluster.upgrade() else { return };
                judge.detect(&cluster, host, OutlierReason::Row(detection));
            }
            _ = interval.tick() => {
                let Some(cluster) = cluster.upgrade() else { return };
                judge.tick(&cluster);
            }
        }
    }
}

/// Who judges the hosts of one cluster.
struct Judge {
    detector: Detector<u64>,
    config: OutlierDetection,
    log: Option<EventLog>,
}

impl Judge {
    fn detect(&mut self, cluster: &Arc<Cluster>, id: u64, why: OutlierReason) {
        let hosts = hosts(cluster);
        let Some(host) = hosts.get(&id) else { return };
        if self.detector.is_ejected(&id) {
            return;
        }
        let (stats, detection): (&ClusterStats, _) = (&cluster.stats, why.detection());
        detected(stats, detection).inc();
        match detection {
            Detection::Consecutive5xx => stats.ejections_consecutive_5xx.inc(),
            Detection::SuccessRate => stats.ejections_success_rate.inc(),
            _ => {}
        }
        if let Some(streak) = host.streak() {
            streak.clear_row(detection);
        }
        let now = Instant::now();
        let ejection = self.detector.handle_detected(id, detection, now, hosts.len(), random::next());
        if matches!(ejection, Ejection::Ejected | Ejection::NotEnforced)
            && matches!(detection, Detection::Consecutive5xx | Detection::SuccessRate)
        {
            stats.ejections_total.inc();
        }
        let eject = |enforced| OutlierAction::Eject { why, enforced };
        let since = self.detector.returned_at(&id).map(|at| now - at);
        match ejection {
            Ejection::Ejected => {
                stats.ejections_enforced_total.inc();
                enforced(stats, detection).inc();
                tracing::info!(cluster = &*cluster.name, host = %host.address, ?detection, "host ejected");
                host.set_flag(HealthFlag::FailedOutlierCheck, true);
                cluster.health_changed();
                self.tell(cluster, host, since, eject(true));
            }
            Ejection::NotEnforced => self.tell(cluster, host, since, eject(false)),
            Ejection::Overflow => stats.ejections_overflow.inc(),
            Ejection::AlreadyOut => {}
        }
        self.count_active(stats);
    }

    fn tell(&self, cluster: &Cluster, host: &Host, since_last: Option<Duration>, action: OutlierAction) {
        let Some(log) = &self.log else { return };
        let ejections = self.detector.ejections(&host.id);
        let event =
            OutlierEvent { cluster: &cluster.name, host: host.address, ejections, since_last, action };
        log.outlier(&event, SystemTime::now());
    }

    fn tick(&mut self, cluster: &Arc<Cluster>) {
        let hosts = hosts(cluster);
        let detector = &mut self.detector;
        detector.retain(|host| hosts.contains_key(host));
        let now = Instant::now();
        let out: HashMap<u64, Instant> =
            hosts.keys().filter_map(|id| Some((*id, detector.ejected_at(id)?))).collect();
        // A passed health check brings a host back before its time is served.
        let mut returned: Vec<u64> = hosts
            .values()
            .filter(|host| out.contains_key(&host.id) && !host.has_flag(HealthFlag::FailedOutlierCheck))
            .map(|host| host.id)
            .collect();
        returned.retain(|host| detector.handle_healthy(host, now));
        returned.extend(detector.handle_interval(now));
        for host in returned.iter().filter_map(|id| hosts.get(id)) {
            host.set_flag(HealthFlag::FailedOutlierCheck, false);
            host.streak().into_iter().for_each(|streak| streak.clear());
            host.became_healthy();
            tracing::info!(cluster = &*cluster.name, host = %host.address, "host returns");
            let since = out.get(&host.id).map(|at| now - *at);
            self.tell(cluster, host, since, OutlierAction::Uneject);
        }
        if !returned.is_empty() {
            cluster.health_changed();
        }
        self.judge_interval(cluster, &hosts);
        self.count_active(&cluster.stats);
    }

    /// Ejects who did worse than may be in the interval that has ended; who is out already is not judged.
    fn judge_interval(&mut self, cluster: &Arc<Cluster>, hosts: &HashMap<u64, Arc<Host>>) {
        let config = self.config;
        let mut intervals = [Vec::new(), Vec::new()];
        let volume_min = config.success_rate.requests_min.min(config.failure_percentage.requests_min);
        for host in hosts.values() {
            let Some(streak) = host.streak() else { continue };
            let sides = [streak.take_external(), streak.take_local()];
            let in_service = !self.detector.is_ejected(&host.id);
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
            let rate_of = |id: u64| {
                let interval = intervals.iter().find(|(host, _)| *host == id);
                interval.and_then(|(_, interval)| interval.success_rate()).unwrap_or_default()
            };
            let judgement = judge(&config, intervals);
            let (average, threshold) = judgement.success_rate.unwrap_or_default();
            for id in judgement.by_success_rate {
                let (detection, host) = (success_rate, rate_of(id));
                let why = OutlierReason::SuccessRate { detection, host, average, threshold };
                self.detect(cluster, id, why);
            }
            for id in judgement.by_failure_percentage {
                let why =
                    OutlierReason::FailurePercentage { detection: failure_percentage, host: rate_of(id) };
                self.detect(cluster, id, why);
            }
        }
    }

    fn count_active(&self, stats: &ClusterStats) {
        stats.ejections_active.set(u64::try_from(self.detector.ejected()).unwrap_or(u64::MAX));
    }
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

fn hosts(cluster: &Cluster) -> HashMap<u64, Arc<Host>> {
    cluster.hosts().members.iter().map(|member| (member.host.id, Arc::clone(&member.host))).collect()
}
