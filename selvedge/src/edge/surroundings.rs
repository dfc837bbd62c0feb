//! Whether this machine has what a configuration counts on: users, folders, logs, ports, certificates. Nothing is bound or written.

mod certificates;
mod rights;

use std::path::Path;

use selvedge_site::mention::{Mention, What};
use selvedge_site::{Diagnostic, ListenAddress, Program};

use rights::{Deed, Who};

/// A port below this one is root's, unless the system says otherwise.
const PRIVILEGED_PORTS: u16 = 1024;
/// The right to bind those, as a bit of a process's capabilities (capabilities(7)).
const NET_BIND_SERVICE: u64 = 1 << 10;

/// What the machine lacks, each at its place. An error is what lighttpd does not start with as well; `now` is in seconds since 1970.
pub(super) fn findings(program: &Program, now: i64) -> Vec<Diagnostic> {
    let mentions = program.mentions();
    let name = |what: What| mentions.iter().rev().find(|one| one.what == what);
    let (user, group) = (name(What::User), name(What::Group));
    let mut found = Vec::new();
    let is_root = nix::unistd::geteuid().is_root();
    found.extend(user.filter(|one| !is_known(one)).map(|one| stranger(one, "user", is_root)));
    found.extend(group.filter(|one| !is_known(one)).map(|one| stranger(one, "group", is_root)));
    // Who is not root stays who it is.
    let who = match is_root {
        true => Who::becomes(user.map(|one| &*one.name), group.map(|one| &*one.name)),
        false => Some(Who::ourselves()),
    };
    let chroot = program.global().chroot.as_deref().is_some_and(|root| !root.is_empty());
    if let Some(who) = who.filter(|_| !chroot) {
        let told = mentions.iter().filter_map(|one| of_path(one, &who));
        found.extend(told);
    }
    found.extend(ports(program));
    found.extend(certificates::findings(program, &mentions, now));
    found.sort_by_key(|one| one.place);
    found.dedup();
    found
}

fn is_known(mention: &Mention) -> bool {
    match mention.what {
        What::User => nix::unistd::User::from_name(&mention.name).is_ok_and(|found| found.is_some()),
        _ => nix::unistd::Group::from_name(&mention.name).is_ok_and(|found| found.is_some()),
    }
}

/// A user or a group that there is not.
fn stranger(mention: &Mention, kind: &str, is_root: bool) -> Diagnostic {
    let message = format!("{}: there is no {kind} {} on this machine", mention.key, mention.name);
    let hint = format!(
        "make it, or name one that there is: getent {}",
        if kind == "user" { "passwd" } else { kind }
    );
    let finding = match is_root {
        true => Diagnostic::about(message),
        false => Diagnostic::warns(message),
    };
    finding.at(Some(mention.place)).hinted(hint)
}

/// What stands between the server's user and a path.
fn of_path(mention: &Mention, who: &Who) -> Option<Diagnostic> {
    let path = Path::new(&*mention.name);
    if !path.is_absolute() {
        return None;
    }
    let (path, deed, hint) = match mention.what {
        What::Served => (path, Deed::Enter, "make the folder, or let everybody pass: chmod o+x"),
        What::Written => {
            (path, Deed::Write, "make the folder and give it to the user that the server becomes")
        }
        What::Log => match path.exists() {
            // A log that is there may be a pipe or a terminal.
            true => (
                path,
                Deed::Write,
                "give the log to the user that the server becomes: it is opened anew as that user",
            ),
            false => (
                path.parent()?,
                Deed::Write,
                "make the log's folder, and give it to the user that the server becomes",
            ),
        },
        // Read before the process becomes somebody else.
        What::Read if nix::unistd::geteuid().is_root() && path.exists() => return None,
        What::Read => (path, Deed::Read, "let the server's user read it, or start the server as root"),
        What::User | What::Group => return None,
    };
    let (at, why) = who.stopped(path, deed)?;
    let message = format!("{}: {} {why}", mention.key, at.display());
    Some(Diagnostic::warns(message).at(Some(mention.place)).hinted(hint))
}

/// Ports that are not everybody's.
fn ports(program: &Program) -> Vec<Diagnostic> {
    if program.global().systemd_socket_activation || may_bind_any() {
        return Vec::new();
    }
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first = first.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(PRIVILEGED_PORTS);
    let ports = program.listeners.iter().filter_map(|listener| match listener.address {
        ListenAddress::Inet(address) => Some((&listener.token, address.port())),
        ListenAddress::Name { port, .. } => Some((&listener.token, port)),
        ListenAddress::Unix(_) => None,
    });
    let held = ports.filter(|(_, port)| *port < first && *port != 0);
    held.map(|(token, port)| {
        let message = format!("port {port} of {token} cannot be bound by this user");
        Diagnostic::warns(message).hinted(
            "start as root and name the user to become, give the right CAP_NET_BIND_SERVICE, or take the socket from systemd",
        )
    })
    .collect()
}

/// Whether this process has the right to bind every port.
fn may_bind_any() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    effective.map_or_else(|| nix::unistd::geteuid().is_root(), |rights| rights & NET_BIND_SERVICE != 0)
}
