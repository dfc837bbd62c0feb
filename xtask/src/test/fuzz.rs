//! The fuzz targets under libFuzzer, a while each. A stable toolchain does: the coverage that libFuzzer follows comes from
//! LLVM's own pass, and its runtime is built from its source.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Count;
use super::command::Program;

/// How long each target is fuzzed; `SELVEDGE_FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 60;
/// One input may take so long in seconds, and so much memory in MiB.
const INPUT_SECONDS_MAX: u32 = 10;
const MEMORY_MIB_MAX: u32 = 2048;
const BUILD: Duration = Duration::from_secs(15 * 60);

const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Ccodegen-units=1 --cfg fuzzing";

pub(super) fn run(root: &Path) -> Result<Count> {
    let triple = host()?;
    let folder = root.join("target/fuzz");
    // Named, so that build scripts go without the flags.
    let arguments = ["build", "--release", "--quiet", "--manifest-path", "tests/fuzz/libfuzzer/Cargo.toml"];
    Program::new("cargo", root, BUILD)
        .args(arguments)
        .args(["--target", &triple])
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", COVERAGE)
        .run()?;
    let binary = folder.join(triple).join("release/selvedge-libfuzzer");
    let targets = targets(root)?;
    let seconds = match std::env::var("SELVEDGE_FUZZ_SECONDS") {
        Ok(text) => text.parse().context("SELVEDGE_FUZZ_SECONDS is no number")?,
        Err(_) => SECONDS,
    };
    let mut passed = 0;
    // As many at a time as CI has cores.
    for pair in targets.chunks(2) {
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for target in pair {
                running.push(scope.spawn(|| one(root, &binary, target, seconds)));
            }
            running.into_iter().try_for_each(|run| run.join().expect("a fuzzing thread does not panic"))
        })?;
        passed += pair.len() as u64;
    }
    Ok(Count::of(passed, 0))
}

fn one(root: &Path, binary: &Path, target: &str, seconds: u64) -> Result<()> {
    let (kept, found) = (format!("tests/fuzz/corpus/{target}"), format!("target/fuzz/corpus/{target}"));
    std::fs::create_dir_all(root.join(&found)).with_context(|| format!("failed to make {found}"))?;
    Program::new(binary, root, Duration::from_secs(seconds * 2 + 120))
        .env("SELVEDGE_FUZZ_TARGET", target)
        .args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={INPUT_SECONDS_MAX}"),
            format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
            format!("-artifact_prefix=target/fuzz/{target}-"),
            "-verbosity=0".to_owned(),
            found,
            kept,
        ])
        .run()
        .with_context(|| {
            format!(
                "{target}: the input stands in target/fuzz/{target}-*; keep it in tests/fuzz/corpus/{target}"
            )
        })
        .map(drop)
}

/// The targets, by the folders of their corpora.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("tests/fuzz/corpus");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("failed to run rustc")?;
    ensure!(output.status.success(), "rustc -vV failed");
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}
