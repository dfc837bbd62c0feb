//! Addresses and the hosts of a cluster.

use std::net::SocketAddr;

use selvedge_traffic::{Address, Endpoint, EndpointHealth, LoadAssignment, Locality, LocalityEndpoints};
use selvedge_xds_proto::envoy::config::core::v3 as core;
use selvedge_xds_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use selvedge_xds_proto::envoy::config::core::v3::{HealthStatus, Pipe, SocketAddress};
use selvedge_xds_proto::envoy::config::endpoint::v3 as proto;

use super::metadata;

pub(super) fn assignment(assignment: &LoadAssignment) -> proto::ClusterLoadAssignment {
    proto::ClusterLoadAssignment {
        cluster_name: assignment.cluster.clone(),
        endpoints: assignment.localities.iter().map(locality_endpoints).collect(),
        policy: assignment.overprovisioning_percent.map(|percent| proto::cluster_load_assignment::Policy {
            overprovisioning_factor: Some(percent),
            ..Default::default()
        }),
    }
}

/// An address to bind or to connect to.
pub(super) fn socket(address: SocketAddr, ipv4_compat: bool) -> core::Address {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        ipv4_compat,
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

pub(crate) fn locality(locality: &Locality) -> core::Locality {
    core::Locality {
        region: locality.region.clone(),
        zone: locality.zone.clone(),
        sub_zone: locality.sub_zone.clone(),
    }
}

fn locality_endpoints(group: &LocalityEndpoints) -> proto::LocalityLbEndpoints {
    proto::LocalityLbEndpoints {
        locality: (group.locality != Locality::default()).then(|| locality(&group.locality)),
        lb_endpoints: group.endpoints.iter().map(endpoint).collect(),
        load_balancing_weight: (group.weight != 0).then_some(group.weight),
        priority: group.priority,
    }
}

fn endpoint(endpoint: &Endpoint) -> proto::LbEndpoint {
    let host =
        proto::Endpoint { address: Some(address(&endpoint.address)), hostname: endpoint.hostname.clone() };
    proto::LbEndpoint {
        health_status: health(endpoint.health).into(),
        load_balancing_weight: (endpoint.weight != 1).then_some(endpoint.weight),
        metadata: metadata::labels(&endpoint.labels),
        host_identifier: Some(proto::lb_endpoint::HostIdentifier::Endpoint(host)),
    }
}

fn address(address: &Address) -> core::Address {
    match address {
        Address::Socket(address) => socket(*address, false),
        Address::Name(name, port) => {
            let socket = SocketAddress {
                address: name.clone(),
                port_specifier: Some(PortSpecifier::PortValue((*port).into())),
                ..SocketAddress::default()
            };
            core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
        }
        Address::Pipe(path) => {
            core::Address { address: Some(core::address::Address::Pipe(Pipe { path: path.clone() })) }
        }
    }
}

/// Healthy is what an endpoint is when nothing is said of it.
fn health(health: EndpointHealth) -> HealthStatus {
    match health {
        EndpointHealth::Healthy => HealthStatus::Unknown,
        EndpointHealth::Unhealthy => HealthStatus::Unhealthy,
        EndpointHealth::Draining => HealthStatus::Draining,
        EndpointHealth::TimedOut => HealthStatus::Timeout,
        EndpointHealth::Degraded => HealthStatus::Degraded,
    }
}
