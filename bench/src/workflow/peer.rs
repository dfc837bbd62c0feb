//! Other servers that speak Step Functions' API, on the same work.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use selvedge_differential::place;
use serde_json::json;

use super::{Arguments, ROLE, call, input, ten_states};
use crate::registry::{Server, connect};

/// moto's server, from PyPI, in an environment of its own: how many executions a second, where it runs.
pub(super) fn moto(arguments: &Arguments, folder: &Path) -> Option<f64> {
    let rate = started(folder).and_then(|(server, address)| {
        let rate = measured(arguments, address);
        drop(server);
        rate
    });
    said("moto", arguments, rate)
}

/// LocalStack's: where `LOCALSTACK_HOST=127.0.0.1:4566` says that somebody has started one, or without a container from PyPI.
pub(super) fn localstack(arguments: &Arguments, folder: &Path) -> Option<f64> {
    let rate = match std::env::var("LOCALSTACK_HOST") {
        Ok(host) => host
            .to_socket_addrs()
            .context("LOCALSTACK_HOST")
            .and_then(|mut addresses| addresses.next().context("an address"))
            .and_then(|address| measured(arguments, address)),
        Err(_) => localstack_of_our_own(folder).and_then(|(server, address)| {
            let rate = measured(arguments, address);
            drop(server);
            rate
        }),
    };
    said("LocalStack", arguments, rate)
}

fn said(who: &str, arguments: &Arguments, rate: Result<f64>) -> Option<f64> {
    match rate {
        Ok(rate) => {
            println!("{who}, ten states, in memory: {rate:.0}/s ({} in all)", arguments.peer_executions);
            Some(rate)
        }
        Err(error) => {
            println!("{who}: absent ({error:#})");
            None
        }
    }
}

/// LocalStack without a container: the last release that runs under Python 3.11 and needs none of its own plugins built, and libraries
/// as old as it is; with newer ones it does not find its parts, and says no more than that.
const LOCALSTACK: [&str; 5] = [
    "localstack-core[runtime]==4.4.0",
    "cbor2<5.8",
    "pyOpenSSL==24.2.1",
    "cryptography==43.0.3",
    "service_identity==24.1.0",
];
/// How long LocalStack may take to be installed, and to answer.
const INSTALLING_SECONDS: &str = "150";
const STARTING: Duration = Duration::from_secs(45);

fn localstack_of_our_own(folder: &Path) -> Result<(Server, SocketAddr)> {
    let environment = place::repository_root().join("target/bench/localstack");
    let marker = environment.join("installed");
    if !marker.is_file() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).status()?;
        ensure!(made.success(), "no environment for LocalStack");
        let installed = Command::new("timeout")
            .arg(INSTALLING_SECONDS)
            .arg(environment.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(LOCALSTACK)
            .output()?;
        let why = String::from_utf8_lossy(&installed.stderr);
        let why = why.lines().rfind(|line| !line.is_empty()).unwrap_or("it takes too long").to_owned();
        ensure!(installed.status.success(), "pip could not install LocalStack: {why}");
        std::fs::write(&marker, "")?;
    }
    let address = SocketAddr::from(([127, 0, 0, 1], place::free_port()?));
    let log = folder.join("localstack.log");
    let child = Command::new(environment.join("bin/python"))
        .args(["-m", "localstack.runtime.main"])
        .envs([
            ("GATEWAY_LISTEN", address.to_string().as_str()),
            ("SKIP_SSL_CERT_DOWNLOAD", "1"),
            ("DISABLE_EVENTS", "1"),
        ])
        .env("FILESYSTEM_ROOT", folder.join("localstack"))
        .current_dir(folder)
        .stdout(std::fs::File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()?;
    let mut server = Server(child);
    let deadline = Instant::now() + STARTING;
    while std::net::TcpStream::connect(address).is_err() {
        let ended = server.0.try_wait()?;
        let last = || {
            std::fs::read_to_string(&log).unwrap_or_default().lines().last().unwrap_or_default().to_owned()
        };
        ensure!(ended.is_none(), "it ended: {}", last());
        ensure!(Instant::now() < deadline, "it does not listen: {}", last());
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok((server, address))
}

fn started(folder: &Path) -> Result<(Server, SocketAddr)> {
    let environment = place::repository_root().join("target/bench/moto");
    let program = environment.join("bin/moto_server");
    if !program.is_file() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).status()?;
        ensure!(made.success(), "no environment for moto");
        let installed = Command::new(environment.join("bin/pip"))
            .args(["install", "--quiet", "moto[server,stepfunctions]"])
            .status()?;
        ensure!(installed.success(), "pip could not install moto");
    }
    let port = place::free_port()?;
    let child = Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let server = Server(child);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It runs machines only when it is told to.
    let told = Command::new("curl")
        .args(["-sf", "-X", "POST", "-H", "content-type: application/json", "-d"])
        .arg("{\"stepfunctions\": {\"execute_state_machine\": true}}")
        .arg(format!("http://{address}/moto-api/config"))
        .stdout(Stdio::null())
        .status()?;
    ensure!(told.success(), "it takes no configuration");
    Ok((server, address))
}

/// Starts executions one after the other and waits until each has ended.
fn measured(arguments: &Arguments, address: SocketAddr) -> Result<f64> {
    // These servers may end a connection after each answer, so each call has one of its own.
    let call = |operation: &str, input: &serde_json::Value| call(&mut connect(address)?, operation, input);
    let machine = json!({ "name": "ten", "definition": ten_states().to_string(), "roleArn": ROLE });
    let machine = call("CreateStateMachine", &machine)?["stateMachineArn"].clone();
    let begun = Instant::now();
    let mut started = Vec::with_capacity(arguments.peer_executions);
    for number in 0..arguments.peer_executions {
        let input =
            json!({ "stateMachineArn": machine, "name": format!("e{number}"), "input": input().to_string() });
        started.push(call("StartExecution", &input)?["executionArn"].clone());
    }
    for arn in started {
        loop {
            let described = call("DescribeExecution", &json!({ "executionArn": arn }))?;
            if described["status"] != "RUNNING" {
                ensure!(described["status"] == "SUCCEEDED", "{described}");
                break;
            }
            ensure!(begun.elapsed() < Duration::from_secs(120), "they do not come to an end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = arguments.peer_executions as f64 / begun.elapsed().as_secs_f64();
    Ok(rate)
}
