//! The edge as a virtual gateway: it publishes its routes, and has the mesh's data plane in its own process.
//!
//! ```text
//! the edge's workers, each with a worker of the data plane on its thread ── mTLS, weights, retries ──▶ the mesh
//!                   └─ before that stands: unix socket ─▶ ┘
//! this thread: publishes at the start and whenever a configuration is put in force
//! ```

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use selvedge_client::{Client, Endpoint};
use selvedge_edge::{DataPlane, DataPlanes, Make, Standing, Work};
use selvedge_http::head::RequestHead;
use selvedge_http::parse::RequestFacts;
use selvedge_proxy::Bootstrap;
use selvedge_proxy::inner::Door;
use selvedge_site::gateway::{Published, published};
use selvedge_site::{ListenAddress, Program};
use selvedge_wire::inner::Callee;
use tokio::sync::oneshot;

use super::publish::{self, Place};

/// The pause after a failure to publish; it doubles up to [`AGAIN_MAX`].
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// What a configuration has to say to the mesh.
#[derive(Debug)]
struct Wanted {
    published: Published,
    port: u16,
}

/// The way into the mesh; the folder of its socket goes with it.
#[derive(Debug)]
pub(super) struct Way {
    folder: PathBuf,
    told: Sender<Wanted>,
    seated: Sender<Seated>,
    standing: Arc<Standing>,
}

/// One of the edge's workers each, in their order.
type Seated = Vec<oneshot::Sender<Make>>;

/// The data plane on one of the edge's threads.
struct Inside(Door);

impl DataPlane for Inside {
    fn serve(
        &self,
        service: &Arc<str>,
        head: &mut RequestHead,
        facts: RequestFacts,
        callee: Callee,
    ) -> Option<Work> {
        let work = self.0.serve(service, head, facts, callee)?;
        Some(Box::pin(work))
    }
}

impl Way {
    /// Begins to stand in the mesh: in the background, for the edge serves files without it.
    pub(super) fn open(endpoint: Endpoint, mesh: Option<String>) -> Self {
        let name = format!("selvedge-edge-{}", uuid::Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(name);
        let (told, wanted) = channel();
        let (seated, to_seat) = channel();
        let socket = socket(&folder);
        let standing = Arc::<Standing>::default();
        let noted = Arc::clone(&standing);
        let thread = std::thread::Builder::new().name("mesh".into());
        let spawned =
            thread.spawn(move || stand(&endpoint, mesh.as_deref(), &socket, &wanted, &to_seat, &noted));
        if let Err(error) = spawned {
            tracing::error!(%error, "the mesh cannot be joined");
        }
        Self { folder, told, seated, standing }
    }

    /// What has been heard of the mesh.
    pub(super) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// What the edge's workers are given once the gateway is there. To be asked before anything is told.
    pub(super) fn data_planes(&self) -> DataPlanes {
        let seated = self.seated.clone();
        Box::new(move |workers| {
            let (givers, takers) = (0..workers).map(|_| oneshot::channel()).unzip();
            let _ = seated.send(givers);
            takers
        })
    }

    /// Where the data plane is reached.
    pub(super) fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    /// What is told to the mesh of a configuration that is put in force.
    pub(super) fn teller(&self) -> impl Fn(&Program) + Send + Sync + 'static {
        let told = std::sync::Mutex::new(self.told.clone());
        move |program| {
            let published = published(program);
            for found in &published.diagnostics {
                tracing::warn!("{}", found.shown(&program.sources).trim_end());
            }
            let port = program.listeners.iter().find_map(|listener| match &listener.address {
                ListenAddress::Inet(address) => Some(address.port()),
                ListenAddress::Name { port, .. } => Some(*port),
                ListenAddress::Unix(_) => None,
            });
            let told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = told.send(Wanted { published, port: port.unwrap_or(80) });
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("egress.sock")
}

/// Publishes what it is told, and starts the data plane once the gateway is there.
fn stand(
    endpoint: &Endpoint,
    mesh: Option<&str>,
    socket: &Path,
    told: &Receiver<Wanted>,
    to_seat: &Receiver<Seated>,
    standing: &Standing,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "the mesh cannot be joined"),
    };
    let client = Client::new(endpoint.clone());
    let mut started = false;
    let mut wait = AGAIN;
    // What was said last of what keeps it from the mesh: once is enough, however often it is tried.
    let mut said = String::new();
    let Ok(mut wanted) = told.recv() else { return };
    loop {
        let outcome = runtime.block_on(async {
            let mesh = publish::mesh(&client, mesh).await?;
            let gateway = wanted.published.gateway.as_deref().unwrap_or("edge").to_owned();
            let place = Place { mesh, gateway };
            let mut done = publish::publish(&client, &place, wanted.port, &wanted.published).await?;
            // The gateway is there: what is published of it is served.
            if !std::mem::replace(&mut started, true) {
                start(endpoint, &place, socket, to_seat.try_recv().unwrap_or_default());
            }
            match std::mem::take(&mut done.refused) {
                refused if refused.is_empty() => Ok((place, done)),
                refused => Err(publish::Problem::Routes(refused)),
            }
        });
        let next = match outcome {
            Ok((place, done)) => {
                wait = AGAIN;
                said.clear();
                standing.published(&place.mesh, &place.gateway, wanted.published.routes.len());
                tracing::info!(
                    mesh = place.mesh,
                    gateway = place.gateway,
                    routes = wanted.published.routes.len(),
                    created = done.created,
                    updated = done.updated,
                    deleted = done.deleted,
                    "the routes are published"
                );
                told.recv().map_err(|_| RecvTimeoutError::Disconnected)
            }
            Err(problem) => {
                let problem = format!("{:#}", anyhow::Error::new(problem));
                if said != problem {
                    let what = if started { "some of the routes" } else { "the routes" };
                    tracing::error!("{what} cannot be published, and will be tried again: {problem}");
                }
                standing.failed(&problem);
                said = problem;
                let pause = wait;
                wait = (wait * 2).min(AGAIN_MAX);
                told.recv_timeout(pause)
            }
        };
        match next {
            // Only the last word counts.
            Ok(next) => {
                wait = AGAIN;
                wanted = told.try_iter().last().unwrap_or(next);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The data plane: a thread of its own for what it is told, and the edge's threads for requests. It ends with the process.
fn start(endpoint: &Endpoint, place: &Place, socket: &Path, seated: Seated) {
    let (seats, given) = channel();
    let run = {
        let bootstrap = bootstrap(endpoint, place, socket, seated.len());
        move || -> anyhow::Result<()> { Ok(selvedge_proxy::run_within(bootstrap?, None, Some(seats))?) }
    };
    let spawned = std::thread::Builder::new().name("data-plane".into()).spawn(move || {
        if let Err(error) = run() {
            tracing::error!("the data plane of the mesh cannot be started: {error:#}");
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "the data plane of the mesh cannot be started");
    }
    // Ends when all are given, or when there is no data plane to give them.
    for (seat, giver) in given.iter().zip(seated) {
        let make: Make = Box::new(move || Box::new(Inside(seat.take())));
        if giver.send(make).is_err() {
            tracing::warn!("a worker is gone before it has joined the mesh");
        }
    }
}

/// What the environment says of a sidecar, and what is ours to say.
fn bootstrap(endpoint: &Endpoint, place: &Place, socket: &Path, workers: usize) -> anyhow::Result<Bootstrap> {
    if let Some(folder) = socket.parent() {
        // Nobody else has this folder: what passes the socket is believed to be the edge.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
    }
    let mut environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let [ingress, egress] = free_ports()?;
    let resource = format!("mesh/{}/virtualGateway/{}", place.mesh, place.gateway);
    let ours = [
        ("APPMESH_RESOURCE_ARN", resource),
        ("SELVEDGE_INTERCEPTION", "none".to_owned()),
        // On the edge's own threads.
        ("ENVOY_CONCURRENCY", workers.max(1).to_string()),
        ("SELVEDGE_BIND", "127.0.0.1".to_owned()),
        ("SELVEDGE_INGRESS_PORT", ingress.to_string()),
        ("SELVEDGE_EGRESS_PORT", egress.to_string()),
        ("SELVEDGE_EGRESS_SOCKET", socket.display().to_string()),
    ];
    environment.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    for (name, value) in [
        ("APPMESH_XDS_ENDPOINT", endpoint.authority()),
        // Several edges may be on one machine.
        ("ENVOY_ADMIN_ACCESS_PORT", "0".to_owned()),
        ("SELVEDGE_STATE_DIR", "none".to_owned()),
    ] {
        environment.entry(name.to_owned()).or_insert(value);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Bootstrap::from_env(&environment, processors).context("the environment cannot be acted on")
}

/// Direct mode names its ports beforehand. Between here and there somebody may take one: the listener then says so.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let taken = [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
    let mut ports = [0; 2];
    for (port, socket) in ports.iter_mut().zip(&taken) {
        *port = socket.local_addr()?.port();
    }
    Ok(ports)
}
