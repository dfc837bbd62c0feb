//! From what the control plane says to what is served.
//!
//! [`ProxyState`] decides: it takes decoded updates and tells what to start, activate, publish and answer. It owns no
//! socket and no clock, so that a simulation can drive it. [`driver`] feeds it from a real stream and carries its
//! effects out.
//!
//! ```text
//!  cluster:   accepted ──▶ warming ──(endpoints known, probed once)──▶ active ──(withdrawn, no route left)──▶ gone
//!  routes:    accepted ──▶ pending ──(every cluster they name is active)──▶ current
//!  listener:  accepted ──▶ pending ──(routes current, clusters active)──▶ active
//! ```
//! Before all else, a cluster and a listener wait for the secrets that they name.
//!
//! What is active stays in force until its successor is. A pending table or listener that waits for a cluster which never
//! comes is let through after [`HOLD_MAX`], as Envoy would have done at once: requests then get 503, `NC`.

mod clusters;
pub mod driver;
mod dump;
mod failure;
mod fetch;
mod frames;
mod keep;
mod kept;
mod listeners;
mod references;
mod routes;
mod secret_file;
mod secrets;
mod state;
mod stream;
mod validate;

use std::time::Duration;

pub use clusters::{ClusterToken, Instance};
pub use dump::{Dump, Dumped, DumpedSecret, Kind};
pub use failure::{Failure, Rejected};
pub use kept::Kept;
pub use secrets::SECRETS_MAX;
pub use state::{Effect, Phase, ProxyState};

/// Longest wait of routes, listeners and withdrawn clusters for each other.
pub const HOLD_MAX: Duration = Duration::from_secs(15);
