//! The control plane: App Mesh's API in front of the store, and what follows from a write.

pub mod api;
pub mod certificates;
pub mod dns;
pub mod explain;
mod failure;
pub mod operations;
pub mod policies;
pub mod publish;
pub mod rate_limit;
pub mod registry;
pub mod server;
pub mod status;
pub mod xds;
