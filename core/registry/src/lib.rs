//! Who can be called under which name: Cloud Map's namespaces, services and instances, and what follows from them.
//!
//! Everything is decided here and nothing is touched: documents come in as bytes, time and chance as arguments, and
//! answers go out as values. The API, the publisher and the DNS server read one [`Snapshot`].

pub mod address;
pub mod attribute;
pub mod discover;
pub mod document;
mod instance;
pub mod lease;
mod namespace;
pub mod operation;
pub mod quota;
pub mod records;
mod service;
mod snapshot;

pub use instance::{Health, Instance};
pub use lease::Lease;
pub use namespace::{Namespace, NamespaceKind};
pub use operation::Operation;
pub use service::{DnsConfig, HealthCheck, RecordType, RoutingPolicy, Service, ServiceKind};
pub use snapshot::{ServiceState, Snapshot, Touched};
