//! Programs that are started here: scripts for one request, FastCGI and SCGI servers for all.
//!
//! A server gets its listening socket as descriptor 0 (FastCGI 1.0 §2.2). The socket stays ours: while a server that ended
//! is started again, requests wait in the socket's queue.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use selvedge_site::directive::{BackendId, Host};
use selvedge_wire::stream::{self, Address};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::hosts::{self, HostState, Hosts};

/// Processes of all backends together.
pub(crate) const PROCESSES_MAX: usize = 1024;
/// The wait before a server that ended at once is started again; it doubles up to [`RESTART_WAIT_MAX`].
const RESTART_WAIT: Duration = Duration::from_millis(10);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(10);
/// A process that is to leave is sent nothing for so long before.
const LEAVING_PAUSE: Duration = Duration::from_secs(1);
/// A server that ran for so long has not ended at once.
const STEADY: Duration = Duration::from_secs(2);

/// A script under way. Whoever drops it before it ended ends it.
#[derive(Debug)]
pub(crate) struct Script(Option<Child>);

impl Script {
    pub(crate) fn new(child: Child) -> Self {
        Self(Some(child))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        if let Ok(None) = child.try_wait()
            && let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // One that has closed its output is about to end and gets a moment; one that still writes to nobody is told.
            runtime.spawn(async move {
                if tokio::time::timeout(Duration::from_millis(100), child.wait()).await.is_err() {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                    let _ = child.wait().await;
                }
            });
        }
    }
}

/// The servers of a configuration: they end with it.
#[derive(Debug)]
pub(crate) struct Programs {
    processes: Arc<Processes>,
}

type Processes = Mutex<HashMap<Address, Process>>;

#[derive(Debug)]
struct Process {
    /// What was started, to tell whether a new configuration wants the same.
    recipe: Recipe,
    /// Dropped, it ends the process.
    _stop: Arc<watch::Sender<bool>>,
}

/// What makes a process what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recipe {
    words: Vec<String>,
    environment: Vec<(String, std::ffi::OsString)>,
    backlog: i32,
    signal: i32,
}

impl Programs {
    /// Starts what the backends ask for, on the current runtime; what `before` runs already in the same way is kept.
    pub(crate) async fn start(backends: &[Host], hosts: &Hosts, before: Option<&Self>) -> Self {
        let programs = Self { processes: Arc::default() };
        for host in backends.iter().filter(|host| host.bin_path.is_some()) {
            let least = host.min_procs.clamp(1, host.max_procs.max(1));
            for number in 0..least {
                if let Err(error) = one(&programs.processes, host, number, before).await {
                    tracing::error!(%error, program = host.bin_path.as_deref(), "a program cannot be started");
                }
            }
            let Some(state) = hosts.state(host.id) else { continue };
            state.set_running(least);
            if least < host.max_procs {
                let processes = Arc::downgrade(&programs.processes);
                tokio::spawn(follow_load(host.clone(), least, Arc::clone(state), processes));
            }
        }
        programs
    }

    /// Processes that are to run.
    pub(crate) fn count(&self) -> usize {
        lock(&self.processes).len()
    }
}

/// Starts process `number` of a backend, unless it runs.
async fn one(
    processes: &Processes,
    host: &Host,
    number: u16,
    before: Option<&Programs>,
) -> std::io::Result<()> {
    let address = hosts::address(host, number).await?;
    let recipe = Recipe::of(host);
    let mut processes = lock(processes);
    // Several backends may name one address: the first one starts it.
    if processes.contains_key(&address) || processes.len() >= PROCESSES_MAX {
        return Ok(());
    }
    if let Some(before) = before
        && let Some(running) = lock(&before.processes).get(&address)
        && running.recipe == recipe
    {
        let kept = Process { recipe, _stop: Arc::clone(&running._stop) };
        processes.insert(address, kept);
        return Ok(());
    }
    let socket = stream::listen_for_program(&address, Some(recipe.backlog))?;
    let (stop, stopped) = watch::channel(false);
    let first = spawn(&recipe, &socket)?;
    tokio::spawn(supervise(recipe.clone(), socket, first, stopped));
    processes.insert(address, Process { recipe, _stop: Arc::new(stop) });
    Ok(())
}

/// Starts another process, up to `max-procs`, while there are more requests than processes; ends one of those beyond
/// `min-procs` when there was no request for `idle-timeout`. Over with the configuration.
async fn follow_load(host: Host, least: u16, state: Arc<HostState>, processes: Weak<Processes>) {
    let patience = Duration::from_secs(u64::from(host.idle_timeout.max(1)));
    loop {
        let served = state.served();
        tokio::select! {
            () = state.overloaded.notified() => {
                let Some(processes) = processes.upgrade() else { return };
                let number = state.running();
                if number >= host.max_procs || state.active() <= u32::from(number) {
                    continue;
                }
                match one(&processes, &host, number, None).await {
                    Ok(()) => state.set_running(number + 1),
                    Err(error) => {
                        tracing::error!(%error, program = host.bin_path.as_deref(), "a program cannot be started");
                        tokio::time::sleep(RESTART_WAIT).await;
                    }
                }
            }
            () = tokio::time::sleep(patience) => {
                let Some(processes) = processes.upgrade() else { return };
                let number = state.running();
                if number <= least || state.active() > 0 || state.served() != served {
                    continue;
                }
                // Nobody is sent there any more; whoever was on the way has arrived within the pause.
                state.set_running(number - 1);
                tokio::time::sleep(LEAVING_PAUSE).await;
                if state.active() > 0 || state.served() != served {
                    state.set_running(number);
                } else if let Ok(address) = hosts::address(&host, number - 1).await {
                    lock(&processes).remove(&address);
                }
            }
        }
    }
}

/// Nothing can panic while the lock is held.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recipe {
    fn of(host: &Host) -> Self {
        let words =
            host.bin_path.as_deref().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let mut environment: Vec<(String, std::ffi::OsString)> = Vec::new();
        match &host.bin_copy_environment {
            None => environment.extend(
                std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))),
            ),
            Some(names) => {
                for name in names.iter() {
                    if let Some(value) = std::env::var_os(&**name) {
                        environment.push((name.to_string(), value));
                    }
                }
            }
        }
        // Ours, for the sockets that we were given.
        environment
            .retain(|(name, _)| !matches!(name.as_str(), "LISTEN_FDS" | "LISTEN_PID" | "LISTEN_FDNAMES"));
        for (name, value) in host.bin_environment.iter() {
            environment.retain(|(known, _)| **known != **name);
            environment.push((name.to_string(), value.to_string().into()));
        }
        // PHP would otherwise start children of its own beside those that are started here.
        if !environment.iter().any(|(name, _)| name == "PHP_FCGI_CHILDREN") {
            environment.push(("PHP_FCGI_CHILDREN".to_owned(), "1".into()));
        }
        Self {
            words,
            environment,
            backlog: i32::try_from(host.listen_backlog).unwrap_or(1024),
            signal: i32::from(host.kill_signal),
        }
    }
}

/// A server that runs. Dropped, at the end of the process, it is told to end as lighttpd tells it: a kill would leave behind what
/// it has started itself.
struct Running {
    child: Child,
    signal: i32,
}

impl Running {
    fn tell(&self) {
        let signal = Signal::try_from(self.signal).unwrap_or(Signal::SIGTERM);
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Has it end, and waits for it a while.
    async fn end(&mut self) {
        self.tell();
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tell();
    }
}

fn spawn(recipe: &Recipe, socket: &OwnedFd) -> std::io::Result<Running> {
    let (program, arguments) = recipe.words.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(recipe.environment.iter().map(|(name, value)| (name, value)));
    if let Some((folder, _)) = program.rsplit_once('/') {
        command.current_dir(if folder.is_empty() { "/" } else { folder });
    }
    command.stdin(Stdio::from(socket.try_clone()?)).stdout(Stdio::null()).stderr(Stdio::inherit());
    Ok(Running { child: command.spawn()?, signal: recipe.signal })
}

/// Keeps a server running until it is no longer wanted.
async fn supervise(recipe: Recipe, socket: OwnedFd, first: Running, mut stopped: watch::Receiver<bool>) {
    let mut child = Some(first);
    let mut wait = RESTART_WAIT;
    loop {
        let began = tokio::time::Instant::now();
        if let Some(running) = &mut child {
            tokio::select! {
                status = running.child.wait() => {
                    tracing::info!(program = recipe.words.first(), ?status, "a program ended; it is started again");
                }
                _ = stopped.changed() => {
                    running.end().await;
                    return;
                }
            }
        }
        wait = if began.elapsed() >= STEADY { RESTART_WAIT } else { (wait * 2).min(RESTART_WAIT_MAX) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stopped.changed() => return,
        }
        child = match spawn(&recipe, &socket) {
            Ok(child) => Some(child),
            Err(error) => {
                tracing::error!(%error, program = recipe.words.first(), "a program cannot be started");
                None
            }
        };
    }
}

/// Which process of a backend a request goes to.
pub(crate) fn process_of(host: &Host, running: u16, turn: u32) -> u16 {
    match host.bin_path.is_some() {
        true => u16::try_from(turn % u32::from(running.max(1))).unwrap_or(0),
        false => 0,
    }
}

/// The number of a backend, for logs.
pub(crate) fn label(host: &Host) -> String {
    let BackendId(number) = host.id;
    if host.label.is_empty() { number.to_string() } else { host.label.to_string() }
}
