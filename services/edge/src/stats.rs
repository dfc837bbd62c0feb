//! What the server counts of itself.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selvedge_site::Program;
use selvedge_site::directive::Text;

/// A number that rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that one thread alone changes and others read: it takes no turn with anybody.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.store(self.get().wrapping_sub(count), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the request times that are counted, in microseconds.
const TIMES_US: [u64; 10] =
    [1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000, 10_000_000];

/// What one worker counts with each connection and request: its own thread's, and on cache lines that no other thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct OfWorker {
    pub(crate) connections: Tally,
    pub(crate) active: Tally,
    pub(crate) received: Tally,
    requests: Tally,
    sent: Tally,
    by_class: [Tally; 5],
    times: [Tally; TIMES_US.len() + 1],
    time_sum_us: Tally,
}

/// The server's counters.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) workers: Box<[OfWorker]>,
    pub(crate) accepted: Counter,
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
}

/// Requests of each route. A route that a configuration keeps goes on counting, and routes of one site with
/// one name count together.
#[derive(Debug, Default)]
pub(crate) struct RouteStats(Box<[Arc<OfRoute>]>);

/// What is counted of a route.
#[derive(Debug)]
struct OfRoute {
    site: Text,
    name: Text,
    by_class: [Counter; 5],
    sent: Counter,
    time_sum_us: Counter,
}

impl RouteStats {
    /// For the routes of a program.
    pub(crate) fn new(program: &Program, before: Option<&Self>) -> Self {
        let before = before.map_or(&[][..], |stats| &stats.0);
        let mut known: HashMap<(Text, Text), Arc<OfRoute>> =
            before.iter().map(|one| ((one.site.clone(), one.name.clone()), Arc::clone(one))).collect();
        let counters = |(site, name): (&Text, &Text)| {
            let fresh = || Arc::new(OfRoute::new(site.clone(), name.clone()));
            Arc::clone(known.entry((site.clone(), name.clone())).or_insert_with(fresh))
        };
        Self(program.route_names().map(counters).collect())
    }

    /// Counts a request; `route` is what it is counted under.
    pub(crate) fn request(&self, route: u32, status: u16, sent: u64, took: Duration) {
        let Some(route) = usize::try_from(route).ok().and_then(|route| self.0.get(route.wrapping_sub(1)))
        else {
            return;
        };
        if let Some(class) = route.by_class.get(usize::from(status / 100).wrapping_sub(1)) {
            class.add(1);
        }
        route.sent.add(sent);
        route.time_sum_us.add(u64::try_from(took.as_micros()).unwrap_or(0));
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self, out: &mut String) {
        let mut routes: Vec<&OfRoute> = self.0.iter().map(|one| &**one).collect();
        if routes.is_empty() {
            return;
        }
        routes.sort_by(|a, b| (&a.site, &a.name).cmp(&(&b.site, &b.name)));
        routes.dedup_by(|a, b| std::ptr::eq(*a, *b));
        let name = "selvedge_edge_route_requests_total";
        let _ = write!(
            out,
            "# HELP {name} Requests by site, route and class of status.\n# TYPE {name} counter\n"
        );
        for route in &routes {
            for (class, count) in route.by_class.iter().enumerate().filter(|(_, count)| count.get() > 0) {
                let _ =
                    writeln!(out, "{name}{{{},class=\"{}xx\"}} {}", route.labels(), class + 1, count.get());
            }
        }
        let name = "selvedge_edge_route_sent_bytes_total";
        let _ = write!(
            out,
            "# HELP {name} Bytes of bodies to clients by site and route.\n# TYPE {name} counter\n"
        );
        for route in routes.iter().filter(|route| route.requests() > 0) {
            let _ = writeln!(out, "{name}{{{}}} {}", route.labels(), route.sent.get());
        }
        let name = "selvedge_edge_route_request_seconds";
        let _ = write!(
            out,
            "# HELP {name} Time from head to last byte by site and route.\n# TYPE {name} summary\n"
        );
        for route in routes.iter().filter(|route| route.requests() > 0) {
            let (labels, sum) = (route.labels(), route.time_sum_us.get() as f64 / 1e6);
            let _ =
                write!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {}\n", route.requests());
        }
    }
}

impl OfRoute {
    fn new(site: Text, name: Text) -> Self {
        Self {
            site,
            name,
            by_class: Default::default(),
            sent: Counter::default(),
            time_sum_us: Counter::default(),
        }
    }

    fn requests(&self) -> u64 {
        self.by_class.iter().map(Counter::get).sum()
    }

    fn labels(&self) -> String {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("site=\"{}\",route=\"{}\"", escaped(&self.site), escaped(&self.name))
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

impl OfWorker {
    /// Counts a request that is over.
    pub(crate) fn request(&self, status: u16, sent: u64, took: Duration) {
        self.requests.add(1);
        self.sent.add(sent);
        if let Some(class) = self.by_class.get(usize::from(status / 100).wrapping_sub(1)) {
            class.add(1);
        }
        let microseconds = took.as_secs().saturating_mul(1_000_000) + u64::from(took.subsec_micros());
        let place = TIMES_US.iter().position(|most| microseconds <= *most).unwrap_or(TIMES_US.len());
        self.times[place].add(1);
        self.time_sum_us.add(microseconds);
    }
}

impl Stats {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| OfWorker::default()).collect(),
            accepted: Counter::default(),
            refused: Counter::default(),
            unauthorized: Counter::default(),
            limited: Counter::default(),
            turned_away: Counter::default(),
            spans_sent: Counter::default(),
            spans_dropped: Counter::default(),
            panics: Counter::default(),
            floods: Counter::default(),
            handshakes: Counter::default(),
            handshakes_failed: Counter::default(),
            timed_out: Counter::default(),
            reloads: Counter::default(),
            reloads_failed: Counter::default(),
        }
    }

    /// Open connections, of all workers.
    pub(crate) fn connections(&self) -> u64 {
        self.sum(|worker| &worker.connections)
    }

    /// What all workers have counted. Each is read at a moment of its own: a gauge that one worker has just lowered is no less
    /// than nothing.
    fn sum(&self, of: impl Fn(&OfWorker) -> &Tally) -> u64 {
        self.workers.iter().map(|worker| of(worker).get()).sum()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.connections(),
            active: self.sum(|worker| &worker.active),
            requests: self.sum(|worker| &worker.requests),
            sent: self.sum(|worker| &worker.sent),
        }
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        one("selvedge_edge_connections", "gauge", "Open connections.", self.connections());
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
        one(
            "selvedge_edge_requests_active",
            "gauge",
            "Requests under way.",
            self.sum(|worker| &worker.active),
        );
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
        let (received, sent) = (self.sum(|worker| &worker.received), self.sum(|worker| &worker.sent));
        one("selvedge_edge_received_bytes_total", "counter", "Bytes from clients.", received);
        one("selvedge_edge_sent_bytes_total", "counter", "Bytes of bodies to clients.", sent);
        out.push_str("# HELP selvedge_edge_requests_total Requests by class of status.\n# TYPE selvedge_edge_requests_total counter\n");
        for class in 0..5 {
            let count = self.sum(|worker| &worker.by_class[class]);
            let _ = writeln!(out, "selvedge_edge_requests_total{{class=\"{}xx\"}} {count}", class + 1);
        }
        let name = "selvedge_edge_request_seconds";
        let _ = write!(out, "# HELP {name} Time from head to last byte.\n# TYPE {name} histogram\n");
        let mut total = 0;
        for (place, most) in TIMES_US.iter().enumerate() {
            total += self.sum(|worker| &worker.times[place]);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {total}", *most as f64 / 1e6);
        }
        total += self.sum(|worker| &worker.times[TIMES_US.len()]);
        let sum = self.sum(|worker| &worker.time_sum_us) as f64 / 1e6;
        let _ = write!(out, "{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {sum}\n{name}_count {total}\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_counted_by_their_names_across_configurations() {
        let program = |text: &str| {
            let text = format!("[[listen]]\naddress = \"127.0.0.1:1\"\n{text}");
            let document = selvedge_site::edge_toml::parse("edge.toml", &text)
                .unwrap_or_else(|(found, _)| panic!("{found:?}"));
            selvedge_site::edge_toml::compile(&document).unwrap_or_else(|found| panic!("{found:?}")).0
        };
        let site = |host: &str, route: &str| {
            format!("[[site]]\n{host}[[site.route]]\nname = \"{route}\"\nrespond = \"\"\n")
        };
        let first = program(&format!(
            "{}{}{}",
            site("host = [\"A.example\", \"b.example\"]\n", "app"),
            site("", "app"),
            site("", "app")
        ));
        let stats = RouteStats::new(&first, None);
        for id in [0, 1, 2, 3, 99] {
            stats.request(id, 200, 10, Duration::from_millis(500));
        }
        // Another order, and another route before them.
        let second = program(&format!("{}{}", site("", "new \\\"one"), site("", "app")));
        let stats = RouteStats::new(&second, Some(&stats));
        stats.request(1, 404, 0, Duration::ZERO);
        let mut text = String::new();
        stats.prometheus(&mut text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"selvedge_edge_route_requests_total{site="*",route="app",class="2xx"} 2"#,
                r#"selvedge_edge_route_requests_total{site="*",route="new \"one",class="4xx"} 1"#,
                r#"selvedge_edge_route_sent_bytes_total{site="*",route="app"} 20"#,
                r#"selvedge_edge_route_sent_bytes_total{site="*",route="new \"one"} 0"#,
                r#"selvedge_edge_route_request_seconds_sum{site="*",route="app"} 1"#,
                r#"selvedge_edge_route_request_seconds_count{site="*",route="app"} 2"#,
                r#"selvedge_edge_route_request_seconds_sum{site="*",route="new \"one"} 0"#,
                r#"selvedge_edge_route_request_seconds_count{site="*",route="new \"one"} 1"#,
            ]
        );
        let mut text = String::new();
        let stats = RouteStats::new(&first, None);
        stats.request(1, 200, 1, Duration::ZERO);
        stats.prometheus(&mut text);
        assert!(text.contains(r#"_total{site="a.example",route="app",class="2xx"} 1"#), "{text}");
    }

    #[test]
    fn requests_are_counted_by_class_and_time() {
        let stats = Stats::new(2);
        stats.workers[0].request(200, 10, Duration::from_micros(1_001));
        stats.workers[1].request(503, 5, Duration::from_secs(60));
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
