//! Outlier detection: hosts that misbehave leave the rotation for a while.
//!
//! Each host has a [`Streak`] that any worker may count on; what it detects goes to the cluster's one [`Detector`],
//! which ejects and, at each interval, takes back.

pub mod detector;
pub mod streak;

pub use detector::{Detector, Ejection};
pub use streak::{Detection, Interval, Outcome, Streak};

use std::time::Duration;

use serde::Serialize;

/// Envoy's `config.cluster.v3.OutlierDetection`, the parts that are spoken.
///
/// Percentages are 0–100; those called `enforcing` tell how many of the detected ejections happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OutlierDetection {
    /// 5xx answers in a row (gateway errors and local failures among them) that eject a host.
    pub consecutive_5xx: u32,
    /// 502, 503, 504 in a row.
    pub consecutive_gateway_failure: u32,
    /// How often ejected hosts are looked at again.
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    /// At most this share of all hosts is out: `100 * (ejected + 1) / hosts <= max`.
    pub max_ejection_percent: u32,
    /// Even where the share allows none, one host may be out.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub always_eject_one_host: bool,
    /// Up to so much is added to each ejection.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub ejection_time_jitter: Duration,
    /// A passed active health check ends an ejection.
    pub unejected_by_health_check: bool,
    pub enforcing_consecutive_5xx: u32,
    pub enforcing_consecutive_gateway_failure: u32,
    /// What went wrong on this side (no connection, no answer in time) is judged apart from what hosts answer.
    pub split_local_origin: bool,
    /// With the split: local failures in a row.
    pub consecutive_local_origin_failure: u32,
    pub enforcing_consecutive_local_origin_failure: u32,
    pub success_rate: SuccessRate,
    pub failure_percentage: FailurePercentage,
}

/// Hosts whose rate of success in an interval falls behind the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SuccessRate {
    pub enforcing: u32,
    pub enforcing_local_origin: u32,
    /// Hosts with enough requests that there must be.
    pub hosts_min: u32,
    /// Requests of an interval that make a host take part.
    pub requests_min: u32,
    /// Thousandths of the standard deviation that a host may stay below the mean.
    pub deviation_factor: u32,
}

/// Hosts that fail too large a part of an interval's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FailurePercentage {
    pub enforcing: u32,
    pub enforcing_local_origin: u32,
    /// From this part on a host is out.
    pub threshold: u32,
    pub hosts_min: u32,
    pub requests_min: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self {
            enforcing: 100,
            enforcing_local_origin: 100,
            hosts_min: 5,
            requests_min: 100,
            deviation_factor: 1900,
        }
    }
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self { enforcing: 0, enforcing_local_origin: 0, threshold: 85, hosts_min: 5, requests_min: 50 }
    }
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            always_eject_one_host: false,
            ejection_time_jitter: Duration::ZERO,
            unejected_by_health_check: true,
            enforcing_consecutive_5xx: 100,
            enforcing_consecutive_gateway_failure: 0,
            split_local_origin: false,
            consecutive_local_origin_failure: 5,
            enforcing_consecutive_local_origin_failure: 100,
            success_rate: SuccessRate::default(),
            failure_percentage: FailurePercentage::default(),
        }
    }
}
