//! Limits that this proxy keeps by itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use selvedge_telemetry::{FilterStats, Flag, Owner};
use selvedge_traffic::rate_limit::{LimitVerdict, LocalLimiter};
use selvedge_traffic::{RouteFilter, filter};
use selvedge_upstream::random;
use tokio::time::Instant;

use super::descriptors::descriptors;
use super::{FilterId, Kept, Scope};
use crate::request::edit::{self, Edit, HeaderInvalid, Side};
use crate::request::exchange::{Ended, Exchange};
use crate::request::reply::Reply;

const NAMES: &[&str] = &["enabled", "enforced", "ok", "rate_limited"];
const ENABLED: usize = 0;
const ENFORCED: usize = 1;
const OK: usize = 2;
const RATE_LIMITED: usize = 3;
/// gRPC's RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u8 = 8;

#[derive(Debug)]
pub(crate) struct LocalRateLimit {
    id: FilterId,
    config: Arc<filter::LocalRateLimit>,
    /// Shared by all workers; `None` where each connection has its own.
    limiter: Option<Arc<LocalLimiter>>,
    /// What its time counts from.
    since: Instant,
    stats: FilterStats,
    source_cluster: Arc<str>,
    /// For requests that would have been refused.
    request_edits: Arc<[Edit]>,
    /// For refusals.
    response_edits: Arc<[Edit]>,
}

impl LocalRateLimit {
    pub(super) fn new(config: &filter::LocalRateLimit, scope: Scope<'_>) -> Result<Self, HeaderInvalid> {
        let owner = Owner::LocalRateLimit(config.stat_prefix.clone());
        let since = Instant::now();
        Ok(Self {
            request_edits: edit::compile_all(&config.request_headers_when_not_enforced)?.into(),
            response_edits: edit::compile_all(&config.response_headers)?.into(),
            id: FilterId::next(),
            limiter: (!config.per_connection).then(|| Arc::new(limiter(config, Duration::ZERO))),
            since,
            stats: scope.telemetry.registry.filter(owner, "", NAMES),
            source_cluster: Arc::clone(&scope.telemetry.node_cluster),
            config: Arc::new(config.clone()),
        })
    }

    pub(super) fn for_route(
        &self,
        configs: &[&RouteFilter],
        scope: Scope<'_>,
    ) -> Result<Self, HeaderInvalid> {
        let own = configs.iter().find_map(|config| match config {
            RouteFilter::LocalRateLimit(config) => Some(config),
            _ => None,
        });
        own.map_or_else(|| Ok(self.shared()), |config| Self::new(config, scope))
    }

    fn shared(&self) -> Self {
        Self {
            id: self.id,
            config: Arc::clone(&self.config),
            limiter: self.limiter.clone(),
            since: self.since,
            stats: self.stats.clone(),
            source_cluster: Arc::clone(&self.source_cluster),
            request_edits: Arc::clone(&self.request_edits),
            response_edits: Arc::clone(&self.response_edits),
        }
    }

    pub(super) fn request(&self, x: &mut Exchange<'_>) -> Result<(), Ended> {
        let config = &*self.config;
        if !config.enabled.takes(random::next()) {
            return Ok(());
        }
        self.stats.inc(ENABLED);
        let verdict = self.judge(x);
        let bucket = verdict.bucket.filter(|_| config.ratelimit_headers);
        let refused = !verdict.allowed && config.enforced.takes(random::next());
        if bucket.is_some() || refused {
            x.kept.push((self.id, Kept::Limit { bucket, refused }));
        }
        if verdict.allowed {
            self.stats.inc(OK);
            return Ok(());
        }
        self.stats.inc(RATE_LIMITED);
        if !refused {
            edit::apply(x, &self.request_edits, Side::Request);
            return Ok(());
        }
        self.stats.inc(ENFORCED);
        Err(Ended::Reply(Reply {
            grpc_status: config.resource_exhausted.then_some(RESOURCE_EXHAUSTED),
            ..Reply::new(config.status, Some(Flag::RateLimited), "local_rate_limited", "local_rate_limited")
        }))
    }

    fn judge(&self, x: &Exchange<'_>) -> LimitVerdict {
        let config = &*self.config;
        let counted_by = if config.descriptors.is_empty() {
            Vec::new()
        } else {
            let host = config.host_rate_limits;
            descriptors(x, &config.rate_limits, config.stage, host, &self.source_cluster)
        };
        let now = self.since.elapsed();
        match &self.limiter {
            Some(limiter) => limiter.judge(&counted_by, now),
            None => self.of_connection(x, now).judge(&counted_by, now),
        }
    }

    /// The connection's own limiter.
    fn of_connection(&self, x: &Exchange<'_>, now: Duration) -> Rc<LocalLimiter> {
        let mut kept = x.peer.kept.borrow_mut();
        if let Some((_, limiter)) = kept.iter().find(|(id, _)| *id == self.id) {
            return Rc::clone(limiter);
        }
        let limiter = Rc::new(limiter(&self.config, now));
        kept.push((self.id, Rc::clone(&limiter)));
        limiter
    }

    pub(super) fn response(&self, x: &mut Exchange<'_>) {
        let Some(at) = x.kept.iter().position(|(id, _)| *id == self.id) else { return };
        let (_, Kept::Limit { bucket, refused }) = x.kept.swap_remove(at) else { return };
        if refused {
            edit::apply(x, &self.response_edits, Side::Response);
        }
        let Some(bucket) = bucket else { return };
        let now = self.since.elapsed();
        let mut buffer = itoa::Buffer::new();
        let fields = &mut x.heads.response.fields;
        fields.append(b"x-ratelimit-limit", buffer.format(bucket.config().tokens_max).as_bytes());
        fields.append(b"x-ratelimit-remaining", buffer.format(bucket.remaining(now)).as_bytes());
        fields.append(b"x-ratelimit-reset", buffer.format(bucket.next_token(now).as_secs()).as_bytes());
    }
}

fn limiter(config: &filter::LocalRateLimit, now: Duration) -> LocalLimiter {
    let dynamic_max = config.dynamic_descriptors_max as usize;
    LocalLimiter::new(config.bucket, &config.descriptors, dynamic_max, config.always_consume_default, now)
}
