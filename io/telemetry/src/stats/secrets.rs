//! `sds.<secret>.…`, `listener.<address>.server_ssl_socket_factory.…` and `cluster.<name>.client_ssl_socket_factory.…`

use super::filter::{FilterStats, Owner};
use crate::Registry;

/// What asking for one secret counts.
#[derive(Clone, Debug)]
pub struct SecretStats(FilterStats);

const OF_SECRET: &[&str] =
    &["update_attempt", "update_success", "update_rejected", "update_failure", "key_rotation_failed"];

impl SecretStats {
    pub fn new(registry: &Registry, secret: &str) -> Self {
        Self(registry.filter(Owner::Network(format!("sds.{secret}.")), "", OF_SECRET))
    }

    /// It was asked for: for the first time, or with the answer to what came.
    pub fn asked(&self) {
        self.0.inc(0);
    }

    /// It came, and is in force or was rejected.
    pub fn came(&self, usable: bool) {
        self.0.inc(if usable { 1 } else { 2 });
    }

    /// Nobody answers.
    pub fn failed(&self) {
        self.0.inc(3);
    }
}

/// What a listener or a cluster with TLS counts of its secrets.
#[derive(Clone, Debug)]
pub struct SocketFactoryStats(FilterStats);

const OF_FACTORY: &[&str] = &[
    "ssl_context_update_by_sds",
    "upstream_context_secrets_not_ready",
    "downstream_context_secrets_not_ready",
];

impl SocketFactoryStats {
    /// Of the listener at an address.
    pub fn of_listener(registry: &Registry, address: std::net::SocketAddr) -> Self {
        let owner = Owner::Listener(crate::scrape::address_text(address));
        Self(registry.filter(owner, "server_ssl_socket_factory.", OF_FACTORY))
    }

    /// Of a cluster.
    pub fn of_cluster(registry: &Registry, name: &str) -> Self {
        Self(registry.filter(Owner::Cluster(name.to_owned()), "client_ssl_socket_factory.", OF_FACTORY))
    }

    /// So many new secrets are in force.
    pub fn updated(&self, secrets: usize) {
        (0..secrets).for_each(|_| self.0.inc(0));
    }

    /// A connection to a host could not be made for want of secrets.
    pub fn upstream_not_ready(&self) {
        self.0.inc(1);
    }

    /// A client's connection was closed for want of secrets.
    pub fn downstream_not_ready(&self) {
        self.0.inc(2);
    }
}
