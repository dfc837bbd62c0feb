//! A cluster at work: its definition, its hosts, and the choice of one.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use selvedge_telemetry::events::EventLog;
use selvedge_telemetry::{ClusterStats, ClusterUpkeep, Registry, Sharded, SocketFactoryStats, SslStats};
use selvedge_traffic::balance::locality::Drawn;
use selvedge_traffic::balance::{Balancer, HostHealth, NoHost, Pick, Picked, ZoneProblem, pick_avoiding};
use selvedge_traffic::breaker::BreakerState;
use selvedge_traffic::circuit::Priority;
use selvedge_traffic::outlier::Detection;
use selvedge_traffic::{
    Discovery, EndpointHealth, Labels, LoadAssignment, Locality, LocalityRouting, UpstreamTransport,
};
use selvedge_wire::tls::{ClientTls, Secrets};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use crate::breaker::Breaker;
use crate::dns::Resolver;
use crate::events::EventLogs;
use crate::found::{Found, found};
use crate::host::{HealthFlag, Host, HostOutlier};
use crate::hosts::{HostSet, Member};
use crate::original_dst::OriginalDst;
use crate::state_breaker::{Leave, Scope, StateBreaker};
use crate::subsets::Chosen;
use crate::zones::LocalZones;
use crate::{ejection, probe, random, resolve};

/// How often the choice is made anew during slow start.
const WARMING_STEP_MIN: Duration = Duration::from_millis(100);
const WARMING_STEP_MAX: Duration = Duration::from_secs(1);

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
    pub upkeep: Arc<Sharded<ClusterUpkeep>>,
    hosts: ArcSwap<HostSet>,
    default: Arc<Breaker>,
    high: Arc<Breaker>,
    original_dst: Option<OriginalDst>,
    /// Stands before all hosts together.
    state_breaker: Option<Arc<StateBreaker>>,
    /// Where the proxy's own cluster has hosts.
    zones: watch::Receiver<Arc<LocalZones>>,
    /// How connections to its hosts are encrypted, if they are.
    pub tls: Option<Arc<ClientTls>>,
    /// What its handshakes count.
    pub(crate) ssl: Option<SslStats>,
    pub(crate) secrets: Option<SocketFactoryStats>,
    /// Where the ends of probes are told.
    pub(crate) health_logs: Vec<EventLog>,
    /// What the control thread alone changes; workers never lock it.
    control: Mutex<Control>,
    /// The first endpoints are known and, where hosts are probed, every one of them has been.
    warm: AtomicBool,
    /// Wakes whoever waits for that.
    grew_warm: Notify,
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
    /// Makes the choice anew while hosts are in slow start.
    warming: Option<AbortHandle>,
    /// This is the proxy's own cluster: whom to tell where its hosts stand.
    told: Option<(Locality, watch::Sender<Arc<LocalZones>>)>,
}

/// What a cluster starts with; all of it is its proxy's.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) resolver: &'a Resolver,
    /// The control thread's.
    pub(crate) runtime: &'a Handle,
    pub(crate) secrets: &'a Secrets,
    pub(crate) events: Option<&'a EventLogs>,
}

/// What a pick is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    /// For the policies that hash.
    pub hash: Option<u64>,
    /// The hosts that may be asked, where the cluster has subsets; `None` is any.
    pub labels: Option<&'a Labels>,
    /// Hosts of earlier tries, canaries, and hosts with all of these labels are to be avoided …
    pub tried: &'a [Arc<Host>],
    pub avoid_canaries: bool,
    pub avoid_labels: Option<&'a Labels>,
    /// … by drawing again so many times at most.
    pub reselect_max: u32,
    /// Priorities of earlier tries, as bits, to be passed over.
    pub priorities_avoided: u64,
    /// Where an intercepted connection wanted to go; for clusters whose hosts are just that.
    pub original_dst: Option<SocketAddr>,
}

/// Why there is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickFailure {
    NoHealthyHost,
    /// A breaker with states is open, before the cluster or before every host that was drawn.
    BreakerOpen(Scope),
}

/// A host, and leave to send it a request.
#[derive(Debug)]
pub struct PickedHost {
    pub host: Arc<Host>,
    pub priority: u32,
    pub leave: Leave,
}

/// Draws that an open breaker may spoil before every host is looked at in turn.
const BREAKER_DRAWS_MAX: u32 = 8;

impl Cluster {
    /// Starts what the definition asks for: lookups, probes, ejection.
    pub(crate) fn start(
        config: Arc<selvedge_traffic::Cluster>,
        surroundings: &Surroundings<'_>,
        zones: watch::Receiver<Arc<LocalZones>>,
    ) -> Arc<Self> {
        let Surroundings { registry, resolver, runtime, secrets, events } = *surroundings;
        let stats = registry.cluster(&config.name);
        let breaker = |thresholds, priority| Breaker::new(thresholds, priority, Arc::clone(&stats));
        let (detections, detected) = config.outlier_detection.map(|_| mpsc::channel(DETECTIONS_MAX)).unzip();
        let cluster = Arc::new(Self {
            id: next_id(),
            name: config.name.as_str().into(),
            upkeep: registry.upkeep(&config.name),
            hosts: ArcSwap::from_pointee(HostSet::empty(&config)),
            default: breaker(config.circuit_breakers.default, Priority::Default),
            high: breaker(config.circuit_breakers.high, Priority::High),
            ssl: matches!(config.transport, UpstreamTransport::Tls(_))
                .then(|| SslStats::of_cluster(registry, &config.name)),
            secrets: matches!(config.transport, UpstreamTransport::Tls(_))
                .then(|| SocketFactoryStats::of_cluster(registry, &config.name)),
            tls: match &config.transport {
                UpstreamTransport::Plain => None,
                UpstreamTransport::Tls(tls) => Some(secrets.client(tls)),
            },
            original_dst: matches!(config.discovery, Discovery::OriginalDst).then(OriginalDst::default),
            control: Mutex::new(Control {
                runtime: runtime.clone(),
                detections,
                tasks: Vec::new(),
                probes: HashMap::new(),
                unchecked: HashSet::new(),
                endpoints_known: false,
                warming: None,
                told: None,
            }),
            state_breaker: config
                .breaker
                .and_then(|policy| policy.cluster)
                .map(|state| StateBreaker::new(&config.name, None, state, Arc::clone(&stats))),
            zones,
            health_logs: health_logs(&config, events),
            warm: AtomicBool::new(false),
            grew_warm: Notify::new(),
            removed: AtomicBool::new(false),
            config,
            stats,
        });
        if let (Some(detection), Some(detected)) = (cluster.config.outlier_detection, detected) {
            let log = events.and_then(EventLogs::outlier);
            cluster.spawn(ejection::run(Arc::downgrade(&cluster), detection, detected, log));
        }
        if matches!(cluster.config.placement.locality, LocalityRouting::ZoneAware { .. }) {
            cluster.spawn(follow_zones(cluster.weak(), cluster.zones.clone()));
        }
        match &cluster.config.discovery {
            Discovery::Static(assignment) => cluster.update_endpoints(assignment),
            Discovery::StrictDns { .. } | Discovery::LogicalDns { .. } => {
                let config = Arc::clone(&cluster.config);
                cluster.spawn(resolve::run(cluster.weak(), resolver.clone(), config));
            }
            Discovery::Eds { .. } => {}
            Discovery::OriginalDst => {
                cluster.spawn(crate::original_dst::run(cluster.weak()));
                cluster.grow_warm();
            }
        }
        cluster
    }

    /// Picks a host: no lock unless a breaker with states stands before it, no allocation but for the clone of an `Arc`.
    ///
    /// # Errors
    /// There is no host that may be used.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<PickedHost, PickFailure> {
        if let Some(original_dst) = &self.original_dst {
            let host = context.original_dst.and_then(|address| original_dst.host(address));
            let host = host.ok_or(PickFailure::NoHealthyHost)?;
            let leave = Leave::ask(None, self.state_breaker.as_ref()).map_err(PickFailure::BreakerOpen)?;
            return Ok(PickedHost { host, priority: 0, leave });
        }
        let set = self.hosts.load();
        let (balancer, some) = self.choosable(&set, context)?;
        let member = |at: usize| &set.members[some.map_or(at, |some| some[at])];
        let draw = |number| {
            let pick =
                Pick { hash: context.hash, draw: number, priorities_avoided: context.priorities_avoided };
            let picked = balancer.pick(pick, |at| member(at).host.active(), random::next);
            self.count_draw(picked);
            picked.map(|picked| member(picked.host)).map_err(|_| PickFailure::NoHealthyHost)
        };
        let rejected = |member: &&Member| {
            context.tried.iter().any(|tried| Arc::ptr_eq(tried, &member.host))
                || (context.avoid_canaries && member.is_canary())
                || context.avoid_labels.is_some_and(|labels| member.has_labels(labels))
        };
        let picked = pick_avoiding(draw, rejected, context.reselect_max)?;
        if self.config.breaker.is_none() {
            let (host, priority) = (Arc::clone(&picked.host), picked.priority);
            return Ok(PickedHost { host, priority, leave: Leave::default() });
        }
        let others = (1..=BREAKER_DRAWS_MAX).filter_map(|number| draw(context.reselect_max + number).ok());
        let rest = balancer_members(&set, some).filter(|member| member.host.health() == HostHealth::Healthy);
        self.admitted([picked].into_iter().chain(others).chain(rest))
    }

    /// The first host whose breaker, and the cluster's, let a request through.
    fn admitted<'a>(&self, hosts: impl Iterator<Item = &'a Member>) -> Result<PickedHost, PickFailure> {
        let mut refused = Scope::Endpoint;
        for member in hosts {
            match Leave::ask(member.host.breaker.as_ref(), self.state_breaker.as_ref()) {
                Ok(leave) => {
                    let (host, priority) = (Arc::clone(&member.host), member.priority);
                    return Ok(PickedHost { host, priority, leave });
                }
                Err(Scope::Cluster) => {
                    refused = Scope::Cluster;
                    break;
                }
                Err(Scope::Endpoint) => {}
            }
        }
        self.stats.breaker_rejected.inc();
        Err(PickFailure::BreakerOpen(refused))
    }

    /// The hosts from which one is drawn: all, or those with the labels that are asked for.
    fn choosable<'a>(
        &self,
        set: &'a HostSet,
        context: &PickContext<'_>,
    ) -> Result<(&'a Balancer, Option<&'a [usize]>), PickFailure> {
        let Some(subsets) = &set.subsets else { return Ok((&set.balancer, None)) };
        static NO_LABELS: Labels = Labels::new();
        match subsets.choose(context.labels.unwrap_or(&NO_LABELS)) {
            Chosen::Group(group) => {
                self.stats.lb_subsets_selected.inc();
                Ok((&group.balancer, Some(&group.members)))
            }
            Chosen::Any => {
                self.stats.lb_subsets_fallback.inc();
                Ok((&set.balancer, None))
            }
            Chosen::Nobody => Err(PickFailure::NoHealthyHost),
        }
    }

    fn count_draw(&self, picked: Result<Picked, NoHost>) {
        let (panicked, zone) = match picked {
            Ok(picked) => (picked.panicked, picked.zone),
            Err(no_host) => (no_host == NoHost::Panicked, None),
        };
        if panicked {
            self.stats.lb_healthy_panic.inc();
        }
        match zone {
            None | Some(Drawn::Outside) => {}
            Some(Drawn::Directly) => self.stats.lb_zone_routing_all_directly.inc(),
            Some(Drawn::Sampled) => self.stats.lb_zone_routing_sampled.inc(),
            Some(Drawn::CrossZone) => self.stats.lb_zone_routing_cross_zone.inc(),
            Some(Drawn::NoCapacityLeft) => {
                self.stats.lb_zone_routing_cross_zone.inc();
                self.stats.lb_zone_no_capacity_left.inc();
            }
        }
    }

    /// Whether a reader of statistics is told what its circuit breakers have left.
    pub(crate) fn tells_remaining(&self) -> bool {
        [&self.default, &self.high].iter().any(|breaker| breaker.thresholds().track_remaining)
    }

    /// What the breaker before the whole cluster is doing; `None` where there is none.
    pub fn breaker_state(&self) -> Option<BreakerState> {
        self.state_breaker.as_ref().map(|breaker| breaker.state())
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
        // Asked for first: what grows warm between the question and the wait is heard.
        let grew_warm = self.grew_warm.notified();
        if !self.is_warm() {
            grew_warm.await;
        }
    }

    pub fn is_warm(&self) -> bool {
        self.warm.load(Ordering::Acquire)
    }

    fn grow_warm(&self) {
        if !self.warm.swap(true, Ordering::AcqRel) {
            self.grew_warm.notify_waiters();
        }
    }

    /// Takes an answer of discovery: adds, updates and removes hosts; those whose address stays stay the same.
    pub fn update_endpoints(self: &Arc<Self>, assignment: &LoadAssignment) {
        let found = found(assignment);
        if found.is_empty() {
            self.upkeep.update_empty.inc();
        }
        self.update_members(found, assignment.overprovisioning_percent);
    }

    pub(crate) fn update_members(self: &Arc<Self>, found: Vec<Found>, overprovisioning_percent: Option<u32>) {
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
            let Found { weight, priority, place, labels, .. } = found;
            members.push(Member { host, weight, priority, place, labels });
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
            self.upkeep.membership_change.inc();
        }
        // The same hosts with the same shares: whoever rotates through them goes on where it is.
        if !health_changed
            && control.endpoints_known
            && members == current.members
            && overprovisioning_percent == current.overprovisioning_percent
        {
            self.upkeep.update_no_rebuild.inc();
        } else {
            control.endpoints_known = true;
            self.publish(&mut control, members, overprovisioning_percent);
        }
        self.settle(&mut control);
    }

    /// A health flag of a host changed: the choice is made anew.
    pub(crate) fn health_changed(self: &Arc<Self>) {
        let mut control = self.lock();
        let current = self.hosts.load_full();
        let mut members = current.members.clone();
        members.retain(|member| {
            let stays = !member.host.has_flag(HealthFlag::PendingRemoval)
                || !member.host.has_flag(HealthFlag::FailedActiveCheck);
            if !stays {
                Self::drop_host(&mut control, &member.host);
            }
            stays
        });
        self.publish(&mut control, members, current.overprovisioning_percent);
    }

    /// This is the cluster that the proxy belongs to: others learn where its hosts stand.
    pub(crate) fn tell_zones(self: &Arc<Self>, own: Locality, zones: watch::Sender<Arc<LocalZones>>) {
        self.lock().told = Some((own, zones));
        self.health_changed();
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
        let warming = control.warming.take();
        control.tasks.drain(..).chain(warming).for_each(|task| task.abort());
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
            rates: [(); 2].map(|()| AtomicU64::new((-1.0_f64).to_bits())),
        });
        let breaker =
            self.config.breaker.and_then(|policy| policy.endpoint).map(|state| {
                StateBreaker::new(&self.name, Some(found.address), state, Arc::clone(&self.stats))
            });
        let host = Arc::new(Host::new(next_id(), found.address, found.hostname.clone(), outlier, breaker));
        // One check a cluster is spoken, as App Mesh has it; the first of several stands for all.
        if let Some(check) = self.config.health_checks.first() {
            host.set_flag(HealthFlag::FailedActiveCheck, true);
            host.set_unchecked(true);
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
            self.grow_warm();
        }
    }

    fn publish(
        self: &Arc<Self>,
        control: &mut Control,
        members: Vec<Member>,
        overprovisioning_percent: Option<u32>,
    ) {
        let zones = Arc::clone(&self.zones.borrow());
        let now = Some(Instant::now());
        let set = HostSet::new(members, &self.config, overprovisioning_percent, &zones, now);
        self.keep_warming(control, &set);
        if matches!(self.config.placement.locality, LocalityRouting::ZoneAware { .. }) {
            self.stats.lb_recalculate_zone_structures.inc();
            if set.balancer.zone_problem() == Some(ZoneProblem::TooSmall) {
                self.stats.lb_zone_cluster_too_small.inc();
            }
        }
        let gauge = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.upkeep.membership_total.set(gauge(set.members.len()));
        self.upkeep.membership_healthy.set(gauge(set.count(HostHealth::Healthy)));
        self.upkeep.membership_degraded.set(gauge(set.count(HostHealth::Degraded)));
        self.upkeep
            .max_host_weight
            .set(set.members.iter().map(|member| member.weight).max().unwrap_or(0).into());
        if !self.config.health_checks.is_empty() {
            self.upkeep.health_check_healthy.set(gauge(set.count(HostHealth::Healthy)));
        }
        if !self.config.health_checks.is_empty() || set.count(HostHealth::Healthy) != set.members.len() {
            self.upkeep.tell();
        }
        let set = Arc::new(set);
        self.hosts.store(Arc::clone(&set));
        if let Some((own, zones)) = &control.told {
            let told = LocalZones::new(own.clone(), &set);
            zones.send_if_modified(|before| {
                let changed = **before != told;
                *before = Arc::new(told);
                changed
            });
        }
    }

    /// While hosts are in slow start the choice is made anew, a twentieth of the window apart.
    fn keep_warming(self: &Arc<Self>, control: &mut Control, set: &HostSet) {
        let Some(start) = self.config.placement.slow_start.filter(|_| set.is_warming) else {
            control.warming = None;
            return;
        };
        let step = (start.window / 20).clamp(WARMING_STEP_MIN, WARMING_STEP_MAX);
        let cluster = self.weak();
        let task = control.runtime.spawn(async move {
            tokio::time::sleep(step).await;
            if let Some(cluster) = cluster.upgrade() {
                cluster.health_changed();
            }
        });
        // The one before has fired, or its moment comes anyway.
        if let Some(before) = control.warming.replace(task.abort_handle()) {
            before.abort();
        }
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

/// All members, or some.
fn balancer_members<'a>(set: &'a HostSet, some: Option<&'a [usize]>) -> impl Iterator<Item = &'a Member> {
    let all = if some.is_none() { 0..set.members.len() } else { 0..0 };
    some.unwrap_or_default().iter().copied().chain(all).map(|at| &set.members[at])
}

/// Makes the choice anew whenever the proxy's own cluster changes.
async fn follow_zones(cluster: Weak<Cluster>, mut zones: watch::Receiver<Arc<LocalZones>>) {
    zones.mark_unchanged();
    while zones.changed().await.is_ok() {
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.health_changed();
    }
}

fn is_failed(health: EndpointHealth) -> bool {
    matches!(health, EndpointHealth::Unhealthy | EndpointHealth::Draining | EndpointHealth::TimedOut)
}

/// The logs of the check that is spoken.
fn health_logs(config: &selvedge_traffic::Cluster, events: Option<&EventLogs>) -> Vec<EventLog> {
    let (Some(check), Some(events)) = (config.health_checks.first(), events) else { return Vec::new() };
    check.log.paths.iter().map(|path| events.health(path)).collect()
}
