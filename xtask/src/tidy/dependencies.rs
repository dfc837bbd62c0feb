//! Each dependency is a decision with its reason beside it, and each crate obeys the lints of the workspace.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Problem, Workspace};

/// A reason shorter than this says nothing.
const REASON_LEN_MIN: usize = 10;

/// Checks that each dependency from outside in the root manifest carries its reason as a comment on its line.
pub(super) fn check_reasons(manifest: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut in_table = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            in_table = line.trim() == "[workspace.dependencies]";
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| in_table && !line.starts_with('#')) else {
            continue;
        };
        let ours = value.contains("path =");
        let reason = line.rsplit_once('#').map_or("", |(_, reason)| reason.trim());
        if !ours && reason.len() < REASON_LEN_MIN {
            let message = format!(
                "{} stands without its reason: say in a comment on its line why it is here",
                name.trim()
            );
            problems.push(Problem::error("Cargo.toml", index + 1, message));
        }
    }
    problems
}

/// Checks that each crate takes the lints of the workspace, `unsafe_code = "forbid"` among them, and pins no version itself.
///
/// # Errors
/// When a manifest cannot be read.
pub(super) fn check_lints(workspace: &Workspace, root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let path = package.folder(root).join("Cargo.toml");
        let text = std::fs::read_to_string(root.join(&path));
        let text = text.with_context(|| format!("failed to read {}", path.display()))?;
        problems.extend(manifest_problems(&path, &text));
    }
    Ok(problems)
}

fn manifest_problems(path: &Path, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !text.contains("[lints]\nworkspace = true") {
        problems.push(Problem::error(
            path,
            0,
            "does not take the lints of the workspace: add [lints] workspace = true",
        ));
    }
    let mut in_table = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            in_table = line.trim_end().ends_with("dependencies]");
        } else if in_table
            && line.contains('=')
            && !line.starts_with('#')
            && !line.contains("workspace = true")
        {
            let message =
                "the version and its reason belong in the workspace's table: write { workspace = true }";
            problems.push(Problem::error(path, index + 1, message));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_needs_its_reason() {
        let manifest = "[workspace.dependencies]\nours = { path = \"core/ours\" }\nbytes = \"1\"  # cheap slices of buffers\nhttp = \"1\"\nslab = \"1\" # keys\n[profile.dev]\ndebug = 1\n";
        let lines: Vec<usize> = check_reasons(manifest).into_iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [4, 5]);
    }

    #[test]
    fn a_crate_takes_lints_and_versions_from_the_workspace() {
        let good = "[lints]\nworkspace = true\n\n[dependencies]\nbytes = { workspace = true }\n";
        assert_eq!(manifest_problems(Path::new("a/Cargo.toml"), good), []);
        let bad = "[package]\nname = \"a\"\n[dependencies]\nbytes = \"1\"\n";
        assert_eq!(manifest_problems(Path::new("a/Cargo.toml"), bad).len(), 2);
    }
}
