//! Listeners made ready to serve: chains indexed, routes compiled, statistics and logs at hand. Made once by the control
//! thread, shared by all workers.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use selvedge_http::refusal::Admission;
use selvedge_telemetry::{
    AccessLogger, AccessLogs, Extension, HttpStats, ListenerHttpStats, ListenerStats, Registry, Sharded,
    SocketFactoryStats, SslStats, TcpStats,
};
use selvedge_traffic::chain::{self, Incoming};
use selvedge_traffic::compiled::{CompiledRoutes, TableInvalid};
use selvedge_traffic::{
    AccessLog, ChainMatch, Direction, FilterChain, HttpConnection, Listener, LogSink, Network, RouteSource,
    RouteTable, TcpProxy, Transport,
};

use selvedge_wire::tls::{Secrets, ServerTls};

use crate::log_service::LogServices;
use crate::network_filter::NetworkFilter;
use crate::patience::Places;
use crate::proxy_protocol::Words;
use crate::request::edit::{Edits, HeaderInvalid};
use crate::request::filter::jwt::Ahead;
use crate::request::filter::{Chains, Filters};
use crate::snapshot::ActiveListener;
use crate::tracing::{ManagerTracing, Tracers};

/// Without progress a stream ends after this (Envoy's `stream_idle_timeout`).
const STREAM_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Without streams a connection is drained after this.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// Between announcement and close of a drained connection.
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// A request head must arrive within this once it has begun. Envoy waits for ever unless told otherwise; a head that
/// trickles in holds a connection for nothing.
const HEADERS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// What both the control thread and the workers need of one listener.
#[derive(Debug)]
pub(crate) struct CompiledListener {
    pub(crate) config: Arc<Listener>,
    chains: Vec<Arc<Chain>>,
    default_chain: Option<Arc<Chain>>,
    pub(crate) stats: Arc<Sharded<ListenerStats>>,
    pub(crate) loggers: Vec<AccessLogger>,
    /// Towards the application.
    pub(crate) inbound: bool,
    /// Of an inbound listener, if App Mesh's metrics are counted.
    pub(crate) extension: Option<Arc<Extension>>,
    /// For what is counted once for the process.
    pub(crate) registry: Registry,
    /// Its connections, those of all workers.
    pub(crate) places: Places,
    /// The first bytes are looked at before a chain is chosen.
    pub(crate) inspects: bool,
    /// Load balancers say whose connections they pass on.
    pub(crate) proxy_protocol: Option<Words>,
    /// Nothing need be waited for before a connection is served.
    pub(crate) opens_at_once: bool,
    /// What its handshakes count, if it makes any.
    pub(crate) ssl: Option<SslStats>,
    /// What it counts of its secrets, likewise.
    pub(crate) secrets: Option<SocketFactoryStats>,
}

/// A filter chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    matches: ChainMatch,
    /// How its connections are encrypted, if they are.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) handshake_timeout: Option<Duration>,
    /// What is judged of a connection before it is served.
    pub(crate) filters: Vec<NetworkFilter>,
    pub(crate) network: Serving,
}

/// What a chain does.
#[derive(Debug)]
pub(crate) enum Serving {
    Http(Arc<HttpManager>),
    Tcp(Arc<TcpManager>),
}

/// A connection manager.
#[derive(Debug)]
pub(crate) struct HttpManager {
    pub(crate) config: HttpConnection,
    /// For what is counted once for the process.
    pub(crate) registry: Registry,
    pub(crate) stats: Arc<Sharded<HttpStats>>,
    pub(crate) listener_stats: Arc<Sharded<ListenerHttpStats>>,
    pub(crate) loggers: Vec<AccessLogger>,
    pub(crate) routes: ArcSwap<Routes>,
    filters: Filters,
    pub(crate) admission: Admission,
    pub(crate) server_name: String,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) stream_idle_timeout: Option<Duration>,
    pub(crate) headers_timeout: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    /// Of an inbound listener; outbound ones serve on while the application goes.
    pub(crate) inbound: bool,
    /// App Mesh's metrics are counted.
    pub(crate) extension: Option<Arc<Extension>>,
    pub(crate) tracing: Option<ManagerTracing>,
    /// As that of a [`TcpManager`].
    cut_at: OnceLock<Instant>,
}

/// A route table with the filters that its routes have under one connection manager.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) compiled: CompiledRoutes,
    pub(crate) chains: Chains,
    pub(crate) edits: Edits,
}

/// A TCP proxy.
#[derive(Debug)]
pub(crate) struct TcpManager {
    pub(crate) config: TcpProxy,
    pub(crate) stats: Arc<Sharded<TcpStats>>,
    pub(crate) loggers: Vec<AccessLogger>,
    /// When its connections are cut, once another configuration has taken its place.
    cut_at: OnceLock<Instant>,
}

/// A listener that cannot serve; the last good one stays.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("route table {name:?} cannot be used")]
    Routes {
        name: String,
        #[source]
        source: TableInvalid,
    },
    #[error("route table {0:?} is missing")]
    RoutesMissing(String),
    #[error("the access log {path:?} cannot be written")]
    AccessLog {
        path: String,
        #[source]
        source: selvedge_telemetry::access_log::FormatError,
    },

    #[error(transparent)]
    Header(#[from] HeaderInvalid),
    #[error("a filter cannot be used: {0}")]
    Filter(String),
}

/// Where statistics and logs go.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    pub(crate) registry: Registry,
    pub(crate) access_logs: Arc<AccessLogs>,
    pub(crate) node_cluster: Arc<str>,
    pub(crate) tracers: Option<Arc<Tracers>>,
    pub(crate) log_services: Option<Arc<LogServices>>,
    pub(crate) secrets: Arc<Secrets>,
    /// Takes what is to be fetched before requests need it.
    pub(crate) ahead: tokio::sync::mpsc::UnboundedSender<Ahead>,
}

impl CompiledListener {
    /// Of the one that it takes the place of, `before`, it keeps the chains that have not changed, and with them their
    /// connections: unless more has changed than chains.
    pub(crate) fn new(
        active: &ActiveListener,
        before: Option<&Self>,
        telemetry: &Telemetry,
    ) -> Result<Self, CompileError> {
        let config = Arc::clone(&active.config);
        let before = before.filter(|before| before.config.differs_in_chains_alone(&config));
        let compile = |chain: &FilterChain| match before.and_then(|before| before.kept(chain)) {
            Some(kept) => {
                kept.update_routes(active, telemetry)?;
                Ok(Arc::clone(kept))
            }
            None => Chain::new(chain, active, telemetry).map(Arc::new),
        };
        Ok(Self {
            chains: config.chains.iter().map(compile).collect::<Result<_, _>>()?,
            default_chain: config.default_chain.as_ref().map(compile).transpose()?,
            stats: telemetry.registry.listener(config.address),
            loggers: telemetry.loggers(&config.access_logs)?,
            inspects: inspects(&config),
            ssl: is_encrypted(&config).then(|| SslStats::of_listener(&telemetry.registry, config.address)),
            secrets: is_encrypted(&config)
                .then(|| SocketFactoryStats::of_listener(&telemetry.registry, config.address)),
            proxy_protocol: config
                .proxy_protocol
                .as_ref()
                .map(|protocol| Words::new(protocol, &telemetry.registry)),
            opens_at_once: !inspects(&config) && !is_encrypted(&config) && config.proxy_protocol.is_none(),
            inbound: is_inbound(&config),
            extension: telemetry.registry.extension().filter(|_| is_inbound(&config)).map(Arc::clone),
            registry: telemetry.registry.clone(),
            places: Places::default(),
            config,
        })
    }

    /// The chain that takes a connection.
    pub(crate) fn chain(&self, incoming: &Incoming<'_>) -> Option<&Arc<Chain>> {
        let position = chain::select(self.chains.iter().map(|chain| &chain.matches), incoming);
        position.map(|at| &self.chains[at]).or(self.default_chain.as_ref())
    }

    /// Takes new route tables; connections keep going and use them from their next request on.
    pub(crate) fn update_routes(
        &self,
        active: &ActiveListener,
        telemetry: &Telemetry,
    ) -> Result<(), CompileError> {
        self.all_chains().try_for_each(|chain| chain.update_routes(active, telemetry))
    }

    /// Another configuration took this one's place: an HTTP connection closes after its next response, and what is left
    /// at `cut_at` is cut off, but for the connections of chains that `after` has kept. Whether there are others.
    pub(crate) fn retire(&self, after: Option<&Self>, cut_at: Instant) -> bool {
        let is_kept = |chain: &Arc<Chain>| {
            after.is_some_and(|after| after.all_chains().any(|kept| Arc::ptr_eq(kept, chain)))
        };
        let gone = self.all_chains().filter(|chain| !is_kept(chain)).map(|chain| {
            let of_chain = match &chain.network {
                Serving::Http(manager) => &manager.cut_at,
                Serving::Tcp(manager) => &manager.cut_at,
            };
            // Whoever was retired before stays so.
            let _ = of_chain.set(cut_at);
        });
        gone.count() > 0
    }

    fn all_chains(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// The chain that serves exactly this configuration.
    fn kept(&self, chain: &FilterChain) -> Option<&Arc<Chain>> {
        let configs = self.config.chains.iter().chain(&self.config.default_chain);
        configs.zip(self.all_chains()).find(|(config, _)| *config == chain).map(|(_, kept)| kept)
    }
}

fn is_encrypted(config: &Listener) -> bool {
    let mut chains = config.chains.iter().chain(&config.default_chain);
    chains.any(|chain| matches!(chain.transport, Transport::Tls(_)))
}

/// Whether a chain can be chosen only when the first bytes are known, as Envoy then finds out by itself.
fn inspects(config: &Listener) -> bool {
    let wants = |chain: &FilterChain| {
        let matches = &chain.matches;
        matches.transport.is_some()
            || !matches.server_names.is_empty()
            || !matches.application_protocols.is_empty()
    };
    config.tls_inspector || config.chains.iter().any(wants)
}

impl HttpManager {
    /// How long a connection may last; `None` is without end.
    pub(crate) fn connection_duration_max(&self) -> Option<Duration> {
        self.config.connection_duration_max.filter(|most| !most.is_zero())
    }

    /// How many requests a connection may carry; `None` is without end.
    pub(crate) fn requests_per_connection_max(&self) -> Option<u32> {
        self.config.requests_per_connection_max.filter(|most| *most > 0)
    }

    /// Whether the listener's configuration has been replaced.
    pub(crate) fn is_retired(&self) -> bool {
        self.cut_at.get().is_some()
    }

    /// When nobody waits any more for what is under way; `None` while the configuration is in force.
    pub(crate) fn cut_at(&self) -> Option<Instant> {
        self.cut_at.get().copied()
    }

    /// Whether that is so long ago that nobody waits any more for what is under way.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut_at.get().is_some_and(|at| *at <= Instant::now())
    }
}

impl TcpManager {
    /// When its connections are cut; `None` while it is in force.
    pub(crate) fn cut_at(&self) -> Option<Instant> {
        self.cut_at.get().copied()
    }
}

impl Chain {
    fn new(
        chain: &FilterChain,
        active: &ActiveListener,
        telemetry: &Telemetry,
    ) -> Result<Self, CompileError> {
        let (tls, handshake_timeout) = match &chain.transport {
            Transport::Plain => (None, None),
            Transport::Tls(tls) => (Some(telemetry.secrets.server(tls)), tls.handshake_timeout),
        };
        let network = match &chain.network {
            Network::Http(http) => Serving::Http(Arc::new(http_manager(http, active, telemetry)?)),
            Network::Tcp(tcp) => Serving::Tcp(Arc::new(TcpManager {
                stats: telemetry.registry.tcp(&tcp.stat_prefix),
                loggers: telemetry.loggers(&tcp.access_logs)?,
                config: tcp.clone(),
                cut_at: OnceLock::new(),
            })),
        };
        let (name, matches) = (chain.name.clone(), chain.matches.clone());
        let filters = chain.filters.iter().map(|filter| NetworkFilter::new(filter, telemetry)).collect();
        Ok(Self { name, matches, tls, handshake_timeout, filters, network })
    }

    fn update_routes(&self, active: &ActiveListener, telemetry: &Telemetry) -> Result<(), CompileError> {
        let Serving::Http(manager) = &self.network else { return Ok(()) };
        let RouteSource::Rds(name) = &manager.config.routes else { return Ok(()) };
        let table = table(active, name)?;
        if !Arc::ptr_eq(manager.routes.load().compiled.table(), table) {
            let routes = Routes::new(Arc::clone(table), &manager.filters, telemetry)?;
            manager.routes.store(Arc::new(routes));
        }
        Ok(())
    }
}

fn http_manager(
    http: &HttpConnection,
    active: &ActiveListener,
    telemetry: &Telemetry,
) -> Result<HttpManager, CompileError> {
    let filters = Filters::new(&http.filters, &http.stat_prefix, telemetry)?;
    let table = match &http.routes {
        RouteSource::Inline(table) => Arc::new(table.clone()),
        RouteSource::Rds(name) => Arc::clone(table(active, name)?),
    };
    let routes = Routes::new(table, &filters, telemetry)?;
    let or = |timeout: Option<Duration>, default| Some(timeout.unwrap_or(default)).filter(|t| !t.is_zero());
    Ok(HttpManager {
        registry: telemetry.registry.clone(),
        stats: telemetry.registry.http(&http.stat_prefix),
        listener_stats: telemetry.registry.listener_http(active.config.address, &http.stat_prefix),
        loggers: telemetry.loggers(&http.access_logs)?,
        routes: ArcSwap::from_pointee(routes),
        filters,
        admission: Admission { normalize_path: http.normalize_path, merge_slashes: http.merge_slashes },
        server_name: http.server_name.clone().unwrap_or_else(|| "envoy".to_owned()),
        idle_timeout: or(http.idle_timeout, IDLE_TIMEOUT_DEFAULT),
        stream_idle_timeout: or(http.stream_idle_timeout, STREAM_IDLE_TIMEOUT_DEFAULT),
        headers_timeout: or(http.request_headers_timeout, HEADERS_TIMEOUT_DEFAULT),
        drain_timeout: http.drain_timeout.unwrap_or(DRAIN_TIMEOUT_DEFAULT),
        inbound: is_inbound(&active.config),
        extension: telemetry.registry.extension().map(Arc::clone),
        tracing: telemetry.tracing(http),
        cut_at: OnceLock::new(),
        config: http.clone(),
    })
}

/// Towards the application; a listener that does not say counts as such.
fn is_inbound(listener: &Listener) -> bool {
    listener.direction != Direction::Outbound
}

fn table<'a>(active: &'a ActiveListener, name: &str) -> Result<&'a Arc<RouteTable>, CompileError> {
    active.routes.get(name).ok_or_else(|| CompileError::RoutesMissing(name.to_owned()))
}

impl Routes {
    fn new(table: Arc<RouteTable>, filters: &Filters, telemetry: &Telemetry) -> Result<Self, CompileError> {
        let chains = Chains::new(filters, &table, telemetry)?;
        let edits = Edits::new(&table)?;
        let name = table.name.clone();
        let compiled = CompiledRoutes::new(table).map_err(|source| CompileError::Routes { name, source })?;
        Ok(Self { compiled, chains, edits })
    }
}

impl Telemetry {
    fn tracing(&self, http: &HttpConnection) -> Option<ManagerTracing> {
        Some(self.tracers.as_ref()?.manager(http.tracing.as_ref()?))
    }

    fn loggers(&self, logs: &[AccessLog]) -> Result<Vec<AccessLogger>, CompileError> {
        let open = |log: &AccessLog| {
            let failed = |source| CompileError::AccessLog { path: log.name().to_owned(), source };
            let filter = log.filter.as_ref();
            let logger = match (&log.sink, &self.log_services) {
                (LogSink::File(file), _) => self.access_logs.open(file, filter),
                (LogSink::Grpc(grpc), Some(services)) => {
                    self.access_logs.to_sink(services.sink(grpc), filter)
                }
                // Nobody streams: nobody is told.
                (LogSink::Grpc(_), None) => return None,
            };
            Some(logger.map_err(failed))
        };
        logs.iter().filter_map(open).collect()
    }
}
