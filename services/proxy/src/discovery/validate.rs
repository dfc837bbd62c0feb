//! What this proxy cannot honour is rejected, never served half.

use std::sync::Arc;

use selvedge_telemetry::AccessLogs;
use selvedge_telemetry::access_log::FormatError;
use selvedge_traffic::compiled::TableInvalid;
use selvedge_traffic::tls::{Certificate, Trust, Validation};
use selvedge_traffic::{
    AccessLog, Cluster, CompiledRoutes, FilterEntry, HttpFilter, Listener, Network, RouteSource, RouteTable,
    Transport, UpstreamTransport,
};
use thiserror::Error;

use super::references::chains;
use crate::request::edit::{Edits, HeaderInvalid};
use crate::request::filter::jwt;

/// Why a decoded resource is not accepted.
#[derive(Debug, Error)]
pub(super) enum Invalid {
    #[error("secret {0:?}: no secret discovery service is known")]
    Secret(String),
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

pub(super) fn cluster(cluster: &Cluster) -> Result<(), Invalid> {
    match &cluster.transport {
        UpstreamTransport::Plain => Ok(()),
        UpstreamTransport::Tls(tls) => secrets(tls.certificate.as_ref(), tls.validation.as_ref()),
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
        if let Transport::Tls(tls) = &chain.transport {
            secrets(Some(&tls.certificate), tls.validation.as_ref())?;
        }
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
        | HttpFilter::Compressor(_) => Ok(()),
    }
}

fn secrets(certificate: Option<&Certificate>, validation: Option<&Validation>) -> Result<(), Invalid> {
    let trust = validation.map(|validation| &validation.trust);
    match (certificate, trust) {
        (Some(Certificate::Sds(secret)), _) | (_, Some(Trust::Sds(secret))) => {
            Err(Invalid::Secret(secret.name.clone()))
        }
        _ => Ok(()),
    }
}

fn access_logs(logs: &[AccessLog]) -> Result<(), Invalid> {
    logs.iter().try_for_each(|log| AccessLogs::validate(log).map_err(Invalid::from))
}
