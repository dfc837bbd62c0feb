//! The rules of the house that the compiler does not check, each with a message that says what to do instead.
//!
//! A check is a function from what stands in the tree to a list of [`Problem`]s, so that each has tests of its own.
//! [`check`] runs them all; it is a test of this crate as well as a command.

mod arrows;
mod bans;
mod dependencies;
mod length;
mod limits;
mod links;
mod orphans;
mod source;
mod threats;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One breach of a rule. A warning is printed and lets the run pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The file, relative to the root of the repository.
    pub(crate) path: PathBuf,
    /// Counted from 1; 0 when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) severity: Severity,
    /// What is wrong and what to do about it.
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// What `cargo metadata --no-deps` tells of the workspace; members that tidy does not read are left out.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) src_path: PathBuf,
}

/// Runs every check on the tree at `root` and returns what it found, errors first.
///
/// # Errors
/// When the tree cannot be read or `cargo metadata` fails.
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let workspace = Workspace::read(root)?;
    let files = source::read_tree(root)?;
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).context("failed to read Cargo.toml")?;

    let mut problems = arrows::check(&workspace, root);
    problems.extend(orphans::check(&workspace, root, &files));
    problems.extend(dependencies::check_reasons(&manifest));
    problems.extend(dependencies::check_lints(&workspace, root)?);
    problems.extend(limits::check(root, &files)?);
    problems.extend(threats::check(root, &files)?);
    problems.extend(links::check(root)?);
    for file in &files {
        problems.extend(bans::check(file));
        problems.extend(length::check(file));
    }
    problems.sort_by(|a, b| (a.severity, &a.path, a.line).cmp(&(b.severity, &b.path, b.line)));
    Ok(problems)
}

/// Runs [`check`], prints what it found and fails when there is an error.
///
/// # Errors
/// When a check could not run, or found an error.
pub(crate) fn run(root: &Path) -> Result<()> {
    let problems = check(root)?;
    for problem in &problems {
        println!("{problem}");
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    ensure!(errors == 0, "tidy: {errors} rules broken");
    println!("tidy: nothing to mend ({} warnings)", problems.len());
    Ok(())
}

// === impl Problem ===

impl Problem {
    pub(crate) fn error(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, severity: Severity::Error, message: message.into() }
    }

    pub(crate) fn warning(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, severity: Severity::Warning, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

// === impl Workspace ===

impl Workspace {
    fn read(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(root)
            .output()
            .context("failed to run cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("failed to read the answer of cargo metadata")
    }
}

// === impl Package ===

impl Package {
    /// The crate's folder, relative to `root`.
    pub(crate) fn folder(&self, root: &Path) -> PathBuf {
        let folder = self.manifest_path.parent().unwrap_or(root);
        folder.strip_prefix(root).unwrap_or(folder).to_path_buf()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let root = crate::repository_root();
        let errors: Vec<String> = check(&root)
            .unwrap()
            .into_iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(|problem| problem.to_string())
            .collect();
        assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
    }

    #[test]
    fn a_problem_prints_where_and_what() {
        assert_eq!(Problem::error("a/b.rs", 3, "why").to_string(), "error: a/b.rs:3: why");
        assert_eq!(Problem::warning("a/b.rs", 0, "why").to_string(), "warning: a/b.rs: why");
    }
}
