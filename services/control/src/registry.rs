//! Cloud Map's API: what is registered, and who changes it.
//!
//! Writes go to the store in one transaction each; reads come from a [`Mirror`] that is never behind the store. An instance
//! that is deregistered is drained first: nobody finds it any more, the proxies that know it finish what they have with it,
//! and [`sweep`](sweep::sweep) takes it away.

mod attributes;
mod discovery;
mod failure;
mod instance;
pub mod lease;
pub mod mirror;
mod namespace;
mod operation;
mod perform;
mod query;
mod service;
pub mod sweep;
mod tags;

pub use mirror::Mirror;
pub use perform::perform;

use std::time::Duration;

/// What an installation decides about its registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Loopback addresses may be registered: everybody who may call lives on this machine.
    pub loopback: bool,
    /// How long an instance that is taken away is drained.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { loopback: true, drain: Duration::from_secs(5) }
    }
}
