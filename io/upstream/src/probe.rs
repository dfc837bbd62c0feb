//! Active health checks: one task a host that asks it, again and again, whether it is well.

mod grpc;
mod http1;
mod http2;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use selvedge_telemetry::events::{HealthChange, HealthEvent, HealthFailure};
use selvedge_traffic::health::{Checker, ProbeResult, Transition};
use selvedge_traffic::{HealthCheck, HealthProbe, ProxyProtocolVersion};
use selvedge_wire::proxy_protocol::{self, Ends, Version};
use selvedge_wire::tls::ClientTls;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::host::{HealthFlag, Host};
use crate::random;

/// What a probe calls itself.
const USER_AGENT: &str = "Envoy/HC";

/// Probes `host` until the cluster is gone or the task is aborted because the host is.
pub(crate) async fn run(cluster: Weak<Cluster>, host: Arc<Host>, check: HealthCheck) {
    let mut checker = Checker::of(&check, random::next(), Instant::now());
    loop {
        tokio::time::sleep_until(checker.next_timeout().into()).await;
        let known = cluster
            .upgrade()
            .map(|cluster| (Arc::clone(&cluster.name), cluster.tls.clone(), cluster.config.proxy_protocol));
        let Some((name, tls, word)) = known else { return };
        let probed =
            tokio::time::timeout(check.timeout, Box::pin(probe(&host, &check, &name, tls.as_deref(), word)));
        let ended = probed.await.unwrap_or_else(|_| Ending::of(ProbeResult::TimedOut));
        let result = ended.result;
        let Some(cluster) = cluster.upgrade() else { return };
        let first = !checker.is_checked();
        let had_traffic = cluster.stats.shards().any(|stats| stats.upstream_cx_total.value() > 0);
        let transition = checker.handle_result(result, &check, had_traffic, random::next(), Instant::now());
        count(&cluster, result);
        apply(&cluster, &host, transition, result == ProbeResult::Passed, &checker);
        if !cluster.health_logs.is_empty() {
            tell(&cluster, &host, &check, ended, transition, first);
        }
        if first {
            cluster.host_checked(host.id);
        }
    }
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    result: ProbeResult,
    /// Of an HTTP answer; 0 is none.
    status: u16,
}

impl Ending {
    fn of(result: ProbeResult) -> Self {
        Self { result, status: 0 }
    }
}

/// Logs what somebody asked to read of: changes, the first failure, and all that the check says.
fn tell(
    cluster: &Cluster,
    host: &Host,
    check: &HealthCheck,
    ended: Ending,
    transition: Transition,
    first: bool,
) {
    let failure = match ended.result {
        ProbeResult::Passed => None,
        ProbeResult::Refused | ProbeResult::RefusedAtOnce => Some(HealthFailure::Active),
        ProbeResult::NetworkFailure => Some(HealthFailure::Network),
        ProbeResult::TimedOut => Some(HealthFailure::NetworkTimeout),
    };
    let status = ended.status;
    let change = match (transition, failure) {
        (Transition::BecameHealthy, _) => Some(HealthChange::AddHealthy { first }),
        (Transition::BecameUnhealthy, Some(failure)) => {
            Some(HealthChange::EjectUnhealthy { failure, status })
        }
        _ => None,
    };
    let end = match failure {
        Some(failure) if first || check.log.failures => {
            Some(HealthChange::Failure { failure, first, status })
        }
        None if check.log.successes => Some(HealthChange::Success),
        _ => None,
    };
    let hosts = cluster.hosts();
    let member = hosts.members.iter().find(|member| member.host.id == host.id);
    let locality = member.map(|member| &member.place.locality);
    let checker = match check.probe {
        HealthProbe::Http { .. } => "HTTP",
        HealthProbe::Grpc { .. } => "GRPC",
        HealthProbe::Tcp => "TCP",
    };
    for change in change.into_iter().chain(end) {
        let event = HealthEvent { cluster: &cluster.name, host: host.address, locality, checker, change };
        cluster.health_logs.iter().for_each(|log| log.health(&event, SystemTime::now()));
    }
}

/// A pass also ends an ejection; the detector sees the cleared flag at its next tick.
fn apply(cluster: &Arc<Cluster>, host: &Host, transition: Transition, passed: bool, checker: &Checker) {
    let unchecked = host.is_unchecked();
    host.set_unchecked(false);
    let mut changed = unchecked | host.set_flag(HealthFlag::FailedActiveCheck, !checker.is_healthy());
    if transition == Transition::BecameHealthy {
        host.became_healthy();
    }
    let ends_ejection =
        cluster.config.outlier_detection.is_some_and(|config| config.unejected_by_health_check);
    if passed && checker.is_healthy() && ends_ejection {
        changed |= host.set_flag(HealthFlag::FailedOutlierCheck, false);
    }
    if changed {
        tracing::debug!(cluster = &*cluster.name, host = %host.address, healthy = checker.is_healthy(), "health changed");
        cluster.health_changed();
    }
}

fn count(cluster: &Cluster, result: ProbeResult) {
    cluster.upkeep.health_check_attempt.inc();
    match result {
        ProbeResult::Passed => cluster.upkeep.health_check_success.inc(),
        ProbeResult::Refused | ProbeResult::RefusedAtOnce => cluster.upkeep.health_check_failure.inc(),
        ProbeResult::NetworkFailure | ProbeResult::TimedOut => {
            cluster.upkeep.health_check_failure.inc();
            cluster.upkeep.health_check_network_failure.inc();
        }
    }
}

async fn probe(
    host: &Host,
    check: &HealthCheck,
    cluster: &str,
    tls: Option<&ClientTls>,
    word: Option<ProxyProtocolVersion>,
) -> Ending {
    let mut address = host.address;
    if let Some(port) = check.port {
        address.set_port(port);
    }
    ask(address, &check.probe, cluster, tls, word).await
}

/// Asks once, within the check's time, for whoever has a host and no cluster; on a [`tokio::task::LocalSet`]. `name`: what the
/// host is called where the probe does not say.
pub async fn once(address: SocketAddr, check: &HealthCheck, name: &str) -> ProbeResult {
    let asked =
        tokio::time::timeout(check.timeout, Box::pin(ask(address, &check.probe, name, None, None))).await;
    asked.map_or(ProbeResult::TimedOut, |ended| ended.result)
}

async fn ask(
    address: SocketAddr,
    probe: &HealthProbe,
    cluster: &str,
    tls: Option<&ClientTls>,
    word: Option<ProxyProtocolVersion>,
) -> Ending {
    let broken = Ending::of(ProbeResult::NetworkFailure);
    let Ok(mut stream) = TcpStream::connect(address).await else { return broken };
    if let Some(version) = word {
        let ends = || Some(Ends { source: stream.local_addr().ok()?, destination: address });
        // A host that is told whose connection it gets is told that this one is nobody's.
        let word = match version {
            ProxyProtocolVersion::V1 => proxy_protocol::encode(Version::V1, ends()),
            ProxyProtocolVersion::V2 => proxy_protocol::encode(Version::V2, None),
        };
        if stream.write_all(&word).await.is_err() {
            return broken;
        }
    }
    let Some(tls) = tls else { return ask_over(stream, probe, cluster).await };
    // A host that is called by TLS is probed by TLS.
    let Some(context) = tls.current() else { return broken };
    match context.probe(stream, address.ip()).await {
        Ok(stream) => ask_over(stream, probe, cluster).await,
        Err(_) => broken,
    }
}

async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    probe: &HealthProbe,
    cluster: &str,
) -> Ending {
    let authority = |name: &str| if name.is_empty() { cluster.to_owned() } else { name.to_owned() };
    match probe {
        HealthProbe::Tcp => Ending::of(ProbeResult::Passed),
        HealthProbe::Http { path, host, http2: false, statuses } => {
            http1::get(stream, path, &authority(host), statuses).await
        }
        HealthProbe::Http { path, host, http2: true, statuses } => {
            http2::get(stream, path, &authority(host), statuses).await
        }
        HealthProbe::Grpc { service, authority: name } => {
            Ending::of(grpc::check(stream, service, &authority(name)).await)
        }
    }
}

/// What an HTTP answer says: what is expected passes – 200 where nothing is said – and whatever else does not.
fn judge(status: u16, fails_at_once: bool, expected: &[Range<u16>]) -> Ending {
    let passes = match expected {
        [] => status == 200,
        ranges => ranges.iter().any(|range| range.contains(&status)),
    };
    let result = match (passes, fails_at_once) {
        (_, true) => ProbeResult::RefusedAtOnce,
        (true, false) => ProbeResult::Passed,
        (false, false) => ProbeResult::Refused,
    };
    Ending { result, status }
}
