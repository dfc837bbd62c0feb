//! What the process is for the system: its limits, its number, its user, where its errors go.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use selvedge_site::directive::Global;

use super::Error;

/// Open files, where the configuration does not say.
const UNASKED_DESCRIPTORS_MAX: u64 = 1 << 20;

/// Holds the process to `server.max-fds`, or lets it have what the system allows; how many files it may have open.
pub(super) fn limit_descriptors(global: &Global) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    let wanted = match u64::from(global.max_fds) {
        0 => soft.max(hard.min(UNASKED_DESCRIPTORS_MAX)),
        wanted => wanted,
    };
    // Only root may have more than what is allowed.
    let outcomes = [(wanted, hard.max(wanted)), (wanted.min(hard), hard)];
    let set =
        outcomes.into_iter().find(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, *soft, *hard).is_ok());
    set.map_or(soft, |(soft, _)| soft)
}

/// Errors, ours and those of programs, go to the configured file.
pub(super) fn redirect_errors(path: Option<&str>) -> Result<(), Error> {
    let Some(path) = path.filter(|path| !path.is_empty() && !path.starts_with('|')) else { return Ok(()) };
    let failed = |source| Error::File { path: path.to_owned(), source };
    let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    nix::unistd::dup2_stderr(&file).map_err(|error| failed(error.into()))
}

/// The file with the process's number, for as long as there is something to be told by it.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Writes `server.pid-file`, where there is one.
    pub(super) fn write(global: &Global) -> Result<Option<Self>, Error> {
        let Some(path) = global.pid_file.as_deref().filter(|path| !path.is_empty()) else { return Ok(None) };
        let failed = |source| Error::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(true).open(path).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Some(Self { path: path.into(), file }))
    }
}

impl Drop for PidFile {
    /// Takes it away, however the server ends. A successor has written its own number there. Who has become somebody that may not
    /// remove it, or does not see it any more, leaves it empty: a number in it could be another process's by then.
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        let mut found = [0; 16];
        let length = self.file.read_at(&mut found, 0).unwrap_or(0);
        if found[..length].trim_ascii() != own.as_bytes() {
            return;
        }
        // Another file may have taken its place.
        let is_own = std::fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == own);
        if !is_own || std::fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

/// Whether [`drop_privileges`] takes any away.
pub(super) fn becomes_another(global: &Global) -> bool {
    let configured = [&global.username, &global.groupname, &global.chroot];
    nix::unistd::geteuid().is_root()
        && configured.into_iter().flatten().any(|configured| !configured.is_empty())
}

/// Becomes the configured user, for good.
pub(super) fn drop_privileges(global: &Global) -> Result<(), Error> {
    let name = |text: &Option<selvedge_site::directive::Text>| {
        text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let user = match name(&global.username) {
        Some(name) => {
            Some(nix::unistd::User::from_name(&name).map_err(Error::Privileges)?.ok_or(Error::User(name))?)
        }
        None => None,
    };
    let group = match name(&global.groupname) {
        Some(name) => Some(
            nix::unistd::Group::from_name(&name).map_err(Error::Privileges)?.ok_or(Error::Group(name))?.gid,
        ),
        None => user.as_ref().map(|user| user.gid),
    };
    if let Some(root) = name(&global.chroot) {
        nix::unistd::chroot(root.as_str()).map_err(Error::Privileges)?;
        nix::unistd::chdir("/").map_err(Error::Privileges)?;
    }
    if let Some(gid) = group {
        match &user {
            Some(user) => {
                let name = std::ffi::CString::new(user.name.as_str()).unwrap_or_default();
                nix::unistd::initgroups(&name, gid).map_err(Error::Privileges)?;
            }
            None => nix::unistd::setgroups(&[gid]).map_err(Error::Privileges)?,
        }
        nix::unistd::setresgid(gid, gid, gid).map_err(Error::Privileges)?;
    }
    if let Some(user) = user {
        nix::unistd::setresuid(user.uid, user.uid, user.uid).map_err(Error::Privileges)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use selvedge_site::lighttpd::{Alone, Level, Options as Reading, compile, parse};
    use selvedge_site::{Compat, Program};

    use super::*;

    fn program(text: String) -> Program {
        let options = Reading { compat: Compat::V1_4_69, allow_shell: false };
        let Ok(document) = parse("test.conf", &mut Alone(text), options) else { panic!("it does not parse") };
        compile(&document, Compat::V1_4_69, Level::Modules).program.expect("it compiles")
    }

    fn with_pid(path: &std::path::Path, more: &str) -> Program {
        program(format!(
            "server.document-root = \"/srv\"\nserver.bind = \"127.0.0.1\"\nserver.port = 0\nserver.pid-file = \"{}\"\n{more}",
            path.display()
        ))
    }

    #[test]
    fn a_start_that_fails_leaves_no_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let log = folder.path().join("nowhere/log");
        let more =
            format!("server.modules = ( \"mod_accesslog\" )\naccesslog.filename = \"{}\"\n", log.display());
        let failed = crate::run(with_pid(&path, &more), crate::Options::default());
        assert!(
            matches!(&failed, Err(Error::File { path, .. }) if *path == log.display().to_string()),
            "{failed:?}"
        );
        assert!(!path.exists(), "{:?}", std::fs::read_to_string(&path));
    }

    #[test]
    fn a_number_is_taken_away_by_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let program = with_pid(&path, "");
        let write = || PidFile::write(program.global()).unwrap().unwrap();
        let file = write();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        // A successor has written its own into it; or put another file in its place.
        let file = write();
        std::fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        let file = write();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        // It is where it cannot be removed from, by this name at least.
        let file = write();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "", "nobody's number");
    }
}
