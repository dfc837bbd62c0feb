//! A cluster at work: its definition, its hosts, and the choice of one.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use selvedge_telemetry::{ClusterStats, Registry, Sharded};
use selvedge_traffic::balance::{HostHealth, Pick, pick_avoiding};
use selvedge_traffic::outlier::Detection;
use selvedge_traffic::{Discovery, EndpointHealth, LoadAssignment};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::breaker::{Breaker, Priority};
use crate::dns::Resolver;
use crate::found::{Found, found};
use crate::host::{HealthFlag, Host, HostOutlier};
use crate::hosts::{HostSet, Member};
use crate::original_dst::OriginalDst;
use crate::{ejection, probe, random, resolve};

/// Detections that wait for the cluster's detector.
const DETECTIONS_MAX: usize = 256;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Ids of clusters and hosts: unique in the process.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// One definition of a cluster. Endpoints change inside; another definition under the same name is another `Cluster`.
#[derive(Debug)]
pub struct Cluster {
    /// Unique in the process.
    pub id: u64,
    pub name: Arc<str>,
    pub config: Arc<selvedge_traffic::Cluster>,
    pub stats: Arc<Sharded<ClusterStats>>,
    hosts: ArcSwap<HostSet>,
    default: Arc<Breaker>,
    high: Arc<Breaker>,
    original_dst: Option<OriginalDst>,
    /// What the control thread alone changes; workers never lock it.
    control: Mutex<Control>,
    /// The first endpoints are known and, where hosts are probed, every one of them has been.
    warm: watch::Sender<bool>,
    removed: AtomicBool,
}

#[derive(Debug)]
struct Control {
    runtime: Handle,
    detections: Option<mpsc::Sender<(u64, Detection)>>,
    /// Ends with the cluster.
    tasks: Vec<AbortHandle>,
    /// Probes of each host, by its id.
    probes: HashMap<u64, AbortHandle>,
    /// Hosts, by id, whose first probe has not ended.
    unchecked: HashSet<u64>,
    endpoints_known: bool,
}

/// What a pick is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    /// For the policies that hash.
    pub hash: Option<u64>,
    /// 0 for the first try.
    pub attempt: u32,
    /// Hosts of earlier tries, to be avoided …
    pub tried: &'a [Arc<Host>],
    /// … by drawing again so many times at most.
    pub reselect_max: u32,
    /// Where an intercepted connection wanted to go; for clusters whose hosts are just that.
    pub original_dst: Option<SocketAddr>,
}

/// Why there is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickFailure {
    NoHealthyHost,
}

impl Cluster {
    /// Starts what the definition asks for: lookups, probes, ejection. `runtime` is the control thread's.
    pub(crate) fn start(
        config: Arc<selvedge_traffic::Cluster>,
        registry: &Registry,
        resolver: &Resolver,
        runtime: &Handle,
    ) -> Arc<Self> {
        let stats = registry.cluster(&config.name);
        let breaker = |thresholds, priority| Breaker::new(thresholds, priority, Arc::clone(&stats));
        let (detections, detected) = config.outlier_detection.map(|_| mpsc::channel(DETECTIONS_MAX)).unzip();
        let cluster = Arc::new(Self {
            id: next_id(),
            name: config.name.as_str().into(),
            hosts: ArcSwap::from_pointee(HostSet::new(Vec::new(), config.balancing)),
            default: breaker(config.circuit_breakers.default, Priority::Default),
            high: breaker(config.circuit_breakers.high, Priority::High),
            original_dst: matches!(config.discovery, Discovery::OriginalDst).then(OriginalDst::default),
            control: Mutex::new(Control {
                runtime: runtime.clone(),
                detections,
                tasks: Vec::new(),
                probes: HashMap::new(),
                unchecked: HashSet::new(),
                endpoints_known: false,
            }),
            warm: watch::Sender::new(false),
            removed: AtomicBool::new(false),
            config,
            stats,
        });
        if let (Some(detection), Some(detected)) = (cluster.config.outlier_detection, detected) {
            cluster.spawn(ejection::run(Arc::downgrade(&cluster), detection, detected));
        }
        match &cluster.config.discovery {
            Discovery::Static(assignment) => cluster.update_endpoints(assignment),
            Discovery::StrictDns { assignment, family } => {
                cluster.spawn(resolve::run(
                    cluster.weak(),
                    resolver.clone(),
                    assignment.clone(),
                    *family,
                    false,
                ));
            }
            Discovery::LogicalDns { assignment, family } => {
                cluster.spawn(resolve::run(
                    cluster.weak(),
                    resolver.clone(),
                    assignment.clone(),
                    *family,
                    true,
                ));
            }
            Discovery::Eds { .. } => {}
            Discovery::OriginalDst => {
                cluster.spawn(crate::original_dst::run(cluster.weak()));
                cluster.warm.send_replace(true);
            }
        }
        cluster
    }

    /// Picks a host: no lock, no allocation but for the clone of an `Arc`.
    ///
    /// # Errors
    /// There is no host that may be used.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Arc<Host>, PickFailure> {
        if let Some(original_dst) = &self.original_dst {
            let host = context.original_dst.and_then(|address| original_dst.host(address));
            return host.ok_or(PickFailure::NoHealthyHost);
        }
        let set = self.hosts.load();
        let pick = Pick { hash: context.hash, attempt: context.attempt };
        let draw = || {
            let picked = set.balancer.pick(pick, |host| set.members[host].host.active(), random::next)?;
            if picked.panicked {
                self.stats.lb_healthy_panic.inc();
            }
            Some(&set.members[picked.host].host)
        };
        let tried = |host: &&Arc<Host>| context.tried.iter().any(|tried| Arc::ptr_eq(tried, host));
        pick_avoiding(draw, tried, context.reselect_max).cloned().ok_or(PickFailure::NoHealthyHost)
    }

    pub fn breaker(&self, priority: Priority) -> &Arc<Breaker> {
        match priority {
            Priority::Default => &self.default,
            Priority::High => &self.high,
        }
    }

    /// The hosts of this moment.
    pub fn hosts(&self) -> Arc<HostSet> {
        self.hosts.load_full()
    }

    /// Another definition, or none, has taken this one's place.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Waits until requests may come: endpoints are known and each was probed once, if they are probed.
    pub async fn warmed(&self) {
        // The sender lives in this very cluster, so that waiting cannot fail while it is borrowed.
        let _ = self.warm.subscribe().wait_for(|warm| *warm).await;
    }

    pub fn is_warm(&self) -> bool {
        *self.warm.borrow()
    }

    /// Takes an answer of discovery: adds, updates and removes hosts; those whose address stays stay the same.
    pub fn update_endpoints(self: &Arc<Self>, assignment: &LoadAssignment) {
        let found = found(assignment);
        if found.is_empty() {
            self.stats.update_empty.inc();
        }
        self.update_members(found);
    }

    pub(crate) fn update_members(self: &Arc<Self>, found: Vec<Found>) {
        let mut control = self.lock();
        let current = self.hosts.load_full();
        let mut before: HashMap<SocketAddr, &Member> =
            current.members.iter().map(|member| (member.host.address, member)).collect();
        let mut members: Vec<Member> = Vec::with_capacity(found.len());
        let (mut added, mut health_changed) = (false, false);
        for found in found {
            let known = before.remove(&found.address);
            added |= known.is_none();
            let host = match known {
                Some(member) => Arc::clone(&member.host),
                None => self.add_host(&mut control, &found),
            };
            health_changed |= host.set_flag(HealthFlag::PendingRemoval, false);
            health_changed |= host.set_flag(HealthFlag::FailedEds, is_failed(found.health));
            health_changed |=
                host.set_flag(HealthFlag::DegradedEds, found.health == EndpointHealth::Degraded);
            let Found { weight, priority, locality, .. } = found;
            members.push(Member { host, weight, priority, locality });
        }
        let removed = before.len();
        for member in before.into_values() {
            if self.outlives_discovery(&member.host) {
                member.host.set_flag(HealthFlag::PendingRemoval, true);
                members.push(member.clone());
            } else {
                Self::drop_host(&mut control, &member.host);
            }
        }
        if added || removed > 0 {
            self.stats.membership_change.inc();
        }
        // The same hosts with the same shares: whoever rotates through them goes on where it is.
        if !health_changed && control.endpoints_known && members == current.members {
            self.stats.update_no_rebuild.inc();
        } else {
            control.endpoints_known = true;
            self.publish(members);
        }
        self.settle(&mut control);
    }

    /// A health flag of a host changed: the choice is made anew.
    pub(crate) fn health_changed(&self) {
        let mut control = self.lock();
        let mut members = self.hosts.load().members.clone();
        members.retain(|member| {
            let stays = !member.host.has_flag(HealthFlag::PendingRemoval)
                || !member.host.has_flag(HealthFlag::FailedActiveCheck);
            if !stays {
                Self::drop_host(&mut control, &member.host);
            }
            stays
        });
        self.publish(members);
    }

    /// A host's first probe has ended.
    pub(crate) fn host_checked(&self, id: u64) {
        let mut control = self.lock();
        control.unchecked.remove(&id);
        self.settle(&mut control);
    }

    /// Ends the cluster's tasks and gives its hosts up; requests in flight finish.
    pub(crate) fn retire(&self) {
        self.removed.store(true, Ordering::Relaxed);
        let mut control = self.lock();
        control.tasks.drain(..).for_each(|task| task.abort());
        for member in &self.hosts.load().members {
            Self::drop_host(&mut control, &member.host);
        }
    }

    pub(crate) fn original_dst(&self) -> Option<&OriginalDst> {
        self.original_dst.as_ref()
    }

    fn weak(self: &Arc<Self>) -> Weak<Self> {
        Arc::downgrade(self)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut control = self.lock();
        let handle = control.runtime.spawn(task).abort_handle();
        control.tasks.push(handle);
    }

    fn add_host(self: &Arc<Self>, control: &mut Control, found: &Found) -> Arc<Host> {
        let outlier = self.config.outlier_detection.zip(control.detections.clone());
        let outlier = outlier.map(|(config, detections)| HostOutlier {
            config,
            streak: Default::default(),
            detections,
        });
        let host = Arc::new(Host::new(next_id(), found.address, found.hostname.clone(), outlier));
        // One check a cluster is spoken, as App Mesh has it; the first of several stands for all.
        if let Some(check) = self.config.health_checks.first() {
            host.set_flag(HealthFlag::FailedActiveCheck, true);
            control.unchecked.insert(host.id);
            let probes = probe::run(self.weak(), Arc::clone(&host), check.clone());
            control.probes.insert(host.id, control.runtime.spawn(probes).abort_handle());
        }
        host
    }

    fn drop_host(control: &mut Control, host: &Host) {
        host.remove();
        // Nobody waits for a probe that will not end.
        control.unchecked.remove(&host.id);
        if let Some(probes) = control.probes.remove(&host.id) {
            probes.abort();
        }
    }

    /// A host that its health check finds well is kept although discovery left it out, unless configured otherwise.
    fn outlives_discovery(&self, host: &Host) -> bool {
        !self.config.health_checks.is_empty()
            && !self.config.ignore_health_on_host_removal
            && !host.has_flag(HealthFlag::FailedActiveCheck)
    }

    fn settle(&self, control: &mut Control) {
        if control.endpoints_known && control.unchecked.is_empty() {
            self.warm.send_if_modified(|warm| !std::mem::replace(warm, true));
        }
    }

    fn publish(&self, members: Vec<Member>) {
        let set = HostSet::new(members, self.config.balancing);
        let gauge = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.stats.membership_total.set(gauge(set.members.len()));
        self.stats.membership_healthy.set(gauge(set.count(HostHealth::Healthy)));
        self.stats.membership_degraded.set(gauge(set.count(HostHealth::Degraded)));
        self.stats
            .max_host_weight
            .set(set.members.iter().map(|member| member.weight).max().unwrap_or(0).into());
        if !self.config.health_checks.is_empty() {
            self.stats.health_check_healthy.set(gauge(set.count(HostHealth::Healthy)));
        }
        self.hosts.store(Arc::new(set));
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.retire();
    }
}

fn is_failed(health: EndpointHealth) -> bool {
    matches!(health, EndpointHealth::Unhealthy | EndpointHealth::Draining | EndpointHealth::TimedOut)
}
