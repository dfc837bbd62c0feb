//! `cargo xtask bench`: builds what is measured as it is released, and measures it: the proxies side by side, then the
//! way of a change from the API to a thousand proxies.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::release;

/// Where the proxies' bench writes its report, and the propagation's is added.
const REPORT: &str = "bench/RESULTS.md";

/// Builds and runs both benches, or with `registry` first those of the registry and the DNS server, with `edge` those of the edge, or with `workflow` first the
/// engine's; `arguments` go to the proxies'
/// as they are, and with any the other is left out.
///
/// # Errors
/// When something does not build, or a peer is not installed (`cargo xtask test --only setup` installs them).
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    println!("building the binary and the bench, as released");
    release::run_if_possible(root)?;
    if arguments.first().is_some_and(|first| first == "registry") {
        return registry(root, arguments);
    }
    if arguments.first().is_some_and(|first| first == "instructions") {
        let mut bench = Command::new(root.join("target/release/selvedge-bench"));
        return succeed(
            bench.args(arguments).env("SELVEDGE_BIN", root.join("target/release/selvedge")),
            root,
        );
    }
    if arguments.first().is_some_and(|first| first == "workflow") {
        return workflow(root, arguments);
    }
    if arguments.first().is_some_and(|first| first == "edge") {
        return edge(root, arguments);
    }
    println!("the proxies, side by side");
    // Named, so that a debug build that happens to be newer is never what is measured.
    let measured = root.join("target/release/selvedge");
    let mut bench = Command::new(root.join("target/release/selvedge-bench"));
    succeed(bench.args(arguments).env("SELVEDGE_BIN", measured), root)?;
    if !arguments.is_empty() {
        return Ok(());
    }
    println!("a change's way to a thousand proxies");
    propagation(root)
}

/// Where the registry's part of the report begins; it is the last.
const REGISTRY: &str = "\n## The registry and the DNS server\n";

/// Measures the registry and the DNS server, and a registration's way to five hundred proxies; what they say is put into the
/// report in place of what they said before.
fn registry(root: &Path, arguments: &[String]) -> Result<()> {
    let mut bench = Command::new(root.join("target/release/selvedge-bench"));
    bench.args(arguments).env("SELVEDGE_BIN", root.join("target/release/selvedge"));
    let side_by_side = said(&mut bench, root)?;
    let mut propagation = Command::new("cargo");
    propagation.args([
        "bench",
        "--locked",
        "--quiet",
        "-p",
        "selvedge-control",
        "--bench",
        "propagation",
        "--",
    ]);
    let on_the_way = said(propagation.args(["--registry", "--nodes", "500"]), root)?;
    let path = root.join(REPORT);
    let report = std::fs::read_to_string(&path).context("failed to read the report")?;
    let before = report.split_once(REGISTRY).map_or(report.as_str(), |(before, _)| before).trim_end();
    let text = format!(
        "{before}\n{REGISTRY}\n`cargo xtask bench {}`\n\n```text\n{}\n\n{}\n```\n",
        arguments.join(" "),
        side_by_side.trim_end(),
        on_the_way.trim_end()
    );
    std::fs::write(&path, text).context("failed to write the report")
}

/// Where the edge's part of the report begins, and the next one after it.
const EDGE: &str = "\n## The edge\n";
const SECTION: &str = "\n## ";

/// Measures the edge; what it says is put into the report in place of what it said before, unless it only shows that it runs.
fn edge(root: &Path, arguments: &[String]) -> Result<()> {
    let mut bench = Command::new(root.join("target/release/selvedge-bench"));
    bench.args(arguments).env("SELVEDGE_BIN", root.join("target/release/selvedge"));
    let said = said(&mut bench, root)?;
    // What says nothing, or not all, is no report.
    if arguments.iter().any(|argument| argument == "--quick" || argument == "--only") {
        return Ok(());
    }
    let path = root.join(REPORT);
    let report = std::fs::read_to_string(&path).context("failed to read the report")?;
    let section =
        format!("{EDGE}\n`cargo xtask bench {}`\n\n```text\n{}\n```\n", arguments.join(" "), said.trim());
    std::fs::write(&path, with_edge(&report, &section)).context("failed to write the report")
}

/// The report with another part on the edge: in the place of the one before, else before the parts that others replace.
fn with_edge(report: &str, section: &str) -> String {
    let (before, after) = match report.split_once(EDGE) {
        Some((before, old)) => (before, old.find(SECTION).map_or("", |at| &old[at..])),
        None => {
            let at = [WORKFLOW, REGISTRY].iter().filter_map(|part| report.find(part)).min();
            report.split_at(at.unwrap_or(report.len()))
        }
    };
    format!("{}\n{section}{after}", before.trim_end())
}

/// Where the workflow engine's part of the report begins; it stands before the registry's.
const WORKFLOW: &str = "\n## The workflow engine\n";

/// Measures the workflow engine; what it says is put into the report in place of what it said before.
fn workflow(root: &Path, arguments: &[String]) -> Result<()> {
    let mut bench = Command::new(root.join("target/release/selvedge-bench"));
    bench.args(arguments).env("SELVEDGE_BIN", root.join("target/release/selvedge"));
    let said = said(&mut bench, root)?;
    let path = root.join(REPORT);
    let report = std::fs::read_to_string(&path).context("failed to read the report")?;
    let (before, after) = match report.split_once(REGISTRY) {
        Some((before, after)) => (before, format!("\n{REGISTRY}{after}")),
        None => (report.as_str(), "\n".to_owned()),
    };
    let before = before.split_once(WORKFLOW).map_or(before, |(before, _)| before).trim_end();
    let text = format!(
        "{before}\n{WORKFLOW}\n`cargo xtask bench {}`\n\n```text\n{}\n```\n{}",
        arguments.join(" "),
        said.trim_end(),
        after.trim_start_matches('\n').to_owned().replacen("## The registry", "\n## The registry", 1)
    );
    std::fs::write(&path, text).context("failed to write the report")
}

/// What a program says, which is printed as well.
fn said(command: &mut Command, root: &Path) -> Result<String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("failed to start {what}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    ensure!(output.status.success(), "{what}: {}", output.status);
    Ok(said)
}

/// Runs the control plane's own benchmark and adds what it prints to the report.
fn propagation(root: &Path) -> Result<()> {
    let output = Command::new("cargo")
        .args(["bench", "--locked", "--quiet", "-p", "selvedge-control", "--bench", "propagation"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo bench")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    ensure!(output.status.success(), "the propagation bench: {}", output.status);
    let path = root.join(REPORT);
    let mut report =
        std::fs::OpenOptions::new().append(true).open(&path).context("failed to open the report")?;
    write!(report, "\n## A change's way from the API to every proxy\n\n```text\n{}\n```\n", said.trim_end())
        .context("failed to write the report")
}

fn succeed(command: &mut Command, root: &Path) -> Result<()> {
    let what = command.get_program().to_string_lossy().into_owned();
    let status = command.current_dir(root).status().with_context(|| format!("failed to start {what}"))?;
    ensure!(status.success(), "{what}: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_part_takes_the_place_of_the_one_before() {
        let section = |text: &str| format!("{EDGE}\n{text}\n");
        let first =
            with_edge("# R\n\n## A\n\na\n\n## The registry and the DNS server\n\nr\n", &section("one"));
        assert_eq!(
            first,
            "# R\n\n## A\n\na\n\n## The edge\n\none\n\n## The registry and the DNS server\n\nr\n"
        );
        assert_eq!(with_edge(&first, &section("two")), first.replace("one", "two"));
    }
}
