//! How a proxy is started: what its environment says, read once into a value.
//!
//! The variables are those of App Mesh's Envoy image, so that task definitions and pod specifications keep working;
//! those that begin with `SELVEDGE_` are ours. Only this module knows their names, and that a resource's name has the
//! form `mesh/<mesh>/<kind>/<name>`: all else treats it as the control plane's business.

mod envoy;
mod resource;
mod tracing;
mod variables;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::tracing::TracingDefault;
use selvedge_telemetry::Dimensions;
use selvedge_telemetry::sink::Dialect;
use selvedge_traffic::Locality;
use selvedge_upstream::LocalCluster;
use selvedge_xds::Node;
use serde_json::{Map, Value};

pub use envoy::envoy_bootstrap;
pub use resource::{ResourceKind, ResourceName, ResourceNameInvalid};
pub use variables::BootstrapError;

use selvedge_wire::tls::Trust;

use crate::patience::Patience;

/// All that a proxy is told before its control plane tells it more.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    /// Who it is.
    pub resource: ResourceName,
    /// What it is called in metrics and traces.
    pub cluster: String,
    pub xds: XdsEndpoint,
    /// Where the local secret discovery service listens, if there is one.
    pub sds_socket: Option<PathBuf>,
    /// Sent to the control plane with its identity.
    pub metadata: Map<String, Value>,
    /// Where it stands; empty if nobody says.
    pub locality: Locality,
    pub admin: SocketAddr,
    pub log_level: String,
    /// Worker threads.
    pub concurrency: usize,
    /// Waits so long for a resource before it goes on without; `None` waits for ever.
    pub initial_fetch_timeout: Option<Duration>,
    pub stats_flush_interval: Duration,
    /// Labels on every series.
    pub stats_tags: Vec<(String, String)>,
    /// Where statistics are sent to, besides being asked for.
    pub stats_sink: Option<StatsSink>,
    /// The file to which ejections are told.
    pub outlier_log: Option<PathBuf>,
    /// The metrics of App Mesh's own Envoy build are counted.
    pub metrics_extension: Option<Dimensions>,
    /// Where spans go unless the configuration says.
    pub tracing: Option<TracingDefault>,
    pub state: StateFolder,
    pub drain: Drain,
    /// Where a web server beside us reaches virtual services, which it names in `x-selvedge-service`.
    pub egress_socket: Option<PathBuf>,
    /// Where a successor asks for the listening sockets.
    pub hot_restart: Option<PathBuf>,
    /// What is asked of clients.
    pub patience: Patience,
}

impl Bootstrap {
    /// The cluster of its own instances, if it knows where it stands; the control plane calls it so.
    pub(crate) fn local_cluster(&self) -> LocalCluster {
        if self.locality.zone.is_empty() || !self.resource.has_instances() {
            return LocalCluster::default();
        }
        let name = format!("cds_local_{}_{}", self.resource.mesh, self.resource.name);
        LocalCluster { name, locality: self.locality.clone() }
    }

    /// Who the proxy says it is.
    pub(crate) fn node(&self) -> Node {
        Node {
            id: self.resource.given.clone(),
            cluster: self.cluster.clone(),
            metadata: self.metadata.clone(),
            locality: self.locality.clone(),
            user_agent: "selvedge".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A statsd daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSink {
    pub dialect: Dialect,
    pub target: SinkTarget,
}

/// Where a statsd daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    Udp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Where the control plane speaks xDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdsEndpoint {
    Tcp {
        host: String,
        port: u16,
        /// By TLS, if it is.
        tls: Option<Trust>,
    },
    Unix(PathBuf),
}

/// Where the last good configuration is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateFolder {
    /// None is kept.
    Nowhere,
    /// Somebody asked for this one: a proxy that cannot use it does not start.
    Given(PathBuf),
    /// Nobody asked: where it cannot be made, nothing is kept.
    Default(PathBuf),
}

/// How a proxy takes its leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// New connections are still accepted for so long, for clients that have not heard.
    pub accept: Duration,
    /// What is in flight after so long is cut.
    pub deadline: Duration,
    /// The process ends as soon as nobody is connected, and not only at the deadline.
    pub exit_without_connections: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            accept: Duration::from_secs(2),
            deadline: Duration::from_secs(20),
            exit_without_connections: true,
        }
    }
}

impl fmt::Display for XdsEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.uri().strip_prefix("http://")) {
            (Self::Tcp { tls: Some(_), .. }, Some(place)) => write!(f, "https://{place}"),
            (_, Some(place)) => f.write_str(place),
            (_, None) => f.write_str(&self.uri()),
        }
    }
}

impl XdsEndpoint {
    /// As a URI for a gRPC channel.
    pub fn uri(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("http://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("http://{host}:{port}"),
            Self::Unix(path) => format!("unix://{}", path.display()),
        }
    }
}
