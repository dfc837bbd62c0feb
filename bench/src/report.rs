//! The report: medians, and what each is to ours.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Arguments;
use crate::measure::{Memory, Sample};
use crate::mesh::SERVICES;

/// Medians of one peer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: &'static str,
    cpu_us: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    idle: Memory,
    rss_mib: f64,
    pss_mib: f64,
}

// === impl Row ===

impl Row {
    pub(crate) fn new(name: &'static str, samples: &[Sample], idle: Memory) -> Self {
        let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
        Self {
            name,
            cpu_us: of(|sample| sample.cpu_us_per_request),
            requests_per_second: of(|sample| sample.requests_per_second),
            p50_us: of(|sample| f64::from(sample.p50_us)),
            p99_us: of(|sample| f64::from(sample.p99_us)),
            idle,
            rss_mib: of(|sample| sample.memory.rss_kib as f64 / 1024.0),
            pss_mib: of(|sample| sample.memory.pss_kib as f64 / 1024.0),
        }
    }
}

/// A table of `rows`, with the ratio of ours to each.
pub(crate) fn text(rows: &[Row], arguments: &Arguments) -> String {
    let mut text = format!(
        "GET with an answer of 1 KiB, {} connections, {} rounds of {} s each, medians. One worker on one core; load and \
         upstream on the other. selvedge and envoy carry {SERVICES} services with {} routes from our control plane and \
         write a JSON access log.\n\n",
        arguments.connections,
        arguments.rounds,
        arguments.seconds,
        2 * SERVICES,
    );
    text.push_str("| proxy | CPU µs/request | ours / it | requests/s | p50 µs | p99 µs | idle RSS MiB | RSS MiB | PSS MiB |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    let ours = rows.iter().find(|row| row.name == "selvedge").map(|row| row.cpu_us);
    for row in rows {
        let ratio = ours.map_or_else(|| "–".to_owned(), |ours| format!("{:.2}", ours / row.cpu_us));
        let _ = writeln!(
            text,
            "| {} | {:.1} | {ratio} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} |",
            row.name,
            row.cpu_us,
            row.requests_per_second,
            row.p50_us,
            row.p99_us,
            row.idle.rss_kib as f64 / 1024.0,
            row.rss_mib,
            row.pss_mib,
        );
    }
    text
}

/// Replaces the section `## title` of the file at `path`, or adds it; other sections stay.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_section(path: &Path, title: &str, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_else(|_| {
        "# Results of the bench\n\nWritten by `cargo xtask bench`, which repeats it. The figure that survives a noisy \
         machine is CPU µs per request;\ndifferences under 25 % are not established.\n"
            .to_owned()
    });
    std::fs::write(path, with_section(&old, title, text))
        .with_context(|| format!("failed to write {}", path.display()))
}

fn with_section(old: &str, title: &str, text: &str) -> String {
    let heading = format!("\n## {title}\n");
    let (before, after) = match old.split_once(&heading) {
        None => (old.trim_end(), ""),
        Some((before, rest)) => (before.trim_end(), rest.find("\n## ").map_or("", |next| &rest[next..])),
    };
    format!("{before}\n{heading}\n{}\n{after}", text.trim_end())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_others_stay() {
        let one = with_section("# R\n", "A", "first");
        let two = with_section(&one, "B", "second");
        let three = with_section(&two, "A", "third");
        assert_eq!(three, "# R\n\n## A\n\nthird\n\n## B\n\nsecond\n");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
