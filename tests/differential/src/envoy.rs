//! The real Envoy: where its binary is and how it is started for a test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use crate::place;

/// The Envoy binary: `SELVEDGE_ENVOY`, else the one that `cargo xtask test` put into `target/venv`.
///
/// The `envoy` command of that package is a Python wrapper, which would outlive a kill of its process; this is the
/// binary behind it.
pub fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_ENVOY").map(PathBuf::from) {
        return path.is_file().then_some(path);
    }
    let libraries = place::repository_root().join("target/venv/lib");
    let pythons = std::fs::read_dir(libraries).ok()?;
    let inside = |python: std::fs::DirEntry| python.path().join("site-packages/envoy/_bin/envoy");
    pythons.flatten().map(inside).find(|path| path.is_file())
}

/// Starts Envoy on `bootstrap` with what a test needs: one worker, no hot restart (its shared memory is one per
/// machine), and access logs written at once (the default waits ten seconds).
///
/// # Errors
/// When Envoy is not installed or does not start.
pub fn start(bootstrap: &Path, log: &Path) -> Result<Child> {
    start_under(&[], bootstrap, log)
}

/// The same as an argument of `runner`, a program and its arguments that watch another one.
///
/// # Errors
/// As [`start`].
pub fn start_under(runner: &[OsString], bootstrap: &Path, log: &Path) -> Result<Child> {
    let binary = binary().context("no Envoy: run cargo xtask test --only setup, or set SELVEDGE_ENVOY")?;
    let output = std::fs::File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    let words: Vec<OsString> = runner.iter().cloned().chain([binary.into()]).collect();
    Command::new(&words[0])
        .args(&words[1..])
        .arg("--config-path")
        .arg(bootstrap)
        .args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--file-flush-interval-msec",
            "20",
            "--log-level",
            "info",
        ])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true)
        .spawn()
        .context("failed to start Envoy")
}
