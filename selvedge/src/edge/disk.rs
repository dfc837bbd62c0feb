//! The world that a configuration is read in: this machine's.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use selvedge_site::lighttpd::{FILE_BYTES_MAX, FileError, Files, glob};

/// This machine's files, variables and commands.
#[derive(Debug)]
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, FileError> {
        let failed = |error: std::io::Error| FileError(error.to_string());
        let mut bytes = Vec::new();
        // One byte more than is allowed tells a file that is too large.
        let most = FILE_BYTES_MAX as u64 + 1;
        if path == "-" {
            std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(failed)?;
        } else {
            std::fs::File::open(path).map_err(failed)?.take(most).read_to_end(&mut bytes).map_err(failed)?;
        }
        Ok(bytes)
    }

    fn glob(&mut self, pattern: &str) -> Vec<String> {
        glob::without_braces(pattern).iter().flat_map(|pattern| expand(pattern)).collect()
    }

    fn shell(&mut self, command: &str, folder: &str) -> Result<Vec<u8>, FileError> {
        let shell =
            std::env::var("SHELL").ok().filter(|shell| !shell.is_empty() && !shell.ends_with("/false"));
        let mut process = Command::new(shell.as_deref().unwrap_or("/bin/sh"));
        process.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit());
        if !folder.is_empty() {
            process.current_dir(folder);
        }
        let output = process.output().map_err(|error| FileError(error.to_string()))?;
        if !output.status.success() {
            return Err(FileError(format!("it ended with {}", output.status)));
        }
        Ok(output.stdout)
    }

    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn working_directory(&self) -> Option<String> {
        std::env::current_dir().ok().map(|folder| folder.display().to_string())
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    fn has_ipv6(&self) -> bool {
        Path::new("/proc/net/if_inet6").exists()
    }
}

/// The paths that fit a pattern, folder by folder, in order.
fn expand(pattern: &str) -> Vec<String> {
    let mut paths: Vec<PathBuf> = vec![if pattern.starts_with('/') { "/".into() } else { PathBuf::new() }];
    let mut parts = pattern.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        if !part.contains(['*', '?', '[']) {
            for path in &mut paths {
                path.push(part);
            }
            paths.retain(|path| path.exists());
            continue;
        }
        let mut found = Vec::new();
        for folder in &paths {
            let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let Ok(entries) = std::fs::read_dir(shown) else { continue };
            let mut names: Vec<String> =
                entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            let inside =
                names.into_iter().filter(|name| glob::fits(part, name)).map(|name| folder.join(name));
            found.extend(inside.filter(|path| is_last || path.is_dir()));
        }
        paths = found;
    }
    let prefix = if pattern.starts_with("./") { "./" } else { "" };
    paths.into_iter().map(|path| format!("{prefix}{}", path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_files_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().display().to_string();
        for name in ["b/2.conf", "b/1.conf", "b/.3.conf", "a/x.conf", "c"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let found = |pattern: &str| -> Vec<String> {
            let paths = Disk.glob(&format!("{root}/{pattern}"));
            paths
                .iter()
                .filter_map(|path| path.strip_prefix(&format!("{root}/")).map(str::to_owned))
                .collect()
        };
        assert_eq!(found("b/*.conf"), ["b/1.conf", "b/2.conf"]);
        assert_eq!(found("*/[12x].conf"), ["a/x.conf", "b/1.conf", "b/2.conf"]);
        assert_eq!(found("{c,a}"), ["c", "a"]);
        assert!(found("nope*").is_empty());
        assert!(found("nope").is_empty());
    }
}
