//! The data plane: a sidecar or gateway that takes its configuration by xDS and serves traffic as Envoy does.

mod snapshot;

pub use snapshot::{ActiveListener, ConfigSnapshot};
