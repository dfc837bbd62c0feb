//! What somebody may do with the files of this machine, by the modes of files and folders.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Who a process is, or becomes.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// For people.
    pub(super) name: String,
    pub(super) user: u32,
    pub(super) groups: Vec<u32>,
}

/// What is to be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    Write,
    /// Files of it are opened, and it is listed.
    Enter,
}

impl Who {
    /// Who this process is.
    pub(super) fn ourselves() -> Self {
        let user = nix::unistd::geteuid().as_raw();
        let groups = nix::unistd::getgroups().unwrap_or_default();
        let groups = groups.into_iter().chain([nix::unistd::getegid()]).map(nix::unistd::Gid::as_raw);
        Self { name: name_of(user), user, groups: groups.collect() }
    }

    /// Who it becomes once its sockets are open; `None` for names that nobody has.
    pub(super) fn becomes(user: Option<&str>, group: Option<&str>) -> Option<Self> {
        let mut who = Self::ourselves();
        if let Some(name) = user {
            let found = nix::unistd::User::from_name(name).ok().flatten()?;
            let name = std::ffi::CString::new(name).ok()?;
            let groups = nix::unistd::getgrouplist(&name, found.gid).unwrap_or_else(|_| vec![found.gid]);
            who = Self {
                name: found.name,
                user: found.uid.as_raw(),
                groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            };
        }
        if let Some(name) = group {
            who.groups.push(nix::unistd::Group::from_name(name).ok().flatten()?.gid.as_raw());
        }
        Some(who)
    }

    /// The first path on the way to `path` that stands in the way, and what keeps whoever this is from it.
    pub(super) fn stopped(&self, path: &Path, deed: Deed) -> Option<(std::path::PathBuf, String)> {
        let ancestors: Vec<&Path> =
            path.ancestors().skip(1).filter(|one| !one.as_os_str().is_empty()).collect();
        for folder in ancestors.into_iter().rev() {
            match std::fs::metadata(folder) {
                Ok(facts) if !facts.is_dir() => return Some((folder.to_owned(), "is no folder".to_owned())),
                Ok(facts) if !self.may(&facts, 1) => {
                    return Some((folder.to_owned(), format!("may not be passed by {}", self.name)));
                }
                Ok(_) => {}
                Err(error) => return Some((folder.to_owned(), said(&error))),
            }
        }
        let facts = match std::fs::metadata(path) {
            Ok(facts) => facts,
            Err(error) => return Some((path.to_owned(), said(&error))),
        };
        let (bits, what) = match deed {
            Deed::Read => (4, "read"),
            Deed::Write if facts.is_dir() => (3, "written in"),
            Deed::Write => (2, "written"),
            Deed::Enter => (1, "passed"),
        };
        if deed == Deed::Enter && !facts.is_dir() {
            return Some((path.to_owned(), "is no folder".to_owned()));
        }
        (!self.may(&facts, bits)).then(|| (path.to_owned(), format!("may not be {what} by {}", self.name)))
    }

    /// Whether the mode of a file has all of `bits` for whoever this is.
    fn may(&self, facts: &Metadata, bits: u32) -> bool {
        let shift = match (facts.uid() == self.user, self.groups.contains(&facts.gid())) {
            _ if self.user == 0 => return true,
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        (facts.mode() >> shift) & bits == bits
    }
}

fn said(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("cannot be looked at: {error}"),
    }
}

fn name_of(user: u32) -> String {
    let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(user)).ok().flatten();
    found.map_or_else(|| format!("user {user}"), |found| found.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn whoever_may_not_is_stopped_where_the_mode_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("inside");
        let file = inside.join("file");
        std::fs::create_dir(&inside).expect("made");
        std::fs::write(&file, "").expect("written");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        let own = std::fs::metadata(&file).expect("there");
        let stranger = Who { name: "a stranger".into(), user: own.uid() + 1, groups: vec![own.gid() + 1] };
        let kin = Who { groups: vec![own.gid()], ..stranger.clone() };
        mode(folder.path(), 0o755);
        for (folder_mode, file_mode, who, deed, expected) in [
            (0o755, 0o644, &stranger, Deed::Read, None),
            (0o755, 0o640, &stranger, Deed::Read, Some(&file)),
            (0o755, 0o640, &kin, Deed::Read, None),
            (0o755, 0o604, &kin, Deed::Read, Some(&file)),
            (0o750, 0o644, &stranger, Deed::Read, Some(&inside)),
            (0o755, 0o644, &stranger, Deed::Write, Some(&file)),
            (0o755, 0o666, &stranger, Deed::Write, None),
            (0o755, 0o644, &stranger, Deed::Enter, Some(&file)),
        ] {
            mode(&inside, folder_mode);
            mode(&file, file_mode);
            let stopped = who.stopped(&file, deed).map(|(path, _)| path);
            assert_eq!(stopped.as_ref(), expected, "{folder_mode:o} {file_mode:o} {} {deed:?}", who.name);
        }
        assert_eq!(stranger.stopped(&inside, Deed::Enter), None);
        let missing = stranger.stopped(&inside.join("none"), Deed::Read).map(|(_, why)| why);
        assert_eq!(missing.as_deref(), Some("is not there"));
    }
}
