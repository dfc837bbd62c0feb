//! The Rust files of the tree, with the little that the checks need to know of each line.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that hold no source of the workspace.
const SKIPPED: &[&str] = &["target", ".git", "node_modules", "libfuzzer"];

/// A Rust file of the repository.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the root of the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// The number of the first line, counted from 1, that only tests see; past the end when there is none.
    tests_from: usize,
}

/// A line of a file.
pub(crate) struct Line<'a> {
    /// Counted from 1.
    pub(crate) number: usize,
    /// Without comment; string literals stay.
    pub(crate) code: &'a str,
    pub(crate) in_test: bool,
}

/// Reads every Rust file under `root`.
///
/// # Errors
/// When a folder or a file cannot be read.
pub(crate) fn read_tree(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !is_skipped(&path) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path);
                let text = text.with_context(|| format!("failed to read {}", path.display()))?;
                files.push(SourceFile::new(path.strip_prefix(root).unwrap_or(&path), text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Whether a folder holds no source of ours. Cargo marks its own as caches, whatever their name.
pub(crate) fn is_skipped(folder: &Path) -> bool {
    let named = folder.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped));
    named || folder.join("CACHEDIR.TAG").exists()
}

/// Resolves `.` and `..` by their text.
pub(crate) fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

// === impl SourceFile ===

impl SourceFile {
    pub(crate) fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let is_test = path
            .components()
            .any(|part| ["tests", "benches", "examples"].iter().any(|name| part.as_os_str() == *name))
            || path.file_stem().is_some_and(|stem| stem == "tests");
        // A file ends with its tests, so the first `#[cfg(test)]` on a module opens the part that only tests see.
        let marker = |(number, line): (usize, &str)| {
            let next = text.lines().nth(number + 1).unwrap_or_default();
            (line.trim() == "#[cfg(test)]" && next.contains("mod ") && next.trim_end().ends_with('{'))
                .then_some(number + 1)
        };
        let tests_from =
            if is_test { 1 } else { text.lines().enumerate().find_map(marker).unwrap_or(usize::MAX) };
        Self { path, text, tests_from }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.text.lines().enumerate().map(|(index, text)| Line {
            number: index + 1,
            code: without_comment(text),
            in_test: index + 1 >= self.tests_from,
        })
    }

    /// Whether the file was written by a program.
    pub(crate) fn is_generated(&self) -> bool {
        let folder = |name: &str| self.path.components().any(|part| part.as_os_str() == name);
        folder("generated")
            || self.path.starts_with("core/xds/proto/src")
            || self.text.starts_with("// @generated")
    }

    pub(crate) fn under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

/// The line up to a `//` that stands outside a string literal.
fn without_comment(line: &str) -> &str {
    let mut in_string = false;
    let mut previous = ' ';
    for (index, c) in line.char_indices() {
        match c {
            '"' if previous != '\\' && previous != '\'' => in_string = !in_string,
            '/' if previous == '/' && !in_string => return &line[..index - 1],
            _ => {}
        }
        previous = if previous == '\\' && c == '\\' { ' ' } else { c };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_ends_the_code_and_a_url_does_not() {
        let rows = [
            ("let a = 1; // why", "let a = 1; "),
            ("/// doc", ""),
            (r#"let a = "http://x"; // why"#, r#"let a = "http://x"; "#),
            (r#"let a = "\\"; // why"#, r#"let a = "\\"; "#),
            (r"let a = '\\'; let b = 2;", r"let a = '\\'; let b = 2;"),
        ];
        for (line, code) in rows {
            assert_eq!(without_comment(line), code, "{line}");
        }
    }

    #[test]
    fn lines_from_the_tests_module_on_are_test_lines() {
        let file = SourceFile::new("a/src/b.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n");
        let flags: Vec<bool> = file.lines().map(|line| line.in_test).collect();
        assert_eq!(flags, [false, true, true, true]);
        assert!(SourceFile::new("a/tests/b.rs", "fn a() {}").lines().all(|line| line.in_test));
        assert!(SourceFile::new("a/src/b/tests.rs", "fn a() {}").lines().all(|line| line.in_test));
    }

    #[test]
    fn a_path_is_normalised_by_its_text() {
        assert_eq!(normalise(Path::new("a/b/../c/./d.rs")), Path::new("a/c/d.rs"));
    }
}
