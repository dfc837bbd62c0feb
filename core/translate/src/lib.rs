//! App Mesh's nouns into what a proxy executes.
//!
//! [`translate`] turns one mesh, as seen by one proxy, into listeners, clusters and routes under the names that App Mesh
//! gave them. It is total: whatever is wrong with a mesh becomes a [`Diagnostic`] beside the part that could be made,
//! never an error. [`explain`] asks the same translation what would become of one request.

mod access_log;
mod cluster;
mod context;
pub mod diagnostic;
mod domains;
mod egress;

pub mod explain;
mod gateway;
mod ingress;
mod matching;
mod names;
mod node;
mod order;
pub mod policy;
pub mod proxy;
mod retry;
mod route;
pub mod secret;
mod service;
mod timeout;
mod tls;
pub mod translation;

pub use diagnostic::{Code, Diagnostic, Severity};

pub use explain::{Explanation, explain};
pub use proxy::{Direct, Interception, Proxy, ProxyInvalid, ProxyKind};
pub use translation::{EndpointSource, Found, Governed, Origins, Translation, translate};
