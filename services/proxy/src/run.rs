//! A proxy from start to end: control thread, workers, admin thread.
//!
//! ```text
//! control thread   signals · discovery · lookups · probes · ejection · flushes
//! worker-n         sockets, connections, requests          (selvedge_proxy::serve)
//! admin            9901                                    (selvedge_proxy::admin)
//! access-logs      files                                   (selvedge_telemetry)
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use selvedge_telemetry::{AccessLogs, Registry};
use selvedge_traffic::Direction;
use selvedge_upstream::dns::Resolver;
use selvedge_upstream::{Clusters, EventLogs};
use selvedge_wire::stream;
use selvedge_wire::tls::Secrets;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Admin, Levels, SetLogLevel, Subject};
use crate::bootstrap::{Bootstrap, StateFolder};
use crate::discovery::driver::Driver;
use crate::discovery::{Phase, ProxyState};
use crate::handover::{self, Estate, Inheritance};
use crate::lifecycle::Lifecycle;
use crate::log_service::LogServices;
use crate::persist::{self, Store};
use crate::serve::{ListenerStatus, Seat, Serve, Serving, Sockets};
use crate::sinks;
use crate::tracing::Tracers;

/// Access logs reach their files at least this often. (Envoy lets ten seconds pass.)
const LOG_FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// After the deadline of a drain the workers get so long to notice.
const DEADLINE_GRACE: Duration = Duration::from_secs(1);

/// How often the files of certificates are looked at.
const SECRETS_REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How often a proxy that leaves looks whether somebody still calls its application.
const CALLERS_LOOK: Duration = Duration::from_millis(20);

/// The control plane gets so long to hear that the proxy is going.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// What keeps a proxy from starting.
#[derive(Debug, Error)]
pub enum Error {
    #[error("the proxy's threads cannot be started")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Admin(#[from] admin::Error),
    #[error("the predecessor's sockets cannot be taken over")]
    HotRestart(#[from] handover::Error),
    #[error("{path} cannot be listened on", path = path.display())]
    EgressSocket { path: PathBuf, source: io::Error },
    #[error("the state folder cannot be used")]
    State(#[from] persist::Error),
}

/// Runs a proxy on the calling thread until a signal or `/quitquitquit` ends it, then lets it take its leave.
///
/// # Errors
/// It could not be started; once it runs, nothing ends it but being asked to.
pub fn run(bootstrap: Bootstrap, set_log_level: Option<SetLogLevel>) -> Result<(), Error> {
    run_within(bootstrap, set_log_level, None)
}

/// Likewise, with workers that are given seats on threads of somebody else's, who asks them there ([`crate::inner`]).
///
/// # Errors
/// As [`run`].
pub fn run_within(
    bootstrap: Bootstrap,
    set_log_level: Option<SetLogLevel>,
    seats: Option<std::sync::mpsc::Sender<Seat>>,
) -> Result<(), Error> {
    let descriptors = raise_descriptor_limit();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    runtime.block_on(async {
        let mut proxy = Proxy::start(bootstrap, set_log_level, descriptors, seats)?;
        proxy.until_told().await;
        proxy.leave().await;
        Ok(())
    })
}

/// The socket in the file system by which a web server beside us reaches virtual services.
fn local_socket(path: &Path) -> Result<std::os::unix::net::UnixListener, Error> {
    let failed = |source| Error::EgressSocket { path: path.to_owned(), source };
    let address = stream::Address::Unix(path.to_owned());
    let socket =
        std::os::unix::net::UnixListener::from(stream::listen_for_program(&address, None).map_err(failed)?);
    socket.set_nonblocking(true).map_err(failed)?;
    // The web server has a user of its own; who may not reach the folder may not reach the socket.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(socket)
}

/// A running proxy.
struct Proxy {
    lifecycle: Arc<Lifecycle>,
    serving: Serving,
    access_logs: Arc<AccessLogs>,
    log_services: Arc<LogServices>,
    terminate: Signal,
    interrupt: Signal,
    /// The control plane knows that the proxy is going.
    left: watch::Receiver<bool>,
    registry: Registry,
    discovery: Arc<Mutex<ProxyState>>,
    /// Ends its thread when it is dropped.
    admin: Admin,
}

impl Proxy {
    fn start(
        bootstrap: Bootstrap,
        set_log_level: Option<SetLogLevel>,
        descriptors: u64,
        seats: Option<std::sync::mpsc::Sender<Seat>>,
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let control = Handle::current();
        let terminate = signal(SignalKind::terminate()).map_err(Error::Thread)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(Error::Thread)?;
        let store = open_store(&bootstrap)?;
        let registry = Registry::new(bootstrap.concurrency);
        if let Some(dimensions) = bootstrap.metrics_extension.clone() {
            registry.enable_extension(dimensions);
        }
        let sockets = Arc::new(match &bootstrap.hot_restart {
            Some(_) => Sockets::to_be_handed_over(),
            None => Sockets::default(),
        });
        let mut inheritance = match &bootstrap.hot_restart {
            Some(path) => handover::inherit(path, &sockets)?,
            None => None,
        };
        let epoch = inheritance.as_ref().map_or(0, |inheritance| inheritance.epoch);
        registry.server().hot_restart_epoch.set(epoch);
        let access_logs = AccessLogs::start(bootstrap.concurrency, registry.clone(), LOG_FLUSH_INTERVAL);
        let access_logs = access_logs.map_err(Error::Thread)?;
        let resolver = Resolver::from_system();
        let clusters =
            Clusters::beside(registry.clone(), resolver, control.clone(), bootstrap.local_cluster());
        let outlier_log = bootstrap.outlier_log.as_ref().map(|path| path.display().to_string());
        clusters.log_events(EventLogs::new(Arc::clone(&access_logs), outlier_log.as_deref()));
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let (driver, watched) = Driver::new(&bootstrap, Arc::clone(&clusters), registry.clone(), store, seed);
        let left = watched.left;
        let lifecycle = Lifecycle::new(watched.phase.clone(), bootstrap.drain, started);
        let node = (bootstrap.resource.given.clone(), bootstrap.cluster.clone());
        let tracers = Tracers::new(
            Arc::clone(&clusters),
            registry.clone(),
            control.clone(),
            node,
            node_address(),
            bootstrap.tracing.clone(),
        );
        let local = bootstrap.egress_socket.as_deref().map(local_socket).transpose()?;
        let log_services = LogServices::new(
            Arc::clone(&clusters),
            registry.clone(),
            control.clone(),
            bootstrap.node(),
            bootstrap.concurrency,
        );
        let serve = Serve {
            local,
            workers: bootstrap.concurrency,
            clusters: Arc::clone(&clusters),
            registry: registry.clone(),
            access_logs: Arc::clone(&access_logs),
            tracers: Some(tracers),
            log_services: Some(Arc::clone(&log_services)),
            config: watched.snapshot,
            drain: lifecycle.drain(),
            sockets: Arc::clone(&sockets),
            node_address: node_address(),
            patience: bootstrap.patience.within(descriptors),
            drain_time: bootstrap.drain.deadline,
            node_cluster: bootstrap.cluster.as_str().into(),
            seats,
        };
        let serving = serve.start(&control).map_err(Error::Thread)?;
        registry.server().workers_started.set(1);
        control.spawn(flush(registry.clone(), bootstrap.stats_flush_interval));
        control.spawn(refresh_secrets(Arc::clone(clusters.secrets()), registry.clone()));
        control.spawn(watch_listeners(
            serving.listeners.clone(),
            watched.phase,
            Arc::clone(&watched.state),
            Arc::clone(&lifecycle),
        ));
        if let Some(sink) = bootstrap.stats_sink.clone() {
            let (tags, interval) = (bootstrap.stats_tags.clone(), bootstrap.stats_flush_interval);
            let (registry, lifecycle, concurrency) =
                (registry.clone(), Arc::clone(&lifecycle), bootstrap.concurrency);
            let refresh = {
                let (registry, clusters) = (registry.clone(), Arc::clone(&clusters));
                move || admin::refresh(&registry, &lifecycle, &clusters, concurrency)
            };
            control.spawn(sinks::run(sink, tags, registry, interval, refresh));
        }
        let levels = Arc::new(Levels::new(&bootstrap.log_level, set_log_level));
        let hot_restart = bootstrap.hot_restart.clone();
        let (admin_paused, paused) = watch::channel(false);
        let inherited = inheritance.as_mut().and_then(|inheritance| inheritance.admin.take());
        let subject = Subject {
            bootstrap: Arc::new(bootstrap),
            registry: registry.clone(),
            clusters,
            discovery: Arc::clone(&watched.state),
            lifecycle: Arc::clone(&lifecycle),
            access_logs: Arc::clone(&access_logs),
            levels,
        };
        let admin = Admin::start(subject, inherited, paused)?;
        if let Some(path) = hot_restart {
            let estate = Estate {
                admin: admin.socket.try_clone().ok(),
                sockets,
                admin_paused,
                registry: registry.clone(),
                lifecycle: Arc::clone(&lifecycle),
                epoch,
            };
            control.spawn(succeed(inheritance, estate, path));
        }
        tracing::info!(admin = %admin.address, "proxy started");
        control.spawn(driver.run(lifecycle.drain()));
        let discovery = watched.state;
        Ok(Self {
            lifecycle,
            serving,
            access_logs,
            log_services,
            terminate,
            interrupt,
            left,
            registry,
            discovery,
            admin,
        })
    }

    /// Waits for SIGTERM, SIGINT or `/quitquitquit`.
    async fn until_told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: taking leave"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: taking leave"),
            () = self.lifecycle.quitting() => tracing::info!("/quitquitquit: taking leave"),
        }
    }

    /// Announces the end, waits for what is in flight – a second signal does not – and writes what is buffered.
    async fn leave(mut self) {
        self.lifecycle.begin_drain(Instant::now());
        let deadline = self.lifecycle.deadline().unwrap_or_else(Instant::now);
        let lifecycle = Arc::clone(&self.lifecycle);
        let (registry, discovery) = (self.registry.clone(), Arc::clone(&self.discovery));
        let all_ended = async {
            until_nobody_calls(&lifecycle, &registry, &discovery).await;
            lifecycle.drain_outbound(Instant::now());
            self.serving.ended().await;
            if !lifecycle.exits_without_connections() {
                tokio::time::sleep_until(deadline.into()).await;
            }
        };
        let cut_at = deadline + DEADLINE_GRACE;
        tokio::select! {
            () = all_ended => tracing::info!("all connections have ended"),
            () = tokio::time::sleep_until(cut_at.into()) => tracing::warn!("the deadline has passed; the rest is cut"),
            _ = self.terminate.recv() => tracing::warn!("a second SIGTERM; the rest is cut"),
            _ = self.interrupt.recv() => tracing::warn!("a second SIGINT; the rest is cut"),
        }
        // Without connections all of this takes no time, and the word to the control plane may still be under way.
        let _ = tokio::time::timeout(FAREWELL_MAX, self.left.wait_for(|left| *left)).await;
        drop(self.admin);
        self.log_services.finish(FAREWELL_MAX).await;
        self.access_logs.stop();
    }
}

/// Waits until nobody calls the application any more, or nobody may. A proxy without inbound listeners need not wait.
async fn until_nobody_calls(lifecycle: &Lifecycle, registry: &Registry, discovery: &Mutex<ProxyState>) {
    let inbound: Vec<SocketAddr> = {
        let state = discovery.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = state.snapshot().listeners.iter().map(|active| &active.config);
        let inbound = listeners.filter(|listener| listener.direction != Direction::Outbound);
        inbound.map(|listener| listener.address).collect()
    };
    let drains = *lifecycle.drain().borrow();
    let (Some(listen_until), Some(deadline)) = (drains.inbound.listen_until(), drains.inbound.deadline())
    else {
        return;
    };
    if inbound.is_empty() {
        return;
    }
    tokio::time::sleep_until(listen_until.into()).await;
    let connections = || {
        let of = |address: &SocketAddr| -> i64 {
            registry.listener(*address).shards().map(|stats| stats.downstream_cx_active.value()).sum()
        };
        inbound.iter().map(of).sum::<i64>()
    };
    while connections() > 0 && Instant::now() < deadline {
        tokio::time::sleep(CALLERS_LOOK).await;
    }
}

/// Once this process is live, its predecessor is told to go; from then on this one can be succeeded.
async fn succeed(inheritance: Option<Inheritance>, estate: Estate, path: PathBuf) {
    let lifecycle = Arc::clone(&estate.lifecycle);
    while !lifecycle.is_ready() {
        tokio::time::sleep(CALLERS_LOOK).await;
    }
    estate.sockets.close_inherited();
    let registry = estate.registry.clone();
    if let Some(inheritance) = inheritance {
        let taken = move || inheritance.take_over(&registry);
        let spawned = std::thread::Builder::new().name("succession".to_owned()).spawn(move || {
            if let Err(error) = taken() {
                tracing::warn!(%error, "the predecessor's counters were not taken over to the end");
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "the predecessor was not told to go");
        }
    }
    if let Err(error) = estate.offer(&path) {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "this process cannot be succeeded");
    }
}

/// The place of the last good configuration, if there is to be one.
fn open_store(bootstrap: &Bootstrap) -> Result<Option<Store>, persist::Error> {
    let identity = &bootstrap.resource.given;
    match &bootstrap.state {
        StateFolder::Nowhere => Ok(None),
        StateFolder::Given(folder) => Store::open(folder, identity).map(Some),
        StateFolder::Default(folder) => Ok(Store::open(folder, identity)
            .inspect_err(|error| tracing::warn!(%error, "the last good configuration will not be kept"))
            .ok()),
    }
}

/// Takes up certificates, keys and revocation lists that have changed on disk.
async fn refresh_secrets(secrets: Arc<Secrets>, registry: Registry) {
    let mut interval = tokio::time::interval(SECRETS_REFRESH_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        secrets.refresh();
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        if let Some(days) = secrets.days_left(now) {
            registry.server().days_until_first_cert_expiring.set(days);
        }
    }
}

/// Ends the histograms' intervals.
async fn flush(registry: Registry, interval: Duration) {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        registry.flush_intervals();
    }
}

/// Tells discovery which listeners could not be bound, and the lifecycle when all that is configured was tried.
async fn watch_listeners(
    mut listeners: watch::Receiver<Vec<ListenerStatus>>,
    mut phase: watch::Receiver<Phase>,
    state: Arc<Mutex<ProxyState>>,
    lifecycle: Arc<Lifecycle>,
) {
    loop {
        let changed = tokio::select! {
            changed = listeners.changed() => changed,
            changed = phase.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let statuses = listeners.borrow_and_update().clone();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        for status in &statuses {
            if let Some(error) = &status.error {
                state.handle_listener_failed(&status.name, error, Instant::now());
            }
        }
        lifecycle.listeners_applied(statuses.len() == state.snapshot().listeners.len());
    }
}

/// As many descriptors as the system lets us have: each connection takes one, each request through us two.
fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "failed to raise the limit of open files");
        return soft;
    }
    hard
}

/// This machine's address towards the world, by the routing table alone: connecting a UDP socket sends nothing.
fn node_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address of the documentation block; any that is not local does.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}
