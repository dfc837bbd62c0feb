//! What the process is for the system: its limits, its number, its user, where its errors go.

use std::fs::{File, OpenOptions};
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

pub(super) fn write_pid(global: &Global) -> Result<Option<PathBuf>, Error> {
    use std::io::Write as _;
    let Some(path) = global.pid_file.as_deref().filter(|path| !path.is_empty()) else { return Ok(None) };
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Some(path.into()))
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
