//! The endpoints of a cluster, from what is registered and who is connected.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use selvedge_registry::{Instance, ServiceState, Snapshot};
use selvedge_traffic::{
    Address, DnsLookupFamily, Endpoint, EndpointHealth, LoadAssignment, Locality, LocalityEndpoints, Resource,
};
use selvedge_translate::{EndpointSource, Found};

use super::registry::{Place, Registry};

/// Who knows where instances are.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// The sidecars that are connected.
    pub(super) sidecars: &'a Registry,
    /// What is registered with Cloud Map.
    pub(super) registered: &'a Snapshot,
    /// Where proxies reach this control plane, if it knows.
    pub(super) own: Option<SocketAddr>,
}

/// What endpoint discovery answers under `name`.
///
/// Nodes that Cloud Map discovers have its healthy instances, and those that are being taken away as draining. While the
/// registry has no such service they have their sidecars, as nodes without discovery do.
pub(super) fn assignment(mesh: &str, name: &str, source: &EndpointSource, sources: Sources<'_>) -> Resource {
    let registered = match &source.found {
        Found::BySidecar => None,
        Found::ControlPlane => {
            let own = sources.own.map(|address| endpoint(address, EndpointHealth::Healthy));
            Some(own.into_iter().map(|endpoint| (Locality::default(), endpoint)).collect())
        }
        Found::ByCloudMap { namespace, service, attributes, family } => {
            let state = sources.registered.service_named(namespace, service);
            state.map(|state| registered(state, attributes, *family, source.port))
        }
    };
    let connected = || {
        let places = sources.sidecars.places(mesh, &source.node);
        let healthy = |place: &Place| endpoint(place.address(source.port), EndpointHealth::Healthy);
        places.map(|(place, locality)| (locality.clone(), healthy(place))).collect()
    };
    let mut localities = by_locality(registered.unwrap_or_else(connected));
    prioritise(source, &mut localities);
    Resource::Endpoints(LoadAssignment { cluster: name.to_owned(), localities, ..LoadAssignment::default() })
}

/// Instances by where they stand; those of whom that is not known stand together.
fn by_locality(endpoints: Vec<(Locality, Endpoint)>) -> Vec<LocalityEndpoints> {
    let mut localities: Vec<LocalityEndpoints> = Vec::new();
    for (locality, endpoint) in endpoints {
        match localities.iter_mut().find(|one| one.locality == locality) {
            Some(one) => one.endpoints.push(endpoint),
            None => localities.push(LocalityEndpoints {
                locality,
                endpoints: vec![endpoint],
                ..LocalityEndpoints::default()
            }),
        }
    }
    localities.sort_by_cached_key(|one| {
        let Locality { region, zone, sub_zone } = one.locality.clone();
        (region, zone, sub_zone)
    });
    localities
}

/// The first places that have anybody are 0, the next 1: an Envoy wants no priority skipped.
fn prioritise(source: &EndpointSource, localities: &mut [LocalityEndpoints]) {
    let wanted = |one: &LocalityEndpoints| source.priority(&one.locality);
    let present: BTreeSet<u32> = localities.iter().map(wanted).collect();
    for one in localities {
        one.priority = present.range(..wanted(one)).count().try_into().unwrap_or(u32::MAX);
    }
}

fn registered(
    state: ServiceState<'_>,
    attributes: &[(String, String)],
    family: DnsLookupFamily,
    port: u16,
) -> Vec<(Locality, Endpoint)> {
    let check = state.service.health_check;
    let instances = state.instances.iter().map(|(_, instance)| &**instance);
    let usable = instances.filter(|instance| instance.health(check).is_usable());
    let fitting = usable.filter(|one| one.has_all(attributes.iter().map(|(key, value)| (key, value))));
    let mut endpoints: Vec<(Locality, Endpoint)> = fitting
        .filter_map(|instance| {
            let address = SocketAddr::new(address(instance, family)?, instance.port().unwrap_or(port));
            let health =
                if instance.is_draining() { EndpointHealth::Draining } else { EndpointHealth::Healthy };
            Some((locality(instance), endpoint(address, health)))
        })
        .collect();
    // Two instances may name one address; it is there as long as one of them is.
    let rank = |(_, endpoint): &(Locality, Endpoint)| {
        (endpoint.address.clone(), endpoint.health == EndpointHealth::Draining)
    };
    endpoints.sort_by_key(rank);
    endpoints.dedup_by(|(_, after), (_, before)| after.address == before.address);
    endpoints
}

/// Where an instance stands, as ECS and others note it.
fn locality(instance: &Instance) -> Locality {
    let said = |key: &str| instance.attributes.get(key).cloned().unwrap_or_default();
    let zone = said("AVAILABILITY_ZONE");
    // A region alone says nothing that is weighed.
    let region = if zone.is_empty() { String::new() } else { said("REGION") };
    Locality { region, zone, sub_zone: String::new() }
}

/// The address of an instance that is called.
fn address(instance: &Instance, family: DnsLookupFamily) -> Option<IpAddr> {
    let (v4, v6) = (instance.ipv4().map(IpAddr::V4), instance.ipv6().map(IpAddr::V6));
    match family {
        DnsLookupFamily::V4Only => v4,
        DnsLookupFamily::V6Only => v6,
        DnsLookupFamily::V4Preferred => v4.or(v6),
        DnsLookupFamily::Auto | DnsLookupFamily::All => v6.or(v4),
    }
}

fn endpoint(address: SocketAddr, health: EndpointHealth) -> Endpoint {
    Endpoint { health, ..Endpoint::new(Address::Socket(address)) }
}
