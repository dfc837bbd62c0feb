//! A JSONata expression over a state of a kibibyte: ours, and jsonata-js under Node.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use selvedge_differential::place;
use selvedge_query::{Bounds, Expression, Names};
use serde_json::{Value, json};

const EXPRESSION: &str = "{ \"total\": $sum($states.input.lines.(price * quantity)), \
     \"dear\": $states.input.lines[price > 20].name, \"who\": $uppercase($states.input.customer.name) }";
const ROUNDS: u32 = 20_000;

/// About a kibibyte.
fn state() -> Value {
    let lines: Vec<Value> = (0..14)
        .map(|n| json!({ "name": format!("an article of ours {n}"), "price": n * 3, "quantity": n % 4 + 1 }))
        .collect();
    json!({ "input": { "customer": { "name": "Ada Lovelace", "city": "London" }, "lines": lines } })
}

/// `selvedge-bench expression`: ours alone, so many times. For whoever counts instructions.
#[derive(Clone, Debug, Parser)]
#[command(name = "selvedge-bench expression", about = "Evaluates one JSONata expression over and over")]
pub(crate) struct Arguments {
    /// How often
    #[arg(long, default_value_t = ROUNDS)]
    rounds: u32,
}

/// Says how long one takes.
pub(crate) fn repeat(arguments: &Arguments) -> Result<()> {
    let (taken, _) = ours(&state(), arguments.rounds)?;
    println!("{taken:.2?} each");
    Ok(())
}

/// How long one takes: ours, and theirs where it is installed.
pub(super) fn run() -> Result<(Duration, Option<Duration>)> {
    let state = state();
    println!("a JSONata expression over {} bytes", state.to_string().len());
    let (taken, ours) = ours(&state, ROUNDS)?;
    println!("  selvedge: {taken:.2?} each");
    let theirs = match node(&state, &ours) {
        Ok(theirs) => {
            println!("  jsonata-js under Node: {theirs:.2?} each");
            Some(theirs)
        }
        Err(error) => {
            println!("  jsonata-js under Node: absent ({error:#})");
            None
        }
    };
    Ok((taken, theirs))
}

/// How long one takes of so many, and the value.
fn ours(state: &Value, rounds: u32) -> Result<(Duration, Value)> {
    let expression = Expression::parse(EXPRESSION).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut entropy = || 7_u64;
    // A machine that does something else as well may take its time.
    let bounds = Bounds { time_ms: 10_000, ..Bounds::default() };
    let mut evaluate = || {
        let names = Names { states: &[("input", &state["input"])], variables: &() };
        expression.evaluate(&names, 0, &mut entropy, bounds).map_err(|error| anyhow::anyhow!("{error}"))
    };
    let value = evaluate()?.context("a value")?;
    let begun = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(evaluate()?);
    }
    Ok((begun.elapsed() / rounds.max(1), value))
}

fn node(state: &Value, ours: &Value) -> Result<Duration> {
    let folder = place::repository_root().join("target/bench/jsonata");
    std::fs::create_dir_all(&folder)?;
    if !folder.join("node_modules/jsonata").is_dir() {
        let installed = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "jsonata@2"])
            .current_dir(&folder)
            .status()
            .context("npm is not installed")?;
        ensure!(installed.success(), "npm could not install jsonata");
    }
    let script = format!(
        "const jsonata = require('jsonata');
         const state = {state}, expression = jsonata({});
         (async () => {{
           const run = () => expression.evaluate(undefined, {{ states: state }});
           for (let i = 0; i < 2000; i++) await run();
           const begun = process.hrtime.bigint();
           for (let i = 0; i < {ROUNDS}; i++) await run();
           const each = Number(process.hrtime.bigint() - begun) / {ROUNDS} / 1000;
           console.log(JSON.stringify({{ each, value: await run() }}));
         }})();",
        Value::from(EXPRESSION)
    );
    let output = Command::new("node").arg("-e").arg(script).current_dir(&folder).output();
    let output = output.context("node is not installed")?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(said["value"].to_string().len() == ours.to_string().len(), "another result: {said}");
    Ok(Duration::from_secs_f64(said["each"].as_f64().context("a time")? / 1e6))
}
