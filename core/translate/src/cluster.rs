//! Clusters: a node's listener as its callers see it, and the application behind a sidecar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use selvedge_model::{
    ClientPolicyTls, ConnectionPool, DnsResponseType, HealthCheckPolicy, IpPreference, Listener,
    PortProtocol, ServiceDiscovery, VirtualNode,
};
use selvedge_traffic::{
    Address, CircuitBreakers, Cluster, Discovery, DnsLookupFamily, DnsRefresh, Endpoint, HealthCheck,
    HealthLog, HealthPace, HealthProbe, HttpProtocol, LoadAssignment, LocalityEndpoints, LocalityRouting,
    OutlierDetection, SuccessRate, Thresholds, UpstreamTransport,
};

use crate::context::Context;
use crate::diagnostic::{Code, Severity};
use crate::domains::is_usable;
use crate::names;
use crate::policy;
use crate::service::Target;
use crate::timeout::{CONNECT, standard};
use crate::tls::{Missing, Upstream, upstream};
use crate::translation::{EndpointSource, Found};

/// A cluster with everything at what App Mesh gave it.
pub(crate) fn base(name: String, discovery: Discovery, connect_timeout: Duration) -> Cluster {
    Cluster {
        connect_timeout,
        circuit_breakers: breakers(Thresholds::UNLIMITED),
        ignore_health_on_host_removal: true,
        ..Cluster::new(&name, discovery)
    }
}

pub(crate) fn protocol(protocol: PortProtocol) -> HttpProtocol {
    match protocol {
        PortProtocol::Http | PortProtocol::Tcp => HttpProtocol::Http1,
        PortProtocol::Http2 | PortProtocol::Grpc => HttpProtocol::Http2,
    }
}

fn breakers(default: Thresholds) -> CircuitBreakers {
    CircuitBreakers { default, high: default }
}

/// The bounds that a connection pool sets; what it leaves open is unbounded.
pub(crate) fn pool(pool: Option<&ConnectionPool>) -> CircuitBreakers {
    let unlimited = Thresholds::UNLIMITED;
    breakers(match pool {
        None => unlimited,
        Some(ConnectionPool::Http(http)) => Thresholds {
            connections_max: http.max_connections,
            pending_requests_max: http.max_pending_requests.unwrap_or(unlimited.pending_requests_max),
            ..unlimited
        },
        Some(ConnectionPool::Http2(requests) | ConnectionPool::Grpc(requests)) => {
            Thresholds { requests_max: requests.max_requests, ..unlimited }
        }
        Some(ConnectionPool::Tcp(tcp)) => Thresholds { connections_max: tcp.max_connections, ..unlimited },
    })
}

/// One fixed address.
pub(crate) fn one_address(name: &str, address: Address, hostname: &str) -> LoadAssignment {
    let endpoint = Endpoint { hostname: hostname.to_owned(), ..Endpoint::new(address) };
    let locality = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
    LoadAssignment { cluster: name.to_owned(), localities: vec![locality], ..LoadAssignment::default() }
}

/// The loopback address of the preferred family.
pub(crate) fn loopback(preference: Option<IpPreference>) -> IpAddr {
    match preference {
        Some(IpPreference::Ipv6Only | IpPreference::Ipv6Preferred) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Some(IpPreference::Ipv4Only | IpPreference::Ipv4Preferred) | None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// Which address family a node's callers use: its own preference, else the mesh's.
pub(crate) fn preference(context: &Context<'_>, node: &VirtualNode) -> Option<IpPreference> {
    let own = match &node.spec.service_discovery {
        Some(ServiceDiscovery::Dns(dns)) => dns.ip_preference,
        Some(ServiceDiscovery::AwsCloudMap(map)) => map.ip_preference,
        None => None,
    };
    own.or_else(|| context.ip_preference())
}

fn lookup_family(preference: Option<IpPreference>) -> DnsLookupFamily {
    match preference {
        None | Some(IpPreference::Ipv6Preferred) => DnsLookupFamily::Auto,
        Some(IpPreference::Ipv4Preferred) => DnsLookupFamily::V4Preferred,
        Some(IpPreference::Ipv4Only) => DnsLookupFamily::V4Only,
        Some(IpPreference::Ipv6Only) => DnsLookupFamily::V6Only,
    }
}

/// Makes the cluster of a target, once for all routes to it, and returns its name.
pub(crate) fn egress(
    context: &mut Context<'_>,
    target: &Target<'_>,
    client_policy: Option<&ClientPolicyTls>,
) -> String {
    let (node, listener) = (target.node, target.listener);
    let (port, spoken) = (target.port(), target.protocol());
    let name = names::egress_cluster(context.mesh(), &node.key.name, spoken, port);
    let (mut transport, closed) = transport(context, node, listener, client_policy);
    policy::refine_transport(context, &node.key.name, &mut transport);
    if let Some(made) = context.made_cluster(&name) {
        let differs = made.transport != transport || is_closed(made) != closed;
        let weaker = strength(&transport, closed) <= strength(&made.transport, is_closed(made));
        if differs {
            let text = format!(
                "backends ask for different client policies towards port {port}; the strictest holds"
            );
            context.warn(Code::PolicyConflict, node, "", text);
        }
        if weaker {
            return name;
        }
    }
    let discovery = if closed {
        // A weaker backend may have opened it before: nobody asks for the endpoints of what is closed.
        context.made.endpoints.remove(&name);
        Discovery::Static(nobody(&name))
    } else {
        discovery(context, node, port, &name)
    };
    let by_discovery = matches!(discovery, Discovery::Eds { .. });
    let checked = listener.health_check.iter().filter(|check| is_runnable(context, node, spoken, check));
    let health_checks = checked.map(|check| health_check(node, port, check)).collect();
    let mut cluster = Cluster {
        protocol: protocol(spoken),
        transport,
        outlier_detection: listener.outlier_detection.as_ref().map(outlier_detection),
        health_checks,
        close_connections_on_host_removal: by_discovery,
        ..base(name.clone(), discovery, CONNECT)
    };
    if by_discovery && context.proxy.in_zone {
        cluster.placement.locality = LocalityRouting::ZONE_AWARE;
    }
    policy::govern_cluster(context, &node.key.name, &mut cluster);
    context.cluster(cluster);
    context.origin(&name, node);
    context.made.origins.clusters.insert(name.clone(), (node.key.name.clone(), port));
    name
}

/// Makes the cluster of a node's own instances, for a sidecar that says in which zone it stands.
pub(crate) fn local(context: &mut Context<'_>, node: &VirtualNode) {
    let Some(listener) = node.spec.listeners.first().filter(|_| context.proxy.in_zone) else { return };
    let name = names::local_cluster(context.mesh(), &node.key.name);
    let discovery = discovery(context, node, listener.port_mapping.port, &name);
    context.cluster(base(name.clone(), discovery, CONNECT));
    context.origin(&name, node);
}

/// No address at all: whoever asks for one is told that there is none.
fn nobody(name: &str) -> LoadAssignment {
    LoadAssignment { cluster: name.to_owned(), ..LoadAssignment::default() }
}

fn is_closed(cluster: &Cluster) -> bool {
    matches!(&cluster.discovery, Discovery::Static(assignment) if assignment.localities.is_empty())
}

/// How much a caller demands: where backends disagree, the one that demands most is heard.
fn strength(transport: &UpstreamTransport, closed: bool) -> u8 {
    match (closed, transport) {
        (true, _) => 2,
        (false, UpstreamTransport::Tls(_)) => 1,
        (false, UpstreamTransport::Plain) => 0,
    }
}

/// How a node is spoken to, and whether it may be called at all.
fn transport(
    context: &mut Context<'_>,
    node: &VirtualNode,
    listener: &Listener,
    policy: Option<&ClientPolicyTls>,
) -> (UpstreamTransport, bool) {
    let port = listener.port_mapping.port;
    match upstream(policy, node, listener, &mut context.manager()) {
        Upstream::Plain => (UpstreamTransport::Plain, false),
        Upstream::Tls(tls) => {
            if listener.tls.as_ref().is_none_or(|tls| tls.mode == selvedge_model::ListenerTlsMode::Disabled) {
                let text =
                    format!("callers must encrypt, but its port {port} does not: connections will fail");
                context.warn(Code::TlsMismatch, node, "spec.listeners", text);
            }
            (UpstreamTransport::Tls(tls), false)
        }
        Upstream::Closed(missing) => {
            match missing {
                Missing::OfListener(what) => {
                    let text = format!("port {port} cannot be called: {what} is not available here");
                    context.error(Code::CertificateUnavailable, node, "spec.listeners", text);
                }
                Missing::OfCaller(what) => {
                    let called = &node.key.name;
                    let text = format!(
                        "cannot call port {port} of {called}: its policy's {what} is not available here"
                    );
                    let caller = context.caller();
                    context.error(
                        Code::CertificateUnavailable,
                        caller,
                        "spec.backendDefaults.clientPolicy",
                        text,
                    );
                }
            }
            (UpstreamTransport::Plain, true)
        }
    }
}

fn discovery(context: &mut Context<'_>, node: &VirtualNode, port: u16, name: &str) -> Discovery {
    let family = lookup_family(preference(context, node));
    let found = match &node.spec.service_discovery {
        Some(ServiceDiscovery::Dns(dns)) => {
            let hostname = dns.hostname.as_str();
            if !is_usable(hostname) {
                let text = format!("port {port} cannot be called: {hostname:?} is no host name");
                context.error(Code::NameUnusable, node, "spec.serviceDiscovery.dns.hostname", text);
                return Discovery::Static(nobody(name));
            }
            if let Ok(address) = hostname.parse::<IpAddr>() {
                let address = Address::Socket(SocketAddr::new(address, port));
                return Discovery::Static(one_address(name, address, hostname));
            }
            let assignment = one_address(name, Address::Name(hostname.to_owned(), port), hostname);
            let refresh = DnsRefresh::default();
            return match dns.response_type {
                Some(DnsResponseType::Endpoints) => Discovery::StrictDns { assignment, family, refresh },
                Some(DnsResponseType::LoadBalancer) | None => {
                    Discovery::LogicalDns { assignment, family, refresh }
                }
            };
        }
        Some(ServiceDiscovery::AwsCloudMap(map)) => {
            let text = "its instances are those of the registry; while that has no such service, the sidecars that connect as it";
            let path = "spec.serviceDiscovery.awsCloudMap";
            context.report(Severity::Note, Code::CloudMapBySidecar, node, path, text);
            Found::ByCloudMap {
                namespace: map.namespace_name.clone(),
                service: map.service_name.clone(),
                attributes: map.attributes.iter().map(|one| (one.key.clone(), one.value.clone())).collect(),
                family,
            }
        }
        None => Found::BySidecar,
    };
    let source = EndpointSource { node: node.key.name.clone(), port, found, priorities: Vec::new() };
    context.made.endpoints.insert(name.to_owned(), source);
    Discovery::Eds { service_name: String::new() }
}

fn outlier_detection(outlier: &selvedge_model::OutlierDetection) -> OutlierDetection {
    let default = OutlierDetection::default();
    OutlierDetection {
        consecutive_5xx: u32::try_from(outlier.max_server_errors).unwrap_or(u32::MAX),
        interval: positive(&outlier.interval).unwrap_or(default.interval),
        base_ejection_time: positive(&outlier.base_ejection_duration).unwrap_or(default.base_ejection_time),
        max_ejection_time: default
            .max_ejection_time
            .max(positive(&outlier.base_ejection_duration).unwrap_or(default.base_ejection_time)),
        max_ejection_percent: outlier.max_ejection_percent,
        // App Mesh knows one criterion: server errors in a row.
        success_rate: SuccessRate { enforcing: 0, ..default.success_rate },
        ..default
    }
}

fn positive(duration: &selvedge_model::Duration) -> Option<Duration> {
    standard(Some(duration)).filter(|duration| !duration.is_zero())
}

/// A gRPC check needs HTTP/2 on the wire; a proxy refuses it elsewhere.
fn is_runnable(
    context: &mut Context<'_>,
    node: &VirtualNode,
    spoken: PortProtocol,
    check: &HealthCheckPolicy,
) -> bool {
    let runnable = check.protocol != PortProtocol::Grpc || protocol(spoken) == HttpProtocol::Http2;
    if !runnable {
        let text = format!("its gRPC health check is not run: the listener speaks {spoken}");
        context.error(Code::ProtocolMismatch, node, "spec.listeners", text);
    }
    runnable
}

fn health_check(node: &VirtualNode, port: u16, check: &HealthCheckPolicy) -> HealthCheck {
    let host = format!("{}:{port}", node.key.name);
    let http = |http2| HealthProbe::Http {
        path: check.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned()),
        host: host.clone(),
        http2,
        statuses: Vec::new(),
    };
    let millis = |set: Option<u64>, default| Duration::from_millis(set.unwrap_or(default).max(1));
    HealthCheck {
        interval: millis(check.interval_millis, HealthCheckPolicy::INTERVAL_MILLIS_DEFAULT),
        pace: HealthPace::default(),
        timeout: millis(check.timeout_millis, HealthCheckPolicy::TIMEOUT_MILLIS_DEFAULT),
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        // The endpoint's own: behind interception it is the listener's, without it is the sidecar's.
        port: None,
        probe: match check.protocol {
            PortProtocol::Http => http(false),
            PortProtocol::Http2 => http(true),
            PortProtocol::Grpc => HealthProbe::Grpc { service: String::new(), authority: host },
            PortProtocol::Tcp => HealthProbe::Tcp,
        },
        log: HealthLog::default(),
    }
}
