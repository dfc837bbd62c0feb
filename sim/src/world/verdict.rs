//! What must hold: at every moment, and when peace has come.

use super::{AFTERMATH, World, address_of};
use crate::client::{Answer, Client, Request};
use crate::config::{Config, Gap, Missing};
use crate::intent::MESH;
use crate::network::Host;
use crate::reference::Lost;
use crate::sidecar::{Disk, Make, Sidecar};
use selvedge_control::operations::load_mesh;
use selvedge_model::Snapshot;
use selvedge_store::{Error, Revision, Store as _};
use selvedge_traffic::{Address, Endpoint, LoadAssignment, LocalityEndpoints, Resource};
use selvedge_translate::{EndpointSource, Proxy, ProxyKind, translate};
use std::time::Duration;

/// How long a peaceful world may take until every proxy has what the store holds: both keep-alives of a dead
/// connection (35 s) and the longest back-off (30 s) fit in, twice.
const PEACE_MAX: Duration = Duration::from_secs(150);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that must not happen in any world.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// An acknowledged write is gone, or one appeared out of nowhere.
    #[error(transparent)]
    Lost(#[from] Box<Lost>),
    /// A proxy serves a route to a cluster that it does not have.
    #[error("{host} serves a broken route: {gap}")]
    Broken {
        /// The proxy.
        host: Host,
        /// The route.
        gap: Gap,
    },
    /// A proxy rejected what the control plane sent.
    #[error("{host} rejects {why}")]
    Rejected {
        /// The proxy.
        host: Host,
        /// What and why.
        why: String,
    },
    /// Peace has lasted, and a proxy still has something else than it should.
    #[error("{host} has not converged: {}", .differences.join("; "))]
    Diverged {
        /// The proxy.
        host: Host,
        /// What differs.
        differences: Vec<String>,
    },
    /// The control plane cannot say what the store holds, though nothing ails it.
    #[error("the control plane does not answer: {0}")]
    Mute(String),
    /// A client was not done in time.
    #[error("client-{0} does not come to an end")]
    Endless(u8),
}

/// What every proxy must come to have. It follows from the store and from who is running, and holds as long as both
/// stay as they are.
pub(super) struct Goal {
    revision: Revision,
    running: Vec<bool>,
    /// By proxy; `None` for one of something that has been deleted, which keeps what it had.
    configs: Vec<Option<Config>>,
}

impl World {
    /// Lets time pass until every running proxy has what the store holds.
    ///
    /// # Errors
    /// [`Failure::Diverged`] when that takes longer than a peaceful world may take.
    pub fn converge(&mut self) -> Result<(), Failure> {
        let deadline = self.now + PEACE_MAX;
        loop {
            self.run_for(LOOK_EVERY)?;
            match self.divergence()? {
                None => break,
                Some(diverged) if self.now >= deadline => return Err(diverged),
                Some(_) => {}
            }
        }
        self.note("world", "has converged");
        Ok(())
    }

    /// Lets time pass until no client has anything left to do.
    ///
    /// # Errors
    /// [`Failure::Endless`] when that takes longer than it may.
    pub fn run_until_content(&mut self) -> Result<(), Failure> {
        let deadline = self.now + PEACE_MAX;
        while let Some(busy) = self.busy_client() {
            if self.now >= deadline {
                return Err(Failure::Endless(busy));
            }
            self.run_for(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Reads back everything that was ever written, and compares it with what was acknowledged.
    ///
    /// # Errors
    /// [`Failure::Lost`].
    pub fn audit(&mut self) -> Result<(), Failure> {
        for subject in self.reference.subjects() {
            let request = Request::Read(subject.clone());
            let replica = self.controls.iter_mut().find_map(|machine| machine.running.as_mut());
            let replica = replica.ok_or_else(|| Failure::Mute("none is running".to_owned()))?;
            let answer: Answer = replica.plane.call(self.now, &request);
            let seen = answer.seen().ok_or_else(|| Failure::Mute(format!("{request}: {answer}")))?;
            self.reference.observe(&subject, seen)?;
        }
        self.note("world", "holds all that was acknowledged");
        Ok(())
    }

    /// What a proxy has in force, for people.
    pub fn show(&self, proxy: u8) -> Vec<String> {
        match self.config(proxy) {
            Some(config) => config.outline(),
            None => vec!["(down)".to_owned()],
        }
    }

    /// Make before break, at every moment.
    ///
    /// Two things are beyond a control plane, and excused in proxies that do not hold anything back themselves. It
    /// holds routes back for a second and no longer: on a network that stalls, routes may overtake the hosts of a
    /// cluster there, though never the cluster. And who comes back and speaks of the whole does not say what it has:
    /// clusters that went meanwhile go before the routes to them, which follow at once.
    pub(super) fn check_proxy(&mut self, index: u8) {
        let is_stalled = self.network.is_partitioned() || self.now < self.stalled_until;
        let make = self.disks[usize::from(index)].make();
        let is_back = self.now < self.connected_at[usize::from(index)] + AFTERMATH;
        let is_wrong = |gap: &Gap| match make {
            Make::Own => true,
            Make::Envoy => !(is_stalled && gap.what == Missing::Warmth),
            Make::EnvoyOfTheWorld => !(is_stalled || is_back),
        };
        let gap = self.config(index).and_then(|config| config.gaps().into_iter().find(is_wrong));
        if let Some(gap) = gap {
            self.fail(Failure::Broken { host: Host::Proxy(index), gap });
        }
    }

    pub(super) fn fail_if<T, E: Into<Failure>>(&mut self, result: Result<T, E>) {
        if let Err(failure) = result {
            self.fail(failure.into());
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.note("world", &failure);
        self.failure.get_or_insert(failure);
    }

    fn config(&self, proxy: u8) -> Option<&Config> {
        self.proxies[usize::from(proxy)].running.as_ref().map(Sidecar::config)
    }

    fn busy_client(&self) -> Option<u8> {
        let is_busy = |client: &Client| !client.is_content();
        (0..)
            .zip(&self.clients)
            .find(|(_, it)| it.running.as_ref().is_some_and(is_busy))
            .map(|(index, _)| index)
    }

    /// The first running proxy that has something else than the store's last revision says.
    fn divergence(&mut self) -> Result<Option<Failure>, Failure> {
        let goal = match self.goal.take() {
            Some(goal) if goal.revision == self.revision()? && goal.running == self.running() => goal,
            _ => self.find_goal()?,
        };
        let differing = (0..).zip(&goal.configs).find_map(|(index, expected)| {
            let differences = self.config(index)?.differences(expected.as_ref()?);
            let host = Host::Proxy(index);
            (!differences.is_empty()).then_some(Failure::Diverged { host, differences })
        });
        self.goal = Some(goal);
        Ok(differing)
    }

    fn find_goal(&self) -> Result<Goal, Failure> {
        let snapshot = self.store.snapshot().map_err(mute)?;
        let mesh = load_mesh(&*snapshot, MESH).map_err(mute)?;
        let config_of = |disk: &Disk| {
            let (mesh, (kind, name)) = (mesh.as_ref()?, disk.resource());
            let is_there = match kind {
                ProxyKind::VirtualNode => mesh.virtual_nodes.contains_key(name),
                ProxyKind::VirtualGateway => mesh.virtual_gateways.contains_key(name),
            };
            is_there.then(|| self.expected(mesh, kind, name))
        };
        let configs = self.disks.iter().map(config_of).collect();
        Ok(Goal { revision: snapshot.revision(), running: self.running(), configs })
    }

    fn revision(&self) -> Result<Revision, Failure> {
        Ok(self.store.snapshot().map_err(mute)?.revision())
    }

    fn running(&self) -> Vec<bool> {
        self.proxies.iter().map(|machine| machine.running.is_some()).collect()
    }

    /// What a proxy must have in the end: the mesh's translation, with the running proxies as endpoints.
    fn expected(&self, mesh: &Snapshot, kind: ProxyKind, name: &str) -> Config {
        let proxy = Proxy { kind, ..Proxy::node(name) };
        let translation = translate(mesh, &proxy);
        let mut config = Config::default();
        for (cluster, source) in &translation.endpoints {
            config.put(Resource::Endpoints(self.expected_endpoints(cluster, source)));
        }
        translation.resources.into_iter().for_each(|resource| config.put(resource));
        config
    }

    fn expected_endpoints(&self, cluster: &str, source: &EndpointSource) -> LoadAssignment {
        let is_instance = |index: u8| {
            let (kind, name) = self.disks[usize::from(index)].resource();
            kind == ProxyKind::VirtualNode && name == source.node && self.config(index).is_some()
        };
        let count = u8::try_from(self.disks.len()).expect("a cast counts in u8");
        let endpoint = |index| Endpoint::new(Address::Socket((address_of(index), source.port).into()));
        let endpoints: Vec<_> = (0..count).filter(|&index| is_instance(index)).map(endpoint).collect();
        let locality = LocalityEndpoints { endpoints, ..LocalityEndpoints::default() };
        let localities = if locality.endpoints.is_empty() { Vec::new() } else { vec![locality] };
        LoadAssignment { cluster: cluster.to_owned(), localities, ..LoadAssignment::default() }
    }
}

fn mute(error: Error) -> Failure {
    Failure::Mute(error.to_string())
}
