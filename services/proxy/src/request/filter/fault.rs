//! Faults on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use selvedge_telemetry::{FilterStats, Flag, Owner, details};
use selvedge_traffic::filter::{self, AbortBy, DelayBy};
use selvedge_traffic::{Action, Fraction, RouteFilter};
use selvedge_upstream::random;

use super::Scope;
use crate::request::exchange::{Ended, Exchange};
use crate::request::reply::Reply;
use crate::request::view::Request;

const NAMES: &[&str] = &["delays_injected", "aborts_injected", "faults_overflow"];
const DELAYS: usize = 0;
const ABORTS: usize = 1;
const OVERFLOW: usize = 2;

/// The longest wait that a request's own header may ask for.
const HEADER_DELAY_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Fault {
    config: Arc<filter::Fault>,
    /// Faults under way, of all workers.
    active: Arc<AtomicU32>,
    stats: FilterStats,
}

/// A fault under way.
struct Active<'a>(&'a AtomicU32);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fault {
    pub(super) fn new(config: &filter::Fault, scope: Scope<'_>) -> Self {
        let owner = Owner::Http(scope.stat_prefix.to_owned());
        Self {
            config: Arc::new(config.clone()),
            active: Arc::default(),
            stats: scope.telemetry.registry.filter(owner, "fault.", NAMES),
        }
    }

    /// Faults count together, whichever route they come from.
    pub(super) fn for_route(&self, configs: &[&RouteFilter]) -> Self {
        let own = configs.iter().find_map(|config| match config {
            RouteFilter::Fault(config) => Some(Arc::new((**config).clone())),
            _ => None,
        });
        let config = own.unwrap_or_else(|| Arc::clone(&self.config));
        Self { config, active: Arc::clone(&self.active), stats: self.stats.clone() }
    }

    pub(super) async fn request(&self, x: &mut Exchange<'_>) -> Result<(), Ended> {
        let config = &*self.config;
        if !self.concerns(x) {
            return Ok(());
        }
        let delay = config.delay.as_ref().and_then(|delay| {
            let (wait, asked) = match delay.by {
                DelayBy::Fixed(wait) => (Some(wait), None),
                DelayBy::Header => (
                    number(x, "x-envoy-fault-delay-request")
                        .map(|millis| Duration::from_millis(millis.into()).min(HEADER_DELAY_MAX)),
                    number(x, "x-envoy-fault-delay-request-percentage"),
                ),
            };
            wait.filter(|_| takes(delay.share, asked))
        });
        let mut active = None;
        if let Some(wait) = delay.filter(|wait| !wait.is_zero()) {
            let Some(place) = self.begin() else { return Ok(()) };
            active = Some(place);
            self.stats.inc(DELAYS);
            x.log.flags.set(Flag::DelayInjected);
            if let Err(interrupt) = x.unless_interrupted(Box::pin(tokio::time::sleep(wait))).await {
                return Err(x.interrupted(interrupt));
            }
        }
        let Some(abort) = &config.abort else { return Ok(()) };
        let (reply, asked) = match abort.by {
            AbortBy::Http(status) => (Some((status, None)), None),
            AbortBy::Grpc(status) => (Some((200, Some(status))), None),
            AbortBy::Header => {
                let http =
                    number(x, "x-envoy-fault-abort-request").and_then(|status| u16::try_from(status).ok());
                let http = http.filter(|status| (200..600).contains(status)).map(|status| (status, None));
                let grpc = number(x, "x-envoy-fault-abort-grpc-request");
                let percentage = number(x, "x-envoy-fault-abort-request-percentage");
                (grpc.map(|status| (200, Some(status))).or(http), percentage)
            }
        };
        let Some((status, grpc_status)) = reply.filter(|_| takes(abort.share, asked)) else { return Ok(()) };
        if active.is_none() && self.begin().is_none() {
            return Ok(());
        }
        self.stats.inc(ABORTS);
        let reply =
            Reply::new(status, Some(Flag::FaultInjected), details::FAULT_FILTER_ABORT, "fault filter abort");
        let grpc_status = grpc_status.and_then(|status| u8::try_from(status).ok());
        Err(Ended::Reply(Reply { grpc_status, ..reply }))
    }

    fn concerns(&self, x: &Exchange<'_>) -> bool {
        let config = &*self.config;
        if let Some(wanted) = &config.cluster {
            let picked = x.log.route.and_then(|route| match &route.action {
                Action::Forward(forward) => forward.clusters.get(x.share?).map(|cluster| &cluster.name),
                _ => None,
            });
            if picked != Some(wanted) {
                return false;
            }
        }
        let request = Request(&x.heads.request);
        config.headers.iter().all(|header| header.takes(&request))
    }

    /// A place among the faults under way, unless there are too many.
    fn begin(&self) -> Option<Active<'_>> {
        let before = self.active.fetch_add(1, Ordering::Relaxed);
        let place = Active(&self.active);
        if self.config.active_max.is_some_and(|most| before >= most) {
            self.stats.inc(OVERFLOW);
            return None;
        }
        Some(place)
    }
}

/// Whether this request is in the share; a request that asks for a smaller one by its header gets that.
fn takes(share: Fraction, asked: Option<u32>) -> bool {
    let numerator = asked.map_or(share.numerator, |asked| asked.min(share.numerator));
    Fraction { numerator, ..share }.takes(random::next())
}

fn number(x: &Exchange<'_>, name: &str) -> Option<u32> {
    std::str::from_utf8(x.heads.request.fields.named(name)?).ok()?.parse().ok()
}
