//! Links between documents: what they lead to is there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Problem;
use super::source;

/// Checks the relative links of every Markdown file.
///
/// # Errors
/// When a folder or file cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !source::is_skipped(&path) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path)?;
                let relative = path.strip_prefix(root).unwrap_or(&path);
                let exists = |target: &Path| root.join(target).exists();
                problems.extend(dead_links(relative, &text, exists));
            }
        }
    }
    Ok(problems)
}

fn dead_links(path: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Problem> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut problems = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        for target in targets(line).filter(|_| !in_code) {
            let target: PathBuf = source::normalise(&folder.join(target));
            if !exists(&target) {
                let message = format!("the link leads nowhere: there is no {}", target.display());
                problems.push(Problem::error(path, index + 1, message));
            }
        }
    }
    problems
}

/// The relative targets of the links in a line, without their fragments.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#', ' ']).next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "[a](there.md) and [b](../lost.md#part)\n[c](https://a.example/x) [d](#part)\n```\n[e](code.md)\n```\n";
        let problems =
            dead_links(Path::new("docs/a/b.md"), text, |path| path == Path::new("docs/a/there.md"));
        let messages: Vec<(usize, &str)> =
            problems.iter().map(|found| (found.line, found.message.as_str())).collect();
        assert_eq!(messages, [(1, "the link leads nowhere: there is no docs/lost.md")]);
    }
}
