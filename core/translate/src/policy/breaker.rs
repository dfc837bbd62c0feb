//! Breakers with states.

use selvedge_model::policy::{Breaker, BreakerBounds};
use selvedge_traffic::{BreakerConfig, BreakerPolicy};

pub(super) fn policy(spec: &Breaker) -> BreakerPolicy {
    BreakerPolicy { endpoint: spec.endpoint.as_ref().map(config), cluster: spec.service.as_ref().map(config) }
}

fn config(spec: &BreakerBounds) -> BreakerConfig {
    let default = BreakerConfig::default();
    let open_time = spec.open_time.map_or(default.open_time, |span| span.0);
    BreakerConfig {
        failures_in_a_row: spec.consecutive_failures.unwrap_or(default.failures_in_a_row),
        failure_percent: spec.failure_percent.unwrap_or(default.failure_percent),
        requests_min: spec.min_requests.unwrap_or(default.requests_min),
        window: spec.window.map_or(default.window, |span| span.0),
        open_time,
        open_time_max: spec.max_open_time.map_or(default.open_time_max, |span| span.0).max(open_time),
        probes: spec.probes.unwrap_or(default.probes),
    }
}
