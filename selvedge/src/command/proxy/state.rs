//! Where a sidecar that root starts keeps its last good configuration.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use super::user::User;

/// Root's own: whoever a sidecar becomes cannot put something else in the place of its folder, which root gives away at
/// the next start.
const FOLDER: &str = "/var/lib/selvedge-sidecars";

/// A folder for that user alone, in the place of one below root's home, which the user cannot enter.
///
/// # Errors
/// The system's.
pub(super) fn give(user: User, below_home: &Path) -> io::Result<PathBuf> {
    give_below(Path::new(FOLDER), user, below_home)
}

fn give_below(parent: &Path, user: User, below_home: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    let own = std::fs::symlink_metadata(parent)?;
    if !own.is_dir() || own.uid() != nix::unistd::Uid::effective().as_raw() {
        return Err(io::Error::other(format!("{} is somebody else's", parent.display())));
    }
    let folder = parent.join(below_home.file_name().unwrap_or_default());
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    lchown(&folder, Some(user.uid), Some(user.gid))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_users_alone_and_is_found_again() {
        let parent = tempfile::tempdir().expect("a folder");
        let own = std::fs::metadata(parent.path()).expect("it is there");
        // To oneself anybody may give something.
        let user = User { uid: own.uid(), gid: own.gid() };
        for _ in 0..2 {
            let folder = give_below(&parent.path().join("sidecars"), user, Path::new("elsewhere/m-9901"));
            let folder = folder.expect("made");
            assert!(folder.ends_with("sidecars/m-9901"), "{}", folder.display());
            let made = std::fs::metadata(&folder).expect("it is there");
            assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (user.uid, user.gid, 0o700));
        }
    }

    #[test]
    fn a_link_in_the_parents_place_is_not_followed() {
        let place = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/tmp", place.path().join("sidecars")).expect("linked");
        let user = User { uid: 1337, gid: 1337 };
        assert!(give_below(&place.path().join("sidecars"), user, Path::new("m")).is_err());
    }
}
