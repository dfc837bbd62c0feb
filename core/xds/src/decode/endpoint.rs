//! Addresses and the hosts of a cluster.

use std::net::{IpAddr, SocketAddr};

use selvedge_traffic::{Address, Endpoint, EndpointHealth, LoadAssignment, Locality, LocalityEndpoints};
use selvedge_xds_proto::envoy::config::core::v3 as core;
use selvedge_xds_proto::envoy::config::core::v3::HealthStatus;
use selvedge_xds_proto::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use selvedge_xds_proto::envoy::config::endpoint::v3 as proto;

use super::bounds::{known, not_empty, port};
use super::{Reason, all, metadata};

pub(super) fn assignment(message: proto::ClusterLoadAssignment) -> Result<LoadAssignment, Reason> {
    let policy = message.policy.unwrap_or_default();
    if policy.weighted_priority_health {
        return Err(Reason::Unsupported {
            field: "policy.weighted_priority_health",
            value: "true".to_owned(),
        });
    }
    if policy.overprovisioning_factor == Some(0) {
        return Err(Reason::Invalid {
            field: "policy.overprovisioning_factor",
            value: "0".to_owned(),
            expected: "is not above 0",
        });
    }
    Ok(LoadAssignment {
        overprovisioning_percent: policy.overprovisioning_factor,
        cluster: message.cluster_name,
        localities: all(message.endpoints, locality_endpoints)?,
    })
}

/// An address to bind, and whether it takes IPv4 too.
pub(super) fn socket(address: Option<core::Address>) -> Result<(SocketAddr, bool), Reason> {
    let Some(core::address::Address::SocketAddress(socket)) = address.and_then(|address| address.address)
    else {
        return Err(Reason::Missing("address.socket_address"));
    };
    let ipv4_compat = socket.ipv4_compat;
    match socket_address(socket)? {
        Address::Socket(address) => Ok((address, ipv4_compat)),
        other => Err(Reason::Invalid {
            field: "address.socket_address",
            value: format!("{other:?}"),
            expected: "is no IP address",
        }),
    }
}

pub(crate) fn locality(message: core::Locality) -> Locality {
    Locality { region: message.region, zone: message.zone, sub_zone: message.sub_zone }
}

/// The last priority, as Envoy has it.
const PRIORITY_MAX: u32 = 128;

fn locality_endpoints(group: proto::LocalityLbEndpoints) -> Result<LocalityEndpoints, Reason> {
    Ok(LocalityEndpoints {
        locality: group.locality.map(locality).unwrap_or_default(),
        priority: match group.priority {
            priority @ ..=PRIORITY_MAX => priority,
            priority => {
                let (field, value) = ("endpoints.priority", priority.to_string());
                return Err(Reason::Invalid { field, value, expected: "is above 128" });
            }
        },
        weight: group.load_balancing_weight.unwrap_or_default(),
        endpoints: all(group.lb_endpoints, endpoint)?,
    })
}

fn endpoint(message: proto::LbEndpoint) -> Result<Endpoint, Reason> {
    let host = message.host_identifier.map(|proto::lb_endpoint::HostIdentifier::Endpoint(host)| host);
    let Some(host) = host else { return Err(Reason::Missing("lb_endpoints.endpoint")) };
    let weight = message.load_balancing_weight.unwrap_or(1);
    if weight == 0 {
        return Err(Reason::Invalid {
            field: "lb_endpoints.load_balancing_weight",
            value: "0".to_owned(),
            expected: "is below 1",
        });
    }
    Ok(Endpoint {
        address: address(host.address)?,
        weight,
        health: health(known("lb_endpoints.health_status", message.health_status)?),
        hostname: host.hostname,
        labels: metadata::labels(message.metadata.as_ref()),
    })
}

fn address(address: Option<core::Address>) -> Result<Address, Reason> {
    match address.and_then(|address| address.address) {
        None => Err(Reason::Missing("endpoint.address")),
        Some(core::address::Address::Pipe(pipe)) => not_empty("pipe.path", pipe.path).map(Address::Pipe),
        Some(core::address::Address::SocketAddress(socket)) => socket_address(socket),
    }
}

fn socket_address(socket: core::SocketAddress) -> Result<Address, Reason> {
    if socket.protocol != i32::from(Protocol::Tcp) {
        return Err(Reason::Unsupported {
            field: "socket_address.protocol",
            value: socket.protocol.to_string(),
        });
    }
    if !socket.resolver_name.is_empty() {
        return Err(Reason::Unsupported {
            field: "socket_address.resolver_name",
            value: socket.resolver_name,
        });
    }
    let Some(PortSpecifier::PortValue(value)) = socket.port_specifier else {
        return Err(Reason::Missing("socket_address.port_value"));
    };
    let port = port("socket_address.port_value", value)?;
    let name = not_empty("socket_address.address", socket.address)?;
    Ok(match name.parse::<IpAddr>() {
        Ok(ip) => Address::Socket(SocketAddr::new(ip, port)),
        Err(_) => Address::Name(name, port),
    })
}

fn health(health: HealthStatus) -> EndpointHealth {
    match health {
        HealthStatus::Unknown | HealthStatus::Healthy => EndpointHealth::Healthy,
        HealthStatus::Unhealthy => EndpointHealth::Unhealthy,
        HealthStatus::Draining => EndpointHealth::Draining,
        HealthStatus::Timeout => EndpointHealth::TimedOut,
        HealthStatus::Degraded => EndpointHealth::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use selvedge_xds_proto::envoy::config::core::v3::address::Address as Kind;

    use super::*;

    #[test]
    fn what_is_kept_has_no_room_for_the_messages_that_it_came_in() {
        let socket = core::SocketAddress {
            address: "10.0.0.1".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(80)),
            ..Default::default()
        };
        let address = Some(core::Address { address: Some(Kind::SocketAddress(socket)) });
        let endpoint = proto::Endpoint { address, ..Default::default() };
        let endpoint = proto::LbEndpoint {
            host_identifier: Some(proto::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..Default::default()
        };
        let mut group = proto::LocalityLbEndpoints::default();
        group.lb_endpoints.reserve(4);
        group.lb_endpoints.push(endpoint);
        let mut message = proto::ClusterLoadAssignment { cluster_name: "c".to_owned(), ..Default::default() };
        message.endpoints.reserve(4);
        message.endpoints.push(group);
        let kept = assignment(message).expect("it can be used");
        assert_eq!((kept.localities.capacity(), kept.localities[0].endpoints.capacity()), (1, 1));
    }
}
