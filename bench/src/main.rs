//! `cargo xtask bench`: Envoy, HAProxy and our proxy on the same work, in interleaved rounds, and what ours may cost beside them.
//!
//! Each proxy has one worker pinned to the first core; load and upstream share the second. What survives a noisy
//! machine is CPU time per request of the proxy's own process, so that is the figure to look at; throughput and
//! latency are printed beside it.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the person who started it")]

mod edge;
mod goal;
mod http2;
mod instructions;
mod load;
mod measure;
mod mesh;
mod order;
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
use tokio::net::{TcpListener, UdpSocket};

use goal::Measured;
use measure::{Memory, Sample};
use peer::{Kind, Peer, Setup, Upstreams};
use report::{MemoryRow, Row, ScrapeRow};
use work::{Job, WORKS, Work};

#[derive(Clone, Debug, Parser)]
#[command(about = "Runs the same work through each proxy and prints what it cost, beside what it may cost")]
struct Arguments {
    /// Rounds; the median of each figure over them is reported
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that each proxy is measured in a round
    #[arg(long)]
    seconds: Option<f64>,
    /// Connections that the client keeps open, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Connections held idle while memory is measured
    #[arg(long, default_value_t = 1000)]
    idle_connections: usize,
    /// Only these proxies, by name; may be given several times; `nginx` is measured only if it is named
    #[arg(long)]
    peer: Vec<String>,
    /// Only these works, by name; may be given several times; `memory` and `scrape` are the first and the last table
    #[arg(long, alias = "only")]
    work: Vec<String>,
    /// Services of the mesh whose memory and scrape are measured last
    #[arg(long)]
    services: Option<usize>,
    /// Everything once and shortly, on a smaller mesh: that it runs, not what it costs; no report
    #[arg(long)]
    quick: bool,
    /// Where the report goes; `-` for nowhere
    #[arg(long, default_value = "bench/RESULTS.md")]
    report: PathBuf,
}

impl Arguments {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.3 } else { 1.5 })
    }

    fn services(&self) -> usize {
        self.services.unwrap_or(if self.quick { 300 } else { 5000 })
    }

    fn takes_work(&self, name: &str) -> bool {
        if self.work.is_empty() { goal::is_wanted(name) } else { self.work.iter().any(|work| work == name) }
    }

    /// What is no sort of request.
    fn takes_table(&self, name: &str) -> bool {
        self.work.is_empty() || self.work.iter().any(|work| work == name)
    }

    fn takes_peer(&self, name: &str) -> bool {
        if self.peer.is_empty() { name != peer::NGINX } else { self.peer.iter().any(|peer| peer == name) }
    }
}

/// Core of the proxies, and core of load and upstream.
const CORES: [usize; 2] = [0, 1];

/// What is measured besides works.
const TABLES: [&str; 2] = ["memory", "scrape"];

/// A client works so long before it counts.
const WARM_UP: Duration = Duration::from_millis(300);
/// Idle connections that stand before those whose memory is measured.
const WARM_CONNECTIONS: usize = 200;
/// Between two scrapes: oftener than anybody does, so that each round has some.
const SCRAPE_INTERVAL: Duration = Duration::from_millis(250);

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("workflow") {
        return workflow::run(&workflow::Arguments::parse_from(std::env::args().skip(1)));
    }
    if std::env::args().nth(1).as_deref() == Some("expression") {
        let arguments = workflow::expression::Arguments::parse_from(std::env::args().skip(1));
        return workflow::expression::repeat(&arguments);
    }
    if std::env::args().nth(1).as_deref() == Some("registry") {
        return registry::run(&registry::Arguments::parse_from(std::env::args().skip(1)));
    }
    if std::env::args().nth(1).as_deref() == Some("instructions") {
        let arguments = instructions::Arguments::parse_from(std::env::args().skip(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async { instructions::run(&arguments, upstreams().await?).await });
    }
    if std::env::args().nth(1).as_deref() == Some("order") {
        let arguments = order::Arguments::parse_from(std::env::args().skip(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async { order::run(&arguments, upstreams().await?).await });
    }
    if std::env::args().nth(1).as_deref() == Some("edge") {
        let arguments = edge::Arguments::parse_from(std::env::args().skip(1));
        measure::pin(std::process::id(), CORES[1])?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async { edge::run(&arguments, upstreams().await?).await });
    }
    let arguments = Arguments::parse();
    let measures = arguments.rounds() > 0 && arguments.seconds() > 0.0 && arguments.connections > 0;
    ensure!(measures, "nothing to measure");
    for name in &arguments.work {
        let known = WORKS.iter().any(|work| work.name == name) || TABLES.contains(&name.as_str());
        ensure!(known, "no work is called {name:?}");
    }
    measure::pin(std::process::id(), CORES[1])?;
    // One thread: load and upstream must not take the core of the proxies.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let begun = std::time::Instant::now();
    let upstreams = upstreams().await?;
    let folder = place::repository_root().join("target/bench");
    let mut measured = Measured { idle_connections: arguments.idle_connections, ..Measured::default() };
    let mut sections = Vec::new();
    let direct = Peer::direct(upstreams);
    for kind in Kind::ALL {
        let works: Vec<&Work> =
            WORKS.iter().filter(|work| arguments.takes_work(work.name) && Kind::of(work) == kind).collect();
        let memory = kind == Kind::Http && arguments.takes_table(TABLES[0]);
        if works.is_empty() && !memory {
            continue;
        }
        let setup = Setup { folder: &folder, kind, upstreams, services: mesh::SERVICES, traced: true };
        let peers = peer::start_all(setup, |name| arguments.takes_peer(name)).await?;
        ensure!(!peers.is_empty(), "no peer is called {:?}", arguments.peer);
        if memory {
            measured.memory = self::memory(&peers, arguments).await?;
            sections.push(("Memory".to_owned(), report::memory_table(&measured.memory, arguments)));
        }
        for work in works {
            let mut able: Vec<&Peer> = peers.iter().filter(|peer| peer.can(work)).collect();
            // What a proxy adds to a client's wait is told only where the wait is not one for the processor.
            able.extend(work.rate.map(|_| &direct));
            let rows = rounds(&able, work, arguments).await?;
            sections.push((work.title(), report::work_table(&rows)));
            measured.works.push((work.name, rows));
        }
    }
    if arguments.takes_table(TABLES[1]) {
        measured.services = arguments.services();
        let setup =
            Setup { folder: &folder, kind: Kind::Http, upstreams, services: measured.services, traced: true };
        let sidecars =
            |name: &str| [report::OURS, report::ENVOY].contains(&name) && arguments.takes_peer(name);
        let peers = peer::start_all(setup, sidecars).await?;
        measured.scrape = scrapes(&peers).await?;
        if let Some(ours) = peers.iter().find(|peer| peer.name() == report::OURS) {
            measured.scraped = Some(scraped(ours, arguments).await?);
        }
        let title = format!("Memory and scrape, {} services without traffic", measured.services);
        sections.push((title, report::scrape_table(&measured.scrape)));
    }
    let goals = goal::table(&measured);
    println!("\n{goals}\ntook {:.0} s", begun.elapsed().as_secs_f64());
    if arguments.report.as_os_str() != "-" && !arguments.quick {
        let path = place::repository_root().join(&arguments.report);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let text = report::keep_others(&report::page(&goals, &sections, arguments), &old);
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
    let daemon = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let traces = daemon.local_addr()?;
    tokio::spawn(async move {
        let mut datagram = vec![0; 64 * 1024];
        while daemon.recv(&mut datagram).await.is_ok() {}
    });
    Ok(Upstreams { http1: addresses[0], http2: addresses[1], tcp: addresses[2], traces })
}

/// What each sidecar holds of a large mesh, and how much it says of it when nothing has happened.
async fn scrapes(peers: &[Peer]) -> Result<Vec<ScrapeRow>> {
    let mut rows = Vec::new();
    for peer in peers {
        let Some(admin) = peer.admin else { continue };
        // What was only needed to get there may go.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let memory = peer.memory()?;
        let begun = std::time::Instant::now();
        let (status, text) = stats::get(admin, "/stats/prometheus").await?;
        ensure!(status == 200, "{} answers {status}", peer.name());
        rows.push(ScrapeRow { name: peer.name(), memory, bytes: text.len(), took: begun.elapsed() });
    }
    Ok(rows)
}

/// The 99th percentile at a given rate, in microseconds: left alone, and while the statistics are asked for all the time.
async fn scraped(peer: &Peer, arguments: &Arguments) -> Result<[f64; 2]> {
    let work = WORKS.iter().find(|work| work.rate.is_some()).context("a work has a rate")?;
    let admin = peer.admin.context("a sidecar has statistics")?;
    println!("{}, scraped all the time and not at all", work.about);
    let mut p99 = [Vec::new(), Vec::new()];
    for _ in 0..arguments.rounds() {
        for (scrape, p99) in [false, true].into_iter().zip(&mut p99) {
            let scraper = scrape.then(|| {
                tokio::spawn(async move {
                    loop {
                        let _ = stats::get(admin, "/stats/prometheus").await;
                        tokio::time::sleep(SCRAPE_INTERVAL).await;
                    }
                })
            });
            let sample = measure(peer, work, arguments).await;
            if let Some(scraper) = scraper {
                scraper.abort();
            }
            p99.push(f64::from(sample?.p99_us));
        }
    }
    Ok(p99.map(report::median))
}

/// What each peer holds before anybody calls, and with idle connections.
async fn memory(peers: &[Peer], arguments: &Arguments) -> Result<Vec<MemoryRow>> {
    let mut rows = Vec::new();
    for peer in peers {
        let quiet: Memory = peer.memory()?;
        let job = Job { work: WORKS[0], target: peer.address(&WORKS[0]), connections: 1 };
        let held = load::hold(&job, [WARM_CONNECTIONS, arguments.idle_connections], || peer.memory()).await;
        let [warm, held] = held.with_context(|| format!("holding connections to {}", peer.name()))?;
        rows.push(MemoryRow { name: peer.name(), quiet, warm, held });
    }
    Ok(rows)
}

async fn rounds(peers: &[&Peer], work: &Work, arguments: &Arguments) -> Result<Vec<Row>> {
    println!("{}", work.about);
    let mut samples: Vec<Vec<Sample>> = peers.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds() {
        for (peer, samples) in peers.iter().zip(&mut samples) {
            let sample =
                measure(peer, work, arguments).await.with_context(|| format!("measuring {}", peer.name()))?;
            println!("  round {round}  {:<9} {}", peer.name(), sample.line());
            samples.push(sample);
        }
    }
    Ok(peers.iter().zip(&samples).map(|(peer, samples)| Row::new(peer.name(), samples)).collect())
}

/// One round of one peer: a moment to warm up, then the time that counts.
async fn measure(peer: &Peer, work: &Work, arguments: &Arguments) -> Result<Sample> {
    let job = Job { work: *work, target: peer.address(work), connections: arguments.connections };
    load::run(&job, WARM_UP).await?;
    let spent = || peer.process_ids().iter().map(|id| measure::cpu(*id)).sum::<Result<Duration>>();
    let before = spent()?;
    let done = load::run(&job, Duration::from_secs_f64(arguments.seconds())).await?;
    let cpu = spent()?.saturating_sub(before);
    Ok(Sample::new(&done, cpu, peer.memory()?))
}
