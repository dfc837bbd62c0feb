//! A provider's keys: those of the configuration, or fetched, kept and fetched again.
//!
//! Where the configuration says so they are fetched as soon as it is in force, and again before they end, whether anybody
//! asks or not ([`Ahead`]). Else whoever finds no fresh keys fetches them, once for all workers; the others wait. Keys that are about to go stale are
//! fetched behind a request's back. After a failure nobody asks again for a while, and every token is refused: never are
//! keys used beyond their time.

use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use selvedge_jwt::{KEYS_BYTES_MAX, KeySet, Refusal};
use selvedge_telemetry::FilterStats;
use selvedge_traffic::filter::{JwtKeys, JwtProvider};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{FETCH_FAILED, FETCHED};
use crate::request::exchange::{Ended, Exchange};
use crate::request::filter::call::{Call, call, request};
use crate::serve::compile::CompileError;
use crate::serve::worker::Worker;

/// How long before their end keys are fetched again.
const AHEAD: Duration = Duration::from_secs(5);
/// However short the configured times, nobody is asked more often.
const FETCH_INTERVAL_MIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum Keys {
    Inline(Arc<KeySet>),
    Remote(Arc<Remote>),
}

/// Keys from afar.
#[derive(Debug)]
pub(super) struct Remote {
    authority: String,
    path: String,
    cluster: String,
    timeout: Duration,
    cache: Duration,
    refetch: Duration,
    ahead: bool,
    last: ArcSwapOption<Fetched>,
    /// Held by whoever fetches.
    fetching: Mutex<()>,
}

/// Keys to be fetched before anybody asks for them, for as long as a configuration has them.
#[derive(Debug)]
pub(crate) struct Ahead {
    remote: Weak<Remote>,
    stats: FilterStats,
}

#[derive(Debug)]
struct Fetched {
    keys: Result<Arc<KeySet>, Refusal>,
    until: Instant,
}

impl Keys {
    pub(super) fn new(provider: &JwtProvider) -> Result<Self, CompileError> {
        match &provider.keys {
            JwtKeys::Inline(text) => {
                let keys = KeySet::parse(text);
                let keys = keys.map_err(|refusal| CompileError::Filter(refusal.to_string()))?;
                Ok(Self::Inline(Arc::new(keys)))
            }
            JwtKeys::Remote { uri, cluster, timeout, cache, refetch, ahead } => {
                let rest = uri.split_once("://").map_or(uri.as_str(), |(_, rest)| rest);
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                Ok(Self::Remote(Arc::new(Remote {
                    authority: authority.to_owned(),
                    path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
                    cluster: cluster.clone(),
                    timeout: *timeout,
                    cache: *cache,
                    refetch: *refetch,
                    ahead: *ahead,
                    last: ArcSwapOption::empty(),
                    fetching: Mutex::new(()),
                })))
            }
        }
    }

    /// What somebody is to fetch ahead of requests.
    pub(super) fn ahead(&self, stats: &FilterStats) -> Option<Ahead> {
        match self {
            Self::Remote(remote) if remote.ahead => {
                Some(Ahead { remote: Arc::downgrade(remote), stats: stats.clone() })
            }
            _ => None,
        }
    }

    /// The keys of this moment.
    pub(super) async fn current(
        &self,
        x: &mut Exchange<'_>,
        stats: &FilterStats,
    ) -> Result<Result<Arc<KeySet>, Refusal>, Ended> {
        let remote = match self {
            Self::Inline(keys) => return Ok(Ok(Arc::clone(keys))),
            Self::Remote(remote) => remote,
        };
        if let Some(keys) = remote.fresh() {
            remote.refresh_ahead(x.worker, stats);
            return Ok(keys);
        }
        let (worker, remote) = (Rc::clone(x.worker), Arc::clone(remote));
        let stats = stats.clone();
        let fetched = async move {
            let _turn = remote.fetching.lock().await;
            match remote.fresh() {
                Some(keys) => keys,
                None => remote.fetch(&worker, &stats).await,
            }
        };
        match x.unless_interrupted(Box::pin(fetched)).await {
            Ok(keys) => Ok(keys),
            Err(interrupt) => Err(x.interrupted(interrupt)),
        }
    }
}

impl Ahead {
    /// Fetches again and again, with the pools of one worker for all. Requests that come before the first answer wait for
    /// it, as they would for their own.
    pub(crate) async fn keep(self, worker: Rc<Worker>) {
        while let Some(remote) = self.remote.upgrade() {
            let turn = remote.fetching.lock().await;
            let keys = remote.fetch(&worker, &self.stats).await;
            drop(turn);
            let pause = match keys {
                Ok(_) => remote.cache.saturating_sub(AHEAD.min(remote.cache / 10)),
                Err(_) => remote.refetch,
            };
            // A configuration that is replaced meanwhile is not held by this.
            drop(remote);
            tokio::time::sleep(pause.max(FETCH_INTERVAL_MIN)).await;
        }
    }
}

impl Remote {
    fn fresh(&self) -> Option<Result<Arc<KeySet>, Refusal>> {
        let last = self.last.load();
        let last = last.as_ref()?;
        (Instant::now() < last.until).then(|| last.keys.clone())
    }

    /// Fetches in the background what ends soon.
    fn refresh_ahead(self: &Arc<Self>, worker: &Rc<Worker>, stats: &FilterStats) {
        let ends = self.last.load().as_ref().map(|last| last.until);
        let soon = |until: Instant| until < Instant::now() + AHEAD.min(self.cache / 10);
        if !ends.is_some_and(soon) || self.fetching.try_lock().is_err() {
            return;
        }
        let (remote, worker, stats) = (Arc::clone(self), Rc::clone(worker), stats.clone());
        tokio::task::spawn_local(async move {
            if let Ok(_turn) = remote.fetching.try_lock() {
                let _ = remote.fetch(&worker, &stats).await;
            }
        });
    }

    /// The caller holds its turn.
    async fn fetch(&self, worker: &Rc<Worker>, stats: &FilterStats) -> Result<Arc<KeySet>, Refusal> {
        let asked = Call {
            cluster: &self.cluster,
            head: request("GET", &self.authority, &self.path),
            body: Vec::new(),
            grpc: false,
            timeout: self.timeout,
        };
        let keys = match call(worker, asked).await {
            Ok(answer) if answer.head.status == 200 && answer.body.len() <= KEYS_BYTES_MAX => {
                let text = std::str::from_utf8(&answer.body).map_err(|_| Refusal::KeysJson);
                text.and_then(KeySet::parse).map(Arc::new)
            }
            Ok(answer) => {
                tracing::warn!(cluster = %self.cluster, status = answer.head.status, "no JWKS came");
                Err(Refusal::FetchFailed)
            }
            Err(error) => {
                tracing::warn!(cluster = %self.cluster, %error, "no JWKS came");
                Err(Refusal::FetchFailed)
            }
        };
        stats.inc(if keys.is_ok() { FETCHED } else { FETCH_FAILED });
        let keeps = if keys.is_ok() { self.cache } else { self.refetch };
        // A failed attempt ahead of time takes nothing away: the old keys are good until their end.
        if keys.is_ok() || self.fresh().is_none_or(|keys| keys.is_err()) {
            self.last.store(Some(Arc::new(Fetched { keys: keys.clone(), until: Instant::now() + keeps })));
        }
        keys
    }
}
