//! Hosts of their own: network namespaces, each with a mount namespace for its `/etc/hosts`, joined by veth pairs to a
//! bridge in the test's own namespace.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest wait for anything to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The address of the bridge (number 1), of a host, or of the net that nobody is in.
    pub(crate) fn address(self, number: u8) -> String {
        match self {
            Self::V4 => format!("10.77.0.{number}"),
            Self::V6 => format!("fd77::{number}"),
        }
    }

    /// Where nobody is: what a virtual service's name resolves to, so that it is called at all.
    pub(crate) fn nowhere(self, number: u8) -> String {
        match self {
            Self::V4 => format!("10.99.0.{number}"),
            Self::V6 => format!("fd99::{number}"),
        }
    }

    pub(crate) fn with_port(self, address: &str, port: u16) -> String {
        match self {
            Self::V4 => format!("{address}:{port}"),
            Self::V6 => format!("[{address}]:{port}"),
        }
    }
}

/// The bridge between hosts. It ends with the thread that made it.
pub(crate) struct Network;

impl Network {
    /// Moves this thread, and all that it starts, into a network with nothing but a bridge.
    pub(crate) fn new() -> Option<Self> {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("SKIPPED: no network namespace may be made here");
            return None;
        }
        sh(&format!(
            "ip link set lo up; ip link add br0 type bridge; ip link set br0 up; \
             ip addr add {}/24 dev br0; ip -6 addr add {}/64 dev br0 nodad",
            Family::V4.address(1),
            Family::V6.address(1)
        ));
        Some(Self)
    }

    /// A host with that number in its addresses, and names for addresses where nobody is.
    pub(crate) fn host(&self, number: u8, folder: &Path, names: &[String]) -> Host {
        let keeper = Command::new("unshare")
            .args(["--net", "--mount", "--kill-child", "sleep", "infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let host = Host { keeper, number };
        let pid = host.keeper.id();
        // Until it is in a namespace of its own, it shows ours.
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        wait_for("a namespace", || {
            std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| namespace != own)
        });
        let hosts = folder.join(format!("hosts.{number}"));
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (index, name) in (1..).zip(names) {
            text.push_str(&format!(
                "{} {name}\n{} {name}\n",
                Family::V4.nowhere(index),
                Family::V6.nowhere(index)
            ));
        }
        std::fs::write(&hosts, text).expect("written");
        sh(&format!(
            "ip link add v{number} type veth peer name eth0 netns {pid}; ip link set v{number} master br0 up"
        ));
        host.succeeds(&[
            "sh",
            "-euc",
            &format!(
                "ip link set lo up; ip link set eth0 up; ip addr add {}/24 dev eth0; \
                 ip -6 addr add {}/64 dev eth0 nodad; ip route add default via {}; \
                 ip -6 route add default via {}; mount --make-rprivate /; mount --bind {} /etc/hosts",
                Family::V4.address(number),
                Family::V6.address(number),
                Family::V4.address(1),
                Family::V6.address(1),
                hosts.display()
            ),
        ]);
        host
    }
}

/// A host; what runs on it is ended by whoever started it.
pub(crate) struct Host {
    keeper: Child,
    pub(crate) number: u8,
}

impl Host {
    /// A command that runs on the host.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.keeper.id().to_string(), "--net", "--mount", "--wd=/tmp", "--"]);
        command.args(words).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin").stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("it runs")
    }

    /// What a command printed, which has to succeed.
    pub(crate) fn succeeds(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "host {}: {words:?}: {}\n{out}{err}", self.number, output.status);
        out.into_owned()
    }

    /// Starts a program that goes on; its output goes to a file.
    pub(crate) fn start(&self, log: &Path, prepare: impl FnOnce(&mut Command), words: &[&str]) -> Process {
        let mut command = self.command(words);
        prepare(&mut command);
        Process::start(command, log)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A program that goes on until it is dropped.
pub(crate) struct Process {
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(log).expect("a log");
        command.stdout(file.try_clone().expect("a log")).stderr(file);
        let child = command.spawn().expect("it starts");
        Self { child, log: log.to_owned() }
    }

    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        let _ = std::fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    fn terminate(&mut self) {
        // nsenter has become the program itself, so that this is its process.
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _ = kill(pid, Signal::SIGTERM);
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none())
            && begun.elapsed() < Duration::from_secs(5)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let end: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("--- {}", self.log.display());
            end.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a script in the test's own namespace.
pub(crate) fn sh(script: &str) {
    let output = Command::new("sh").args(["-euc", script]).output().expect("sh runs");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
