//! The process from start to end: sockets, privileges, workers, signals.
//!
//! ```text
//! main thread    signals · reload · programs · certificates
//! worker-n       accept, connections, requests
//! access-logs    files
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use selvedge_site::Program;
use selvedge_site::directive::Global;
use selvedge_wire::listen;
use selvedge_wire::stream::Address;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::acme::{self, AcmeError, Care};
use crate::cache::Cache;
use crate::clients::Clients;
use crate::connection::{self, Door};
use crate::control::{self, Asked};
use crate::http3;
use crate::rate::Rates;
use crate::record::log::Logs;
use crate::site::{Site, SiteInvalid};
use crate::sockets::{self, ListenError, Listening, WorkerSocket};
use crate::stats::Stats;
use crate::upgrade::{self, Inheritance};
use crate::worker::{Mesh, Shared, Worker};

/// How often a configuration that is watched is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How often files of certificates are looked at.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Connections at once, where neither the configuration nor the system says less.
const CONNECTIONS_MAX: u64 = 65_536;
/// How long requests under way may go on once the process is told to leave (`server.graceful-shutdown-timeout`).
const GRACE_SECONDS: i64 = 8;

/// Reads the configuration again; the text is what is wrong with it.
pub type Reload = Box<dyn Fn() -> Result<Program, String> + Send + Sync>;

/// Hears of a configuration that is put in force.
pub type InForce = Box<dyn Fn(&Program) + Send + Sync>;

/// Something that changes when the files of the configuration do.
pub type Watch = Box<dyn Fn() -> u64 + Send + Sync>;

/// What is not in the configuration.
#[derive(Default)]
pub struct Options {
    /// Worker threads; one a core unless it says otherwise.
    pub workers: Option<usize>,
    /// Leave after so many seconds without a connection.
    pub idle_seconds: Option<u64>,
    /// Serve the one connection that is standard input, then leave.
    pub one: bool,
    /// What SIGUSR1, a changed file and the control socket do.
    pub reload: Option<Reload>,
    /// Told of each configuration that is put in force; must not block.
    pub in_force: Option<InForce>,
    /// The files are watched, and read again when they change; with what they were when they were read.
    pub watch: Option<(Watch, u64)>,
    /// The socket over which an operator asks for a reload and a successor for the listening sockets.
    pub control: Option<PathBuf>,
    /// Where the mesh is; on this machine unless it says otherwise.
    pub mesh: Option<Mesh>,
}

/// What keeps the server from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("nothing to listen on")]
    NoListener,
    #[error("the configuration cannot be put in force")]
    Site(#[from] SiteInvalid),
    #[error("certificates cannot be had from an authority")]
    Acme(#[from] AcmeError),
    #[error("the user {0} is not known")]
    User(String),
    #[error("the group {0} is not known")]
    Group(String),
    #[error("privileges cannot be dropped")]
    Privileges(#[source] nix::Error),
    #[error("{path} cannot be written")]
    File { path: String, source: io::Error },
    #[error("the running edge's sockets cannot be taken over")]
    Succession(#[source] io::Error),
    #[error("threads cannot be started")]
    Thread(#[from] io::Error),
}

/// Serves until a signal ends it.
///
/// # Errors
/// It could not be started.
pub fn run(program: Program, options: Options) -> Result<(), Error> {
    let global = program.global().clone();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let configured = usize::from(global.max_worker);
    let workers = options.workers.unwrap_or(if configured > 0 { configured } else { cores }).max(1);
    let descriptors = raise_descriptor_limit(&global);
    let path = options.control.as_deref().filter(|_| !options.one);
    let inheritance = path.map(upgrade::inherit).transpose().map_err(Error::Succession)?.flatten();
    let before = inheritance.as_ref().map(|inheritance| inheritance.listening.clone()).unwrap_or_default();
    let mut listening = match options.one {
        true => Listening::new(),
        false => sockets::open(&program, workers, &before)?,
    };
    if program.global().systemd_socket_activation && listening.is_empty() {
        // Those that systemd gave to the predecessor.
        listening.clone_from(&before);
    }
    let control = path.map(|path| {
        control::bind(path).map_err(|source| Error::File { path: path.display().to_string(), source })
    });
    let control = control.transpose()?;
    if listening.is_empty() && !options.one {
        return Err(Error::NoListener);
    }
    let error_log = program.base().directives.server.errorlog.as_deref().map(str::to_owned);
    redirect_errors(error_log.as_deref())?;
    let pid_file = write_pid(&global)?;
    drop_privileges(&global)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let beginning = Beginning { workers, descriptors, listening, inheritance, control, error_log };
    let ended = runtime.block_on(serve(program, options, beginning));
    drop(runtime);
    // A successor has written its own number there.
    let own = |path: &PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == std::process::id().to_string())
    };
    if let Some(path) = pid_file.filter(own) {
        let _ = std::fs::remove_file(path);
    }
    ended
}

/// What was opened before privileges were dropped.
struct Beginning {
    workers: usize,
    descriptors: u64,
    listening: Listening,
    inheritance: Option<Inheritance>,
    control: Option<std::os::unix::net::UnixListener>,
    error_log: Option<String>,
}

async fn serve(program: Program, options: Options, beginning: Beginning) -> Result<(), Error> {
    let Beginning { workers, descriptors, listening, inheritance, control, error_log } = beginning;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reopen = signal(SignalKind::hangup())?;
    let mut reload = signal(SignalKind::user_defined1())?;
    let global = program.global().clone();
    let logs = Logs::start(workers)?;
    let connections_max = match u64::from(global.max_connections) {
        0 => (descriptors / 2).clamp(16, CONNECTIONS_MAX),
        most => most,
    };
    if let Some(configured) = program.base().directives.mesh.acme.as_deref() {
        acme::prepare(configured)?;
    }
    let cache_bytes = program.base().directives.mesh.cache_mbytes as usize * 1024 * 1024;
    let mut secret = [0; 32];
    // From the kernel: the cryptographic library would first gather randomness of its own, for tens of milliseconds.
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty()).map_err(io::Error::from)?;
    let seed = u64::from_le_bytes(secret[..8].try_into().unwrap_or_default());
    let shared = Arc::new(Shared {
        site: ArcSwap::from_pointee(Site::new(program, None).await?),
        stats: Stats::default(),
        began: Instant::now(),
        secret,
        rates: Rates::new(seed),
        clients: Clients::new(seed),
        cache: Cache::new(cache_bytes),
        acme: ArcSwapOption::empty(),
        spool: spool(&global),
        logs: Arc::clone(&logs),
        connections_max,
        draining: AtomicBool::new(false),
        mesh: options.mesh.clone().unwrap_or_else(near),
    });
    if options.one {
        one(&shared).await?;
        logs.stop();
        return Ok(());
    }
    let mut care = Care::default();
    care.follow(&shared)?;
    let asking = tokio::spawn(ask_issuers(Arc::clone(&shared)));
    if let Some(in_force) = &options.in_force {
        in_force(&shared.site.load().program);
    }
    let (told, orders) = watch::channel(Orders { listening: Arc::new(listening), stop: None });
    let mut threads = Vec::new();
    for index in 0..workers {
        let (shared, orders) = (Arc::clone(&shared), orders.clone());
        let name = format!("worker-{index}");
        threads.push(std::thread::Builder::new().name(name).spawn(move || work(shared, orders, index))?);
    }
    drop(orders);
    if let Some(inheritance) = inheritance {
        inheritance.ready();
    }
    let mut control = control.map(UnixListener::from_std).transpose()?;
    let (handed, mut successions) = mpsc::unbounded_channel::<io::Result<()>>();
    let mut watched = Watched::new(options.watch.as_ref());
    let mut look = tokio::time::interval(WATCH_INTERVAL);
    let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
    let mut idle = tokio::time::interval(Duration::from_millis(500));
    let mut idle_since = Instant::now();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reopen.recv() => {
                logs.reopen();
                if let Err(error) = redirect_errors(error_log.as_deref()) {
                    tracing::error!(%error, "the error log cannot be opened anew");
                }
            }
            _ = reload.recv() => {
                let _ = reload_site(&shared, &options, &told, workers, &mut care).await;
            }
            _ = look.tick(), if options.watch.is_some() => {
                if watched.has_changed(options.watch.as_ref()) {
                    let _ = reload_site(&shared, &options, &told, workers, &mut care).await;
                }
            }
            asked = control::next(control.as_ref()) => match asked {
                Asked::Reload(stream) => {
                    let outcome = reload_site(&shared, &options, &told, workers, &mut care).await;
                    tokio::spawn(async move {
                        match outcome {
                            Ok(()) => control::answer(stream, "200 OK", "the configuration is in force\n").await,
                            Err(problem) => control::answer(stream, "422 Unprocessable Content", &problem).await,
                        }
                    });
                }
                Asked::Succeed(stream) => {
                    let (listening, handed) = (Arc::clone(&told.borrow().listening), handed.clone());
                    tokio::task::spawn_blocking(move || handed.send(upgrade::hand_over(stream, &listening)));
                }
            },
            Some(outcome) = successions.recv() => match outcome {
                Ok(()) => {
                    tracing::info!("a successor serves; what is under way here has its time");
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "a successor took the sockets and did not get to serve");
                    control = options.control.as_deref().and_then(|path| {
                        control::bind(path).and_then(UnixListener::from_std).ok()
                    });
                }
            },
            _ = refresh.tick() => shared.site.load().certificates.refresh(),
            _ = idle.tick(), if options.idle_seconds.is_some() => {
                if shared.stats.connections.get() > 0 {
                    idle_since = Instant::now();
                } else if options.idle_seconds.is_some_and(|most| idle_since.elapsed().as_secs() >= most) {
                    break;
                }
            }
        }
    }
    let grace = shared
        .site
        .load()
        .program
        .global()
        .feature_flags
        .int("server.graceful-shutdown-timeout", GRACE_SECONDS);
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    shared.draining.store(true, Ordering::Relaxed);
    told.send_modify(|orders| {
        orders.stop = Some(Instant::now() + grace);
        // Closed with the last worker that accepted from them: the kernel takes no connection that nobody will serve.
        orders.listening = Arc::default();
    });
    asking.abort();
    care.stop();
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    });
    let _ = joined.await;
    logs.stop();
    Ok(())
}

/// What workers are told.
#[derive(Clone, Debug)]
struct Orders {
    listening: Arc<Listening>,
    /// Leave by then.
    stop: Option<Instant>,
}

/// Asks the issuers of our certificates, for those that name somebody to be asked.
async fn ask_issuers(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(REFRESH_INTERVAL);
    loop {
        tick.tick().await;
        let site = shared.site.load_full();
        site.certificates.ask().await;
    }
}

/// Parse, check, compile, swap: what cannot be used changes nothing.
///
/// # Errors
/// What is wrong, and where.
async fn reload_site(
    shared: &Arc<Shared>,
    options: &Options,
    told: &watch::Sender<Orders>,
    workers: usize,
    care: &mut Care,
) -> Result<(), String> {
    let Some(reload) = &options.reload else {
        tracing::warn!("there is nothing to read the configuration from again");
        return Err("there is nothing to read the configuration from again\n".to_owned());
    };
    let outcome = async {
        let program = reload()?;
        let before = shared.site.load_full();
        let listening = sockets::open(&program, workers, &told.borrow().listening.clone());
        let mut listening = listening.map_err(|error| format!("{error}: {}", source(&error)))?;
        if program.global().systemd_socket_activation && listening.is_empty() {
            listening.clone_from(&told.borrow().listening);
        }
        if let Some(configured) = program.base().directives.mesh.acme.as_deref() {
            acme::prepare(configured).map_err(|error| error.to_string())?;
        }
        let site = Site::new(program, Some(&before)).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((site, listening))
    };
    match outcome.await {
        Ok((site, listening)) => {
            if let Some(in_force) = &options.in_force {
                in_force(&site.program);
            }
            shared.site.store(Arc::new(site));
            told.send_modify(|orders| orders.listening = Arc::new(listening));
            shared.stats.reloads.add(1);
            tracing::info!("the configuration was read again and is in force");
            if let Err(error) = care.follow(shared) {
                tracing::error!(%error, "certificates are not looked after");
            }
            Ok(())
        }
        Err(problem) => {
            shared.stats.reloads_failed.add(1);
            tracing::error!(
                "the configuration was read again and cannot be used; the one before stays in force:\n{problem}"
            );
            Err(problem)
        }
    }
}

/// Files that are watched. They are read again once they have stayed as they are for a while: an editor writes in pieces.
struct Watched {
    in_force: u64,
    seen: Option<u64>,
}

impl Watched {
    fn new(watch: Option<&(Watch, u64)>) -> Self {
        Self { in_force: watch.map_or(0, |(_, read)| *read), seen: None }
    }

    fn has_changed(&mut self, watch: Option<&(Watch, u64)>) -> bool {
        let Some(now) = watch.map(|(watch, _)| watch()).filter(|now| *now != self.in_force) else {
            self.seen = None;
            return false;
        };
        let settled = self.seen.replace(now) == Some(now);
        if settled {
            (self.in_force, self.seen) = (now, None);
        }
        settled
    }
}

fn source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(String::new, ToString::to_string)
}

/// Serves the connection that is standard input.
async fn one(shared: &Arc<Shared>) -> Result<(), Error> {
    use std::os::fd::AsFd as _;
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    let stream = std::net::TcpStream::from(descriptor);
    stream.set_nonblocking(true)?;
    let remote = stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    let token: Arc<str> =
        stream.local_addr().map_or_else(|_| "".into(), |address| address.to_string().into());
    let stream = TcpStream::from_std(stream)?;
    let worker = Worker::new(Arc::clone(shared), 0);
    shared.draining.store(true, Ordering::Relaxed);
    LocalSet::new()
        .run_until(connection::serve(
            worker,
            Rc::new(Door { token, tls: false, proxied: false }),
            stream,
            remote,
        ))
        .await;
    Ok(())
}

// === workers ===

fn work(shared: Arc<Shared>, orders: watch::Receiver<Orders>, index: usize) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a worker cannot be started"),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, worker_loop(Worker::new(shared, index), orders));
}

async fn worker_loop(worker: Rc<Worker>, mut orders: watch::Receiver<Orders>) {
    let mut accepting: Vec<(Arc<sockets::Open>, tokio::task::JoinHandle<()>)> = Vec::new();
    let mut tidy = tokio::time::interval(Duration::from_secs(5));
    loop {
        let order = orders.borrow_and_update().clone();
        if let Some(until) = order.stop {
            accepting.drain(..).for_each(|(_, task)| task.abort());
            worker.wake_all();
            return drained(&worker, until).await;
        }
        accepting.retain(|(open, task)| {
            let stays = order.listening.values().any(|wanted| Arc::ptr_eq(wanted, open));
            if !stays {
                task.abort();
            }
            stays
        });
        for open in order.listening.values() {
            if !accepting.iter().any(|(known, _)| Arc::ptr_eq(known, open)) {
                match open.socket.of_worker(worker.index) {
                    Ok(socket) => {
                        let door = Rc::new(Door {
                            token: Arc::clone(&open.token),
                            tls: open.tls,
                            proxied: open.proxied,
                        });
                        let task = tokio::task::spawn_local(accept(Rc::clone(&worker), door, socket));
                        accepting.push((Arc::clone(open), task));
                        // One worker speaks it for all: a connection of QUIC moves between addresses.
                        if let Some(task) = (worker.index == 0).then(|| http3::start(&worker, open)).flatten()
                        {
                            accepting.push((Arc::clone(open), task));
                        }
                    }
                    Err(error) => tracing::error!(%error, socket = &*open.token, "a worker cannot accept"),
                }
            }
        }
        loop {
            tokio::select! {
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                _ = tidy.tick() => worker.tidy(),
            }
        }
    }
}

/// Waits until all connections have ended, or time is up.
async fn drained(worker: &Rc<Worker>, until: Instant) {
    while worker.connections() > 0 && Instant::now() < until {
        worker.wake_all();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn accept(worker: Rc<Worker>, door: Rc<Door>, socket: WorkerSocket) {
    match socket {
        WorkerSocket::Tcp(socket) => {
            let Ok(listener) = TcpListener::from_std(socket) else { return };
            while let Ok((stream, remote)) = listen::accept(&listener).await {
                take(&worker, &door, stream, remote);
            }
        }
        WorkerSocket::Unix(socket) => {
            let Ok(listener) = UnixListener::from_std(socket) else { return };
            let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => match listen::as_tcp(stream) {
                        Ok(stream) => take(&worker, &door, stream, nobody),
                        Err(error) => tracing::warn!(%error, "a connection cannot be taken"),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "accepting is paused");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
    }
}

fn take(worker: &Rc<Worker>, door: &Rc<Door>, stream: TcpStream, remote: SocketAddr) {
    let stats = &worker.shared.stats;
    stats.accepted.add(1);
    if stats.connections.get() >= worker.shared.connections_max {
        return stats.turned_away.add(1);
    }
    tokio::task::spawn_local(connection::serve(Rc::clone(worker), Rc::clone(door), stream, remote));
}

// === the process ===

fn raise_descriptor_limit(global: &Global) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    let wanted = match u64::from(global.max_fds) {
        0 => hard.min(1 << 20),
        wanted => wanted,
    };
    let hard = hard.max(wanted.min(hard));
    if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() {
        return wanted.min(hard);
    }
    soft
}

/// Errors, ours and those of programs, go to the configured file.
fn redirect_errors(path: Option<&str>) -> Result<(), Error> {
    let Some(path) = path.filter(|path| !path.is_empty() && !path.starts_with('|')) else { return Ok(()) };
    let failed = |source| Error::File { path: path.to_owned(), source };
    let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    nix::unistd::dup2_stderr(&file).map_err(|error| failed(error.into()))
}

fn write_pid(global: &Global) -> Result<Option<PathBuf>, Error> {
    use std::io::Write as _;
    let Some(path) = global.pid_file.as_deref().filter(|path| !path.is_empty()) else { return Ok(None) };
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Some(path.into()))
}

/// Becomes the configured user, for good.
fn drop_privileges(global: &Global) -> Result<(), Error> {
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

/// The mesh on this machine: `selvedge up` and a sidecar.
fn near() -> Mesh {
    Mesh {
        endpoint: "http://127.0.0.1:7070".parse().expect("written here, and a URL"),
        egress: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 15_001))),
    }
}

fn spool(global: &Global) -> PathBuf {
    let configured = global.upload_dirs.iter().map(|dir| PathBuf::from(&**dir));
    configured.into_iter().find(|dir| dir.is_dir()).unwrap_or_else(std::env::temp_dir)
}
