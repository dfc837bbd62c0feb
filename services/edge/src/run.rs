//! The process from start to end: sockets, privileges, workers, signals.
//!
//! ```text
//! main thread    signals · reload · programs · certificates
//! worker-n       accept, connections, requests
//! access-logs    files
//! ```

mod accept;
mod one;
mod process;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use selvedge_guard::nonce::Nonces;
use selvedge_outbound::traces::Spans;
use selvedge_site::Program;
use selvedge_site::directive::Global;
use selvedge_wire::stream::Address;
use tokio::net::{TcpStream, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::acme::{self, AcmeError, Care};
use crate::cache::Cache;
use crate::clients::Clients;
use crate::connection::{self, Door};
use crate::control::{self, Asked};
use crate::data_plane::DataPlanes;
use crate::handshakes::Handshakes;
use crate::identify::now_ms;
use crate::rate::Rates;
use crate::recent::Recent;
use crate::record::log::{self, Logs};
use crate::scoreboard::QUESTIONS_MAX;
use crate::site::{FETCH_PATIENCE, Files, Site, SiteInvalid};
use crate::sockets::{self, ListenError, Listening};
use crate::standing::Standing;
use crate::stats::Stats;
use crate::trace;
use crate::upgrade::{self, Inheritance};
use crate::worker::{Mesh, Shared, Worker};
use process::PidFile;
use reload::Watched;

/// How often a configuration that is watched is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How often files of certificates are looked at.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Connections at once, where neither the configuration nor the system says less.
const CONNECTIONS_MAX: u64 = 65_536;
/// How long requests under way may go on once the process is told to leave (`server.graceful-shutdown-timeout`).
const GRACE_SECONDS: i64 = 8;
/// The longest time that requests under way have, where `server.graceful-shutdown-timeout` is 0 and so names no end.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

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
    /// The mesh's data plane, where this process has it in itself; else, and until it is there, it is reached by [`Mesh::egress`].
    pub data_planes: Option<DataPlanes>,
    /// How it stands in the mesh, where it is a gateway.
    pub standing: Option<Arc<Standing>>,
    /// What SIGTERM does.
    pub terminate: Terminate,
    /// Called once, when it serves.
    pub serving: Option<Box<dyn FnOnce() + Send>>,
}

/// How SIGTERM ends the server. SIGINT gives requests under way their time in any case, and a second signal of either kind
/// ends it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminate {
    /// Requests under way have their time, as with SIGINT.
    #[default]
    InTime,
    /// At once, as lighttpd does.
    AtOnce,
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
    let descriptors = process::limit_descriptors(&global);
    let path = options.control.as_deref().filter(|_| !options.one);
    let inheritance = path.map(upgrade::inherit).transpose().map_err(Error::Succession)?.flatten();
    let before = inheritance.as_ref().map(|inheritance| inheritance.listening.clone()).unwrap_or_default();
    let listening = match options.one {
        true => Listening::new(),
        false => sockets::open(&program, workers, &before)?,
    };
    let control = path.map(|path| {
        control::bind(path).map_err(|source| Error::File { path: path.display().to_string(), source })
    });
    let control = control.transpose()?;
    if listening.is_empty() && !options.one {
        return Err(Error::NoListener);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Whoever finds the process's number in the file may send a signal at once.
    let signals = runtime.block_on(async { Signals::new() })?;
    let error_log = program.base().directives.server.errorlog.as_deref().map(str::to_owned);
    process::redirect_errors(error_log.as_deref())?;
    let _pid_file = PidFile::write(&global)?;
    let files = match process::becomes_another(&global) {
        true => Files::before_another_user(&program),
        false => Files::default(),
    };
    process::drop_privileges(&global)?;
    log::try_all(&program).map_err(|(path, source)| Error::File { path, source })?;
    let beginning =
        Beginning { workers, descriptors, listening, inheritance, control, error_log, files, signals };
    let ended = runtime.block_on(serve(program, options, beginning));
    drop(runtime);
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
    files: Files,
    signals: Signals,
}

/// What the process is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    reload: Signal,
}

impl Signals {
    /// From here on they are heard and end nothing by themselves.
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::hangup())?,
            reload: signal(SignalKind::user_defined1())?,
        })
    }
}

async fn serve(program: Program, mut options: Options, beginning: Beginning) -> Result<(), Error> {
    let Beginning { workers, descriptors, listening, inheritance, control, error_log, files, signals } =
        beginning;
    let Signals { mut terminate, mut interrupt, mut reopen, mut reload } = signals;
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
    let (spans, recorded) = Spans::new();
    let (scoreboards, questions): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| mpsc::channel(QUESTIONS_MAX)).unzip();
    let shared = Arc::new(Shared {
        site: ArcSwap::from_pointee(Site::new(program, files, None).await?),
        stats: Stats::new(workers),
        recent: Recent::default(),
        handshakes: Handshakes::default(),
        began: Instant::now(),
        secret,
        rates: Rates::new(seed),
        nonces: Mutex::new(Nonces::new(now_ms(SystemTime::now()))),
        clients: Clients::new(seed),
        cache: Cache::new(cache_bytes),
        acme: ArcSwapOption::empty(),
        spool: spool(&global),
        logs: Arc::clone(&logs),
        spans,
        connections_max,
        draining: AtomicBool::new(false),
        followed: AtomicBool::new(false),
        mesh: options.mesh.clone().unwrap_or_else(near),
        standing: options.standing.clone(),
        scoreboards: scoreboards.into(),
    });
    if options.one {
        tokio::select! {
            served = one(&shared) => served?,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        logs.stop();
        return Ok(());
    }
    let mut care = Care::default();
    care.follow(&shared)?;
    let first = shared.site.load_full();
    // Without the control plane the server starts all the same.
    let _ = tokio::time::timeout(FETCH_PATIENCE, first.certificates.fetch(&shared.mesh.endpoint)).await;
    drop(first);
    let fetching = tokio::spawn(fetch_certificates(Arc::clone(&shared)));
    let asking = tokio::spawn(ask_issuers(Arc::clone(&shared)));
    let exporting = tokio::spawn(trace::export(Arc::clone(&shared), recorded));
    // Before anything is told of the mesh: it then begins with as many seats as there are workers.
    let mut planes = options.data_planes.take().map(|planes| planes(workers)).unwrap_or_default().into_iter();
    if let Some(in_force) = &options.in_force {
        in_force(&shared.site.load().program);
    }
    let (told, orders) = watch::channel(Orders { listening: Arc::new(listening), stop: None });
    let mut threads = Vec::new();
    for (index, questions) in questions.into_iter().enumerate() {
        let (shared, orders, plane) = (Arc::clone(&shared), orders.clone(), planes.next());
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        threads.push(thread.spawn(move || accept::work(shared, orders, index, plane, questions))?);
    }
    drop(orders);
    if let Some(inheritance) = inheritance {
        inheritance.ready();
    }
    if let Some(serving) = options.serving.take() {
        serving();
    }
    let mut control = control.map(UnixListener::from_std).transpose()?;
    let (handed, mut successions) = mpsc::unbounded_channel::<io::Result<upgrade::Handed>>();
    let mut watched = Watched::new(options.watch.as_ref());
    let mut look = tokio::time::interval(WATCH_INTERVAL);
    let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut idle = tokio::time::interval(Duration::from_millis(500));
    let mut idle_since = Instant::now();
    let leave = loop {
        tokio::select! {
            _ = terminate.recv() => break options.terminate,
            _ = interrupt.recv() => break Terminate::InTime,
            _ = reopen.recv() => {
                logs.reopen();
                if let Err(error) = process::redirect_errors(error_log.as_deref()) {
                    tracing::error!(%error, "the error log cannot be opened anew");
                }
            }
            _ = reload.recv() => {
                let _ = reload::reload_site(&shared, &options, &told, workers, &mut care).await;
            }
            _ = look.tick(), if options.watch.is_some() => {
                if watched.has_changed(options.watch.as_ref()) {
                    let _ = reload::reload_site(&shared, &options, &told, workers, &mut care).await;
                }
            }
            asked = control::next(control.as_ref(), &shared) => match asked {
                Asked::Reload(stream) => {
                    let outcome = reload::reload_site(&shared, &options, &told, workers, &mut care).await;
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
                Ok(handed) => {
                    handed.leave();
                    shared.followed.store(true, Ordering::Relaxed);
                    shared.draining.store(true, Ordering::Relaxed);
                    tracing::info!("a successor serves; what is under way here has its time");
                    break Terminate::InTime;
                }
                Err(error) => {
                    tracing::warn!(%error, "a successor took the sockets and did not get to serve");
                    control = options.control.as_deref().and_then(|path| {
                        control::bind(path).and_then(UnixListener::from_std).ok()
                    });
                }
            },
            _ = second.tick() => shared.recent.tick(shared.stats.snapshot()),
            _ = refresh.tick() => shared.site.load().certificates.refresh(),
            _ = idle.tick(), if options.idle_seconds.is_some() => {
                if shared.stats.connections() > 0 {
                    idle_since = Instant::now();
                } else if options.idle_seconds.is_some_and(|most| idle_since.elapsed().as_secs() >= most) {
                    break Terminate::InTime;
                }
            }
        }
    };
    let grace = shared
        .site
        .load()
        .program
        .global()
        .feature_flags
        .int("server.graceful-shutdown-timeout", GRACE_SECONDS);
    let grace = match (leave, u64::try_from(grace)) {
        (Terminate::AtOnce, _) | (_, Err(_)) => Duration::ZERO,
        // Without a bound, as lighttpd has it.
        (_, Ok(0)) => GRACE_MAX,
        (_, Ok(seconds)) => Duration::from_secs(seconds).min(GRACE_MAX),
    };
    shared.draining.store(true, Ordering::Relaxed);
    told.send_modify(|orders| {
        orders.stop = Some(Instant::now() + grace);
        // Closed with the last worker that accepted from them: the kernel takes no connection that nobody will serve.
        orders.listening = Arc::default();
    });
    asking.abort();
    fetching.abort();
    care.stop();
    let mut joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    });
    loop {
        tokio::select! {
            _ = &mut joined => break,
            // Whoever asks again does not want to wait.
            _ = terminate.recv() => told.send_modify(|orders| orders.stop = Some(Instant::now())),
            _ = interrupt.recv() => told.send_modify(|orders| orders.stop = Some(Instant::now())),
        }
    }
    shared.spans.end(exporting).await;
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

/// Asks the control plane for the mesh's certificates, and again for those that were renewed.
async fn fetch_certificates(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(REFRESH_INTERVAL);
    loop {
        tick.tick().await;
        let site = shared.site.load_full();
        site.certificates.fetch(&shared.mesh.endpoint).await;
    }
}

/// Serves the connection that is standard input.
async fn one(shared: &Arc<Shared>) -> Result<(), Error> {
    let (stream, piped) = one::connection()?;
    let remote = stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    let token: Arc<str> =
        stream.local_addr().map_or_else(|_| "".into(), |address| address.to_string().into());
    let worker = Worker::new(Arc::clone(shared), 0);
    shared.draining.store(true, Ordering::Relaxed);
    let door = Rc::new(Door { token, tls: false, proxied: false });
    LocalSet::new().run_until(connection::serve(worker, door, TcpStream::from_std(stream)?, remote)).await;
    if let Some(piped) = piped {
        let _ = tokio::task::spawn_blocking(move || piped.join()).await;
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
