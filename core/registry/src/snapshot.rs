//! Everything that is registered, at one revision of the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::document::{Key, read};
use crate::instance::Instance;
use crate::lease::Lease;
use crate::namespace::Namespace;
use crate::operation::Operation;
use crate::service::Service;

/// The registry as its documents tell. Documents may come in any order; one that is damaged counts as absent.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    namespaces: BTreeMap<String, Namespace>,
    /// By lower-case name.
    names: HashMap<String, String>,
    services: BTreeMap<String, Service>,
    /// By namespace and lower-case name.
    service_names: BTreeMap<(String, String), String>,
    instances: HashMap<String, Instances>,
    /// Which instances have an address, each with its service.
    addresses: BTreeSet<(IpAddr, String, String)>,
    leases: BTreeMap<(String, String), Lease>,
    /// Instances that are being taken away, the next first.
    draining: BTreeSet<(u64, String, String)>,
    operations: BTreeMap<String, Operation>,
    tags: HashMap<String, BTreeMap<String, String>>,
    /// What services without changes of their own have as their revision.
    loaded_at: u64,
}

/// The instances of one service, by identifier.
#[derive(Clone, Debug, Default)]
struct Instances {
    /// Sorted.
    all: Vec<(String, Arc<Instance>)>,
    drained: usize,
    revision: u64,
}

/// A service with its instances.
#[derive(Clone, Copy, Debug)]
pub struct ServiceState<'a> {
    pub service: &'a Service,
    /// Sorted by identifier; those that are being taken away among them.
    pub instances: &'a [(String, Arc<Instance>)],
    /// How many of them are being taken away.
    pub draining: usize,
    /// Grows whenever an instance comes, goes or changes.
    pub revision: u64,
}

/// What a document was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    Namespace(String),
    /// The service itself or its instances.
    Service(String),
    Other,
}

impl Snapshot {
    /// An empty one, for a store at that revision: what was deleted before it can only be told by a number beyond.
    pub fn at(revision: u64) -> Self {
        Self { loaded_at: revision, ..Self::default() }
    }

    /// Takes a document as it is at that revision; `None` when it is gone.
    pub fn apply(&mut self, key: &Key, value: Option<&[u8]>, revision: u64) -> Touched {
        match key {
            Key::Namespace(id) => {
                if let Some(before) = self.namespaces.remove(id) {
                    self.names.remove(&before.name.to_ascii_lowercase());
                }
                if let Some(namespace) = value.and_then(read::<Namespace>) {
                    self.names.insert(namespace.name.to_ascii_lowercase(), id.clone());
                    self.namespaces.insert(id.clone(), namespace);
                }
                Touched::Namespace(id.clone())
            }
            Key::Service(id) => {
                if let Some(before) = self.services.remove(id) {
                    self.service_names.remove(&(before.namespace_id, before.name.to_ascii_lowercase()));
                }
                if let Some(service) = value.and_then(read::<Service>) {
                    let name = service.name.to_ascii_lowercase();
                    self.service_names.insert((service.namespace_id.clone(), name), id.clone());
                    self.services.insert(id.clone(), service);
                }
                Touched::Service(id.clone())
            }
            Key::Instance(service, id) => {
                self.put_instance(service, id, value.and_then(read::<Instance>), revision);
                Touched::Service(service.clone())
            }
            Key::Lease(service, id) => {
                let at = (service.clone(), id.clone());
                match value.and_then(read::<Lease>) {
                    Some(lease) => drop(self.leases.insert(at, lease)),
                    None => drop(self.leases.remove(&at)),
                }
                Touched::Other
            }
            Key::Operation(id) => {
                match value.and_then(read::<Operation>) {
                    Some(operation) => drop(self.operations.insert(id.clone(), operation)),
                    None => drop(self.operations.remove(id)),
                }
                Touched::Other
            }
            Key::Tags(id) => {
                match value.and_then(read::<BTreeMap<String, String>>) {
                    Some(tags) => drop(self.tags.insert(id.clone(), tags)),
                    None => drop(self.tags.remove(id)),
                }
                Touched::Other
            }
            Key::ServiceNamed(..) => Touched::Other,
        }
    }

    fn put_instance(&mut self, service: &str, id: &str, instance: Option<Instance>, revision: u64) {
        let loaded_at = self.loaded_at;
        let instances = self.instances.entry(service.to_owned()).or_default();
        instances.revision = instances.revision.max(revision).max(loaded_at);
        let found = instances.all.binary_search_by(|(one, _)| one.as_str().cmp(id));
        if let Ok(at) = found
            && let Some(drained_at) = instances.all[at].1.drained_at
        {
            instances.drained -= 1;
            self.draining.remove(&(drained_at, service.to_owned(), id.to_owned()));
        }
        if let Some(drained_at) = instance.as_ref().and_then(|instance| instance.drained_at) {
            instances.drained += 1;
            self.draining.insert((drained_at, service.to_owned(), id.to_owned()));
        }
        let at = |address: IpAddr| (address, service.to_owned(), id.to_owned());
        if let Ok(found) = found {
            for address in instances.all[found].1.addresses() {
                self.addresses.remove(&at(address));
            }
        }
        if let Some(instance) = &instance {
            self.addresses.extend(instance.addresses().map(at));
        }
        match (found, instance) {
            (Ok(at), Some(instance)) => instances.all[at].1 = Arc::new(instance),
            (Ok(at), None) => drop(instances.all.remove(at)),
            (Err(at), Some(instance)) => instances.all.insert(at, (id.to_owned(), Arc::new(instance))),
            (Err(_), None) => {}
        }
    }

    // === reading ===

    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    pub fn namespace(&self, id: &str) -> Option<&Namespace> {
        self.namespaces.get(id)
    }

    /// The namespace of that name, in any case.
    pub fn namespace_named(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(self.names.get(&name.to_ascii_lowercase())?)
    }

    pub fn services(&self) -> impl Iterator<Item = ServiceState<'_>> {
        self.services.values().map(|service| self.state(service))
    }

    pub fn service(&self, id: &str) -> Option<ServiceState<'_>> {
        self.services.get(id).map(|service| self.state(service))
    }

    /// The service of that name, in any case, in the namespace of that name.
    pub fn service_named(&self, namespace: &str, name: &str) -> Option<ServiceState<'_>> {
        let namespace = self.namespace_named(namespace)?;
        self.service_in(&namespace.id, name)
    }

    /// The service of that name, in any case, in the namespace of that identifier.
    pub fn service_in(&self, namespace_id: &str, name: &str) -> Option<ServiceState<'_>> {
        let key = (namespace_id.to_owned(), name.to_ascii_lowercase());
        self.services.get(self.service_names.get(&key)?).map(|service| self.state(service))
    }

    /// The lower-case names of a namespace's services, in order, from `first` on.
    pub fn service_names<'a>(
        &'a self,
        namespace_id: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.service_names
            .range((namespace_id.to_owned(), String::new())..)
            .take_while(move |((namespace, _), _)| namespace == namespace_id)
            .map(|((_, name), id)| (name.as_str(), id.as_str()))
    }

    fn state<'a>(&'a self, service: &'a Service) -> ServiceState<'a> {
        match self.instances.get(&service.id) {
            Some(instances) => ServiceState {
                service,
                instances: &instances.all,
                draining: instances.drained,
                revision: instances.revision,
            },
            None => ServiceState { service, instances: &[], draining: 0, revision: self.loaded_at },
        }
    }

    /// The instances with that address, each with its service.
    pub fn instances_at(&self, address: IpAddr) -> impl Iterator<Item = (&str, &str)> {
        self.addresses
            .range((address, String::new(), String::new())..)
            .take_while(move |(at, ..)| *at == address)
            .map(|(_, service, id)| (service.as_str(), id.as_str()))
    }

    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.get(id)
    }

    /// Every operation that is remembered, the oldest first.
    pub fn operations(&self) -> impl DoubleEndedIterator<Item = &Operation> + ExactSizeIterator {
        self.operations.values()
    }

    pub fn tags(&self, id: &str) -> Option<&BTreeMap<String, String>> {
        self.tags.get(id)
    }

    pub fn leases(&self) -> impl Iterator<Item = (&str, &str, &Lease)> {
        self.leases.iter().map(|((service, instance), lease)| (service.as_str(), instance.as_str(), lease))
    }

    pub fn lease(&self, service: &str, instance: &str) -> Option<&Lease> {
        self.leases.get(&(service.to_owned(), instance.to_owned()))
    }

    /// Instances whose draining ends by `now`, each with its service.
    pub fn drained(&self, now_millis: u64) -> impl Iterator<Item = (&str, &str)> {
        let until = (now_millis, "\u{10ffff}".to_owned(), String::new());
        self.draining.range(..=until).map(|(_, service, id)| (service.as_str(), id.as_str()))
    }

    /// When the next instance has drained.
    pub fn next_drained(&self) -> Option<u64> {
        self.draining.first().map(|(at, ..)| *at)
    }
}

impl<'a> ServiceState<'a> {
    /// An instance that is not being taken away.
    pub fn instance(&self, id: &str) -> Option<&'a Instance> {
        let at = self.instances.binary_search_by(|(one, _)| one.as_str().cmp(id)).ok()?;
        Some(&*self.instances[at].1).filter(|instance| !instance.is_draining())
    }

    /// The instances that are not being taken away.
    pub fn present(&self) -> impl Iterator<Item = (&'a str, &'a Instance)> + use<'a> {
        self.instances
            .iter()
            .filter(|(_, instance)| !instance.is_draining())
            .map(|(id, instance)| (id.as_str(), &**instance))
    }

    /// How many there are, without those that are being taken away.
    pub fn count(&self) -> usize {
        self.instances.len() - self.draining
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::document::write;
    use crate::{DnsConfig, HealthCheck, NamespaceKind, RecordType, RoutingPolicy, ServiceKind};

    /// A registry with the private namespace `shop.local`.
    pub(crate) fn shop() -> Snapshot {
        let mut snapshot = Snapshot::at(7);
        let namespace = Namespace {
            id: "ns-1".into(),
            name: "Shop.local".into(),
            kind: NamespaceKind::PrivateDns,
            description: None,
            soa_ttl: Some(15),
            vpc: None,
            created_at: 0,
            creator_request_id: String::new(),
            region: "r".into(),
            operation: String::new(),
        };
        snapshot.apply(&Key::Namespace("ns-1".into()), Some(&write(&namespace)), 8);
        snapshot
    }

    pub(crate) fn put_service(
        snapshot: &mut Snapshot,
        id: &str,
        name: &str,
        policy: RoutingPolicy,
        types: &[RecordType],
    ) {
        let service = Service {
            id: id.into(),
            namespace_id: "ns-1".into(),
            name: name.into(),
            kind: ServiceKind::DnsHttp,
            description: None,
            dns: Some(DnsConfig {
                routing_policy: policy,
                records: types.iter().map(|kind| (*kind, 30)).collect(),
            }),
            health_check: HealthCheck::Custom,
            created_at: 0,
            creator_request_id: String::new(),
            region: "r".into(),
            attributes: BTreeMap::new(),
        };
        snapshot.apply(&Key::Service(id.into()), Some(&write(&service)), 8);
    }

    pub(crate) fn instance(attributes: &[(&str, &str)]) -> Instance {
        Instance {
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            creator_request_id: String::new(),
            operation: String::new(),
            unhealthy: false,
            drained_at: None,
            epoch: None,
        }
    }

    pub(crate) fn put(snapshot: &mut Snapshot, service: &str, id: &str, instance: &Instance, revision: u64) {
        snapshot.apply(&Key::instance(service, id), Some(&write(instance)), revision);
    }

    #[test]
    fn documents_may_come_in_any_order_and_go() {
        let mut snapshot = shop();
        put(&mut snapshot, "srv-1", "b", &instance(&[]), 9);
        put(&mut snapshot, "srv-1", "a", &instance(&[]), 10);
        put_service(&mut snapshot, "srv-1", "Web", RoutingPolicy::Multivalue, &[RecordType::A]);
        let state = snapshot.service_named("shop.LOCAL", "WEB").expect("it came");
        assert_eq!((state.count(), state.revision), (2, 10));
        assert_eq!(state.present().map(|(id, _)| id).collect::<Vec<_>>(), ["a", "b"]);

        let leaving = Instance { drained_at: Some(5_000), ..instance(&[]) };
        put(&mut snapshot, "srv-1", "a", &leaving, 11);
        let state = snapshot.service("srv-1").expect("there");
        assert_eq!((state.count(), state.instances.len(), state.instance("a")), (1, 2, None));
        assert_eq!(snapshot.drained(4_999).count(), 0);
        assert_eq!(snapshot.drained(5_000).collect::<Vec<_>>(), [("srv-1", "a")]);

        snapshot.apply(&Key::instance("srv-1", "a"), None, 12);
        assert_eq!(snapshot.drained(9_999).count(), 0);
        assert_eq!(snapshot.service("srv-1").map(|state| (state.count(), state.revision)), Some((1, 12)));
        snapshot.apply(&Key::Service("srv-1".into()), None, 13);
        assert!(snapshot.service_named("shop.local", "web").is_none());
        snapshot.apply(&Key::Namespace("ns-1".into()), Some(b"damaged"), 14);
        assert!(snapshot.namespace_named("shop.local").is_none());
    }
}
