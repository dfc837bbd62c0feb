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

/// moto's server, from PyPI, in an environment of its own.
pub(super) fn moto(arguments: &Arguments, folder: &Path) -> Result<()> {
    match started(folder).and_then(|(server, address)| {
        let said = measured(arguments, address);
        drop(server);
        said
    }) {
        Ok(said) => println!("moto, ten states, in memory: {said}"),
        Err(error) => println!("moto: absent ({error:#})"),
    }
    Ok(())
}

/// LocalStack's, where somebody has started one: `LOCALSTACK_HOST=127.0.0.1:4566`.
pub(super) fn localstack(arguments: &Arguments) -> Result<()> {
    let Ok(host) = std::env::var("LOCALSTACK_HOST") else {
        println!("LocalStack: absent (LOCALSTACK_HOST names none)");
        return Ok(());
    };
    let address = host.to_socket_addrs()?.next().context("an address")?;
    println!("LocalStack, ten states, in memory: {}", measured(arguments, address)?);
    Ok(())
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
fn measured(arguments: &Arguments, address: SocketAddr) -> Result<String> {
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
    Ok(format!("{rate:.0}/s ({} in all)", arguments.peer_executions))
}
