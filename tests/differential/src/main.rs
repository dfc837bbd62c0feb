//! `cargo run -p selvedge-differential`: plays every scenario on both planes and tells where they part.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the person who started it")]

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use selvedge_differential::compare::{self, Mismatch};
use selvedge_differential::differences::Differences;
use selvedge_differential::observation::Observation;
use selvedge_differential::scenario::{Scenario, Suite};
use selvedge_differential::sidecar::Plane;
use selvedge_differential::{place, run};

#[derive(Parser)]
#[command(
    about = "Plays each scenario through a real Envoy and through our proxy, and compares what they show"
)]
struct Arguments {
    /// Only scenarios whose `suite: name` contains this
    #[arg(long)]
    only: Option<String>,
    /// Only through Envoy: checks the scenarios' own expectations
    #[arg(long)]
    envoy_alone: bool,
    /// Prints the scenarios and ends
    #[arg(long)]
    list: bool,
    /// Prints what each plane showed
    #[arg(long)]
    show: bool,
}

#[derive(Default)]
struct Score {
    passed: usize,
    failed: usize,
    deliberate: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let suites = Suite::read_all(&home.join("scenarios"))?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut differences = Differences::read(&home.join("differences.yaml"))?;
    let mut score = Score::default();
    let mut ran = Vec::new();
    for suite in &suites {
        let names: Vec<String> = suite.scenario_names().into_iter().filter(|name| wanted(name)).collect();
        if arguments.list {
            names.iter().for_each(|name| println!("{name}"));
        } else if !names.is_empty() {
            play(&arguments, suite, &names, &mut differences, &mut score).await;
            ran.extend(names);
        }
    }
    if arguments.list {
        return Ok(());
    }
    if !arguments.envoy_alone {
        for stale in differences.stale(&ran) {
            score.failed += 1;
            println!(
                "FAILED  differences.yaml: the planes agree on {} at {}: delete the entry",
                stale.scenario, stale.place
            );
        }
    }
    println!("{} deliberate differences", score.deliberate);
    println!("{} passed, {} failed", score.passed, score.failed);
    ensure!(score.failed == 0, "{} scenarios failed", score.failed);
    Ok(())
}

/// Plays one suite on the planes that are asked for and adds to the score.
async fn play(
    arguments: &Arguments,
    suite: &Suite,
    names: &[String],
    differences: &mut Differences,
    score: &mut Score,
) {
    let begun = Instant::now();
    let wanted = |scenario: &Scenario| names.contains(&format!("{}: {}", suite.name, scenario.name));
    let mut observed: Vec<Vec<Observation>> = Vec::new();
    let planes = if arguments.envoy_alone { &Plane::ALL[..1] } else { &Plane::ALL[..] };
    for plane in planes {
        let folder =
            place::repository_root().join("target/differential").join(&suite.name).join(plane.name());
        match run::run(suite, *plane, &folder, wanted).await {
            Ok(observations) => observed.push(observations),
            Err(error) => {
                println!("FAILED  {}: on {}: {error:#}", suite.name, plane.name());
                score.failed += names.len();
                return;
            }
        }
    }
    for (index, name) in names.iter().enumerate() {
        let of_planes: Vec<&Observation> = observed.iter().map(|observations| &observations[index]).collect();
        if arguments.show {
            for (plane, observation) in planes.iter().zip(&of_planes) {
                println!(
                    "{}: {}",
                    plane.name(),
                    serde_json::to_string_pretty(observation).unwrap_or_default()
                );
            }
        }
        judge(name, &of_planes, differences, score);
    }
    println!("        {} took {:.1} s", suite.name, begun.elapsed().as_secs_f32());
}

fn judge(name: &str, observed: &[&Observation], differences: &mut Differences, score: &mut Score) {
    let mut complaints = Vec::new();
    for (plane, observation) in Plane::ALL.iter().zip(observed) {
        complaints.extend(observation.unmet.iter().map(|unmet| format!("{}: {unmet}", plane.name())));
    }
    if let [envoy, ours] = observed {
        let mismatches = compare::mismatches(envoy, ours).unwrap_or_default();
        let (expected, unexpected): (Vec<Mismatch>, Vec<Mismatch>) =
            mismatches.into_iter().partition(|mismatch| differences.expects(name, mismatch));
        score.deliberate += expected.len();
        let told = |mismatch: &Mismatch| {
            format!("{}: envoy {}, ours {}", mismatch.place, mismatch.envoy, mismatch.ours)
        };
        complaints.extend(unexpected.iter().map(told));
    }
    if complaints.is_empty() {
        score.passed += 1;
        println!("ok      {name}");
    } else {
        score.failed += 1;
        println!("FAILED  {name}");
        complaints.iter().for_each(|complaint| println!("          {complaint}"));
    }
}
