//! A server's start, and its reload while people are at it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::OURS;
use super::peer::{Peer, Port};
use crate::peer::Upstreams;

/// Ours listens within this.
const START_MS_MAX: f64 = 10.0;
/// No request is slower by more than this than without a reload.
const SLOWER_MS_MAX: f64 = 50.0;
/// New connections a second, each with one request.
const RATE: u32 = 1000;
/// A request that is not answered within this has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// From the start of a process until somebody can connect, and until a request is answered.
pub(super) async fn start(
    names: &[&'static str],
    folder: &Path,
    upstreams: Upstreams,
    times: usize,
) -> Result<()> {
    println!("\nstart: until it listens, until it has answered; medians of {times} (least)");
    for name in names {
        let (mut listening, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..times {
            let begun = Instant::now();
            let peer = Peer::spawn(name, folder, upstreams, &[])?;
            let address = peer.address(Port::Plain);
            // Whoever sleeps between two looks measures its own sleep.
            while std::net::TcpStream::connect(address).is_err() {
                ensure!(begun.elapsed() < Duration::from_secs(20), "{name} does not listen");
                std::thread::yield_now();
            }
            listening.push(milliseconds(begun.elapsed()));
            one(address).await.with_context(|| format!("{name}'s first answer"))?;
            answered.push(milliseconds(begun.elapsed()));
        }
        let (least, middle) = spread(&mut listening);
        let (first_least, first) = spread(&mut answered);
        let verdict = match *name == OURS {
            true if middle <= START_MS_MAX => format!("  goal {START_MS_MAX:.0} ms: met"),
            true => format!("  goal {START_MS_MAX:.0} ms: NOT met"),
            false => String::new(),
        };
        println!("  {name:<10}{middle:>6.1} ({least:.1}) ms; {first:.1} ({first_least:.1}) ms{verdict}");
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn spread(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

/// Reads the configuration again under a thousand new connections a second, while somebody downloads slowly.
pub(super) async fn reload(
    names: &[&'static str],
    folder: &Path,
    upstreams: Upstreams,
    quick: bool,
) -> Result<()> {
    println!(
        "\nreload with a slow download held and {RATE} new connections a second: usually, then with three reloads"
    );
    let time = Duration::from_secs(if quick { 1 } else { 4 });
    for name in names {
        // caddy is told by its API, which is off here.
        let signal = match *name {
            "nginx" => "HUP",
            "caddy" => continue,
            _ => "USR1",
        };
        // nginx in one process does not reload: it is measured as it is run there, by others.
        if *name == "nginx" {
            println!("  nginx     in one process it does not reload");
            continue;
        }
        let peer = Peer::start(name, folder, upstreams).await?;
        let address = peer.address(Port::Plain);
        let slow = tokio::spawn(download(address, time * 2 + Duration::from_secs(1)));
        let usual = arrivals(address, time, || Ok(())).await?;
        let mut left = 3;
        let mut next = Instant::now() + time / 8;
        let reloading = arrivals(address, time, || {
            if left > 0 && Instant::now() >= next {
                left -= 1;
                next += time / 4;
                peer.signal(signal)?;
            }
            Ok(())
        });
        let reloading = reloading.await?;
        let held = slow.await?.is_ok();
        let slower = reloading.worst_ms - usual.worst_ms;
        let verdict = match *name == OURS {
            true if reloading.failed == 0 && held && slower <= SLOWER_MS_MAX => "  goal: met",
            true => "  goal (no failure, 50 ms): NOT met",
            false => "",
        };
        println!(
            "  {name:<10}{} failed of {}, slowest {:.1} ms; {} failed of {}, slowest {:.1} ms; the download {}{verdict}",
            usual.failed,
            usual.asked,
            usual.worst_ms,
            reloading.failed,
            reloading.asked,
            reloading.worst_ms,
            if held { "went on" } else { "broke off" },
        );
    }
    Ok(())
}

/// What came of many requests.
#[derive(Debug, Default)]
struct Arrivals {
    asked: usize,
    failed: usize,
    worst_ms: f64,
}

async fn arrivals(
    address: SocketAddr,
    time: Duration,
    mut each: impl FnMut() -> Result<()>,
) -> Result<Arrivals> {
    let mut under_way = JoinSet::new();
    let mut beat = tokio::time::interval(Duration::from_secs(1) / RATE);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut found = Arrivals::default();
    let count = |outcome: Option<Duration>, found: &mut Arrivals| {
        found.asked += 1;
        match outcome {
            Some(took) => found.worst_ms = found.worst_ms.max(milliseconds(took)),
            None => found.failed += 1,
        }
    };
    while begun.elapsed() < time {
        beat.tick().await;
        each()?;
        under_way.spawn(async move {
            let begun = Instant::now();
            let done = tokio::time::timeout(PATIENCE, one(address)).await;
            matches!(done, Ok(Ok(()))).then(|| begun.elapsed())
        });
        while let Some(outcome) = under_way.try_join_next() {
            count(outcome?, &mut found);
        }
    }
    while let Some(outcome) = under_way.join_next().await {
        count(outcome?, &mut found);
    }
    Ok(found)
}

/// A connection, a request, an answer.
async fn one(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /1k.txt HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::with_capacity(2048);
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"xxxx"), "no answer");
    Ok(())
}

/// Reads a large file a little at a time, for so long; whether it was still coming then.
async fn download(address: SocketAddr, time: Duration) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /10m.txt HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    let begun = Instant::now();
    let mut part = vec![0; 16 * 1024];
    while begun.elapsed() < time {
        if stream.read(&mut part).await? == 0 {
            bail!("it ended early");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
