//! Limits that a service keeps for many proxies.

use std::borrow::Cow;
use std::sync::Arc;

use selvedge_telemetry::Flag;
use selvedge_traffic::filter::{GlobalRateLimitRoute, RequestType};
use selvedge_traffic::rate_limit::{Descriptor, HostRateLimits};
use selvedge_traffic::{RouteFilter, filter};
use selvedge_upstream::random;
use selvedge_xds::rpc::rate_limit as rpc;

use super::call::{Call, CallFailure, call, grpc};
use super::counted::ByCluster;
use super::descriptors::{charge_refusal, descriptors, destination};
use super::{FilterId, Kept, Scope};
use crate::request::edit::{self, Edit, HeaderInvalid, Side};
use crate::request::exchange::{Ended, Exchange};
use crate::request::reply::Reply;

const NAMES: &[&str] = &["ok", "error", "failure_mode_allowed", "over_limit"];
const OK: usize = 0;
const ERROR: usize = 1;
const FAILURE_MODE_ALLOWED: usize = 2;
const OVER_LIMIT: usize = 3;
/// gRPC's RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u8 = 8;

#[derive(Debug)]
pub(crate) struct RateLimit {
    id: FilterId,
    config: Arc<filter::GlobalRateLimit>,
    route: Option<GlobalRateLimitRoute>,
    stats: Arc<ByCluster>,
    source_cluster: Arc<str>,
    response_edits: Arc<[Edit]>,
}

type Headers = Vec<(Cow<'static, str>, Vec<u8>)>;

impl RateLimit {
    pub(super) fn new(config: &filter::GlobalRateLimit, scope: Scope<'_>) -> Result<Self, HeaderInvalid> {
        let part = match config.stat_prefix.as_str() {
            "" => "ratelimit.".to_owned(),
            prefix => format!("ratelimit.{prefix}."),
        };
        Ok(Self {
            id: FilterId::next(),
            stats: Arc::new(ByCluster::new(&scope.telemetry.registry, part, NAMES)),
            source_cluster: Arc::clone(&scope.telemetry.node_cluster),
            response_edits: edit::compile_all(&config.response_headers)?.into(),
            config: Arc::new(config.clone()),
            route: None,
        })
    }

    pub(super) fn for_route(&self, configs: &[&RouteFilter]) -> Self {
        let route = configs.iter().find_map(|config| match config {
            RouteFilter::GlobalRateLimit(route) => Some((**route).clone()),
            _ => None,
        });
        Self {
            id: self.id,
            config: Arc::clone(&self.config),
            stats: Arc::clone(&self.stats),
            source_cluster: Arc::clone(&self.source_cluster),
            response_edits: Arc::clone(&self.response_edits),
            route,
        }
    }

    pub(super) async fn request(&self, x: &mut Exchange<'_>) -> Result<(), Ended> {
        let config = &*self.config;
        if config.enabled.is_some_and(|share| !share.takes(random::next())) || !self.concerns(x) {
            return Ok(());
        }
        let (own, host) = match &self.route {
            Some(route) => (&route.rate_limits[..], route.host_rate_limits),
            None => (&[][..], HostRateLimits::Override),
        };
        let counted_by = descriptors(x, own, config.stage, host, &self.source_cluster);
        if counted_by.is_empty() {
            return Ok(());
        }
        let cluster = destination(x);
        match self.ask(x, counted_by).await? {
            Ok(answer) => self.take(x, cluster, answer),
            Err(error) => {
                tracing::debug!(cluster = %config.cluster, %error, "the rate limit service does not answer");
                self.stats.inc(cluster, ERROR);
                if config.failure_mode_deny {
                    let flag = Some(Flag::RateLimitServiceError);
                    return Err(Ended::Reply(Reply::new(
                        config.status_on_error,
                        flag,
                        "rate_limiter_error",
                        "",
                    )));
                }
                self.stats.inc(cluster, FAILURE_MODE_ALLOWED);
                Ok(())
            }
        }
    }

    fn concerns(&self, x: &Exchange<'_>) -> bool {
        let internal = || x.heads.request.fields.named("x-envoy-internal") == Some(b"true");
        match self.config.request_type {
            RequestType::Both => true,
            RequestType::Internal => internal(),
            RequestType::External => !internal(),
        }
    }

    async fn ask(
        &self,
        x: &mut Exchange<'_>,
        descriptors: Vec<Descriptor>,
    ) -> Result<Result<rpc::Answer, CallFailure>, Ended> {
        let config = &*self.config;
        let domain = match &self.route {
            Some(route) if !route.domain.is_empty() => &route.domain,
            _ => &config.domain,
        };
        let question = rpc::Request { domain: domain.clone(), descriptors, hits: 0 };
        let authority = if config.authority.is_empty() { &config.cluster } else { &config.authority };
        let (head, body) = grpc(authority, rpc::PATH, &rpc::encode_request(&question));
        let asked = Call { cluster: &config.cluster, head, body, grpc: true, timeout: config.timeout };
        let worker = std::rc::Rc::clone(x.worker);
        let answered = match x.unless_interrupted(Box::pin(call(&worker, asked))).await {
            Ok(answered) => answered,
            Err(interrupt) => return Err(x.interrupted(interrupt)),
        };
        Ok(answered.and_then(|answer| {
            let message = answer.message()?;
            rpc::decode_answer(message).ok_or(CallFailure::Grpc(None))
        }))
    }

    fn take(&self, x: &mut Exchange<'_>, cluster: &str, answer: rpc::Answer) -> Result<(), Ended> {
        let config = &*self.config;
        let lowered =
            |(name, value): (String, String)| (name.to_ascii_lowercase().into(), value.into_bytes());
        let mut headers: Headers = answer.response_headers.into_iter().map(lowered).collect();
        if config.ratelimit_headers {
            headers.extend(ratelimit_headers(&answer.statuses));
        }
        for (name, value) in &answer.request_headers {
            x.heads.request.fields.append(name.as_bytes(), value.as_bytes());
        }
        if !answer.over_limit {
            self.stats.inc(cluster, OK);
            if !headers.is_empty() {
                x.kept.push((self.id, Kept::Headers(headers)));
            }
            return Ok(());
        }
        self.stats.inc(cluster, OVER_LIMIT);
        if config.enforced.is_some_and(|share| !share.takes(random::next())) {
            return Ok(());
        }
        if config.ratelimited_header {
            headers.push(("x-envoy-ratelimited".into(), b"true".to_vec()));
        }
        x.kept.push((self.id, Kept::Refused));
        charge_refusal(x, config.status);
        Err(Ended::Reply(Reply {
            headers,
            body: String::from_utf8_lossy(&answer.body).into_owned().into(),
            grpc_status: config.resource_exhausted.then_some(RESOURCE_EXHAUSTED),
            ..Reply::new(config.status, Some(Flag::RateLimited), "request_rate_limited", "")
        }))
    }

    pub(super) fn response(&self, x: &mut Exchange<'_>) {
        let Some(at) = x.kept.iter().position(|(id, _)| *id == self.id) else { return };
        match x.kept.swap_remove(at).1 {
            Kept::Headers(headers) => {
                for (name, value) in headers {
                    x.heads.response.fields.append(name.as_bytes(), &value);
                }
            }
            Kept::Refused => edit::apply(x, &self.response_edits, Side::Response),
            _ => {}
        }
    }
}

/// What the service said in the form of draft 03: the tightest limit, and all of them with their windows.
fn ratelimit_headers(statuses: &[rpc::Status]) -> Headers {
    let limits = || statuses.iter().filter_map(|status| Some((status, status.limit.as_ref()?)));
    let Some((tightest, limit)) = limits().min_by_key(|(status, _)| status.remaining) else {
        return Vec::new();
    };
    let mut text = limit.requests.to_string();
    for (_, limit) in limits() {
        text.push_str(&format!(", {};w={}", limit.requests, limit.unit.seconds()));
        if !limit.name.is_empty() {
            text.push_str(&format!(";name=\"{}\"", limit.name));
        }
    }
    vec![
        ("x-ratelimit-limit".into(), text.into_bytes()),
        ("x-ratelimit-remaining".into(), tightest.remaining.to_string().into_bytes()),
        ("x-ratelimit-reset".into(), tightest.reset.as_secs().to_string().into_bytes()),
    ]
}
