//! What a proxy tells about itself: statistics under Envoy's names, access logs in Envoy's formats.
//!
//! Whoever serves requests only moves relaxed atomics of its own thread and appends to a buffer of its own thread;
//! names, sums, tags and files are the business of scrapes and of the log's own thread.

pub mod access_log;
pub mod carry;
mod codes;
mod counter;
pub mod details;
pub mod events;
mod flags;
pub mod grpc;
mod histogram;
mod noted;
mod registry;
pub mod runtime;
mod scrape;
mod shard;
pub mod sink;
pub mod spans;
pub mod stats;

pub use access_log::{
    AccessLogger, AccessLogs, CertificateFact, HeaderSource, Protocol, Record, RecordKind, RecordSink,
    Template, TlsSource, Whose, iso_time,
};
pub use codes::ResponseCodes;
pub use counter::{Counter, Gauge};
pub use flags::{FLAGS_MAX, Flag, ResponseFlags};
pub use histogram::Histogram;
pub use registry::{Registry, Remaining};
pub use runtime::Runtime;
pub use scrape::prometheus::{Exposition, FixedTags, Scrape, Shape};
pub use scrape::{Buckets, Filter, StatisticKind};
pub use shard::{Sharded, enter_worker, worker};
pub use stats::filter::{FILTER_COUNTERS, FilterStats, Owner};
pub use stats::secrets::{SecretStats, SocketFactoryStats};
pub use stats::ssl::{Handshake, SslStats, Unverified};
pub use stats::{
    ClusterStats, ClusterUpkeep, Dimensions, Extension, HttpStats, ListenerHttpStats, ListenerStats,
    ServerStats, SidecarStats, TargetStats, TcpStats,
};
