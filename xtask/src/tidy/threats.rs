//! The page of threats names tests, and each is there.

use std::path::Path;

use anyhow::{Context, Result};

use super::Problem;
use super::source::SourceFile;

/// Where threats stand beside the tests that show what becomes of them.
const PAGE: &str = "docs/design/022-threats.md";

/// Looks for every test that the page names.
///
/// # Errors
/// When the page cannot be read.
pub(super) fn check(root: &Path, files: &[SourceFile]) -> Result<Vec<Problem>> {
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("failed to read {PAGE}"))?;
    Ok(problems(&page, files))
}

fn problems(page: &str, files: &[SourceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in page.lines().enumerate() {
        let Some(named) = tests_of(line) else { continue };
        if named.is_empty() {
            problems.push(Problem::error(
                PAGE,
                index + 1,
                "this threat has no test: `file` `name`".to_owned(),
            ));
        }
        for (path, name) in named {
            let file = files.iter().find(|file| file.path == Path::new(path));
            if !file.is_some_and(|file| file.text.contains(&format!("fn {name}("))) {
                problems.push(Problem::error(PAGE, index + 1, format!("{path} has no test {name}")));
            }
        }
    }
    problems
}

/// The tests in the last cell of a row, `file` `name`, `file` `name`; `None` for what is no row of a table.
fn tests_of(line: &str) -> Option<Vec<(&str, &str)>> {
    let last = line.strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next()?.trim();
    if last.starts_with('-') || last == "shown by" {
        return None;
    }
    let quoted: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
    Some(quoted.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_test_that_is_not_there_is_named() {
        let file = SourceFile::new("a/b.rs", "#[test]\nfn it_holds() {}\n");
        let page = "| threat | outcome | shown by |\n|---|---|---|\n| a | b | `a/b.rs` `it_holds` |\n\
                    | c | d | `a/b.rs` `it_holds`, `a/b.rs` `it_does_not` |\n| e | f | – |\n";
        let found = problems(page, &[file]);
        let lines: Vec<usize> = found.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [4, 5]);
        assert!(found[0].message.contains("it_does_not"), "{}", found[0].message);
    }
}
