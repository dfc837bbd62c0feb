//! A network of the task's own, joined to this machine's by a bridge.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context as _, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use crate::exit::Failure;

/// The bridge that all tasks of this machine share.
const BRIDGE: &str = "selvedge0";
/// Its net, and where in it this machine is: number 1. (Of the addresses for private nets, RFC 1918.)
const NET: &str = "10.214.0";
/// The addresses where nobody is, one for each name.
const NOWHERE: &str = "10.214.255";
/// The same of IPv6. (Of the addresses for private nets, RFC 4193.)
const NET_V6: &str = "fd00:10:214:";
const NOWHERE_V6: &str = "fd00:10:214:ff:";
/// What cables are called, with the task's number.
const CABLE: &str = "sve";
/// Tasks at a time.
const TASKS_MAX: u8 = 253;
/// Names, one address each.
const NAMES_MAX: usize = 254;

/// Where a task is.
#[derive(Debug, Clone)]
pub(super) struct Namespace {
    pub(super) address: String,
    /// Where IPv6 is asked for.
    pub(super) address_v6: Option<String>,
}

/// Runs `task` on a thread in a network of its own, which ends with it.
///
/// # Errors
/// The network cannot be set up; or `task`'s own.
pub(super) fn inside<T: Send + 'static>(
    names: &[String],
    ipv6: bool,
    task: impl FnOnce(Namespace) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    if names.len() > NAMES_MAX {
        return Err(Failure::Usage(format!("more than {NAMES_MAX} names")));
    }
    let (moved, thread) = mpsc::channel();
    let (joined, namespace) = mpsc::channel();
    let hosts = hosts(names, ipv6)?;
    // This thread stays where it is: it joins the other one's network to the machine's.
    let running = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .context("failed to leave the machine's network")?;
        if let Some(hosts) = &hosts {
            lay_over(hosts.path()).context("failed to lay the names over /etc/hosts")?;
        }
        moved.send(gettid()).context("the network is not set up")?;
        let namespace: Namespace = namespace.recv().context("the network is not set up")?;
        ip(&format!("link set lo up; link set eth0 up; addr add {}/16 dev eth0", namespace.address))?;
        ip(&format!("route add default via {NET}.1"))?;
        if let Some(address) = &namespace.address_v6 {
            // Nobody else has the address, so that nobody needs to be asked for it first.
            ip(&format!("-6 addr add {address}/64 dev eth0 nodad; -6 route add default via {NET_V6}:1"))?;
        }
        task(namespace)
    });
    let mut cable = None;
    if let Ok(thread) = thread.recv() {
        let (namespace, made) = join(thread.as_raw(), ipv6)?;
        cable = Some(made);
        joined.send(namespace).context("the task has ended already")?;
    }
    let ended = running.join().map_err(|_| anyhow::anyhow!("the task's thread failed"))?;
    if let Some(cable) = cable {
        // It goes with the network that it leads to, but not at once.
        let _ = ip(&format!("link del {cable}"));
        tidy();
    }
    Ok(ended?)
}

/// Makes the bridge if there is none, and a cable to the thread's network; answers the address that it stands for.
fn join(thread: i32, ipv6: bool) -> anyhow::Result<(Namespace, String)> {
    if !exists(BRIDGE) {
        // Another task may be doing the same: whoever comes second finds it there.
        let made = ip(&format!(
            "link add {BRIDGE} type bridge; addr add {NET}.1/16 dev {BRIDGE}; link set {BRIDGE} up"
        ));
        if !exists(BRIDGE) {
            made?;
        }
    }
    if ipv6 {
        let bridge = ip(&format!("-6 addr replace {NET_V6}:1/64 dev {BRIDGE} nodad"));
        bridge.context("the bridge gets no IPv6 address: does this machine have IPv6?")?;
    }
    for number in 2..=TASKS_MAX {
        let cable = format!("{CABLE}{number}");
        if exists(&cable) {
            continue;
        }
        // The kernel gives the name to one only, so that two tasks cannot have one number.
        if ip(&format!("link add {cable} type veth peer name eth0 netns {thread}")).is_ok() {
            ip(&format!("link set {cable} master {BRIDGE}; link set {cable} up"))?;
            let address_v6 = ipv6.then(|| format!("{NET_V6}:{number}"));
            return Ok((Namespace { address: format!("{NET}.{number}"), address_v6 }, cable));
        }
        ensure!(exists(&cable), "a cable to the task's network cannot be made: is iproute2 installed?");
    }
    bail!("{TASKS_MAX} tasks run already")
}

/// Takes the bridge away when no task is left.
fn tidy() {
    // Tasks that begin or end at the same time meet at worst a bridge without cables, which hinders nobody.
    if exists(BRIDGE) && !links().iter().any(|link| link.starts_with(CABLE)) {
        let _ = ip(&format!("link del {BRIDGE}"));
    }
}

fn exists(link: &str) -> bool {
    links().iter().any(|other| other == link)
}

/// The network links that the calling thread sees. (`/sys` shows those of whoever mounted it.)
fn links() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// Runs commands of `ip` in the namespace of the calling thread, until one fails.
fn ip(commands: &str) -> anyhow::Result<()> {
    for command in commands.split(';').map(str::trim) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let words = command.split(' ');
        let output = Command::new("ip").args(words).env("PATH", path).stdin(Stdio::null()).output();
        let output = output.context("ip cannot be run: install iproute2")?;
        ensure!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The machine's names with more, if there are more.
fn hosts(names: &[String], ipv6: bool) -> anyhow::Result<Option<tempfile::NamedTempFile>> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut file = tempfile::NamedTempFile::new().context("failed to write the names")?;
    let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    for (index, name) in (1..).zip(names) {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        ensure!(!name.is_empty() && name.chars().all(valid), "{name:?} is no host name");
        text.push_str(&format!("{NOWHERE}.{index} {name}\n"));
        if ipv6 {
            text.push_str(&format!("{NOWHERE_V6}:{index} {name}\n"));
        }
    }
    file.write_all(text.as_bytes()).context("failed to write the names")?;
    // Every user of the task reads it.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(file.path(), readable).context("failed to write the names")?;
    Ok(Some(file))
}

/// Lets the task see that file in the place of /etc/hosts; nobody else does.
fn lay_over(file: &std::path::Path) -> nix::Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(file), "/etc/hosts", none, MsFlags::MS_BIND, none)
}
