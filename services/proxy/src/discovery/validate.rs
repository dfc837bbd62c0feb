//! What this proxy cannot honour is rejected, never served half.

use std::collections::BTreeSet;
use std::sync::Arc;

use selvedge_telemetry::AccessLogs;
use selvedge_telemetry::access_log::FormatError;
use selvedge_traffic::compiled::TableInvalid;
use selvedge_traffic::tls::{SecretRef, SecretSource};
use selvedge_traffic::{
    AccessLog, CompiledRoutes, FilterEntry, HttpFilter, Listener, Network, RouteSource, RouteTable,
};
use thiserror::Error;

use super::SECRETS_MAX;
use super::fetch::target;
use super::references::chains;
use crate::request::edit::{Edits, HeaderInvalid};
use crate::request::filter::jwt;

/// Why a decoded resource is not accepted.
#[derive(Debug, Error)]
pub(super) enum Invalid {
    #[error("secret {0:?}: no secret discovery service is known")]
    Secret(String),
    #[error("more than {SECRETS_MAX} secrets are asked for")]
    TooManySecrets,
    #[error("filter {name:?}: {reason}")]
    Filter { name: String, reason: String },
    #[error(transparent)]
    AccessLog(#[from] FormatError),
    #[error("routes: {0}")]
    Routes(#[from] TableInvalid),
    #[error("routes: {0}")]
    Headers(#[from] HeaderInvalid),
    #[error("has duplicate address '{address}' as existing listener '{listener}'")]
    AddressTaken { address: std::net::SocketAddr, listener: String },
}

/// Whether somebody can be asked for all of these secrets, and there are not too many with those that are asked for.
pub(super) fn secrets<'a>(
    secrets: impl Iterator<Item = &'a SecretRef>,
    known: &BTreeSet<SecretRef>,
    has_socket: bool,
) -> Result<(), Invalid> {
    let mut fresh = BTreeSet::new();
    for secret in secrets {
        let found = match &secret.source {
            SecretSource::Ads => true,
            SecretSource::Socket | SecretSource::DeltaSocket => has_socket,
            SecretSource::Target(service) => target(service).is_some(),
            // Whether it is there is the disk's to say.
            SecretSource::File(_) => true,
        };
        if !found {
            return Err(Invalid::Secret(secret.name.clone()));
        }
        if !known.contains(secret) {
            fresh.insert(secret);
        }
    }
    match known.len() + fresh.len() > SECRETS_MAX {
        true => Err(Invalid::TooManySecrets),
        false => Ok(()),
    }
}

pub(super) fn routes(table: &Arc<RouteTable>) -> Result<(), Invalid> {
    CompiledRoutes::new(Arc::clone(table))?;
    Edits::new(table)?;
    Ok(())
}

pub(super) fn listener(listener: &Listener) -> Result<(), Invalid> {
    access_logs(&listener.access_logs)?;
    for chain in chains(listener) {
        match &chain.network {
            Network::Http(connection) => {
                access_logs(&connection.access_logs)?;
                connection.filters.iter().try_for_each(filter)?;
                if let RouteSource::Inline(table) = &connection.routes {
                    routes(&Arc::new(table.clone()))?;
                }
            }
            Network::Tcp(proxy) => access_logs(&proxy.access_logs)?,
        }
    }
    Ok(())
}

fn filter(entry: &FilterEntry) -> Result<(), Invalid> {
    match &entry.filter {
        HttpFilter::Jwt(config) => jwt::validate(config)
            .map_err(|refusal| Invalid::Filter { name: entry.name.clone(), reason: refusal.to_string() }),
        HttpFilter::Buffer(_)
        | HttpFilter::Rbac(_)
        | HttpFilter::LocalRateLimit(_)
        | HttpFilter::GlobalRateLimit(_)
        | HttpFilter::ExtAuthz(_)
        | HttpFilter::Cors
        | HttpFilter::Fault(_)
        | HttpFilter::Compressor(_)
        | HttpFilter::Decompressor(_)
        | HttpFilter::GrpcWeb => Ok(()),
    }
}

fn access_logs(logs: &[AccessLog]) -> Result<(), Invalid> {
    logs.iter().try_for_each(|log| AccessLogs::validate(log).map_err(Invalid::from))
}
