//! What the proxy is held to: a ratio to each of two others for each work, and a few figures that stand for themselves.

use std::fmt::Write as _;

use crate::report::{ENVOY, HAPROXY, MemoryRow, OURS, Row, ScrapeRow, mib};

/// All that one run has measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// By the name of the work.
    pub(crate) works: Vec<(&'static str, Vec<Row>)>,
    pub(crate) memory: Vec<MemoryRow>,
    /// Connections that were idle for [`Measured::memory`].
    pub(crate) idle_connections: usize,
    pub(crate) scrape: Vec<ScrapeRow>,
    /// Services of the mesh that was scraped.
    pub(crate) services: usize,
    /// The 99th percentile in microseconds of our proxy at the given rate, left alone and while it is scraped.
    pub(crate) scraped: Option<[f64; 2]>,
}

/// What of a row is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    /// CPU time of a request.
    Cpu,
    /// What the proxy adds to the 99th percentile of a client that calls the upstream itself.
    AddedP99,
}

/// One line: a work, and what ours may be to each of the others.
#[derive(Clone, Copy, Debug)]
struct Goal {
    work: &'static str,
    about: &'static str,
    figure: Figure,
    to_envoy: f64,
    to_haproxy: f64,
}

const fn cpu(work: &'static str, about: &'static str, to_envoy: f64, to_haproxy: f64) -> Goal {
    Goal { work, about, figure: Figure::Cpu, to_envoy, to_haproxy }
}

const GOALS: &[Goal] = &[
    cpu("get", "HTTP/1.1 GET 1 KiB, saturated", 0.40, 1.0),
    cpu("paced", "HTTP/1.1 GET 1 KiB at 4,000/s", 0.40, 1.0),
    cpu("post", "HTTP/1.1 POST 16 KiB", 0.45, 0.9),
    cpu("large", "HTTP/1.1 GET 64 KiB", 0.45, 0.9),
    cpu("h2-h1", "HTTP/2 → HTTP/1.1", 0.5, 1.5),
    cpu("h2-h2", "HTTP/2 → HTTP/2", 0.5, 1.5),
    cpu("grpc", "gRPC unary", 0.5, 1.5),
    cpu("tls-handshake", "TLS 1.3 handshake and a GET", 0.5, 0.8),
    cpu("tls", "TLS keep-alive GET", 0.5, 0.8),
    cpu("mtls", "mTLS between two sidecars", 0.5, 0.8),
    cpu("tcp", "TCP 1 MiB", 0.7, 0.6),
    Goal {
        work: "paced",
        about: "added p99 at 4,000/s",
        figure: Figure::AddedP99,
        to_envoy: 0.7,
        to_haproxy: 1.1,
    },
];

/// Resident memory to Envoy's, with the small and with the large mesh.
const MEMORY_TO_ENVOY: f64 = 0.2;
const LARGE_MEMORY_TO_ENVOY: f64 = 0.15;
/// Kilobytes of an idle HTTP/1.1 connection.
const CONNECTION_KB: f64 = 2.5;
/// Kilobytes of a scrape when nothing has happened.
const SCRAPE_KB: f64 = 100.0;
/// A scrape may move the 99th percentile by what two runs of the same differ.
const SCRAPED_P99: f64 = 1.15;

/// Whether a run without further words does this work: those that have a goal.
pub(crate) fn is_wanted(work: &str) -> bool {
    GOALS.iter().any(|goal| goal.work == work)
}

/// The one table: a line for each goal whose figures were measured.
pub(crate) fn table(measured: &Measured) -> String {
    let mut text = String::from(
        "| work | unit | selvedge | envoy | ratio | goal | haproxy | ratio | goal | |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for goal in GOALS {
        let rows =
            measured.works.iter().find(|(work, _)| *work == goal.work).map(|(_, rows)| rows.as_slice());
        if let Some(line) = rows.and_then(|rows| goal.line(rows)) {
            let _ = writeln!(text, "{line}");
        }
    }
    for line in memory_lines(measured) {
        let _ = writeln!(text, "{line}");
    }
    text
}

impl Goal {
    fn line(&self, rows: &[Row]) -> Option<String> {
        let figure = |name: &str| {
            let row = rows.iter().find(|row| row.name == name)?;
            match self.figure {
                Figure::Cpu => Some(row.cpu_us),
                // Less than nothing is noise.
                Figure::AddedP99 => Some((row.p99_us - direct(rows)?).max(1.0)),
            }
        };
        let unit = match self.figure {
            Figure::Cpu => "CPU µs",
            Figure::AddedP99 => "µs",
        };
        let ours = figure(OURS)?;
        let versus = [(figure(ENVOY), self.to_envoy), (figure(HAPROXY), self.to_haproxy)];
        Some(line(self.about, unit, ours, versus.map(|(theirs, goal)| (theirs, Some(goal)))))
    }
}

/// The 99th percentile without a proxy.
fn direct(rows: &[Row]) -> Option<f64> {
    rows.iter().find(|row| row.name == crate::report::DIRECT).map(|row| row.p99_us)
}

/// A line with ratios to one or two others, each with a goal or without.
fn line(about: &str, unit: &str, ours: f64, versus: [(Option<f64>, Option<f64>); 2]) -> String {
    let mut text = format!("| {about} | {unit} | {ours:.1} ");
    let (mut missed, mut judged) = (false, false);
    for (theirs, goal) in versus {
        match (theirs, goal) {
            (Some(theirs), Some(goal)) => {
                let ratio = ours / theirs;
                let _ = write!(text, "| {theirs:.1} | {ratio:.2} | {goal:.2} ");
                judged = true;
                // As it is printed: a goal of 0.40 is met by what reads 0.40.
                missed |= (ratio * 100.0).round() > (goal * 100.0).round();
            }
            (Some(theirs), None) => {
                let _ = write!(text, "| {theirs:.1} | {:.2} | ", ours / theirs);
            }
            (None, _) => text.push_str("| | | "),
        }
    }
    let verdict = match (judged, missed) {
        (false, _) => "",
        (true, false) => "met",
        (true, true) => "**missed**",
    };
    let _ = write!(text, "| {verdict} |");
    text
}

/// A figure that is held to a number of its own.
fn line_alone(about: &str, unit: &str, ours: f64, envoy: Option<f64>, goal: f64) -> String {
    let verdict = if ours <= goal { "met" } else { "**missed**" };
    let envoy = envoy.map_or_else(String::new, |envoy| format!("{envoy:.1} "));
    let ours = if unit == "ratio" { format!("{ours:.2}") } else { format!("{ours:.1}") };
    format!("| {about} | {unit} | {ours} | {envoy}| | ≤ {goal} | | | | {verdict} |")
}

fn memory_lines(measured: &Measured) -> Vec<String> {
    let mut lines = Vec::new();
    let named = |name: &str| measured.memory.iter().find(|row| row.name == name);
    if let Some(ours) = named(OURS) {
        let resident = |row: &MemoryRow| mib(row.quiet.rss_kib as f64);
        let versus =
            [(named(ENVOY).map(resident), Some(MEMORY_TO_ENVOY)), (named(HAPROXY).map(resident), None)];
        lines.push(line("resident, 100 clusters", "MiB", resident(ours), versus));
        let connection = |row: &MemoryRow| row.connection_kib(measured.idle_connections) * 1.024;
        let envoy = named(ENVOY).map(connection);
        lines.push(line_alone("an idle HTTP/1.1 connection", "KB", connection(ours), envoy, CONNECTION_KB));
    }
    let named = |name: &str| measured.scrape.iter().find(|row| row.name == name);
    if let Some(ours) = named(OURS) {
        let resident = |row: &ScrapeRow| mib(row.memory.rss_kib as f64);
        let versus = [(named(ENVOY).map(resident), Some(LARGE_MEMORY_TO_ENVOY)), (None, None)];
        let services = measured.services;
        lines.push(line(&format!("resident, {services} clusters"), "MiB", resident(ours), versus));
        let kilobytes = |row: &ScrapeRow| row.bytes as f64 / 1000.0;
        let about = format!("a scrape, {services} clusters without traffic");
        lines.push(line_alone(&about, "KB", kilobytes(ours), named(ENVOY).map(kilobytes), SCRAPE_KB));
    }
    if let Some([alone, scraped]) = measured.scraped {
        let about = "p99 at 4,000/s while it is scraped, to p99 without";
        lines.push(line_alone(about, "ratio", scraped / alone.max(1.0), None, SCRAPED_P99));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Memory;
    use crate::report::DIRECT;
    use crate::work::WORKS;

    fn row(name: &'static str, cpu_us: f64, p99_us: f64) -> Row {
        Row { name, cpu_us, requests_per_second: 1.0, p50_us: 1.0, p99_us, rss_mib: 1.0 }
    }

    #[test]
    fn every_goal_is_a_works() {
        for goal in GOALS {
            assert!(WORKS.iter().any(|work| work.name == goal.work), "{}", goal.work);
        }
    }

    #[test]
    fn a_goal_is_met_or_missed_by_its_ratios() {
        let rows = |haproxy| vec![row(OURS, 10.0, 0.0), row(ENVOY, 25.0, 0.0), row(HAPROXY, haproxy, 0.0)];
        let met = Measured { works: vec![("get", rows(10.0))], ..Measured::default() };
        assert!(table(&met).contains("| 25.0 | 0.40 | 0.40 | 10.0 | 1.00 | 1.00 | met |"), "{}", table(&met));
        let missed = Measured { works: vec![("get", rows(9.0))], ..Measured::default() };
        assert!(table(&missed).contains("| **missed** |"), "{}", table(&missed));
    }

    #[test]
    fn what_a_proxy_adds_is_beyond_what_the_upstream_takes() {
        let rows = vec![row(DIRECT, 0.0, 100.0), row(OURS, 10.0, 150.0), row(ENVOY, 40.0, 300.0)];
        let measured = Measured { works: vec![("paced", rows)], ..Measured::default() };
        let text = table(&measured);
        assert!(text.contains("| added p99 at 4,000/s | µs | 50.0 | 200.0 | 0.25 | 0.70 |"), "{text}");
    }

    #[test]
    fn memory_and_scrapes_have_their_lines() {
        let memory = |name, rss_kib, held| MemoryRow {
            name,
            quiet: Memory { rss_kib, pss_kib: 0 },
            warm: Memory { rss_kib, pss_kib: 0 },
            held: Memory { rss_kib, pss_kib: held },
        };
        let scrape = |name, rss_kib, bytes| ScrapeRow {
            name,
            memory: Memory { rss_kib, pss_kib: rss_kib },
            bytes,
            took: std::time::Duration::ZERO,
        };
        let measured = Measured {
            memory: vec![memory(OURS, 10_240, 2000), memory(ENVOY, 102_400, 16_000)],
            idle_connections: 1000,
            scrape: vec![scrape(OURS, 10_240, 120_000), scrape(ENVOY, 102_400, 63_000_000)],
            services: 5000,
            scraped: Some([200.0, 210.0]),
            ..Measured::default()
        };
        let text = table(&measured);
        for line in [
            "| resident, 100 clusters | MiB | 10.0 | 100.0 | 0.10 | 0.20 | | | | met |",
            "| an idle HTTP/1.1 connection | KB | 2.0 | 16.4 | | ≤ 2.5 | | | | met |",
            "| a scrape, 5000 clusters without traffic | KB | 120.0 | 63000.0 | | ≤ 100 | | | | **missed** |",
            "| p99 at 4,000/s while it is scraped, to p99 without | ratio | 1.05 | | | ≤ 1.15 | | | | met |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
