//! The report: medians, and what ours is to each.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Arguments;
use crate::measure::{self, Memory, Sample};
use crate::mesh::SERVICES;

/// Medians of one peer over the rounds of one work.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Of a request.
    pub(crate) cpu_us: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) rss_mib: f64,
}

/// What one peer holds.
#[derive(Clone, Debug)]
pub(crate) struct MemoryRow {
    pub(crate) name: &'static str,
    /// With its configuration, before the first request.
    pub(crate) quiet: Memory,
    /// With a few idle connections: what the first requests make resident, such as the code that they run, is no
    /// connection's.
    pub(crate) warm: Memory,
    /// With as many more as were to be held.
    pub(crate) held: Memory,
}

/// What one sidecar holds of a large mesh, and what it says of it.
#[derive(Clone, Debug)]
pub(crate) struct ScrapeRow {
    pub(crate) name: &'static str,
    pub(crate) memory: Memory,
    pub(crate) bytes: usize,
    pub(crate) took: Duration,
}

/// The peer that the others are compared with.
pub(crate) const OURS: &str = "selvedge";
pub(crate) const ENVOY: &str = "envoy";
pub(crate) const HAPROXY: &str = "haproxy";
/// No proxy at all: the client calls the upstream.
pub(crate) const DIRECT: &str = "direct";

// === impl Row ===

impl Row {
    pub(crate) fn new(name: &'static str, samples: &[Sample]) -> Self {
        let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
        Self {
            name,
            cpu_us: of(|sample| sample.cpu_us_per_request),
            requests_per_second: of(|sample| sample.requests_per_second),
            p50_us: of(|sample| f64::from(sample.p50_us)),
            p99_us: of(|sample| f64::from(sample.p99_us)),
            rss_mib: mib(of(|sample| sample.memory.rss_kib as f64)),
        }
    }
}

impl MemoryRow {
    /// What each of `count` idle connections takes.
    pub(crate) fn connection_kib(&self, count: usize) -> f64 {
        self.held.pss_kib.saturating_sub(self.warm.pss_kib) as f64 / count.max(1) as f64
    }
}

pub(crate) fn work_table(rows: &[Row]) -> String {
    let mut text =
        String::from("| proxy | CPU µs/request | ours / it | requests/s | p50 µs | p99 µs | RSS MiB |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    let ours = rows.iter().find(|row| row.name == OURS).map(|row| row.cpu_us);
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {} | {:.0} | {:.0} | {:.0} | {:.1} |",
            row.name,
            row.cpu_us,
            ratio(ours, row.cpu_us),
            row.requests_per_second,
            row.p50_us,
            row.p99_us,
            row.rss_mib,
        );
    }
    text
}

pub(crate) fn memory_table(rows: &[MemoryRow], arguments: &Arguments) -> String {
    let count = arguments.idle_connections;
    let mut text = format!(
        "| proxy | RSS MiB | PSS MiB | ours / it | PSS MiB, {count} idle connections | KiB a connection |\n|---|---|---|---|---|---|\n"
    );
    let ours = rows.iter().find(|row| row.name == OURS).map(|row| row.quiet.pss_kib as f64);
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {} | {:.1} | {:.1} |",
            row.name,
            mib(row.quiet.rss_kib as f64),
            mib(row.quiet.pss_kib as f64),
            ratio(ours, row.quiet.pss_kib as f64),
            mib(row.held.pss_kib as f64),
            row.connection_kib(count),
        );
    }
    text
}

pub(crate) fn scrape_table(rows: &[ScrapeRow]) -> String {
    let mut text = String::from(
        "| proxy | RSS MiB | PSS MiB | ours / it | `/stats/prometheus` KB | ms |\n|---|---|---|---|---|---|\n",
    );
    let ours = rows.iter().find(|row| row.name == OURS).map(|row| row.memory.pss_kib as f64);
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {} | {:.1} | {:.0} |",
            row.name,
            mib(row.memory.rss_kib as f64),
            mib(row.memory.pss_kib as f64),
            ratio(ours, row.memory.pss_kib as f64),
            row.bytes as f64 / 1000.0,
            row.took.as_secs_f64() * 1000.0,
        );
    }
    text
}

/// The part of the page that this bench writes.
pub(crate) fn page(goals: &str, sections: &[(String, String)], arguments: &Arguments) -> String {
    let mut text = format!(
        "# Results of the bench\n\nWritten by `cargo xtask bench`, which repeats it. Medians of {} interleaved rounds of {} s, {} \
         connections.\n\nEach proxy has one worker on one core; load and upstream share the other. {OURS} and envoy carry \
         {SERVICES} services with {} routes\nfrom our control plane, write a JSON access log, count, and trace one request in \
         a hundred to an X-Ray daemon; haproxy\nand nginx have one route and their own log, and trace nothing. The figure that \
         survives a noisy machine is CPU µs per\nrequest of the proxy's own process; differences under 25 % are not established \
         there. A line is met if each of its ratios is. The machine's TCP congestion control is {}.\n\n## Goals\n\n{goals}",
        arguments.rounds(),
        arguments.seconds(),
        arguments.connections,
        2 * SERVICES,
        measure::congestion_control(),
    );
    for (title, table) in sections {
        let _ = write!(text, "\n## {title}\n\n{table}");
    }
    text
}

/// Heads of what other benches write into the same page.
const OTHERS: [&str; 4] = [
    "\n## A change's way from the API to every proxy\n",
    "\n## The workflow engine\n",
    "\n## The edge\n",
    "\n## The registry and the DNS server\n",
];

/// `page` with what other benches had written into the `old` one.
pub(crate) fn keep_others(page: &str, old: &str) -> String {
    let begin = OTHERS.iter().filter_map(|head| old.find(head)).min();
    begin.map_or_else(|| page.to_owned(), |begin| format!("{}\n{}", page.trim_end(), &old[begin..]))
}

fn ratio(ours: Option<f64>, theirs: f64) -> String {
    let known = ours.filter(|_| theirs > 0.0);
    known.map_or_else(|| "–".to_owned(), |ours| format!("{:.2}", ours / theirs))
}

pub(crate) fn mib(kib: f64) -> f64 {
    kib / 1024.0
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn what_others_wrote_stays() {
        let old = "# Results\n\n## Memory\n\nold\n\n## The registry and the DNS server\n\nkept\n";
        let page = keep_others("# Results\n\n## Memory\n\nnew\n", old);
        assert_eq!(page, "# Results\n\n## Memory\n\nnew\n\n## The registry and the DNS server\n\nkept\n");
        assert_eq!(keep_others("new\n", "old\n"), "new\n");
    }

    #[test]
    fn a_row_tells_what_ours_is_to_each() {
        let row = |name, cpu_us| Row {
            name,
            cpu_us,
            requests_per_second: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            rss_mib: 1.0,
        };
        let table = work_table(&[row(OURS, 10.0), row("other", 40.0)]);
        assert!(table.contains("| other | 40.0 | 0.25 |"), "{table}");
    }
}
