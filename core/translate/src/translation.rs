//! The result of a translation, and its entrance.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_model::{Key, Snapshot};
use selvedge_traffic::{DnsLookupFamily, Locality, Resource, ResourceKind};

use crate::context::Context;
use crate::proxy::{Proxy, ProxyKind};
use crate::{Diagnostic, gateway, node};

/// What one proxy is to execute, and what there is to know about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// By kind, in the order in which additions must reach a proxy, then by name. Endpoints are not among them:
    /// `endpoints` tells whose they are.
    pub resources: Vec<Resource>,
    /// Whose endpoints each cluster by endpoint discovery has, by the name that it is discovered under.
    pub endpoints: BTreeMap<String, EndpointSource>,
    /// Sorted, the worst first; none twice.
    pub diagnostics: Vec<Diagnostic>,
    pub origins: Origins,
    /// Everything that was looked at, whether it existed or not. See [`Translation::depends_on`].
    pub dependencies: BTreeSet<Key>,
    /// The ARNs of certificates and authorities that were looked for, whether they can be had or not.
    pub certificates: BTreeSet<String>,
    /// The names of the secrets that the proxy is to have from the control plane. See [`secret`](crate::secret).
    pub secrets: BTreeSet<String>,
}

/// The instances behind a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSource {
    /// The virtual node; empty for the control plane.
    pub node: String,
    /// Its listener's port.
    pub port: u16,
    pub found: Found,
    /// Groups of places in the order in which they are called; instances elsewhere come last.
    pub priorities: Vec<Places>,
}

/// Places that are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Places {
    pub zones: Vec<String>,
    pub regions: Vec<String>,
}

impl EndpointSource {
    /// When instances that stand there are called, 0 first.
    pub fn priority(&self, locality: &Locality) -> u32 {
        let among = |names: &[String], name: &String| !name.is_empty() && names.contains(name);
        let holds = |places: &Places| {
            among(&places.zones, &locality.zone) || among(&places.regions, &locality.region)
        };
        let at = self.priorities.iter().position(holds).unwrap_or(self.priorities.len());
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}

/// How instances are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// They are the sidecars that are connected as this node.
    BySidecar,
    /// It is the control plane itself.
    ControlPlane,
    /// They are registered with Cloud Map; only those with all attributes count. While there is no such service, they are the
    /// sidecars that are connected as this node.
    ByCloudMap {
        namespace: String,
        service: String,
        attributes: Vec<(String, String)>,
        /// Which of an instance's addresses is called.
        family: DnsLookupFamily,
    },
}

/// Which of App Mesh's resources a proxy's resource comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// By the name of a listener, cluster or route table: ARNs. What a proxy rejects is shown on these.
    pub resources: BTreeMap<String, BTreeSet<String>>,
    /// By route table, virtual host and position: the route, gateway route, or node that a route comes from.
    pub routes: BTreeMap<(String, String, usize), Key>,
    /// By cluster: the virtual node and its listener's port.
    pub clusters: BTreeMap<String, (String, u16)>,
    /// By route table and virtual host: the virtual service and the port that it answers on.
    pub services: BTreeMap<(String, String), (String, u16)>,
    /// The policies that had a part in something.
    pub policies: BTreeMap<Governed, BTreeSet<String>>,
}

/// What a policy had a part in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Governed {
    /// A route, by table, virtual host and position.
    Route(String, String, usize),
    Cluster(String),
    /// A side of the proxy as a whole: `accessLog`, `egress`.
    Proxy(&'static str),
}

impl Translation {
    /// Whether a change of that resource can change this translation: it was looked at, or it is a child (a route, a
    /// gateway route) of one that was.
    pub fn depends_on(&self, changed: &Key) -> bool {
        self.dependencies.contains(changed)
            || changed.parent_key().is_some_and(|parent| self.dependencies.contains(&parent))
    }

    /// The resources of one kind.
    pub fn of_kind(&self, kind: ResourceKind) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(move |resource| resource.kind() == kind)
    }
}

/// Translates a mesh for one proxy.
///
/// Total: it never fails, it reports. A proxy whose node or gateway does not exist gets nothing but a diagnostic.
/// Deterministic: the same snapshot and proxy give the same translation.
pub fn translate(snapshot: &Snapshot, proxy: &Proxy) -> Translation {
    let mut context = Context::new(snapshot, proxy);
    match proxy.kind {
        ProxyKind::VirtualNode => node::translate(&mut context),
        ProxyKind::VirtualGateway => gateway::translate(&mut context),
    }
    context.finish()
}
