//! What happened to hosts, an event a line, in the words of Envoy's event logs: ejections, and health checks that changed
//! something.
//!
//! Sources: `envoy.data.cluster.v3.OutlierDetectionEvent` and `envoy.data.core.v3.HealthCheckEvent` as Envoy writes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use selvedge_traffic::Locality;
use selvedge_traffic::outlier::Detection;
use serde_json::{Map, Value, json};

use crate::access_log::{LogFile, iso_time};

/// One file of events, which is written as access logs are: buffered, bounded, never waited for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventLog {
    file: Arc<LogFile>,
}

/// A host that was taken out, or would have been, or came back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierEvent<'a> {
    pub cluster: &'a str,
    pub host: SocketAddr,
    /// How often it has been taken out, this time included.
    pub ejections: u32,
    /// Since it came back before it was taken out, or since it was taken out before it came back.
    pub since_last: Option<Duration>,
    pub action: OutlierAction,
}

/// What outlier detection did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutlierAction {
    /// `enforced` tells whether the host is out: a part of the detections may only be noted.
    Eject {
        why: OutlierReason,
        enforced: bool,
    },
    Uneject,
}

/// By what a host was found; rates are percentages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutlierReason {
    /// So many failures in a row.
    Row(Detection),
    /// A rate of success too far below the others'.
    SuccessRate { detection: Detection, host: f64, average: f64, threshold: f64 },
    /// Too large a share of failures; `host` is the rate of success.
    FailurePercentage { detection: Detection, host: f64 },
}

/// A probe's end that somebody may want to read about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthEvent<'a> {
    pub cluster: &'a str,
    pub host: SocketAddr,
    pub locality: Option<&'a Locality>,
    /// `HTTP`, `GRPC` or `TCP`.
    pub checker: &'a str,
    pub change: HealthChange,
}

/// What the probe showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// The host was healthy and is not.
    EjectUnhealthy {
        failure: HealthFailure,
        status: u16,
    },
    AddHealthy {
        first: bool,
    },
    Failure {
        failure: HealthFailure,
        first: bool,
        status: u16,
    },
    Success,
}

/// How a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthFailure {
    /// An answer, but not the one that passes.
    Active,
    Network,
    NetworkTimeout,
}

// === impl EventLog ===

impl EventLog {
    pub(crate) fn new(file: Arc<LogFile>) -> Self {
        Self { file }
    }

    /// Writes an event of outlier detection that happened at `at`.
    pub fn outlier(&self, event: &OutlierEvent<'_>, at: SystemTime) {
        self.write(event.to_json(at));
    }

    /// Writes an event of a health check that happened at `at`.
    pub fn health(&self, event: &HealthEvent<'_>, at: SystemTime) {
        self.write(event.to_json(at));
    }

    fn write(&self, members: Map<String, Value>) {
        self.file.append(|out| {
            out.extend_from_slice(Value::from(members).to_string().as_bytes());
            out.push(b'\n');
        });
    }
}

// === impl OutlierEvent ===

impl OutlierEvent<'_> {
    fn to_json(self, at: SystemTime) -> Map<String, Value> {
        let (kind, action, enforced) = match self.action {
            OutlierAction::Eject { why, enforced } => (why.detection(), "EJECT", enforced),
            // What it came back from is not said: the first of the kinds stands for none.
            OutlierAction::Uneject => (Detection::Consecutive5xx, "UNEJECT", false),
        };
        let mut members = Map::new();
        members.insert("type".to_owned(), kind_name(kind).into());
        members.insert("timestamp".to_owned(), iso_time(at).into());
        if let Some(since) = self.since_last {
            // A 64-bit number of protobuf's is a text in JSON.
            members.insert("secs_since_last_action".to_owned(), since.as_secs().to_string().into());
        }
        members.insert("cluster_name".to_owned(), self.cluster.into());
        members.insert("upstream_url".to_owned(), self.host.to_string().into());
        members.insert("action".to_owned(), action.into());
        members.insert("num_ejections".to_owned(), self.ejections.into());
        members.insert("enforced".to_owned(), enforced.into());
        if let OutlierAction::Eject { why, .. } = self.action {
            let (name, details) = why.details();
            members.insert(name.to_owned(), details);
        }
        members
    }
}

impl OutlierReason {
    pub fn detection(self) -> Detection {
        match self {
            Self::Row(detection)
            | Self::SuccessRate { detection, .. }
            | Self::FailurePercentage { detection, .. } => detection,
        }
    }

    fn details(self) -> (&'static str, Value) {
        // Percentages without their fractions, as the message has them.
        let whole = |rate: f64| rate.clamp(0.0, 100.0) as u32;
        match self {
            Self::Row(_) => ("eject_consecutive_event", json!({})),
            Self::SuccessRate { host, average, threshold, .. } => (
                "eject_success_rate_event",
                json!({
                    "host_success_rate": whole(host),
                    "cluster_average_success_rate": whole(average),
                    "cluster_success_rate_ejection_threshold": whole(threshold),
                }),
            ),
            Self::FailurePercentage { host, .. } => {
                ("eject_failure_percentage_event", json!({ "host_success_rate": whole(host) }))
            }
        }
    }
}

fn kind_name(detection: Detection) -> &'static str {
    match detection {
        Detection::Consecutive5xx => "CONSECUTIVE_5XX",
        Detection::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
        Detection::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
        Detection::SuccessRate => "SUCCESS_RATE",
        Detection::SuccessRateLocalOrigin => "SUCCESS_RATE_LOCAL_ORIGIN",
        Detection::FailurePercentage => "FAILURE_PERCENTAGE",
        Detection::FailurePercentageLocalOrigin => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
    }
}

// === impl HealthEvent ===

impl HealthEvent<'_> {
    fn to_json(self, at: SystemTime) -> Map<String, Value> {
        let (name, details) = match self.change {
            HealthChange::EjectUnhealthy { failure, status } => (
                "eject_unhealthy_event",
                json!({ "failure_type": failure.name(), "http_status_code": status }),
            ),
            HealthChange::AddHealthy { first } => ("add_healthy_event", json!({ "first_check": first })),
            HealthChange::Failure { failure, first, status } => (
                "health_check_failure_event",
                json!({
                    "failure_type": failure.name(), "first_check": first, "http_status_code": status,
                }),
            ),
            HealthChange::Success => ("successful_health_check_event", json!({})),
        };
        let host = json!({ "socket_address": {
            "protocol": "TCP",
            "address": self.host.ip().to_string(),
            "port_value": self.host.port(),
            "resolver_name": "",
            "ipv4_compat": false,
            "network_namespace_filepath": "",
        } });
        let place = |part: fn(&Locality) -> &str| self.locality.map(part).unwrap_or_default();
        let locality = json!({
            "region": place(|at| &at.region),
            "zone": place(|at| &at.zone),
            "sub_zone": place(|at| &at.sub_zone),
        });
        Map::from_iter(
            [
                ("health_checker_type", self.checker.into()),
                ("host", host),
                ("cluster_name", self.cluster.into()),
                (name, details),
                ("timestamp", iso_time(at).into()),
                ("locality", locality),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }
}

impl HealthFailure {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Network => "NETWORK",
            Self::NetworkTimeout => "NETWORK_TIMEOUT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_855_696_993)
    }

    fn host() -> SocketAddr {
        "127.0.0.1:18431".parse().expect("an address")
    }

    /// Lines that a real Envoy 1.40 wrote, or would.
    #[test]
    fn events_of_ejections_are_envoys() {
        let event = |action, ejections, since_last| {
            let event = OutlierEvent { cluster: "a", host: host(), ejections, since_last, action };
            Value::from(event.to_json(at()))
        };
        let eject = |why| OutlierAction::Eject { why, enforced: true };
        let rows = [
            (
                event(eject(OutlierReason::Row(Detection::Consecutive5xx)), 1, None),
                json!({"type": "CONSECUTIVE_5XX", "timestamp": "2026-11-28T08:48:16.993Z", "cluster_name": "a",
                    "upstream_url": "127.0.0.1:18431", "action": "EJECT", "num_ejections": 1, "enforced": true,
                    "eject_consecutive_event": {}}),
            ),
            (
                event(OutlierAction::Uneject, 1, Some(Duration::from_millis(700))),
                json!({"type": "CONSECUTIVE_5XX", "timestamp": "2026-11-28T08:48:16.993Z",
                    "secs_since_last_action": "0", "cluster_name": "a", "upstream_url": "127.0.0.1:18431",
                    "action": "UNEJECT", "num_ejections": 1, "enforced": false}),
            ),
            (
                event(
                    eject(OutlierReason::SuccessRate {
                        detection: Detection::SuccessRate,
                        host: 0.0,
                        average: 66.7,
                        threshold: 19.5,
                    }),
                    2,
                    Some(Duration::from_secs(61)),
                ),
                json!({"type": "SUCCESS_RATE", "timestamp": "2026-11-28T08:48:16.993Z",
                    "secs_since_last_action": "61", "cluster_name": "a", "upstream_url": "127.0.0.1:18431",
                    "action": "EJECT", "num_ejections": 2, "enforced": true, "eject_success_rate_event": {
                        "host_success_rate": 0, "cluster_average_success_rate": 66,
                        "cluster_success_rate_ejection_threshold": 19}}),
            ),
        ];
        for (event, expected) in rows {
            assert_eq!(event, expected);
        }
    }

    #[test]
    fn events_of_probes_are_envoys() {
        let locality = Locality { region: "r".to_owned(), zone: "z".to_owned(), sub_zone: String::new() };
        let event = HealthEvent {
            cluster: "b",
            host: host(),
            locality: Some(&locality),
            checker: "HTTP",
            change: HealthChange::EjectUnhealthy { failure: HealthFailure::Active, status: 503 },
        };
        let expected = json!({"health_checker_type": "HTTP",
            "host": {"socket_address": {"protocol": "TCP", "address": "127.0.0.1", "port_value": 18431,
                "resolver_name": "", "ipv4_compat": false, "network_namespace_filepath": ""}},
            "cluster_name": "b", "eject_unhealthy_event": {"failure_type": "ACTIVE", "http_status_code": 503},
            "timestamp": "2026-11-28T08:48:16.993Z", "locality": {"region": "r", "zone": "z", "sub_zone": ""}});
        assert_eq!(Value::from(event.to_json(at())), expected);
    }
}
