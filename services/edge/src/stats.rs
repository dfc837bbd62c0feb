//! What the server counts of itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_site::Program;
use selvedge_site::directive::Text;

/// A number that rises, or that rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the request times that are counted, in milliseconds.
const TIMES_MS: [u64; 10] = [1, 5, 10, 25, 50, 100, 250, 1000, 2500, 10_000];

/// The server's counters, of all workers.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) connections: Counter,
    pub(crate) accepted: Counter,
    pub(crate) active: Counter,
    pub(crate) requests: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    /// Heads that were not understood.
    pub(crate) refused: Counter,
    pub(crate) unauthorized: Counter,
    /// Requests beyond a client's rate.
    pub(crate) limited: Counter,
    /// Connections beyond the limit.
    pub(crate) turned_away: Counter,
    /// Spans that a collector has taken, and those that it never got.
    pub(crate) spans_sent: Counter,
    pub(crate) spans_dropped: Counter,
    /// Connections and streams whose serving panicked.
    pub(crate) panics: Counter,
    /// HTTP/2 clients that were sent away.
    pub(crate) floods: Counter,
    pub(crate) handshakes: Counter,
    pub(crate) handshakes_failed: Counter,
    /// Clients that took too long for a head or a body.
    pub(crate) timed_out: Counter,
    pub(crate) reloads: Counter,
    pub(crate) reloads_failed: Counter,
    by_class: [Counter; 5],
    times: [Counter; TIMES_MS.len() + 1],
    time_sum_us: Counter,
}

/// Requests of each route of our own form, by class of status. A route that a configuration keeps goes on counting.
#[derive(Debug, Default)]
pub(crate) struct RouteStats(Box<[(Text, Arc<[Counter; 5]>)]>);

impl RouteStats {
    /// For the routes of a program.
    pub(crate) fn new(program: &Program, before: Option<&Self>) -> Self {
        let before = before.map_or(&[][..], |stats| &stats.0);
        let counters = |name: &Text| {
            before
                .iter()
                .find(|(known, _)| known == name)
                .map_or_else(Arc::default, |(_, one)| Arc::clone(one))
        };
        Self(program.route_names().map(|name| (name.clone(), counters(name))).collect())
    }

    /// Counts a request; `id` is that of what held for it.
    pub(crate) fn request(&self, id: u32, status: u16) {
        let route = usize::try_from(id).ok().and_then(|id| self.0.get(id.wrapping_sub(1)));
        if let Some((_, by_class)) = route
            && let Some(class) = by_class.get(usize::from(status / 100).wrapping_sub(1))
        {
            class.add(1);
        }
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self, out: &mut String) {
        if self.0.is_empty() {
            return;
        }
        out.push_str("# HELP selvedge_edge_route_requests_total Requests by route and class of status.\n# TYPE selvedge_edge_route_requests_total counter\n");
        for (name, by_class) in &self.0 {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            for (class, count) in by_class.iter().enumerate().filter(|(_, count)| count.get() > 0) {
                let (class, count) = (class + 1, count.get());
                let _ = writeln!(
                    out,
                    "selvedge_edge_route_requests_total{{route=\"{name}\",class=\"{class}xx\"}} {count}"
                );
            }
        }
    }
}

/// Some of them at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) connections: u64,
    pub(crate) active: u64,
    pub(crate) requests: u64,
    pub(crate) sent: u64,
}

impl Stats {
    /// Counts a request that is over.
    pub(crate) fn request(&self, status: u16, sent: u64, took: std::time::Duration) {
        self.requests.add(1);
        self.sent.add(sent);
        if let Some(class) = self.by_class.get(usize::from(status / 100).wrapping_sub(1)) {
            class.add(1);
        }
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let place = TIMES_MS.iter().position(|most| milliseconds <= *most).unwrap_or(TIMES_MS.len());
        self.times[place].add(1);
        self.time_sum_us.add(u64::try_from(took.as_micros()).unwrap_or(0));
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.connections.get(),
            active: self.active.get(),
            requests: self.requests.get(),
            sent: self.sent.get(),
        }
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        one("selvedge_edge_connections", "gauge", "Open connections.", self.connections.get());
        one("selvedge_edge_connections_total", "counter", "Accepted connections.", self.accepted.get());
        one(
            "selvedge_edge_connections_turned_away_total",
            "counter",
            "Connections beyond the limit.",
            self.turned_away.get(),
        );
        one(
            "selvedge_edge_spans_sent_total",
            "counter",
            "Spans that the collector has taken.",
            self.spans_sent.get(),
        );
        one(
            "selvedge_edge_spans_dropped_total",
            "counter",
            "Spans that found no room or no collector.",
            self.spans_dropped.get(),
        );
        one(
            "selvedge_edge_panics_total",
            "counter",
            "Connections and HTTP/2 streams whose serving ended in a fault of ours.",
            self.panics.get(),
        );
        one(
            "selvedge_edge_http2_floods_total",
            "counter",
            "HTTP/2 clients that made work and did none, and were sent away.",
            self.floods.get(),
        );
        one("selvedge_edge_requests_active", "gauge", "Requests under way.", self.active.get());
        one(
            "selvedge_edge_requests_refused_total",
            "counter",
            "Requests whose heads were not understood.",
            self.refused.get(),
        );
        one(
            "selvedge_edge_requests_unauthorized_total",
            "counter",
            "Requests with wrong credentials.",
            self.unauthorized.get(),
        );
        one(
            "selvedge_edge_requests_limited_total",
            "counter",
            "Requests beyond a client's rate.",
            self.limited.get(),
        );
        one(
            "selvedge_edge_requests_timed_out_total",
            "counter",
            "Requests that came too slowly.",
            self.timed_out.get(),
        );
        one("selvedge_edge_handshakes_total", "counter", "TLS handshakes.", self.handshakes.get());
        one(
            "selvedge_edge_handshakes_failed_total",
            "counter",
            "TLS handshakes that failed.",
            self.handshakes_failed.get(),
        );
        one("selvedge_edge_reloads_total", "counter", "Configurations put in force.", self.reloads.get());
        one(
            "selvedge_edge_reloads_failed_total",
            "counter",
            "Configurations that were refused.",
            self.reloads_failed.get(),
        );
        one("selvedge_edge_received_bytes_total", "counter", "Bytes from clients.", self.received.get());
        one("selvedge_edge_sent_bytes_total", "counter", "Bytes of bodies to clients.", self.sent.get());
        out.push_str("# HELP selvedge_edge_requests_total Requests by class of status.\n# TYPE selvedge_edge_requests_total counter\n");
        for (class, count) in self.by_class.iter().enumerate() {
            let _ =
                writeln!(out, "selvedge_edge_requests_total{{class=\"{}xx\"}} {}", class + 1, count.get());
        }
        let name = "selvedge_edge_request_seconds";
        let _ = write!(out, "# HELP {name} Time from head to last byte.\n# TYPE {name} histogram\n");
        let mut total = 0;
        for (most, count) in TIMES_MS.iter().zip(&self.times) {
            total += count.get();
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {total}", *most as f64 / 1000.0);
        }
        total += self.times[TIMES_MS.len()].get();
        let sum = self.time_sum_us.get() as f64 / 1e6;
        let _ = write!(out, "{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {sum}\n{name}_count {total}\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_are_counted_by_class_and_time() {
        let stats = Stats::default();
        stats.request(200, 10, Duration::from_millis(3));
        stats.request(503, 5, Duration::from_secs(60));
        let text = stats.prometheus();
        for line in [
            "selvedge_edge_requests_total{class=\"2xx\"} 1",
            "selvedge_edge_requests_total{class=\"5xx\"} 1",
            "selvedge_edge_request_seconds_bucket{le=\"0.001\"} 0",
            "selvedge_edge_request_seconds_bucket{le=\"0.005\"} 1",
            "selvedge_edge_request_seconds_bucket{le=\"10\"} 1",
            "selvedge_edge_request_seconds_bucket{le=\"+Inf\"} 2",
            "selvedge_edge_sent_bytes_total 15",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
