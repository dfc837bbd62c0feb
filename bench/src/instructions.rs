//! `selvedge-bench instructions`: how many instructions a request costs a proxy, ours unless another is named, counted by callgrind.
//!
//! Times on a shared machine cannot show a slowdown of a few percent; a count of instructions can, because two runs of the
//! same binary differ by less than one in a hundred. The proxy carries the full mesh of the other works. A sidecar is started
//! for each work and asked [`FEW`] times, and once more and asked [`MANY`] times: the difference is what requests cost, without
//! the start. Of the threads the one whose count grows most is the worker; what others do – names looked up again, files written –
//! depends on how long a run takes and is left out. Only what the processor does outside the kernel is counted.
//!
//! A scrape is counted in the same way, of a mesh of [`SERVICES_SCRAPED`] services that nobody calls.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use selvedge_differential::sidecar::Plane;
use selvedge_differential::{place, stats};

use crate::peer::{Kind, Peer, Setup, Upstreams};
use crate::work::{Job, Speaks, Upstream, WORKS, Work};
use crate::{load, mesh, peer, report};

#[derive(Clone, Debug, Parser)]
#[command(name = "instructions", about = "Counts the instructions of a request and holds them to a budget")]
pub(crate) struct Arguments {
    /// Only these works, by name; may be given several times; a scrape is `scrape`
    #[arg(long)]
    work: Vec<String>,
    /// Count this proxy, which has no budget: `envoy` or `haproxy`
    #[arg(long, default_value = report::OURS, conflicts_with = "bless")]
    peer: String,
    /// Write what was counted as the new budget
    #[arg(long)]
    bless: bool,
    /// Keep callgrind's own file of the longer run of each work here, to be read by callgrind_annotate
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Requests of the shorter and of the longer run.
const FEW: usize = 200;
const MANY: usize = 1200;

/// By how much of itself a count may pass its budget: more than two runs of one binary differ, less than what is worth a look.
const TOLERANCE: f64 = 0.03;

/// The budget, in the repository: `{"work": instructions}`.
const BUDGET: &str = "bench/instructions.json";

type Counts = BTreeMap<String, u64>;

/// What a scrape is called among the works, how many services it has to leave out, and how many are counted.
const SCRAPE: &str = "scrape";
const SERVICES_SCRAPED: usize = 1000;
const SCRAPES: [usize; 2] = [5, 25];

/// What is done to a sidecar whose instructions are counted.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Work(&'static Work),
    Scrape,
}

/// Counts each work and compares.
///
/// # Errors
/// When a work costs more than its budget allows, has none, or valgrind is not installed.
pub(crate) async fn run(arguments: &Arguments, upstreams: Upstreams) -> Result<()> {
    let path = place::repository_root().join(BUDGET);
    let budget: Counts = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{BUDGET} is no budget"))?,
        Err(error) if arguments.bless && error.kind() == std::io::ErrorKind::NotFound => Counts::new(),
        Err(error) => return Err(error).with_context(|| format!("failed to read {BUDGET}")),
    };
    // What has no budget is counted by who asks for it.
    let wanted = |counted: &Counted| match arguments.work.is_empty() {
        true => arguments.bless || budget.contains_key(counted.name()),
        false => arguments.work.iter().any(|name| name == counted.name()),
    };
    let works = WORKS.iter().filter(|work| is_counted(work)).map(Counted::Work);
    let scrape = (arguments.peer == report::OURS).then_some(Counted::Scrape);
    let mut counted = budget.clone();
    let mut beyond = Vec::new();
    println!("{:<10}{:>14}{:>10}{:>9}", "work", "instructions", "budget", "");
    for what in works.chain(scrape).filter(wanted) {
        let name = what.name();
        let count = count(what, &arguments.peer, upstreams, arguments.keep.as_deref()).await;
        let count = count.with_context(|| format!("counting {name}"))?;
        let change = budget.get(name).map(|budget| count as f64 / *budget as f64 - 1.0);
        let known = budget.get(name).map(u64::to_string).unwrap_or_default();
        let shown = change.map_or_else(String::new, |change| format!("{:+.1} %", change * 100.0));
        println!("{name:<10}{count:>14}{known:>10}{shown:>9}");
        if arguments.peer == report::OURS && change.is_none_or(|change| change > TOLERANCE) {
            beyond.push(name);
        }
        counted.insert(name.to_owned(), count);
    }
    if arguments.bless {
        let text = serde_json::to_string_pretty(&counted)?;
        return std::fs::write(&path, text + "\n").with_context(|| format!("failed to write {BUDGET}"));
    }
    ensure!(
        beyond.is_empty(),
        "{} cost more than {BUDGET} allows: find what was added (--keep FOLDER, then callgrind_annotate), or say in the commit \
         why it is worth its price and run cargo xtask bench instructions --bless",
        beyond.join(", ")
    );
    Ok(())
}

impl Counted {
    fn name(self) -> &'static str {
        match self {
            Self::Work(work) => work.name,
            Self::Scrape => SCRAPE,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Work(work) => Kind::of(work),
            Self::Scrape => Kind::Http,
        }
    }

    fn services(self) -> usize {
        match self {
            Self::Work(_) => mesh::SERVICES,
            Self::Scrape => SERVICES_SCRAPED,
        }
    }

    /// How often it is done in the shorter and in the longer run. A megabyte is a large request, and so is a handshake.
    fn times(self) -> [usize; 2] {
        match self {
            Self::Work(Work { speaks: Speaks::Tcp | Speaks::Handshakes, .. }) => [FEW / 10, MANY / 10],
            Self::Work(_) => [FEW, MANY],
            Self::Scrape => SCRAPES,
        }
    }

    async fn perform(self, proxy: &Peer, count: usize) -> Result<()> {
        match self {
            Self::Work(work) => {
                let job = Job { work: *work, target: proxy.address(work), connections: 1 };
                load::repeat(&job, count).await
            }
            Self::Scrape => {
                let admin = proxy.admin.context("a sidecar has statistics")?;
                for _ in 0..count {
                    let (status, _) = stats::get(admin, "/stats/prometheus").await?;
                    ensure!(status == 200, "a scrape is answered {status}");
                }
                Ok(())
            }
        }
    }
}

/// Instructions of one request.
async fn count(what: Counted, peer: &str, upstreams: Upstreams, keep: Option<&Path>) -> Result<u64> {
    let folder = place::repository_root().join("target/bench/instructions").join(peer).join(what.name());
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let (kind, services) = (what.kind(), what.services());
    let setup = Setup { folder: &folder, kind, upstreams, services, traced: false };
    let [few_times, many_times] = what.times();
    let few = threads(what, few_times, peer, setup).await?;
    let many = threads(what, many_times, peer, setup).await?;
    let grown = many.iter().map(|(thread, many)| {
        let few = few.get(thread).copied().unwrap_or_default();
        (many.saturating_sub(few), *thread)
    });
    let (more, worker) = grown.max().context("callgrind saw no thread")?;
    if let Some(keep) = keep {
        std::fs::create_dir_all(keep)?;
        let name =
            if peer == report::OURS { what.name().to_owned() } else { format!("{peer}.{}", what.name()) };
        std::fs::copy(out(&folder, many_times, worker), keep.join(format!("callgrind.{name}")))?;
    }
    Ok(more / (many_times - few_times) as u64)
}

/// Whether a work is counted: one request at a time of one proxy, whose bytes are the same in each run.
fn is_counted(work: &Work) -> bool {
    work.upstream != Upstream::BehindMutualTls && work.rate.is_none()
}

/// Where callgrind writes what a thread did, in a run of so many requests.
fn out(folder: &Path, requests: usize, thread: u32) -> PathBuf {
    folder.join(format!("callgrind.{requests}-{thread:02}"))
}

/// Threads that a proxy may have here; callgrind numbers them in the order of their start.
const THREADS_MAX: u32 = 32;

/// The instructions of each thread of a proxy that lives for `requests` requests.
async fn threads(what: Counted, requests: usize, peer: &str, setup: Setup<'_>) -> Result<BTreeMap<u32, u64>> {
    let runner: Vec<OsString> = vec![
        "valgrind".into(),
        "--quiet".into(),
        "--tool=callgrind".into(),
        "--separate-threads=yes".into(),
        format!("--callgrind-out-file={}", setup.folder.join(format!("callgrind.{requests}")).display())
            .into(),
    ];
    let inside = setup.folder.join(format!("{requests}"));
    let proxy = match peer {
        report::OURS => peer::sidecar_under(&runner, report::OURS, Plane::Ours, &inside, setup).await?,
        report::ENVOY => peer::sidecar_under(&runner, report::ENVOY, Plane::Envoy, &inside, setup).await?,
        report::HAPROXY => peer::haproxy_under(&runner, &inside, setup).await?,
        _ => bail!("no peer that can be counted is called {peer:?}"),
    };
    what.perform(&proxy, requests).await?;
    proxy.terminate(Duration::from_secs(30)).await?;
    by_thread(|thread| out(setup.folder, requests, thread))
}

/// What each thread did of a run that was counted with `--separate-threads=yes`, by the files that callgrind wrote.
fn by_thread(out: impl Fn(u32) -> PathBuf) -> Result<BTreeMap<u32, u64>> {
    let mut counts = BTreeMap::new();
    for thread in 1..=THREADS_MAX {
        if let Ok(text) = std::fs::read_to_string(out(thread)) {
            counts.insert(thread, summary(&text)?);
        }
    }
    Ok(counts)
}

/// What the worker did more in the second of two runs with threads apart: the thread whose count grew most. What others do –
/// names looked up again, what the control plane says – depends on how long a run takes.
///
/// # Errors
/// When callgrind has not written there.
pub(crate) fn grown(few: &Path, many: &Path) -> Result<u64> {
    let of = |path: &Path, thread: u32| PathBuf::from(format!("{}-{thread:02}", path.display()));
    let (few, many) = (by_thread(|thread| of(few, thread))?, by_thread(|thread| of(many, thread))?);
    let more =
        |(thread, count): (&u32, &u64)| count.saturating_sub(few.get(thread).copied().unwrap_or_default());
    many.iter().map(more).max().context("callgrind saw no thread")
}

/// The sum that a file of callgrind's ends with: `totals: N`.
fn summary(text: &str) -> Result<u64> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    let Some(line) = line else { bail!("callgrind's file has no sum") };
    line.split_whitespace().next().context("the sum is empty")?.parse().context("the sum is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_sum_is_read() {
        assert_eq!(summary("events: Ir\nsummary: 77\nfn=(1)\n0 5\ntotals: 123456\n").unwrap(), 123_456);
        assert!(summary("events: Ir\n").is_err());
    }

    #[test]
    fn the_budget_names_works_that_can_be_counted() {
        let text = std::fs::read_to_string(place::repository_root().join(BUDGET)).unwrap();
        let budget: Counts = serde_json::from_str(&text).unwrap();
        for name in budget.keys() {
            let work = WORKS.iter().find(|work| work.name == name);
            assert!(name == SCRAPE || work.is_some_and(is_counted), "{name}");
        }
        assert!(budget.contains_key("get"));
    }
}
