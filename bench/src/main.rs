//! `cargo xtask bench`: Envoy, HAProxy, nginx and our proxy on the same work, in interleaved rounds.
//!
//! Each proxy has one worker pinned to the first core; load and upstream share the second. What survives a noisy
//! machine is CPU time per request of the proxy's own process, so that is the figure to look at; throughput and
//! latency are printed beside it.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the person who started it")]

mod load;
mod measure;
mod mesh;
mod peer;
mod registry;
mod report;
mod upstream;
mod work;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use selvedge_differential::place;
use tokio::net::TcpListener;

use measure::{Memory, Sample};
use peer::Peer;
use report::{MemoryRow, Row};
use work::{Job, WORKS, Work};

#[derive(Clone, Debug, Parser)]
#[command(about = "Runs the same work through each proxy and prints what it cost")]
struct Arguments {
    /// Rounds; the median of each figure over them is reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each proxy is measured in a round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections that the client keeps open, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Connections held idle while memory is measured
    #[arg(long, default_value_t = 1000)]
    idle_connections: usize,
    /// Only these proxies, by name; may be given several times
    #[arg(long)]
    peer: Vec<String>,
    /// Only these works, by name; may be given several times
    #[arg(long)]
    work: Vec<String>,
    /// Where the report goes; `-` for nowhere
    #[arg(long, default_value = "bench/RESULTS.md")]
    report: PathBuf,
}

/// Core of the proxies, and core of load and upstream.
const CORES: [usize; 2] = [0, 1];

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("registry") {
        return registry::run(&registry::Arguments::parse_from(std::env::args().skip(1)));
    }
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0 && arguments.seconds > 0 && arguments.connections > 0, "nothing to measure");
    measure::pin(std::process::id(), CORES[1])?;
    // One thread: load and upstream must not take the core of the proxies.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, place::free_port()?)).await?;
    let upstream = listener.local_addr()?;
    tokio::spawn(upstream::serve(listener));
    let folder = place::repository_root().join("target/bench");
    let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|other| other == name);
    let peers = peer::start_all(&folder, upstream, |name| named(&arguments.peer, name)).await?;
    ensure!(!peers.is_empty(), "no peer is called {:?}", arguments.peer);
    for peer in &peers {
        measure::pin(peer.process_id(), CORES[0])?;
    }

    let mut sections =
        vec![("Memory".to_owned(), report::memory_table(&memory(&peers, arguments).await?, arguments))];
    for work in WORKS.iter().filter(|work| named(&arguments.work, work.name)) {
        let rows = rounds(&peers, work, arguments).await?;
        sections.push((format!("HTTP/1.1: {}", work.about), report::work_table(&rows)));
    }
    let text = report::page(&sections, arguments);
    println!("\n{text}");
    if arguments.report.as_os_str() != "-" {
        let path = place::repository_root().join(&arguments.report);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        println!("written to {}", arguments.report.display());
    }
    Ok(())
}

/// What each peer holds before anybody calls, and with idle connections.
async fn memory(peers: &[Peer], arguments: &Arguments) -> Result<Vec<MemoryRow>> {
    let mut rows = Vec::new();
    for peer in peers {
        let id = peer.process_id();
        let quiet: Memory = measure::memory(id)?;
        let job = Job { work: WORKS[0], target: peer.address(), connections: 1 };
        let held = load::hold(&job, arguments.idle_connections, || measure::memory(id)).await;
        let held = held.with_context(|| format!("holding connections to {}", peer.name()))?;
        rows.push(MemoryRow { name: peer.name(), quiet, held });
    }
    Ok(rows)
}

async fn rounds(peers: &[Peer], work: &Work, arguments: &Arguments) -> Result<Vec<Row>> {
    println!("{}", work.about);
    let mut samples: Vec<Vec<Sample>> = peers.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds {
        for (peer, samples) in peers.iter().zip(&mut samples) {
            let sample =
                measure(peer, work, arguments).await.with_context(|| format!("measuring {}", peer.name()))?;
            println!("  round {round}  {:<9} {}", peer.name(), sample.line());
            samples.push(sample);
        }
    }
    Ok(peers.iter().zip(&samples).map(|(peer, samples)| Row::new(peer.name(), samples)).collect())
}

/// One round of one peer: a second to warm up, then the time that counts.
async fn measure(peer: &Peer, work: &Work, arguments: &Arguments) -> Result<Sample> {
    let job = Job { work: *work, target: peer.address(), connections: arguments.connections };
    load::run(&job, Duration::from_secs(1)).await?;
    let before = measure::cpu(peer.process_id())?;
    let done = load::run(&job, Duration::from_secs(arguments.seconds)).await?;
    let cpu = measure::cpu(peer.process_id())?.saturating_sub(before);
    Ok(Sample::new(&done, cpu, measure::memory(peer.process_id())?))
}
