//! How long a change takes from the API's front door to every proxy that needs it.
//!
//! `cargo bench -p selvedge-control --bench propagation [-- --nodes N --rounds N] [--registry]`
//!
//! With `--registry`, instances are registered and deregistered in a service of Cloud Map that every proxy calls.
//!
//! One process: the real API over SQLite, the real publisher and gRPC server, and N proxies, each with a TCP connection
//! of its own on loopback and our proxy's session (delta, aggregated). Measured from the moment before the API is called
//! until the proxy has applied what it received. A proxy that receives what does not concern it fails the run.
#![expect(clippy::print_stdout, reason = "a benchmark talks to the person who started it")]

mod fleet;
mod plane;
mod wire;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleet::{Fleet, Seen};
use plane::Plane;
use selvedge_traffic::ResourceKind;

/// Services in the mesh; the last one is everybody's backend.
const SERVICES: usize = 100;

/// Backends of each node, besides the common one.
const BACKENDS: usize = 5;

/// How long nobody may say anything for a round to be over.
const QUIET: Duration = Duration::from_millis(150);

/// How long a round may take.
const ROUND_MAX: Duration = Duration::from_secs(30);

struct Options {
    nodes: usize,
    rounds: usize,
    registry: bool,
}

fn main() {
    let options = options();
    raise_open_files(options.nodes);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let plane = Plane::start().await;
    if options.registry {
        return registered(&plane, options).await;
    }
    let started = Instant::now();
    plane.create_mesh(options.nodes, SERVICES, BACKENDS).await;
    println!("mesh of {} nodes and {SERVICES} services made in {:.1?}", options.nodes, started.elapsed());

    let started = Instant::now();
    let mut fleet = Fleet::start(plane.address, options.nodes).await;
    fleet.wait_until_settled(Duration::from_secs(120)).await;
    println!("{} proxies connected and served in {:.1?}", options.nodes, started.elapsed());

    let everybody: BTreeSet<usize> = (0..options.nodes).collect();
    let mut few = Vec::new();
    let mut all = Vec::new();
    for round in 0..options.rounds {
        let service = round % (SERVICES - 1);
        let concerned: BTreeSet<usize> = everybody
            .iter()
            .copied()
            .filter(|node| plane::backends(*node, SERVICES, BACKENDS).contains(&service))
            .collect();
        few.extend(shift(&plane, &mut fleet, service, round, &concerned).await);
        if round % 10 == 0 {
            all.extend(shift(&plane, &mut fleet, SERVICES - 1, round, &everybody).await);
        }
    }
    report("a route that some need", &mut few);
    report("a route that all need", &mut all);
    plane.stop().await;
}

/// How long a registration, and a deregistration, takes to every proxy.
async fn registered(plane: &Plane, options: &Options) {
    let service = plane.create_registered(options.nodes).await;
    let mut fleet = Fleet::start(plane.address, options.nodes).await;
    fleet.wait_until_settled(Duration::from_secs(120)).await;
    println!("{} proxies connected and served", options.nodes);
    fleet.watch(ResourceKind::Endpoints);
    let everybody: BTreeSet<usize> = (0..options.nodes).collect();
    let (mut come, mut gone) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let started = Instant::now();
        plane.register(&service, round).await;
        come.extend(arrivals(&mut fleet, started, &everybody, round).await);
        let started = Instant::now();
        plane.deregister(&service, round).await;
        gone.extend(arrivals(&mut fleet, started, &everybody, round).await);
    }
    report("a registration", &mut come);
    report("a deregistration", &mut gone);
}

/// Changes one route's weights; when each proxy that is concerned had it.
async fn shift(
    plane: &Plane,
    fleet: &mut Fleet,
    service: usize,
    round: usize,
    concerned: &BTreeSet<usize>,
) -> Vec<Duration> {
    let started = Instant::now();
    plane.shift(service, round).await;
    arrivals(fleet, started, concerned, round).await
}

/// When each proxy that is concerned had it.
async fn arrivals(
    fleet: &mut Fleet,
    started: Instant,
    concerned: &BTreeSet<usize>,
    round: usize,
) -> Vec<Duration> {
    let mut waiting = concerned.clone();
    let mut latencies = Vec::with_capacity(concerned.len());
    loop {
        let patience = if waiting.is_empty() { QUIET } else { ROUND_MAX };
        match tokio::time::timeout(patience, fleet.seen()).await {
            Ok(Seen { node, at }) => {
                assert!(concerned.contains(&node), "node {node} received what does not concern it");
                if waiting.remove(&node) {
                    latencies.push(at.saturating_duration_since(started));
                }
            }
            Err(_) if waiting.is_empty() => return latencies,
            Err(_) => panic!("{} proxies did not receive round {round}: {waiting:?}", waiting.len()),
        }
    }
}

fn report(what: &str, latencies: &mut [Duration]) {
    latencies.sort();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((latencies.len() as f64 - 1.0) * share) as usize;
        latencies.get(index).copied().unwrap_or_default()
    };
    println!(
        "{what}: {} deliveries, p50 {:.1?}, p90 {:.1?}, p99 {:.1?}, max {:.1?}",
        latencies.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// `--nodes N --rounds N`; what cargo adds is ignored.
fn options() -> Options {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let value =
            arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let registry = arguments.iter().any(|argument| argument == "--registry");
    Options { nodes: number("--nodes", 1000), rounds: number("--rounds", 100), registry }
}

/// Two sockets a proxy, and some.
fn raise_open_files(nodes: usize) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let needed = 2 * nodes as u64 + 256;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard).expect("the limit can be raised");
    }
}
