//! App Mesh's operations: each a function over one transaction, with the time and the identifiers it needs as arguments.
//!
//! [`perform`] is the whole of the API's behaviour: it takes a [`Call`] as `selvedge-aws` read it, and gives the output that the
//! codec writes. It runs on a real store as well as on the simulation's.

mod collection;
pub mod document;
mod failure;
mod gateway_route;
mod mesh;
mod noun;
mod perform;
pub mod quota;
mod route;
mod settings;
mod tags;
mod token;
mod view;
mod virtual_gateway;
mod virtual_node;
mod virtual_router;
mod virtual_service;

pub use document::{load, load_mesh, mesh_names};
pub use perform::{Context, Unperformed, perform};
pub use quota::Quotas;
pub use settings::Settings;
pub use token::RETENTION_MILLIS as CLIENT_TOKEN_RETENTION_MILLIS;
