//! Outlier detection: hosts that misbehave leave the rotation for a while.
//!
//! Each host has a [`Streak`] that any worker may count on; what it detects goes to the cluster's one [`Detector`],
//! which ejects and, at each interval, takes back.

pub mod detector;
pub mod streak;

pub use detector::{Detector, Ejection};
pub use streak::{Detection, Outcome, Streak};

use std::time::Duration;

use serde::Serialize;

/// Envoy's `config.cluster.v3.OutlierDetection`, the parts that are spoken.
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
    /// 0–100: how many of the detected ejections happen.
    pub enforcing_consecutive_5xx: u32,
    pub enforcing_consecutive_gateway_failure: u32,
    pub enforcing_success_rate: u32,
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
            enforcing_consecutive_5xx: 100,
            enforcing_consecutive_gateway_failure: 0,
            enforcing_success_rate: 100,
        }
    }
}
