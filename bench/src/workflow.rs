//! `selvedge-bench workflow`: executions of a server of its own beside moto's, beside the disk's own fsync; expressions beside
//! jsonata-js under Node.
//!
//! Executions are durable before they are answered. A peer that is not installed, or does not start, is said to be absent.

pub(crate) mod expression;
mod goal;
mod peer;
mod start;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use selvedge_differential::place;
use serde_json::{Value, json};

use crate::registry::{Server, connect, drive, line};
use goal::{Figures, Measured};

#[derive(Clone, Debug, Parser)]
#[command(name = "selvedge-bench workflow", about = "Measures the workflow engine")]
pub(crate) struct Arguments {
    /// Seconds that each part is measured
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Executions that wait while memory and a restart are measured
    #[arg(long, default_value_t = 100_000)]
    waiting: usize,
    /// Executions that a peer runs
    #[arg(long, default_value_t = 200)]
    peer_executions: usize,
    /// Leave the peers out
    #[arg(long)]
    alone: bool,
    /// Measure nothing but so many acknowledged starts of one client, a round and binary
    #[arg(long, default_value_t = 0)]
    starts: usize,
    /// Rounds of them, the binaries in turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A binary whose starts are measured; may be given several times
    #[arg(long)]
    binary: Vec<PathBuf>,
}

const ROLE: &str = "arn:aws:iam::123456789012:role/bench";
const CLIENTS: usize = 64;
const SYNC_CLIENTS: usize = 8;

/// Pass, Choice, Wait 0, Map of 3, Parallel of 2: ten states.
fn ten_states() -> Value {
    let pass = |next: &str| json!({ "Type": "Pass", "Next": next });
    let end = || json!({ "Type": "Pass", "End": true });
    json!({ "StartAt": "First", "States": {
        "First": pass("Choose"),
        "Choose": { "Type": "Choice", "Default": "Hold",
            "Choices": [{ "Variable": "$.n", "NumericLessThan": 0, "Next": "Done" }] },
        "Hold": { "Type": "Wait", "Seconds": 0, "Next": "Each" },
        "Each": { "Type": "Map", "ItemsPath": "$.items", "ResultPath": "$.each", "Next": "Both",
            "ItemProcessor": { "StartAt": "Item", "States": { "Item": end() } } },
        "Both": { "Type": "Parallel", "ResultPath": "$.both", "Next": "Shape", "Branches": [
            { "StartAt": "Left", "States": { "Left": end() } },
            { "StartAt": "Right", "States": { "Right": end() } },
        ] },
        "Shape": { "Type": "Pass", "Parameters": { "n.$": "$.n", "count.$": "States.ArrayLength($.each)" }, "Next": "Done" },
        "Done": { "Type": "Succeed" },
    } })
}

fn input() -> Value {
    json!({ "n": 7, "items": [1, 2, 3], "name": "a payload of an ordinary size" })
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = place::repository_root().join("target/bench/workflow");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    if arguments.starts > 0 {
        return start::run(arguments, &folder);
    }
    let binary = std::env::var_os("SELVEDGE_BIN").context("SELVEDGE_BIN names the binary to measure")?;
    let binary = Path::new(&binary);
    let mut measured = Measured { fsync: fsync(&folder)?, ..Measured::default() };
    let data = folder.join("data");
    let (server, api) = start(binary, &data)?;
    let standard = create(api, "ten", &ten_states(), "STANDARD")?;
    let express = create(api, "quick", &ten_states(), "EXPRESS")?;
    let until = Some(Duration::from_secs(arguments.seconds));
    measured.durable = executions(api, "ten states, durable", CLIENTS, until, "StartExecution", &standard)?;
    executions(api, "StartExecution, ten states", 1, until, "StartExecution", &standard)?;
    let one = json!({ "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } } });
    let one = create(api, "one", &one, "STANDARD")?;
    measured.start = executions(api, "StartExecution, one state", 1, until, "StartExecution", &one)?;
    let what = "ten states, express, synchronous";
    measured.express = executions(api, what, SYNC_CLIENTS, until, "StartSyncExecution", &express)?;
    waiting(arguments, (server, api), (binary, &data), &mut measured)?;
    measured.expression = Some(expression::run()?);
    if !arguments.alone {
        measured.moto = peer::moto(arguments, &folder);
        peer::localstack(arguments, &folder);
    }
    println!("{}", measured.table());
    Ok(())
}

/// Says what a work came to.
fn told(what: &str, done: (Vec<Duration>, Duration)) -> Figures {
    let at = |percent: usize| {
        let index = (done.0.len() * percent / 100).min(done.0.len().saturating_sub(1));
        done.0.get(index).copied().unwrap_or_default()
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let figures = Figures { rate: done.0.len() as f64 / done.1.as_secs_f64(), p50: at(50), p99: at(99) };
    println!("{}", line(what, done));
    figures
}

/// What the disk below the server takes for 512 bytes.
fn fsync(folder: &Path) -> Result<Figures> {
    let path = folder.join("fsync");
    let file = std::fs::File::create(&path)?;
    let (mut taken, begun) = (Vec::new(), Instant::now());
    let bytes = [7; 512];
    while begun.elapsed() < Duration::from_secs(1) {
        let at = Instant::now();
        file.write_all_at(&bytes, taken.len() as u64 * 512)?;
        file.sync_data()?;
        taken.push(at.elapsed());
    }
    let elapsed = begun.elapsed();
    std::fs::remove_file(&path)?;
    taken.sort();
    Ok(told("the disk: 512 bytes and fdatasync", (taken, elapsed)))
}

/// What so many writes of 512 bytes take, each with its fdatasync: one after the other at the file's end, or over what is there.
fn fsync_of(folder: &Path, count: usize, is_over: bool) -> Result<Vec<Duration>> {
    let path = folder.join("fsync");
    let file = std::fs::File::create(&path)?;
    let bytes = [7; 512];
    if is_over {
        file.write_all_at(&vec![0; count * bytes.len()], 0)?;
        file.sync_all()?;
    }
    let mut taken = Vec::with_capacity(count);
    for number in 0..count {
        let at = Instant::now();
        file.write_all_at(&bytes, (number * bytes.len()) as u64)?;
        file.sync_data()?;
        taken.push(at.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(taken)
}

/// A server over `data`; ready once it answers.
fn start(binary: &Path, data: &Path) -> Result<(Server, SocketAddr)> {
    let mut child = Command::new(binary)
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start {}", binary.display()))?;
    let mut said = BufReader::new(child.stdout.take().context("its output")?).lines();
    let server = Server(child);
    let line = said.next().context("it ended")??;
    let word = line.rsplit(' ').next().unwrap_or_default().trim_start_matches("http://");
    let api: SocketAddr = word.parse().with_context(|| format!("an address in '{line}'"))?;
    Ok((server, api))
}

fn create(api: SocketAddr, name: &str, definition: &Value, kind: &str) -> Result<String> {
    let input = json!({ "name": name, "definition": definition.to_string(), "roleArn": ROLE, "type": kind });
    let made = call(&mut connect(api)?, "CreateStateMachine", &input)?;
    Ok(made["stateMachineArn"].as_str().context("a machine")?.to_owned())
}

/// Runs executions of `machine` one after the other on each client; one that did not end well is an error.
fn executions(
    api: SocketAddr,
    what: &str,
    clients: usize,
    until: Option<Duration>,
    operation: &str,
    machine: &str,
) -> Result<Figures> {
    let body = json!({ "stateMachineArn": machine, "input": input().to_string() });
    let work = |stream: &mut TcpStream, number: usize| {
        let answer = call(stream, operation, &body)?;
        if operation == "StartSyncExecution" {
            ensure!(answer["status"] == "SUCCEEDED", "{answer}");
        } else if number.is_multiple_of(997) {
            // Pure states have run to their end before the answer; now and then that is looked at.
            let described =
                call(stream, "DescribeExecution", &json!({ "executionArn": answer["executionArn"] }))?;
            ensure!(described["status"] == "SUCCEEDED", "{described}");
        }
        Ok(true)
    };
    let warm = Some(Duration::from_millis(500));
    drive(clients, warm, || connect(api), work)?;
    let done = drive(clients, until, || connect(api), work)?;
    Ok(told(&format!("{what}, {clients} clients"), done))
}

/// Memory with many executions that wait, and the time of a restart after a kill.
fn waiting(
    arguments: &Arguments,
    (server, api): (Server, SocketAddr),
    (binary, data): (&Path, &Path),
    measured: &mut Measured,
) -> Result<()> {
    let definition =
        json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 86_400, "End": true } } });
    let machine = create(api, "waits", &definition, "STANDARD")?;
    let before = resident(&server)?;
    let body = json!({ "stateMachineArn": machine, "input": input().to_string() });
    let work = |stream: &mut TcpStream, number: usize| {
        if number >= arguments.waiting {
            return Ok(false);
        }
        call(stream, "StartExecution", &body).map(|_| true)
    };
    println!("{}", line("StartExecution of one that waits", drive(CLIENTS, None, || connect(api), work)?));
    let after = resident(&server)?;
    println!(
        "{} executions waiting: {} MiB resident, {} MiB before",
        arguments.waiting,
        after >> 10,
        before >> 10
    );
    measured.waiting = Some((after >> 10, before >> 10));
    // Killed, not ended.
    drop(server);
    let begun = Instant::now();
    let (server, api) = start(binary, data)?;
    let mut stream = connect(api)?;
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "it is not ready");
    let taken = begun.elapsed();
    measured.restart = Some(taken);
    println!("after a kill, ready in {taken:.2?}, {} MiB resident", resident(&server)? >> 10);
    Ok(())
}

/// KiB that a process holds.
fn resident(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id()))?;
    let found =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    found.context("VmRSS")
}

/// Calls an operation of Step Functions on a connection that stays.
fn call(stream: &mut TcpStream, operation: &str, input: &Value) -> Result<Value> {
    crate::registry::post(
        stream,
        "application/x-amz-json-1.0",
        &format!("AWSStepFunctions.{operation}"),
        input,
    )
    .with_context(|| operation.to_owned())
}
