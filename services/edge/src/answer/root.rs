//! Looking at files and opening them, by the policy on symbolic links.
//!
//! Paths come here in their one form: absolute, without dot segments. Where links are not followed, the kernel resolves a
//! path strictly beneath its root and through no link (`openat2`, `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`); where they are,
//! the configuration has said so, and only the links that `/proc` makes up are refused.

use std::fs::{File, Metadata};
use std::io;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found {
    Here(Metadata),
    /// A file stands in the middle of the path, which is so long up to there.
    Behind(Metadata, usize),
    Missing,
    Forbidden,
    Failed(io::Error),
}

/// Looks at a path.
pub(crate) fn look(root: &str, path: &str, follow: bool) -> Found {
    match metadata(root, path, follow) {
        Ok(facts) => Found::Here(facts),
        Err(error) => match error.raw_os_error() {
            Some(libc_errno::ENOTDIR) => behind(root, path, follow),
            Some(libc_errno::ENOENT | libc_errno::ENAMETOOLONG) => Found::Missing,
            Some(libc_errno::EACCES | libc_errno::ELOOP | libc_errno::EXDEV | libc_errno::EPERM) => {
                Found::Forbidden
            }
            _ => Found::Failed(error),
        },
    }
}

/// The numbers of the errors that paths lead to.
mod libc_errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EXDEV: i32 = 18;
    pub(super) const ENOTDIR: i32 = 20;
    pub(super) const ENAMETOOLONG: i32 = 36;
    pub(super) const ELOOP: i32 = 40;
}

fn behind(root: &str, path: &str, follow: bool) -> Found {
    let from = root.trim_end_matches('/').len().min(path.len());
    for (slash, _) in path[from..].match_indices('/') {
        let len = from + slash;
        if len == 0 {
            continue;
        }
        match metadata(root, &path[..len], follow) {
            Ok(facts) if facts.is_dir() => {}
            Ok(facts) if facts.is_file() => return Found::Behind(facts, len),
            _ => return Found::Missing,
        }
    }
    Found::Missing
}

fn metadata(root: &str, path: &str, follow: bool) -> io::Result<Metadata> {
    if follow {
        return std::fs::metadata(path);
    }
    let descriptor = beneath(root, path, OFlags::PATH | OFlags::CLOEXEC)?;
    File::from(descriptor).metadata()
}

/// Opens a file for reading. What is no regular file is not waited for: a pipe without a writer would be.
///
/// # Errors
/// The system's; `ELOOP` and `EXDEV` where a link leads out.
pub(crate) fn open(root: &str, path: &str, follow: bool) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let descriptor = match follow {
        false => beneath(root, path, flags)?,
        true => match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(rustix::io::Errno::NOSYS) => rustix::fs::open(path, flags, Mode::empty())?,
            opened => opened?,
        },
    };
    Ok(File::from(descriptor))
}

fn beneath(root: &str, path: &str, flags: OFlags) -> io::Result<std::os::fd::OwnedFd> {
    let root = root.trim_end_matches('/');
    let relative = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let folder = rustix::fs::open(
        if root.is_empty() { "/" } else { root },
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(folder, relative, flags, Mode::empty(), resolve)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn links_are_followed_where_that_is_said_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/file"), "in").unwrap();
        std::fs::write(folder.path().join("secret"), "out").unwrap();
        std::os::unix::fs::symlink("a/file", root.join("inside")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("outside")).unwrap();
        std::os::unix::fs::symlink("a", root.join("folder")).unwrap();
        let root = root.to_str().unwrap();
        let read = |path: &str, follow: bool| {
            let mut text = String::new();
            open(root, &format!("{root}{path}"), follow).ok()?.read_to_string(&mut text).ok()?;
            Some(text)
        };
        assert_eq!(read("/a/file", false).as_deref(), Some("in"));
        for link in ["/inside", "/outside", "/folder/file"] {
            assert!(matches!(look(root, &format!("{root}{link}"), false), Found::Forbidden), "{link}");
            assert_eq!(read(link, false), None, "{link}");
            assert!(read(link, true).is_some(), "{link}");
        }
        // Even a path that was never normalised does not lead out.
        assert_eq!(read("/../secret", false), None);
    }

    #[test]
    fn a_path_may_go_on_behind_a_file_but_not_behind_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        std::fs::create_dir(folder.path().join("d")).unwrap();
        std::fs::write(folder.path().join("d/s.pl"), "").unwrap();
        for follow in [true, false] {
            let look = |path: &str| look(root, &format!("{root}{path}"), follow);
            assert!(matches!(look("/d/s.pl/x/y"), Found::Behind(_, len) if len == root.len() + 7));
            assert!(matches!(look("/d/s.pl/"), Found::Behind(..)));
            assert!(matches!(look("/d/t.pl/x"), Found::Missing));
            assert!(matches!(look("/d"), Found::Here(_)));
        }
    }
}
