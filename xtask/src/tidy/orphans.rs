//! Source files that no `mod` reaches: they look alive, and the compiler never sees them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::source::{self, SourceFile};
use super::{Problem, Workspace};

pub(super) fn check(workspace: &Workspace, root: &Path, files: &[SourceFile]) -> Vec<Problem> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<(PathBuf, bool)> = workspace
        .packages
        .iter()
        .flat_map(|package| &package.targets)
        .map(|target| (target.src_path.strip_prefix(root).unwrap_or(&target.src_path).to_path_buf(), true))
        .collect();
    while let Some((path, is_root)) = waiting.pop() {
        let Some(file) = files.iter().find(|file| file.path == path) else { continue };
        if reached.insert(path.clone()) {
            waiting.extend(children(file, is_root, files));
        }
    }
    files
        .iter()
        .filter(|file| !reached.contains(&file.path))
        .map(|file| Problem::error(&file.path, 0, "no `mod` reaches this file: declare it or delete it"))
        .collect()
}

/// The files that `file` declares or includes. The flag says whether the child is a crate root: never.
fn children(file: &SourceFile, is_root: bool, files: &[SourceFile]) -> Vec<(PathBuf, bool)> {
    let parent = file.path.parent().unwrap_or_else(|| Path::new(""));
    let home = match file.path.file_stem() {
        Some(stem) if !is_root && stem != "mod" => parent.join(stem),
        _ => parent.to_path_buf(),
    };
    let mut found = Vec::new();
    let mut path_attribute: Option<&str> = None;
    for line in file.text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path_attribute = rest.split('"').next();
        } else if let Some(name) = module_name(line) {
            match path_attribute.take() {
                Some(path) => found.push(source::normalise(&parent.join(path))),
                None => found.extend(files_of_module(&home, name, files)),
            }
        } else if let Some((_, rest)) = line.split_once("include!(\"") {
            found.extend(rest.split('"').next().map(|path| source::normalise(&parent.join(path))));
        }
    }
    found.into_iter().map(|path| (path, false)).collect()
}

/// Where `mod name;` may stand. A module declared inside an inline one is looked for below `home`.
fn files_of_module(home: &Path, name: &str, files: &[SourceFile]) -> Vec<PathBuf> {
    let (flat, nested) = (format!("{name}.rs"), Path::new(name).join("mod.rs"));
    let direct: Vec<PathBuf> = [home.join(&flat), home.join(&nested)]
        .into_iter()
        .filter(|path| files.iter().any(|file| file.path == *path))
        .collect();
    if !direct.is_empty() {
        return direct;
    }
    let below = |path: &Path| path.starts_with(home) && (path.ends_with(&flat) || path.ends_with(&nested));
    files.iter().filter(|file| below(&file.path)).map(|file| file.path.clone()).collect()
}

/// The name in `mod name;`, whatever its visibility.
fn module_name(line: &str) -> Option<&str> {
    let (head, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let head = head.trim();
    let declares = head.is_empty() || head.starts_with("pub") || head.starts_with("#[");
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (declares && is_name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::{Package, Target};
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (Workspace, Vec<SourceFile>) {
        let package = Package {
            name: "a".into(),
            manifest_path: "/r/a/Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: vec![Target { src_path: "/r/a/src/lib.rs".into() }],
        };
        let files = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
        (Workspace { packages: vec![package] }, files)
    }

    fn orphans(files: &[(&str, &str)]) -> Vec<PathBuf> {
        let (workspace, files) = tree(files);
        check(&workspace, Path::new("/r"), &files).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_declared_file_is_reached_and_another_is_an_orphan() {
        let found = orphans(&[
            (
                "a/src/lib.rs",
                "mod b;\npub(crate) mod c;\n#[path = \"odd/place.rs\"]\nmod d;\ninclude!(\"gen/e.rs\");\n",
            ),
            ("a/src/b.rs", "mod inner;\n"),
            ("a/src/b/inner.rs", ""),
            ("a/src/c.rs", ""),
            ("a/src/odd/place.rs", ""),
            ("a/src/gen/e.rs", ""),
            ("a/src/lost.rs", ""),
            ("a/src/b/lost.rs", ""),
        ]);
        assert_eq!(found, [PathBuf::from("a/src/lost.rs"), PathBuf::from("a/src/b/lost.rs")]);
    }

    #[test]
    fn a_comment_that_mentions_a_module_declares_nothing() {
        let found = orphans(&[("a/src/lib.rs", "// see mod b;\n"), ("a/src/b.rs", "")]);
        assert_eq!(found, [PathBuf::from("a/src/b.rs")]);
    }
}
