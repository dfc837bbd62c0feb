//! The control plane: its options, its store, its life.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use selvedge_control::api::{Api, Hosts, Readiness, System};
use selvedge_control::certificates::{self, AcmeRoute, Certificates, LIFE_DEFAULT, TrustRoute};
use selvedge_control::dns;
use selvedge_control::explain::ExplainRoute;
use selvedge_control::operations;
use selvedge_control::policies::{PoliciesRoute, PolicyKindsRoute};
use selvedge_control::publish;
use selvedge_control::registry;
use selvedge_control::server::{self, Listener, Server, Tls, UnixSocket};
use selvedge_control::status::StatusRoute;
use selvedge_control::xds;
use selvedge_model::Strictness;
use selvedge_store::{Store, memory::Memory, sqlite::Sqlite};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::address;
use super::dns::DnsArgs;
use super::signal::Shutdown;
use super::workflow::{self, States, WorkflowArgs};
use crate::endpoint;
use crate::exit::Failure;
use crate::supervise::notify;

/// How long SIGTERM waits for what is in flight, unless told otherwise.
const DRAIN_DEFAULT: Duration = Duration::from_secs(20);

/// How long a certificate lives, unless told otherwise.
const CERTIFICATE_DAYS_DEFAULT: u32 = (LIFE_DEFAULT.as_secs() / DAY.as_secs()) as u32;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest wait for the store's first reading before the API is announced without it.
const LOAD_PATIENCE: Duration = Duration::from_secs(10);

/// Options of a control plane, wherever it runs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ControlArgs {
    /// Refuse what App Mesh refused, in place of the leniency that its tutorials rely on
    #[arg(long, env = "SELVEDGE_STRICT")]
    strict: bool,
    /// The region in ARNs when a call names none
    #[arg(long, value_name = "NAME", env = "SELVEDGE_REGION", default_value = "us-east-1", value_parser = region)]
    region: String,
    /// The account in ARNs
    #[arg(long, value_name = "DIGITS", env = "SELVEDGE_ACCOUNT_ID", default_value = "123456789012", value_parser = account)]
    account_id: String,
    /// A largest number of resources, such as virtual-nodes-per-mesh=500; may be given again
    #[arg(long = "quota", value_name = "NAME=NUMBER")]
    quotas: Vec<operations::quota::Setting>,
    /// How long SIGTERM waits for what is in flight
    #[arg(long, value_name = "SECONDS", env = "SELVEDGE_DRAIN_SECONDS", default_value_t = DRAIN_DEFAULT.as_secs())]
    drain_seconds: u64,
    /// How long an instance that is deregistered is drained before it is gone
    #[arg(long, value_name = "SECONDS", env = "SELVEDGE_DEREGISTRATION_DRAIN_SECONDS", default_value_t = registry::Settings::default().drain.as_secs())]
    deregistration_drain_seconds: u64,
    /// How long a certificate lives that the mesh's authority issues; it is renewed after two thirds of that
    #[arg(long, value_name = "DAYS", env = "SELVEDGE_CERTIFICATE_DAYS", default_value_t = CERTIFICATE_DAYS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=3650))]
    certificate_days: u32,
    /// A public host name under which clients call, such as mesh.example.com; may be given again
    #[arg(long = "allowed-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
    /// Listen on a socket in the file system as well, for sidecars of this machine: APPMESH_XDS_ENDPOINT=unix://PATH
    #[arg(long, value_name = "PATH", env = "SELVEDGE_XDS_UNIX")]
    xds_unix: Option<PathBuf>,
    /// Listen with TLS as well, for clients that want it, such as AWS's Envoy image
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SELVEDGE_TLS_LISTEN",
        requires = "tls_cert",
        requires = "tls_key"
    )]
    tls_listen: Option<SocketAddr>,
    /// The certificate of the TLS port with its chain, PEM
    #[arg(long, value_name = "FILE", env = "SELVEDGE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", env = "SELVEDGE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Authorities, PEM: whoever calls the TLS port has to show a certificate that one of them signed
    #[arg(long, value_name = "FILE", env = "SELVEDGE_TLS_CLIENT_CA", requires = "tls_listen")]
    tls_client_ca: Option<PathBuf>,
    /// Where proxies reach this control plane when a policy has them ask it; the address that it listens on, if that is one
    #[arg(long, value_name = "ADDRESS:PORT", env = "SELVEDGE_ADVERTISE")]
    advertise: Option<SocketAddr>,
    #[command(flatten)]
    dns: DnsArgs,
    #[command(flatten)]
    workflow: WorkflowArgs,
    /// Bind an address that other machines can reach. Requests are not authenticated: whoever reaches it can read and change
    /// every mesh, and connect as any node
    #[arg(long)]
    allow_unauthenticated_remote: bool,
}

/// Where everything durable is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Sqlite(PathBuf),
    Memory,
}

/// What a control plane needs to start.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    listen: SocketAddr,
    store: StoreUrl,
    drain: Duration,
    certificate_life: Duration,
    api: operations::Settings,
    allowed_hosts: Vec<String>,
    xds_unix: Option<PathBuf>,
    tls: Option<TlsSettings>,
    advertise: Option<SocketAddr>,
    dns: Option<dns::Settings>,
    workflow: WorkflowArgs,
}

/// A port with TLS.
#[derive(Debug, Clone)]
struct TlsSettings {
    listen: SocketAddr,
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<PathBuf>,
}

impl ControlArgs {
    /// The settings that these options mean.
    ///
    /// # Errors
    /// When the address would be open to strangers without having been asked for.
    pub(crate) fn settings(&self, listen: SocketAddr, store: StoreUrl) -> Result<Settings, Failure> {
        address::check(listen, self.allow_unauthenticated_remote)?;
        let strictness = if self.strict { Strictness::Strict } else { Strictness::Lenient };
        let api = operations::Settings {
            account: self.account_id.clone(),
            region: self.region.clone(),
            strictness,
            quotas: operations::Quotas::default().with(&self.quotas),
            registry: registry::Settings {
                loopback: listen.ip().is_loopback(),
                drain: Duration::from_secs(self.deregistration_drain_seconds),
            },
            ..operations::Settings::default()
        };
        let drain = Duration::from_secs(self.drain_seconds);
        let (allowed_hosts, xds_unix) = (self.allowed_hosts.clone(), self.xds_unix.clone());
        let dns = self.dns.settings()?;
        let tls = match (self.tls_listen, &self.tls_cert, &self.tls_key) {
            (Some(listen), Some(certificate), Some(key)) => {
                address::check(listen, self.allow_unauthenticated_remote)?;
                let clients = self.tls_client_ca.clone();
                Some(TlsSettings { listen, certificate: certificate.clone(), key: key.clone(), clients })
            }
            _ => None,
        };
        let workflow = self.workflow.clone();
        let advertise = self.advertise;
        let certificate_life = DAY * self.certificate_days;
        Ok(Settings {
            listen,
            store,
            drain,
            certificate_life,
            api,
            allowed_hosts,
            xds_unix,
            tls,
            advertise,
            dns,
            workflow,
        })
    }
}

impl Settings {
    /// The settings of a control plane for one machine.
    pub(crate) fn local(listen: SocketAddr, data_dir: PathBuf) -> Self {
        let api = operations::Settings::default();
        Self {
            listen,
            store: StoreUrl::Sqlite(data_dir),
            drain: Duration::from_secs(2),
            certificate_life: LIFE_DEFAULT,
            api,
            allowed_hosts: Vec::new(),
            xds_unix: None,
            tls: None,
            advertise: None,
            dns: None,
            workflow: WorkflowArgs::default(),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", folder)) if !folder.is_empty() => Ok(Self::Sqlite(PathBuf::from(folder))),
            _ if text == "memory" => Ok(Self::Memory),
            _ => Err("write sqlite:FOLDER or memory".to_owned()),
        }
    }
}

/// Starts a control plane and serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the store cannot be opened, the address not be bound, or the end does not come in time.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let mut shutdown = Shutdown::catch()?;
    let running = start(settings).await?;
    // Whoever starts it by a program reads the first line.
    let mut line = format!("selvedge is ready on http://{}\n", running.address());
    if let Some(dns) = &running.dns {
        for address in dns.addresses() {
            line.push_str(&format!("DNS is answered on {address}\n"));
        }
    }
    if std::io::stdout().is_terminal() {
        line.push_str(&hint(running.address()));
    }
    let mut out = std::io::stdout().lock();
    // Whoever started it may not listen; it serves all the same.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    drop(out);
    notify::ready();
    shutdown.wait().await;
    tracing::info!("draining");
    tokio::select! {
        stopped = running.stop() => stopped?,
        // Whoever asks twice does not want to wait. What is durable is durable already.
        () = shutdown.wait() => tracing::warn!("asked to end a second time: what is in flight is cut off"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// What a person does next.
fn hint(address: SocketAddr) -> String {
    let endpoint = format!("http://{address}");
    let option =
        if endpoint == endpoint::DEFAULT { String::new() } else { format!(" --endpoint-url {endpoint}") };
    format!(
        "\nPoint the aws command line at it, in another terminal:\n\n  eval \"$(selvedge env{option})\"\n\n"
    )
}

/// A running control plane.
pub(crate) struct Running {
    address: SocketAddr,
    drain: watch::Sender<bool>,
    servers: JoinSet<()>,
    dns: Option<dns::Running>,
    sweeper: JoinHandle<()>,
    renewals: JoinHandle<()>,
    publisher: publish::run::Running,
}

/// Opens the store and starts serving.
///
/// # Errors
/// When the store cannot be opened or the address not be bound.
pub(crate) async fn start(settings: Settings) -> Result<Running, Failure> {
    let store = open(&settings.store)?;
    let listener = server::listen(settings.listen)
        .with_context(|| format!("failed to listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    let unix = settings.xds_unix.as_deref().map(|path| {
        UnixSocket::listen(path).with_context(|| format!("failed to listen on {}", path.display()))
    });
    let unix = unix.transpose()?;
    let tls = settings.tls.as_ref().map(listen_tls).transpose()?;
    let own_ports = [Some(address.port()), settings.tls.as_ref().map(|tls| tls.listen.port())];
    let states = States::open(
        &settings.store,
        &settings.api.account,
        &settings.api.region,
        &settings.workflow,
        own_ports.into_iter().flatten().collect(),
    )?;
    let (drain, draining) = watch::channel(false);
    // Replicas over one store tell each other apart by a name that none has had before.
    let replica = uuid::Uuid::new_v4().to_string();
    let reached = settings.advertise.or_else(|| (!address.ip().is_unspecified()).then_some(address));
    let vault = workflow::vault(&settings.store, &settings.workflow)?;
    let publishing =
        publish::Settings { address: reached, vault: vault.clone(), ..publish::Settings::new(replica) };
    let publisher =
        publish::run::start(Arc::clone(&store), publishing).context("failed to start the publisher")?;
    let readiness = readiness(publisher.handle(), draining.clone());
    let hosts = Hosts::allowing(settings.allowed_hosts);
    let policies = PoliciesRoute::new(Arc::clone(&store), settings.api.clone(), Arc::new(System));
    let certificates = Certificates::new(
        Arc::clone(&store),
        settings.api.clone(),
        Arc::new(System),
        vault.clone(),
        settings.certificate_life,
    );
    let mut api = Api::new(Arc::clone(&store), settings.api, Arc::new(System), readiness, hosts)
        .with_service(states.clone())
        .with_service(states.scheduler())
        .with_service(certificates.acm())
        .with_service(certificates.pca())
        .with_extension(AcmeRoute::new(Arc::clone(&store), vault.clone()))
        .with_extension(TrustRoute::new(Arc::clone(&store)))
        .with_extension(policies)
        .with_extension(PolicyKindsRoute)
        .with_extension(StatusRoute::new(Arc::clone(&store), Arc::new(publisher.handle())))
        .with_extension(ExplainRoute::new(Arc::clone(&store), Arc::new(publisher.handle())));
    for route in states.extensions() {
        api = api.with_extension(route);
    }
    let dns = settings.dns.map(|dns| start_dns(dns, &store, &api, &draining)).transpose()?;
    let sweeper = registry::sweep::run(store, api.registry(), Arc::new(System), draining.clone());
    let sweeper = tokio::spawn(sweeper);
    let renewals = tokio::spawn(certificates::run_renewals(certificates, draining.clone()));
    let server = Arc::new(Server::new(Arc::new(api), Some(xds::routes(&publisher.handle(), &draining))));
    let listeners = [Some(Listener::Tcp(listener)), unix.map(Listener::Unix), tls];
    let mut servers = JoinSet::new();
    for listener in listeners.into_iter().flatten() {
        servers.spawn(Arc::clone(&server).run_on(listener, draining.clone(), settings.drain));
    }
    wait_until_loaded(&publisher.handle()).await;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "ready");
    Ok(Running { address, drain, dns, servers, sweeper, renewals, publisher })
}

fn listen_tls(settings: &TlsSettings) -> Result<Listener, Failure> {
    let tls = Tls::read(&settings.certificate, &settings.key, settings.clients.as_deref())
        .context("failed to serve TLS")?;
    let listener = server::listen(settings.listen)
        .with_context(|| format!("failed to listen on {}", settings.listen))?;
    Ok(Listener::Tls(listener, tls))
}

fn start_dns(
    settings: dns::Settings,
    store: &Arc<dyn Store>,
    api: &Api,
    draining: &watch::Receiver<bool>,
) -> Result<dns::Running, Failure> {
    let listen: Vec<String> = settings.listen.iter().map(SocketAddr::to_string).collect();
    let running = dns::start(Arc::clone(store), api.registry(), settings, draining.clone());
    let running = running.with_context(|| format!("failed to answer DNS on {}", listen.join(" and ")))?;
    tracing::info!(addresses = ?running.addresses(), "answering DNS");
    Ok(running)
}

/// Waits for the first reading of the store; `/readyz` tells those who cannot wait.
async fn wait_until_loaded(publisher: &publish::run::Handle) {
    let loaded = async {
        while !publisher.is_loaded() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(LOAD_PATIENCE, loaded).await.is_err() {
        tracing::warn!("the store has not been read yet; sidecars wait until it has");
    }
}

/// Ready when the store has been read, and until the drain begins.
fn readiness(publisher: publish::run::Handle, draining: watch::Receiver<bool>) -> Readiness {
    let serving = move || if *draining.borrow() { Err("draining".to_owned()) } else { Ok(()) };
    let loaded = move || publisher.is_loaded().then_some(()).ok_or_else(|| "reading the store".to_owned());
    Readiness::default().with("api", Arc::new(serving)).with("discovery", Arc::new(loaded))
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets what is in flight finish, for as long as the settings say.
    ///
    /// # Errors
    /// When the server failed rather than ended.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.drain.send_replace(true);
        while let Some(ended) = self.servers.join_next().await {
            ended.context("the server failed")?;
        }
        if let Some(dns) = self.dns {
            dns.stop().await;
        }
        self.sweeper.await.context("sweeping the registry failed")?;
        self.renewals.await.context("renewing certificates failed")?;
        let publisher = self.publisher;
        tokio::task::spawn_blocking(|| publisher.stop()).await.context("the publisher failed")?;
        Ok(())
    }
}

fn open(url: &StoreUrl) -> Result<Arc<dyn Store>, Failure> {
    Ok(match url {
        StoreUrl::Memory => Arc::new(Memory::new()),
        StoreUrl::Sqlite(folder) => Arc::new(Sqlite::open(folder).context("failed to start the store")?),
    })
}

fn account(text: &str) -> Result<String, String> {
    let is_account = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if is_account { Ok(text.to_owned()) } else { Err("an account has twelve digits".to_owned()) }
}

fn region(text: &str) -> Result<String, String> {
    let is_region =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_region { Ok(text.to_owned()) } else { Err("a region is written like us-east-1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_address_only_when_it_must() {
        assert!(hint("127.0.0.1:7070".parse().expect("an address")).contains("$(selvedge env)"));
        let elsewhere = hint("127.0.0.1:8080".parse().expect("an address"));
        assert!(elsewhere.contains("$(selvedge env --endpoint-url http://127.0.0.1:8080)"), "{elsewhere}");
    }

    #[test]
    fn stores_are_named_by_url() {
        for (text, expected) in [
            ("memory", Ok(StoreUrl::Memory)),
            ("sqlite:/var/lib/selvedge", Ok(StoreUrl::Sqlite("/var/lib/selvedge".into()))),
            ("sqlite:", Err("write sqlite:FOLDER or memory".to_owned())),
            ("postgres://x", Err("write sqlite:FOLDER or memory".to_owned())),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }
}
