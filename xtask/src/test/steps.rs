//! The steps of `cargo xtask test`, in the order in which they run: the cheap ones first.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Count;
use super::command::Program;
use super::{attempts, fuzz, image, lighttpd, setup};
use crate::tidy;

/// One way of testing.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn(&Path) -> Result<Report>,
}

/// What a step that did not fail has to tell.
#[derive(Debug)]
pub(super) enum Report {
    Ran(Count),
    /// There is nothing to run here, and why.
    Skipped(String),
}

pub(super) const STEPS: &[Step] = &[
    Step { name: "setup", about: "Debian packages, target/venv, cargo-deny", run: set_up },
    Step { name: "fmt", about: "the sources are formatted", run: fmt },
    Step { name: "tidy", about: "arrows, orphans, bans, reasons", run: tidy_up },
    Step { name: "deny", about: "licences, banned crates, sources of every dependency", run: deny },
    Step { name: "clippy", about: "no warning in any target", run: clippy },
    Step { name: "unit", about: "the tests of every crate, and the commands in the documents", run: unit },
    Step { name: "build", about: "the binary, as released", run: build },
    Step { name: "image", about: "the container's program, static and in an empty root", run: image::run },
    Step { name: "conformance", about: "the API as boto3 and the real aws see it", run: conformance },
    Step { name: "differential", about: "a real Envoy and our proxy, side by side", run: differential },
    Step { name: "instructions", about: "what a request costs, held to its budget", run: instructions },
    Step {
        name: "lighttpd",
        about: "lighttpd's own tests, with our edge in its place",
        run: lighttpds_tests,
    },
    Step { name: "fuzz", about: "strangers' bytes under libFuzzer, a minute a target", run: fuzzing },
    Step {
        name: "sim",
        about: "the mesh and workflow workers in virtual time, a thousand seeds each",
        run: sim,
    },
    Step { name: "demo", about: "the demo checks its own split, with both proxies", run: demo },
];

/// Worlds that the simulation lives through.
const SEEDS: u32 = 1000;
/// And how many of them without optimisation, where each takes many times as long.
const SEEDS_UNOPTIMISED: u32 = 25;

const MINUTE: Duration = Duration::from_secs(60);

fn set_up(root: &Path) -> Result<Report> {
    setup::run(root)?;
    Ok(Report::Ran(Count::default()))
}

fn fmt(root: &Path) -> Result<Report> {
    cargo(root, 5).args(["fmt", "--all", "--check"]).run().map(Report::Ran)
}

fn tidy_up(root: &Path) -> Result<Report> {
    tidy::run(root)?;
    Ok(Report::Ran(Count::default()))
}

fn deny(root: &Path) -> Result<Report> {
    let binary =
        setup::cargo_deny_binary(root).context("no cargo-deny: run cargo xtask test --only setup")?;
    // It looks at every platform's crates, and a machine that is new has only its own.
    cargo(root, 10).args(["fetch", "--locked", "--quiet"]).run()?;
    // Advisories need a database from the network; whoever has one runs `cargo deny check advisories`.
    let arguments = ["--offline", "--log-level", "error", "check", "licenses", "bans", "sources"];
    Program::new(binary, root, 5 * MINUTE).args(arguments).run().map(Report::Ran)
}

fn clippy(root: &Path) -> Result<Report> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    cargo(root, 20).args(arguments).run().map(Report::Ran)
}

fn unit(root: &Path) -> Result<Report> {
    let probe = Command::new("cargo")
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let tests = |arguments: &[&str]| {
        let program = with_environment(root, cargo(root, 40).args(arguments));
        program.env("SEEDS", SEEDS_UNOPTIMISED.to_string()).run()
    };
    if !probe.is_ok_and(|status| status.success()) {
        return tests(&["test", "--workspace", "--locked", "--no-fail-fast"]).map(Report::Ran);
    }
    let count =
        tests(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--status-level", "fail"])?;
    // nextest leaves out the examples in the documentation.
    let examples = tests(&["test", "--workspace", "--locked", "--doc", "--quiet"])?;
    Ok(Report::Ran(count.plus(examples)))
}

fn build(root: &Path) -> Result<Report> {
    let packages = ["-p", "selvedge", "-p", "selvedge-differential"];
    cargo(root, 30).args(["build", "--release", "--locked"]).args(packages).run().map(Report::Ran)
}

fn conformance(root: &Path) -> Result<Report> {
    let scripts = files(&root.join("tests/conformance"), "py")?;
    if scripts.is_empty() {
        return Ok(Report::Skipped("no script under tests/conformance".into()));
    }
    let python = setup::environment_folder(root).join("bin/python");
    let name = |script: &PathBuf| script.file_name().unwrap_or_default().to_string_lossy().into_owned();
    attempts::run_all(&scripts, name, |script| {
        with_tools(root, Program::new(&python, root, 15 * MINUTE).args([script]))?.run()
    })
    .map(Report::Ran)
}

fn differential(root: &Path) -> Result<Report> {
    let binary = root.join("target/release/selvedge-differential");
    with_tools(root, Program::new(binary, root, 20 * MINUTE))?.run().map(Report::Ran)
}

/// The counting program itself need not be fast: what it counts is the released binary.
fn instructions(root: &Path) -> Result<Report> {
    cargo(root, 10).args(["build", "--locked", "-p", "selvedge-bench"]).run()?;
    let binary = root.join("target/debug/selvedge-bench");
    let count = |arguments: &[&str]| {
        with_tools(root, Program::new(binary.clone(), root, 10 * MINUTE).args(arguments))?.run()
    };
    count(&["instructions"])?;
    count(&["edge", "--only", "instructions"]).map(Report::Ran)
}

fn lighttpds_tests(root: &Path) -> Result<Report> {
    if !root.join("services/edge").is_dir() {
        return Ok(Report::Skipped("the edge does not serve yet".into()));
    }
    lighttpd::run(root, &selvedge(root)?).map(Report::Ran)
}

fn fuzzing(root: &Path) -> Result<Report> {
    fuzz::run(root).map(Report::Ran)
}

/// The same tests that run among the unit tests, there with [`SEEDS_UNOPTIMISED`] seeds.
fn sim(root: &Path) -> Result<Report> {
    let tests = ["--test", "seeds", "--test", "workflows"];
    let arguments = ["test", "--release", "--locked", "-p", "selvedge-sim"];
    cargo(root, 20).args(arguments).args(tests).env("SEEDS", SEEDS.to_string()).run().map(Report::Ran)
}

fn demo(root: &Path) -> Result<Report> {
    for sidecar in ["selvedge", "envoy"] {
        let program =
            Program::new(selvedge(root)?, root, 5 * MINUTE).args(["demo", "--check", "--sidecar", sidecar]);
        with_tools(root, program)?.run()?;
    }
    Ok(Report::Ran(Count::of(2, 0)))
}

fn cargo(root: &Path, minutes: u32) -> Program {
    Program::new("cargo", root, minutes * MINUTE)
}

/// Lets `program` find AWS's tools, the real Envoy and our binary.
fn with_tools(root: &Path, program: Program) -> Result<Program> {
    Ok(with_environment(root, program).env("SELVEDGE_BIN", selvedge(root)?))
}

/// Lets `program` find AWS's tools and the real Envoy.
fn with_environment(root: &Path, program: Program) -> Program {
    let tools = setup::environment_folder(root).join("bin");
    let program = program.env("PATH", format!("{}:{}", tools.display(), setup::search_path()));
    match setup::envoy_binary(root) {
        Some(envoy) => program.env("SELVEDGE_ENVOY", envoy),
        None => program,
    }
}

fn selvedge(root: &Path) -> Result<PathBuf> {
    let binary = root.join("target/release/selvedge");
    ensure!(binary.is_file(), "no {}: run cargo xtask test --only build", binary.display());
    Ok(binary)
}

/// The files of `folder` that end in `.extension`, by name; none when there is no folder. Names that begin with `_`
/// are parts of others.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let is_part = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('_'));
    paths.retain(|path| path.extension().is_some_and(|found| found == extension) && !is_part(path));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_conformance_script_is_in_the_readme() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let scripts = files(&folder, "py").unwrap();
        assert!(scripts.len() > 30, "{}", scripts.len());
        for script in scripts {
            let name = script.file_name().unwrap().to_string_lossy().into_owned();
            assert!(readme.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn each_step_has_a_name_of_its_own() {
        let mut names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
