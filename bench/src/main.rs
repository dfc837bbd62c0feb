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
mod report;
mod upstream;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use selvedge_differential::place;
use tokio::net::TcpListener;

use load::Work;
use measure::Sample;
use peer::Peer;

#[derive(Parser)]
#[command(about = "Runs the same work through each proxy and prints what it cost")]
struct Arguments {
    /// Rounds; the median of each figure over them is reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each proxy is measured in a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections that the client keeps open, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Only these peers, by name; may be given several times
    #[arg(long)]
    peer: Vec<String>,
    /// Where the report goes; `-` for nowhere
    #[arg(long, default_value = "bench/RESULTS.md")]
    report: PathBuf,
}

/// Core of the proxies, and core of load and upstream.
const CORES: [usize; 2] = [0, 1];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0 && arguments.seconds > 0 && arguments.connections > 0, "nothing to measure");
    measure::pin(std::process::id(), CORES[1])?;
    // One thread: load and upstream must not take the core of the proxies.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, place::free_port()?)).await?;
    let upstream: SocketAddr = listener.local_addr()?;
    tokio::spawn(upstream::serve(listener));
    let folder = place::repository_root().join("target/bench");
    let wanted = |name: &str| arguments.peer.is_empty() || arguments.peer.iter().any(|other| other == name);
    let peers = peer::start_all(&folder, upstream, wanted).await?;
    ensure!(!peers.is_empty(), "no peer is called {:?}", arguments.peer);
    for peer in &peers {
        measure::pin(peer.process_id(), CORES[0])?;
    }

    let idle: Vec<measure::Memory> =
        peers.iter().map(|peer| measure::memory(peer.process_id())).collect::<Result<_>>()?;
    let mut samples: Vec<Vec<Sample>> = peers.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds {
        for (peer, samples) in peers.iter().zip(&mut samples) {
            let sample =
                measure(peer, arguments).await.with_context(|| format!("measuring {}", peer.name()))?;
            println!("round {round}  {:<9} {}", peer.name(), sample.line());
            samples.push(sample);
        }
    }
    let results: Vec<report::Row> = peers
        .iter()
        .zip(&samples)
        .zip(idle)
        .map(|((peer, samples), idle)| report::Row::new(peer.name(), samples, idle))
        .collect();
    let text = report::text(&results, arguments);
    println!("\n{text}");
    if arguments.report.as_os_str() != "-" {
        let path = place::repository_root().join(&arguments.report);
        report::write_section(&path, "HTTP/1.1", &text)?;
        println!("written to {}", arguments.report.display());
    }
    Ok(())
}

/// One round of one peer: a second to warm up, then the time that counts.
async fn measure(peer: &Peer, arguments: &Arguments) -> Result<Sample> {
    let work =
        Work { target: peer.address(), authority: mesh::authority(), connections: arguments.connections };
    load::run(&work, Duration::from_secs(1)).await?;
    let before = measure::cpu(peer.process_id())?;
    let done = load::run(&work, Duration::from_secs(arguments.seconds)).await?;
    let cpu = measure::cpu(peer.process_id())?.saturating_sub(before);
    Ok(Sample::new(&done, cpu, measure::memory(peer.process_id())?))
}
