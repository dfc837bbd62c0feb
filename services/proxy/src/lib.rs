//! The data plane: a sidecar or gateway that takes its configuration by xDS and serves traffic as Envoy does.

pub mod bootstrap;
pub mod discovery;
pub mod persist;
mod snapshot;

pub use bootstrap::{Bootstrap, BootstrapError, Drain, XdsEndpoint, envoy_bootstrap};
pub use snapshot::{ActiveListener, ConfigSnapshot};
