//! `cargo run -p selvedge-differential`: plays every scenario on both planes and tells where they part.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the person who started it")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use selvedge_differential::compare::{self, Mismatch};
use selvedge_differential::differences::{Difference, Differences};
use selvedge_differential::observation::Observation;
use selvedge_differential::scenario::{Scenario, Suite};
use selvedge_differential::sidecar::Plane;
use selvedge_differential::{place, run};
use tokio::sync::Semaphore;

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
    /// Suites that are played at a time
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Prints what each plane showed
    #[arg(long)]
    show: bool,
}

#[derive(Default)]
struct Score {
    passed: usize,
    deliberate: usize,
    /// The scenarios that failed.
    failed: Vec<String>,
}

/// When more scenarios fail than that, it is no coincidence: none is played again.
const AGAIN_MAX: usize = 20;

/// What the planes showed of one suite: by plane, then by scenario.
struct Played {
    observed: Result<Vec<Vec<Observation>>>,
    took: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let suites = Suite::read_all(&home.join("scenarios"))?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let names = |suite: &Suite| -> Vec<String> {
        suite.scenario_names().into_iter().filter(|name| wanted(name)).collect()
    };
    if arguments.list {
        suites.iter().flat_map(names).for_each(|name| println!("{name}"));
        return Ok(());
    }
    let mut differences = Differences::read(&home.join("differences.yaml"))?;
    let planes = if arguments.envoy_alone { &Plane::ALL[..1] } else { &Plane::ALL[..] };
    // Most scenarios wait for a clock, so that a few suites share a core well.
    let places = Arc::new(Semaphore::new(arguments.jobs.max(1)));
    let mut playing = Vec::new();
    for suite in suites {
        let names = names(&suite);
        if !names.is_empty() {
            let played = tokio::spawn(play(suite.clone(), names.clone(), planes, Arc::clone(&places)));
            playing.push((suite, names, played));
        }
    }
    let mut score = Score::default();
    let mut ran = Vec::new();
    let mut again = Vec::new();
    for (suite, names, played) in playing {
        let first = judge_played(&arguments, &suite, &names, &played.await?, &mut differences);
        score.passed += first.passed;
        score.deliberate += first.deliberate;
        if !first.failed.is_empty() {
            again.push((suite, first.failed));
        }
        ran.extend(names);
    }
    // Real sockets, processes and proxies: the policy, and its reason, is that of .config/nextest.toml.
    let is_coincidence = again.iter().map(|(_, names)| names.len()).sum::<usize>() <= AGAIN_MAX;
    for (suite, names) in again {
        if !is_coincidence {
            score.failed.extend(names);
            continue;
        }
        println!("once more, by itself: {}", names.join(", "));
        let played = play(suite.clone(), names.clone(), planes, Arc::clone(&places)).await;
        let second = judge_played(&arguments, &suite, &names, &played, &mut differences);
        names.iter().filter(|name| !second.failed.contains(name)).for_each(|name| println!("FLAKY   {name}"));
        score.passed += second.passed;
        score.deliberate += second.deliberate;
        score.failed.extend(second.failed);
    }
    if !arguments.envoy_alone {
        for stale in differences.stale(&ran) {
            let Difference { scenario, place, .. } = stale;
            println!("FAILED  differences.yaml: the planes agree on {scenario} at {place}: delete the entry");
            score.failed.push(format!("differences.yaml: {scenario} at {place}"));
        }
    }
    println!("{} deliberate differences", score.deliberate);
    score.failed.iter().for_each(|name| println!("FAILED  {name}"));
    println!("{} passed, {} failed", score.passed, score.failed.len());
    if !score.failed.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}

/// Plays the scenarios called `names` of one suite on each plane.
async fn play(suite: Suite, names: Vec<String>, planes: &'static [Plane], places: Arc<Semaphore>) -> Played {
    let _place = places.acquire().await;
    let begun = Instant::now();
    let wanted = |scenario: &Scenario| names.contains(&format!("{}: {}", suite.name, scenario.name));
    let observed = async {
        let mut observed = Vec::new();
        for plane in planes {
            let folder =
                place::repository_root().join("target/differential").join(&suite.name).join(plane.name());
            let shown = run::run(&suite, *plane, &folder, wanted).await;
            observed.push(shown.with_context(|| format!("on {}", plane.name()))?);
        }
        Ok(observed)
    };
    Played { observed: observed.await, took: begun.elapsed() }
}

/// Judges what was played of one suite, and tells.
fn judge_played(
    arguments: &Arguments,
    suite: &Suite,
    names: &[String],
    played: &Played,
    differences: &mut Differences,
) -> Score {
    let mut score = Score::default();
    match &played.observed {
        Ok(observed) => judge_all(arguments, names, observed, differences, &mut score),
        Err(error) => {
            println!("FAILED  {}: {error:#}", suite.name);
            score.failed = names.to_vec();
        }
    }
    println!("        {} took {:.1} s", suite.name, played.took.as_secs_f32());
    score
}

fn judge_all(
    arguments: &Arguments,
    names: &[String],
    observed: &[Vec<Observation>],
    differences: &mut Differences,
    score: &mut Score,
) {
    for (index, name) in names.iter().enumerate() {
        let of_planes: Vec<&Observation> = observed.iter().map(|observations| &observations[index]).collect();
        if arguments.show {
            for (plane, observation) in Plane::ALL.iter().zip(&of_planes) {
                println!(
                    "{}: {}",
                    plane.name(),
                    serde_json::to_string_pretty(observation).unwrap_or_default()
                );
            }
        }
        judge(name, &of_planes, differences, score);
    }
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
        score.failed.push(name.to_owned());
        println!("FAILED  {name}");
        complaints.iter().for_each(|complaint| println!("          {complaint}"));
    }
}
