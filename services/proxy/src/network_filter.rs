//! Network filters: whether a connection is served at all.
//!
//! Envoy's RBAC filter judges when the first bytes come; here a connection is judged as soon as it can be: what speaks
//! first is not heard by whoever may not connect.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selvedge_telemetry::{FilterStats, Owner};
use selvedge_traffic::access::{Connection, Rules, Subject};
use selvedge_traffic::matching::PlainRequest;
use selvedge_traffic::rate_limit::Bucket;
use selvedge_traffic::{Metadata, NetworkFilter as Config};
use tokio::time::Instant;

use crate::request::Peer;
use crate::request::filter::identity;
use crate::serve::compile::Telemetry;

/// A filter ready to judge; all workers share it.
#[derive(Debug)]
pub(crate) struct NetworkFilter {
    act: Act,
    stats: FilterStats,
    shadow_stats: Option<FilterStats>,
}

#[derive(Debug)]
enum Act {
    Rbac { rules: Option<Rules>, shadow_rules: Option<Rules> },
    Limit { open: Arc<AtomicU64>, most: u64, delay: Duration },
    Rate { bucket: Bucket, since: Instant },
}

/// A connection's place where their number is bounded.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicU64>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl NetworkFilter {
    pub(crate) fn new(config: &Config, telemetry: &Telemetry) -> Self {
        let count = |prefix: String, names| telemetry.registry.filter(Owner::Network(prefix), "", names);
        match config {
            Config::Rbac(rbac) => {
                let shadow = match rbac.shadow_rules_stat_prefix.as_str() {
                    "" => String::new(),
                    prefix => format!("{}.", prefix.trim_end_matches('.')),
                };
                let prefix = rbac.stat_prefix.trim_end_matches('.');
                Self {
                    stats: count(format!("{prefix}.rbac."), &["allowed", "denied"]),
                    shadow_stats: Some(count(
                        format!("{prefix}.rbac.{shadow}"),
                        &["shadow_allowed", "shadow_denied"],
                    )),
                    act: Act::Rbac { rules: rbac.rules.clone(), shadow_rules: rbac.shadow_rules.clone() },
                }
            }
            Config::ConnectionLimit(limit) => Self {
                stats: count(format!("connection_limit.{}.", limit.stat_prefix), &["limited_connections"]),
                shadow_stats: None,
                act: Act::Limit {
                    open: Arc::default(),
                    most: limit.connections_max,
                    delay: limit.delay.unwrap_or_default(),
                },
            },
            Config::RateLimit(limit) => Self {
                stats: count(format!("local_rate_limit.{}.", limit.stat_prefix), &["rate_limited"]),
                shadow_stats: None,
                act: Act::Rate { bucket: Bucket::new(limit.bucket, Duration::ZERO), since: Instant::now() },
            },
        }
    }

    /// `Err` ends the connection, after a while.
    fn judge(&self, peer: &Peer) -> Result<Option<Permit>, Duration> {
        match &self.act {
            Act::Rbac { rules, shadow_rules } => {
                let allowed = |rules: &Option<Rules>, stats: Option<&FilterStats>| {
                    rules.as_ref().is_none_or(|rules| {
                        let allowed = may_connect(rules, peer);
                        if let Some(stats) = stats {
                            stats.inc(usize::from(!allowed));
                        }
                        allowed
                    })
                };
                allowed(shadow_rules, self.shadow_stats.as_ref());
                if allowed(rules, Some(&self.stats)) { Ok(None) } else { Err(Duration::ZERO) }
            }
            Act::Limit { open, most, delay } => {
                if open.fetch_add(1, Ordering::Relaxed) < *most {
                    return Ok(Some(Permit(Arc::clone(open))));
                }
                open.fetch_sub(1, Ordering::Relaxed);
                self.stats.inc(0);
                Err(*delay)
            }
            Act::Rate { bucket, since } => {
                if bucket.take(1, since.elapsed()) {
                    return Ok(None);
                }
                self.stats.inc(0);
                Err(Duration::ZERO)
            }
        }
    }
}

fn may_connect(rules: &Rules, peer: &Peer) -> bool {
    let metadata = Metadata::default();
    let subject = Subject::<PlainRequest> {
        request: None,
        metadata: &metadata,
        connection: Connection {
            destination: peer.original_dst.unwrap_or(peer.local),
            source: peer.remote.ip().to_canonical(),
            direct_remote: peer.direct.ip().to_canonical(),
            remote: peer.remote.ip().to_canonical(),
            server_name: peer.server_name.as_deref(),
            peer: identity(peer),
        },
    };
    rules.judge(&subject).allowed
}

/// Asks the filters in their order: the places that the connection takes, or `None` if it is not served.
pub(crate) async fn admit(filters: &[NetworkFilter], peer: &Rc<Peer>) -> Option<Vec<Permit>> {
    let mut permits = Vec::new();
    for filter in filters {
        match filter.judge(peer) {
            Ok(permit) => permits.extend(permit),
            Err(delay) => {
                drop(permits);
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                return None;
            }
        }
    }
    Some(permits)
}
