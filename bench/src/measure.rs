//! What a process costs, as the kernel tells it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::Done;

/// The figures of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) memory: Memory,
}

/// Resident and proportional set, in kibibytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
}

// === impl Sample ===

impl Sample {
    pub(crate) fn new(done: &Done, cpu: Duration, memory: Memory) -> Self {
        let mut latencies = done.latencies.clone();
        latencies.sort_unstable();
        let quantile = |share: f64| {
            let rank = (latencies.len() as f64 * share) as usize;
            latencies.get(rank.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        let requests = latencies.len().max(1) as f64;
        Self {
            cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests,
            requests_per_second: latencies.len() as f64 / done.took.as_secs_f64(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            memory,
        }
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "{:>6.1} µs CPU/request {:>8.0} requests/s  p50 {:>6} µs  p99 {:>6} µs  RSS {:>6} KiB",
            self.cpu_us_per_request, self.requests_per_second, self.p50_us, self.p99_us, self.memory.rss_kib
        )
    }
}

/// Time on the processor of all threads of a process: the sum of run times that the scheduler keeps in nanoseconds.
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    let folder = format!("/proc/{process}/task");
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir(&folder).with_context(|| format!("failed to list {folder}"))? {
        // A thread may end between the two readings.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
        sum += Duration::from_nanos(nanoseconds.context("schedstat in a shape of its own")?);
    }
    Ok(sum)
}

/// What a process holds of the memory.
///
/// # Errors
/// When the process is gone.
pub(crate) fn memory(process: u32) -> Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .context("failed to read its memory")?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Ok(Memory { rss_kib: field("Rss:").context("no Rss")?, pss_kib: field("Pss:").context("no Pss")? })
}

/// What the system's connections use unless they are told otherwise: on loopback, where all of this is measured, pacing by BBR
/// costs more than anything else does.
pub(crate) fn congestion_control() -> String {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    text.map_or_else(|_| "not known".to_owned(), |text| text.trim().to_owned())
}

/// Lets every thread of a process run on one core only.
///
/// # Errors
/// When the system refuses.
pub(crate) fn pin(process: u32, core: usize) -> Result<()> {
    let arguments =
        ["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &process.to_string()].map(str::to_owned);
    let status = Command::new("taskset").args(arguments).stdout(Stdio::null()).status();
    ensure!(status.context("failed to start taskset")?.success(), "taskset could not pin {process}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_quantiles_and_cost() {
        let done = Done { latencies: (1..=100).rev().collect(), took: Duration::from_secs(2) };
        let sample = Sample::new(&done, Duration::from_millis(1), Memory::default());
        assert_eq!((sample.p50_us, sample.p99_us), (51, 100));
        assert!((sample.cpu_us_per_request - 10.0).abs() < 1e-9);
        assert!((sample.requests_per_second - 50.0).abs() < 1e-9);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let process = std::process::id();
        assert!(cpu(process).unwrap() > Duration::ZERO);
        let memory = memory(process).unwrap();
        assert!(memory.rss_kib >= memory.pss_kib && memory.pss_kib > 0);
    }
}
