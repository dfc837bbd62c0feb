//! The data plane: a sidecar or gateway that takes its configuration by xDS and serves traffic as Envoy does.

pub mod admin;
pub mod bootstrap;
mod connection;
pub mod discovery;
mod handover;
mod http1;
mod http2;
pub mod inner;
pub mod lifecycle;
mod listener;
pub mod log_service;
mod network_filter;
mod opening;
pub mod patience;
pub mod persist;
mod proxy_protocol;
mod request;
mod run;
pub mod serve;
mod sinks;
mod snapshot;
mod tcp;
pub mod tracing;
mod tunnel;

pub use bootstrap::{
    Bootstrap, BootstrapError, Drain, ResourceKind, ResourceName, ResourceNameInvalid, SinkTarget,
    StateFolder, StatsSink, XdsEndpoint, envoy_bootstrap,
};
pub use run::{Error, run, run_within};
pub use snapshot::{ActiveListener, ConfigSnapshot};
