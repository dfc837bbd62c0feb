//! A request on its way to a cluster: tried, retried, and answered with what came of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_http::framing::Framing;
use selvedge_http::head::RequestHead;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::Upgrade;
use selvedge_http::sanitize;
use selvedge_telemetry::Flag;
use selvedge_traffic::compiled::Matched;
use selvedge_traffic::hash::{self, Ends};
use selvedge_traffic::retry::{self, Retrier, Verdict, Wait};
use selvedge_traffic::timeout::{Around, Timeouts};
use selvedge_traffic::{Forward, RetryPolicy};
use selvedge_upstream::{Cluster, Guard, Host, Leave, random};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::attempt::{Attempt, attempt};
use super::body::RequestBody;
use super::edit::{self, Side};
use super::exchange::{After, Ended, Exchange, Interrupt};
use super::hedge::{self, Slow};
use super::limits::Expired;
use super::mirror::Mirrors;
use super::reply::Reply;
use super::respond;
use super::view::{Request, Response};
use crate::tracing::TryEnd;
use crate::tunnel;

/// What stays the same over all tries of a request.
pub(crate) struct Plan<'a> {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) forward: &'a Forward,
    pub(super) policy: Option<&'a RetryPolicy>,
    pub(super) timeouts: Timeouts,
    /// What picks a host, for the policies that hash.
    pub(crate) hash: Option<u64>,
    pub(super) tried: SmallVec<[Arc<Host>; 4]>,
    pub(super) priorities: TriedPriorities,
    /// Of the try under way.
    pub(super) leave: Leave,
    pub(super) include_attempt_count: bool,
    pub(super) retrier: Option<Retrier<'a>>,
    /// A place among the cluster's retries, while a retry is under way; given back with its outcome.
    retry: Option<Guard>,
    /// Earlier tries that go on beside the one under way.
    pub(super) slow: Vec<Slow>,
}

/// The priorities that tries were sent to, as far as a policy avoids them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TriedPriorities {
    tries: u32,
    tried: u64,
    /// What the next try passes over; set anew after every so many tries.
    pub(super) avoided: u64,
}

impl TriedPriorities {
    /// Notes a try. One that was sent to an avoided priority found no other: everything starts over.
    fn note(&mut self, priority: u32, every: u32) {
        let bit = 1_u64.checked_shl(priority).unwrap_or(0);
        if self.avoided & bit != 0 {
            *self = Self::default();
        }
        self.tries += 1;
        self.tried |= bit;
        if self.tries.is_multiple_of(every.max(1)) {
            self.avoided = self.tried;
        }
    }
}

impl Plan<'_> {
    /// Whether an outcome is one that the policy tries again, retries left or not.
    pub(super) fn would_retry(&self, x: &Exchange<'_>, tried: &Attempt) -> bool {
        match tried {
            Attempt::Response(..) => {
                self.retrier.as_ref().is_some_and(|retrier| retrier.takes(&Response(&x.heads.response)))
            }
            Attempt::Reset(..) | Attempt::TimedOut(_) | Attempt::Slow => true,
        }
    }

    /// Notes whom a try is sent to.
    pub(super) fn note_try(&mut self, host: &Arc<Host>, priority: u32) {
        let Some(policy) = self.policy else { return };
        if policy.avoid_previous_hosts {
            self.tried.push(Arc::clone(host));
        }
        if let Some(every) = policy.avoid_priorities_every {
            self.priorities.note(priority, every);
        }
    }
}

/// Sends the request on and the response back.
pub(super) async fn forward<'a>(
    x: &mut Exchange<'a>,
    matched: Matched<'a>,
    forward: &'a Forward,
    mut body: RequestBody,
) -> Result<After, Ended> {
    let cluster = find_cluster(x, forward)?;
    let policy = matched.retry(forward);
    let request = Request(&x.heads.request);
    let around = Around {
        retry: policy,
        hedge: matched.hedge(forward),
        stream_duration_max: x.manager.config.stream_duration_max,
    };
    let timeouts = Timeouts::resolve(forward, around, &request);
    let hash = if let Some(hashed) = x.hashed.take() {
        x.extra.cookies = hashed.cookies;
        hashed.hash
    } else if forward.hash.is_empty() {
        None
    } else {
        let ends = Ends { remote: x.client, local: x.peer.original_dst.unwrap_or(x.peer.local) };
        hash_request(&forward.hash, &request, ends, &mut x.extra)
    };
    let retrier = Retrier::new(policy, &request);
    if retrier.as_ref().is_some_and(Retrier::may_retry) {
        body.keep_for_retry();
    }
    x.extra.attempt_count = matched.virtual_host.include_attempt_count_in_response;
    let mut plan = Plan {
        cluster,
        forward,
        policy,
        timeouts,
        hash,
        tried: SmallVec::new(),
        priorities: TriedPriorities::default(),
        leave: Leave::default(),
        include_attempt_count: matched.virtual_host.include_attempt_count,
        retrier,
        retry: None,
        slow: Vec::new(),
    };
    x.limits.set_route(&plan.timeouts);
    x.limits.set_cluster(plan.cluster.config.stream_duration_max);
    rewrite(x, &matched, &plan);
    if x.facts.upgrade == Upgrade::Connect && forward.upgrades.connect_terminates {
        return Box::pin(tunnel::terminate(x, &mut plan)).await;
    }
    let mut mirrors =
        if forward.mirrors.is_empty() { None } else { Mirrors::draw(x, forward, plan.timeouts.global) };
    if let Some(mirrors) = &mut mirrors {
        body.keep_for_retry();
        mirrors.send(x, &body);
    }
    loop {
        x.log.attempts += 1;
        let mut tried = attempt(x, &mut plan, &mut body).await?;
        if body.take_outgrown() {
            plan.cluster.stats.retry_or_shadow_abandoned.inc();
        }
        let wait = loop {
            let verdict = judge(x, &mut plan, &body, &tried);
            if let Some(wait) = verdict {
                break wait;
            }
            if plan.slow.is_empty() || !plan.would_retry(x, &tried) {
                return answer(x, &mut plan, mirrors, tried, &mut body).await;
            }
            // Others are under way, and one of them may do better.
            give_up(tried, &body);
            tried = Box::pin(hedge::wait(x, &mut plan)).await?;
        };
        if let Attempt::Response(..) = tried {
            plan.cluster.stats.retry.record(x.heads.response.status);
        }
        x.note_try(|x| try_end(x, &tried, false));
        x.end_attempt_span();
        give_up(tried, &body);
        body.rewind();
        x.limits.connected(None);
        let slept = hedge::unless_answered(x, &mut plan, Box::pin(tokio::time::sleep(wait))).await;
        match slept {
            Ok(None) => {}
            Ok(Some(answered)) => return answer(x, &mut plan, mirrors, answered, &mut body).await,
            Err(interrupt) => return Err(attempt_over(x, &plan, interrupt)),
        }
    }
}

/// Ends a try whose outcome is not passed on.
fn give_up(tried: Attempt, body: &RequestBody) {
    if let Attempt::Response(stream, _) = tried {
        stream.finish(body.is_sent());
    }
}

/// What a try's span tells of its end.
fn try_end(x: &Exchange<'_>, tried: &Attempt, is_passed_on: bool) -> TryEnd {
    match tried {
        Attempt::Response(_, framing) => TryEnd {
            status: x.heads.response.status,
            canceled: !is_passed_on && *framing != Framing::None,
            ..TryEnd::default()
        },
        Attempt::Reset(reset, _) => {
            TryEnd { reason: Some(reset.words()), flag: Some(reset.flag()), ..TryEnd::default() }
        }
        Attempt::TimedOut(_) | Attempt::Slow => TryEnd::CANCELED,
    }
}

/// Answers, and lets the copies of the request have what has come of its body meanwhile.
async fn answer(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    mut mirrors: Option<Box<Mirrors>>,
    tried: Attempt,
    body: &mut RequestBody,
) -> Result<After, Ended> {
    let Some(mirrors) = mirrors.as_mut().filter(|_| matches!(tried, Attempt::Response(..))) else {
        return pass_on(x, plan, tried, body).await;
    };
    mirrors.send(x, body);
    let passed = pass_on(x, plan, tried, body).await;
    mirrors.send(x, body);
    passed
}

/// Answers with what came of the last try.
async fn pass_on(
    x: &mut Exchange<'_>,
    plan: &mut Plan<'_>,
    tried: Attempt,
    body: &mut RequestBody,
) -> Result<After, Ended> {
    // The first good answer wins; who is slower is told so.
    for slow in plan.slow.drain(..) {
        plan.cluster.stats.upstream_rq_tx_reset.inc();
        slow.reset();
    }
    x.note_try(|x| try_end(x, &tried, true));
    match tried {
        Attempt::Response(stream, framing) => {
            x.limits.answered();
            respond::pass_on(x, stream, framing, body).await
        }
        Attempt::Reset(reset, _) => {
            x.log.flags.set(reset.flag());
            let retried = x.log.attempts > 1;
            Err(Ended::Reply(Reply::upstream_reset(&reset, retried)))
        }
        Attempt::TimedOut(expired) => Err(x.interrupted(Interrupt::Expired(expired))),
        Attempt::Slow => Err(Ended::Reply(Reply::per_try_timeout())),
    }
}

/// What sends the request to the same host again; cookies that this takes are kept for the response.
fn hash_request(
    policies: &[selvedge_traffic::HashPolicy],
    request: &Request<'_>,
    ends: Ends,
    extra: &mut super::exchange::Extra,
) -> Option<u64> {
    let hashed = hash::hash(policies, request, ends);
    extra.cookies = hashed.cookies;
    hashed.hash
}

/// What an interruption between or during tries means to the cluster's statistics.
pub(crate) fn attempt_over(x: &mut Exchange<'_>, plan: &Plan<'_>, interrupt: Interrupt) -> Ended {
    let stats = &plan.cluster.stats;
    match interrupt {
        Interrupt::Expired(Expired::Global) => stats.upstream_rq_timeout.inc(),
        Interrupt::Gone => stats.upstream_rq_cancelled.inc(),
        Interrupt::Expired(_) => {}
    }
    x.interrupted(interrupt)
}

fn find_cluster(x: &mut Exchange<'_>, forward: &Forward) -> Result<Arc<Cluster>, Ended> {
    let found = x
        .share
        .and_then(|share| forward.clusters.get(share))
        .and_then(|weighted| x.worker.clusters.get(&weighted.name));
    match found {
        Some(cluster) => {
            x.log.cluster = Some(Arc::clone(&cluster));
            Ok(cluster)
        }
        None => {
            x.manager.stats.no_cluster.inc();
            let reply = Reply::no_cluster(forward.cluster_not_found_status);
            Err(Ended::Reply(Reply { edited: true, ..reply }))
        }
    }
}

/// The changes that the route makes to the request, the same for every try.
fn rewrite(x: &mut Exchange<'_>, matched: &Matched<'_>, plan: &Plan<'_>) {
    let path = matched.rewritten_path(&Request(&x.heads.request));
    if x.internal {
        // They were for this proxy.
        x.heads.request.fields.retain(|id, _, _| !sanitize::is_steering(id));
    }
    edit::apply(x, &x.edits.request, Side::Request);
    let host = matched.rewritten_host(plan.forward, &Request(&x.heads.request)).map(Cow::into_owned);
    let head = &mut x.heads.request;
    if let Some(expected) = plan.timeouts.expected(Duration::ZERO) {
        set_millis(&mut head.fields, HeaderId::XEnvoyExpectedRqTimeoutMs, expected);
    }
    if let Some(host) = host {
        set_host(head, &host, plan.forward.append_forwarded_host);
    }
    if let Some(path) = path {
        set_path(x, &path);
    }
}

/// Gives the request another host; the upstream also learns the old one.
pub(super) fn set_host(head: &mut RequestHead, host: &str, append_forwarded_host: bool) {
    let before = head.authority().unwrap_or_default().to_owned();
    if append_forwarded_host && !before.is_empty() {
        let listed: Vec<&[u8]> = head.fields.all(HeaderId::XForwardedHost).collect();
        let latest = listed.last().and_then(|last| last.rsplit(|byte| *byte == b',').next());
        if latest.is_none_or(|latest| latest != before.as_bytes()) {
            let joined = listed.into_iter().chain([before.as_bytes()]).collect::<Vec<_>>().join(&b","[..]);
            head.fields.set_id(HeaderId::XForwardedHost, &joined);
        }
    }
    head.fields.set_id(HeaderId::XEnvoyOriginalHost, before.as_bytes());
    head.set_authority(host);
}

/// Gives the request another path; whoever reads it later also learns the old one.
pub(super) fn set_path(x: &mut Exchange<'_>, path: &str) {
    let head = &mut x.heads.request;
    let before = head.path().to_owned();
    head.fields.set_id(HeaderId::XEnvoyOriginalPath, before.as_bytes());
    head.set_path(path);
}

/// Sets a header to a number of milliseconds.
pub(super) fn set_millis(fields: &mut selvedge_http::fields::Fields, id: HeaderId, duration: Duration) {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    fields.set_id(id, itoa::Buffer::new().format(millis).as_bytes());
}

/// Whether there is another try, and the wait before it; its place among the retries is taken.
fn judge(x: &mut Exchange<'_>, plan: &mut Plan<'_>, body: &RequestBody, tried: &Attempt) -> Option<Duration> {
    let retrier = plan.retrier.as_mut()?;
    // Whatever comes of it, the retry under way is over: the next one needs no place beside it.
    plan.retry = None;
    let stats = &plan.cluster.stats;
    let breaker = plan.cluster.breaker(plan.forward.priority);
    let room = || breaker.try_retry();
    let verdict = match tried {
        // What was not kept cannot be sent again.
        _ if !body.can_replay() => Verdict::Stop(retry::Refusal::NotRetriable),
        Attempt::Response(..) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            retrier.handle_response(&Response(&x.heads.response), room, now, random::next())
        }
        Attempt::Reset(_, reset) => retrier.handle_reset(*reset, room, random::next()),
        Attempt::TimedOut(_) => retrier.handle_reset(retry::Reset::PerTryTimeout, room, random::next()),
        Attempt::Slow => retrier.handle_hedge(room, random::next()),
    };
    match verdict {
        Verdict::Retry { wait, guard } => {
            stats.upstream_rq_retry.inc();
            match wait {
                Wait::Exponential(_) => stats.upstream_rq_retry_backoff_exponential.inc(),
                Wait::RateLimited(_) => stats.upstream_rq_retry_backoff_ratelimited.inc(),
            }
            plan.retry = Some(guard);
            Some(wait.duration())
        }
        Verdict::Stop(refusal) => {
            match refusal {
                retry::Refusal::NotRetriable if x.log.attempts > 1 => stats.upstream_rq_retry_success.inc(),
                retry::Refusal::NotRetriable => {}
                retry::Refusal::LimitExceeded => {
                    stats.upstream_rq_retry_limit_exceeded.inc();
                    x.log.flags.set(Flag::UpstreamRetryLimitExceeded);
                }
                retry::Refusal::Overflow => {
                    stats.upstream_rq_retry_overflow.inc();
                    x.log.flags.set(Flag::UpstreamOverflow);
                }
            }
            None
        }
    }
}

/// The moment that a body transfer last moved, told from its counters.
pub(super) fn note_progress(x: &mut Exchange<'_>, before: u64, after: u64) {
    if before != after {
        x.limits.moved(Instant::now());
    }
}
