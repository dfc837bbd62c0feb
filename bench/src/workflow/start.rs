//! `selvedge-bench workflow --starts N --binary ONE --binary OTHER`: what one client waits for an acknowledged `StartExecution`, of
//! several binaries in turns, beside the disk's fsync and beside a call of the same server that does nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Arguments, call, create, fsync_of, input, start};
use crate::registry::connect;

/// What was measured of one binary in all rounds.
#[derive(Default)]
struct Samples {
    /// Appending 512 bytes to a file, and syncing it.
    fsync: Vec<Duration>,
    /// The same over bytes that are there.
    over: Vec<Duration>,
    ready: Vec<Duration>,
    start: Vec<Duration>,
}

pub(super) fn run(arguments: &Arguments, folder: &Path) -> Result<()> {
    let mut samples: Vec<(PathBuf, Samples)> =
        arguments.binary.iter().map(|binary| (binary.clone(), Samples::default())).collect();
    for round in 0..arguments.rounds {
        for (index, (binary, samples)) in samples.iter_mut().enumerate() {
            measure(arguments, binary, &folder.join(format!("start-{round}-{index}")), samples)?;
        }
    }
    println!("in µs: lowest tenth, median, of {} rounds in turns", arguments.rounds);
    for (binary, mut samples) in samples {
        let fsync = shown(&mut samples.fsync);
        println!("{}", binary.display());
        println!("  512 bytes appended and fdatasync     {}", said(fsync));
        println!("  512 bytes written over and fdatasync {}", said(shown(&mut samples.over)));
        println!("  GET /readyz on a connection          {}", said(shown(&mut samples.ready)));
        let start = shown(&mut samples.start);
        let ratio = |at: usize| start[at].as_secs_f64() / fsync[at].as_secs_f64();
        println!(
            "  StartExecution, one state            {}   {:.2} and {:.2} × the appended fsync",
            said(start),
            ratio(0),
            ratio(1)
        );
    }
    Ok(())
}

fn measure(arguments: &Arguments, binary: &Path, folder: &Path, samples: &mut Samples) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let (server, api) = start(binary, &folder.join("data"))?;
    let one = json!({ "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } } });
    let machine = create(api, "one", &one, "STANDARD")?;
    let body = json!({ "stateMachineArn": machine, "input": input().to_string() });
    let mut stream = connect(api)?;
    for _ in 0..arguments.starts / 10 {
        call(&mut stream, "StartExecution", &body)?;
    }
    // In turns as well: what the disk does at one time is beside what it does at the same.
    for _ in 0..10 {
        samples.fsync.extend(fsync_of(folder, arguments.starts / 10, false)?);
        samples.over.extend(fsync_of(folder, arguments.starts / 10, true)?);
        for _ in 0..arguments.starts / 10 {
            samples.ready.push(ready(&mut stream)?);
        }
        for _ in 0..arguments.starts / 10 {
            let begun = Instant::now();
            call(&mut stream, "StartExecution", &body)?;
            samples.start.push(begun.elapsed());
        }
    }
    drop(server);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn ready(stream: &mut TcpStream) -> Result<Duration> {
    let begun = Instant::now();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer)?;
    ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "it is not ready");
    Ok(begun.elapsed())
}

/// The lowest tenth, and the median.
fn shown(samples: &mut [Duration]) -> [Duration; 2] {
    samples.sort_unstable();
    [10, 2].map(|part| samples.get(samples.len() / part).copied().unwrap_or_default())
}

fn said([low, median]: [Duration; 2]) -> String {
    format!("{:>6} {:>6}", low.as_micros(), median.as_micros())
}
