//! Calling a cluster: where its hosts are and which are well, who takes a request, how many may be under way.
//!
//! The control thread changes clusters ([`Clusters`]), workers read them: a lookup and a pick take no lock.

mod breaker;
mod cluster;
mod clusters;
pub mod dns;
mod ejection;
mod events;
mod found;
mod host;
mod hosts;
mod original_dst;
pub mod pool;
pub mod probe;
pub mod random;
mod resolve;
mod state_breaker;
mod subsets;
mod zones;

pub use breaker::{Breaker, ConnectionGuard, Guard, PendingGuard, RequestGuard, RetryGuard};
pub use cluster::{Cluster, PickContext, PickFailure, PickedHost};
pub use clusters::Clusters;
pub use events::EventLogs;
pub use found::{HOSTS_MAX, Place};
pub use host::{HealthFlag, Host, HostStats};
pub use hosts::{HostSet, Member};
pub use original_dst::DESTINATIONS_MAX;
pub use selvedge_traffic::circuit::Priority;
pub use selvedge_traffic::outlier::Outcome;
pub use state_breaker::{Leave, Scope, StateBreaker};
pub use subsets::SUBSETS_MAX;
pub use zones::LocalCluster;
