//! `cargo xtask bench`: Envoy, HAProxy, nginx and our proxy on the same work, in interleaved rounds.
//!
//! Each proxy has one worker pinned to the first core; load and upstream share the second. What survives a noisy
//! machine is CPU time per request of the proxy's own process, so that is the figure to look at; throughput and
//! latency are printed beside it.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the person who started it")]

mod http2;
mod instructions;
mod load;
mod measure;
mod mesh;
mod peer;
mod registry;
mod report;
mod tcp;
mod tls;
mod upstream;
mod work;
mod workflow;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use selvedge_differential::{place, stats};
use tokio::net::TcpListener;

use measure::{Memory, Sample};
use peer::{Kind, Peer, Setup, Upstreams};
use report::{MemoryRow, Row, ScrapeRow};
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
    /// Only these works, by name; may be given several times; `memory` and `scrape` are the first and the last table
    #[arg(long, alias = "only")]
    work: Vec<String>,
    /// Services of the mesh whose memory and scrape are measured last
    #[arg(long, default_value_t = 5000)]
    services: usize,
    /// Where the report goes; `-` for nowhere
    #[arg(long, default_value = "bench/RESULTS.md")]
    report: PathBuf,
}

/// Core of the proxies, and core of load and upstream.
const CORES: [usize; 2] = [0, 1];

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("workflow") {
        return workflow::run(&workflow::Arguments::parse_from(std::env::args().skip(1)));
    }
    if std::env::args().nth(1).as_deref() == Some("registry") {
        return registry::run(&registry::Arguments::parse_from(std::env::args().skip(1)));
    }
    if std::env::args().nth(1).as_deref() == Some("instructions") {
        let arguments = instructions::Arguments::parse_from(std::env::args().skip(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async { instructions::run(&arguments, upstreams().await?).await });
    }
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0 && arguments.seconds > 0 && arguments.connections > 0, "nothing to measure");
    measure::pin(std::process::id(), CORES[1])?;
    // One thread: load and upstream must not take the core of the proxies.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let upstreams = upstreams().await?;
    let folder = place::repository_root().join("target/bench");
    let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|other| other == name);
    let mut sections = Vec::new();
    for kind in Kind::ALL {
        let works: Vec<&Work> =
            WORKS.iter().filter(|work| named(&arguments.work, work.name) && Kind::of(work) == kind).collect();
        let memory = kind == Kind::Http && named(&arguments.work, "memory");
        if works.is_empty() && !memory {
            continue;
        }
        let setup = Setup { folder: &folder, kind, upstreams, services: mesh::SERVICES };
        let peers = peer::start_all(setup, |name| named(&arguments.peer, name)).await?;
        ensure!(!peers.is_empty(), "no peer is called {:?}", arguments.peer);
        for id in peers.iter().flat_map(Peer::process_ids) {
            measure::pin(*id, CORES[0])?;
        }
        if memory {
            let rows = self::memory(&peers, arguments).await?;
            sections.push(("Memory".to_owned(), report::memory_table(&rows, arguments)));
        }
        for work in works {
            let able: Vec<&Peer> = peers.iter().filter(|peer| peer.can(work)).collect();
            let rows = rounds(&able, work, arguments).await?;
            sections.push((work.title(), report::work_table(&rows)));
        }
    }
    if named(&arguments.work, "scrape") {
        let setup = Setup { folder: &folder, kind: Kind::Http, upstreams, services: arguments.services };
        let sidecars = |name: &str| ["selvedge", "envoy"].contains(&name) && named(&arguments.peer, name);
        let rows = scrapes(&peer::start_all(setup, sidecars).await?).await?;
        let title = format!("Memory and scrape, {} services without traffic", arguments.services);
        sections.push((title, report::scrape_table(&rows)));
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

async fn upstreams() -> Result<Upstreams> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, place::free_port()?)).await?);
    }
    let addresses: Vec<_> = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let mut listeners = listeners.into_iter();
    let mut next = || listeners.next().context("three were bound");
    tokio::spawn(upstream::serve(next()?));
    tokio::spawn(http2::serve(next()?));
    tokio::spawn(tcp::serve(next()?));
    Ok(Upstreams { http1: addresses[0], http2: addresses[1], tcp: addresses[2] })
}

/// What each sidecar holds of a large mesh, and how much it says of it when nothing has happened.
async fn scrapes(peers: &[Peer]) -> Result<Vec<ScrapeRow>> {
    let mut rows = Vec::new();
    for peer in peers {
        let Some(admin) = peer.admin else { continue };
        // What was only needed to get there may go.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let memory = measure::memory(peer.process_id())?;
        let begun = std::time::Instant::now();
        let (status, text) = stats::get(admin, "/stats/prometheus").await?;
        ensure!(status == 200, "{} answers {status}", peer.name());
        rows.push(ScrapeRow { name: peer.name(), memory, bytes: text.len(), took: begun.elapsed() });
    }
    Ok(rows)
}

/// What each peer holds before anybody calls, and with idle connections.
async fn memory(peers: &[Peer], arguments: &Arguments) -> Result<Vec<MemoryRow>> {
    let mut rows = Vec::new();
    for peer in peers {
        let id = peer.process_id();
        let quiet: Memory = measure::memory(id)?;
        let job = Job { work: WORKS[0], target: peer.address(&WORKS[0]), connections: 1 };
        let held = load::hold(&job, arguments.idle_connections, || measure::memory(id)).await;
        let held = held.with_context(|| format!("holding connections to {}", peer.name()))?;
        rows.push(MemoryRow { name: peer.name(), quiet, held });
    }
    Ok(rows)
}

async fn rounds(peers: &[&Peer], work: &Work, arguments: &Arguments) -> Result<Vec<Row>> {
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
    let job = Job { work: *work, target: peer.address(work), connections: arguments.connections };
    load::run(&job, Duration::from_secs(1)).await?;
    let spent = || peer.process_ids().iter().map(|id| measure::cpu(*id)).sum::<Result<Duration>>();
    let before = spent()?;
    let done = load::run(&job, Duration::from_secs(arguments.seconds)).await?;
    let cpu = spent()?.saturating_sub(before);
    Ok(Sample::new(&done, cpu, measure::memory(peer.process_id())?))
}
