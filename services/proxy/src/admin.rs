//! The admin endpoint: Envoy's commands on a thread of their own, so that no scrape delays a request.
//!
//! Loopback unless configured otherwise. Whoever can reach it sees the whole configuration and may end the process, so
//! names in the Host header are checked (a browser can be made to send requests here under a stranger's name) and what
//! changes anything must be a POST.

mod clusters;
mod command;
mod config_dump;
mod explain;
mod host;
mod listeners;
mod logging;
mod process;
mod query;
mod reply;
mod runtime;
mod server;
mod server_info;
mod statistics;

use std::sync::{Arc, Mutex};

use selvedge_telemetry::{AccessLogs, Registry};
use selvedge_upstream::Clusters;

use crate::bootstrap::Bootstrap;
use crate::discovery::ProxyState;
use crate::lifecycle::Lifecycle;

pub use logging::{Levels, SetLogLevel};
pub use server::{Admin, Error};
pub(crate) use statistics::refresh;

/// What the commands show and change.
#[derive(Clone)]
pub struct Subject {
    pub bootstrap: Arc<Bootstrap>,
    pub registry: Registry,
    pub clusters: Arc<Clusters>,
    pub discovery: Arc<Mutex<ProxyState>>,
    pub lifecycle: Arc<Lifecycle>,
    pub access_logs: Arc<AccessLogs>,
    pub levels: Arc<Levels>,
}

impl Subject {
    fn discovery(&self) -> std::sync::MutexGuard<'_, ProxyState> {
        self.discovery.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
