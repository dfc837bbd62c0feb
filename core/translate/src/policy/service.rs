//! Services that policies make proxies ask.

use std::net::{IpAddr, SocketAddr};

use selvedge_model::policy::{HostService, NodeService, ServiceAddress};
use selvedge_model::{ClientPolicyTls, Policy, PortProtocol};
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::tls::{NameKind, NameMatch, Suites, Trust, UpstreamTls, Validation, Version, Versions};
use selvedge_traffic::{
    Address, Cluster, Discovery, DnsLookupFamily, DnsRefresh, HttpProtocol, LoadAssignment, UpstreamTransport,
};

use super::{Governed, note};
use crate::cluster;
use crate::context::Context;
use crate::diagnostic::Code;
use crate::domains::is_usable;
use crate::names;
use crate::service::Target;
use crate::timeout::CONNECT;

/// Where most systems keep the authorities that everybody trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a service is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    /// gRPC takes HTTP/2.
    Grpc,
}

/// The cluster of a service, which is made; what cannot be reached has a cluster without anybody in it, so that what
/// depends on it fails as if it did not answer.
pub(super) fn cluster(
    context: &mut Context<'_>,
    policy: &Policy,
    path: &str,
    address: &ServiceAddress,
    speaks: Speaks,
) -> String {
    let found = match address {
        ServiceAddress::VirtualNode(node) => of_node(context, node, speaks),
        ServiceAddress::Host(host) => of_host(context, host, speaks),
    };
    let name = found.unwrap_or_else(|text| {
        context.error(Code::PolicyMisfit, policy, path, format!("nobody is asked: {text}"));
        let name = names::missing_service_cluster(context.mesh(), &policy.name);
        let nobody = LoadAssignment { cluster: name.clone(), ..LoadAssignment::default() };
        context.cluster(cluster::base(name.clone(), Discovery::Static(nobody), CONNECT));
        name
    });
    note(context, Governed::Cluster(name.clone()), &name, vec![policy.name.clone()]);
    name
}

fn of_node(context: &mut Context<'_>, service: &NodeService, speaks: Speaks) -> Result<String, String> {
    let name = &service.name;
    let node = context.node(name).ok_or_else(|| format!("there is no node named {name}"))?;
    let listeners = &node.spec.listeners;
    let listener = match (service.port, listeners.as_slice()) {
        (Some(port), _) => listeners.iter().find(|one| one.port_mapping.port == port),
        (None, [only]) => Some(only),
        (None, _) => {
            return Err(format!("the node {name} has {} listeners and no port is named", listeners.len()));
        }
    };
    let listener = listener.ok_or_else(|| format!("the node {name} does not listen there"))?;
    let spoken = listener.port_mapping.protocol;
    let fits = match speaks {
        Speaks::Http1 => spoken != PortProtocol::Tcp,
        Speaks::Grpc => matches!(spoken, PortProtocol::Grpc | PortProtocol::Http2),
    };
    if !fits {
        return Err(format!("the node {name} speaks {spoken}"));
    }
    let client_policy = own_client_policy(context);
    Ok(cluster::egress(context, &Target { node, listener, weight: 0 }, client_policy))
}

/// The policy that the proxy's own node or gateway has for its backends.
fn own_client_policy<'a>(context: &mut Context<'a>) -> Option<&'a ClientPolicyTls> {
    let name = &context.proxy.name;
    let defaults = match context.proxy.kind {
        crate::ProxyKind::VirtualNode => context.node(name)?.spec.backend_defaults.as_ref(),
        crate::ProxyKind::VirtualGateway => context.gateway(name)?.spec.backend_defaults.as_ref(),
    };
    defaults?.client_policy.as_ref()?.tls.as_ref()
}

fn of_host(context: &mut Context<'_>, service: &HostService, speaks: Speaks) -> Result<String, String> {
    let HostService { name: host, port, .. } = service;
    let name = names::service_cluster(context.mesh(), host, *port, speaks == Speaks::Grpc);
    let discovery = match host.parse::<IpAddr>() {
        Ok(address) => {
            let address = Address::Socket(SocketAddr::new(address, *port));
            Discovery::Static(cluster::one_address(&name, address, host))
        }
        Err(_) if !is_usable(host) => return Err(format!("{host:?} is no host name")),
        Err(_) => {
            let assignment = cluster::one_address(&name, Address::Name(host.clone(), *port), host);
            Discovery::StrictDns {
                assignment,
                family: DnsLookupFamily::V4Preferred,
                refresh: DnsRefresh::default(),
            }
        }
    };
    let transport = match service.tls {
        Some(true) => UpstreamTransport::Tls(Box::new(tls(service, speaks))),
        _ => UpstreamTransport::Plain,
    };
    let protocol = match speaks {
        Speaks::Http1 => HttpProtocol::Http1,
        Speaks::Grpc => HttpProtocol::Http2,
    };
    context.cluster(Cluster { protocol, transport, ..cluster::base(name.clone(), discovery, CONNECT) });
    Ok(name)
}

/// Encrypted, and the name proven.
fn tls(service: &HostService, speaks: Speaks) -> UpstreamTls {
    let host = &service.name;
    let is_address = host.parse::<IpAddr>().is_ok();
    let kind = if is_address { NameKind::Ip } else { NameKind::Dns };
    let chain = service.ca_file.clone().unwrap_or_else(|| AUTHORITIES.to_owned());
    UpstreamTls {
        certificate: None,
        validation: Some(Validation {
            names: vec![NameMatch { kind, text: TextMatch::exact(host) }],
            ..Validation::new(Trust::File { chain })
        }),
        sni: if is_address { String::new() } else { host.clone() },
        alpn: vec![if speaks == Speaks::Grpc { "h2" } else { "http/1.1" }.to_owned()],
        versions: Versions { min: Some(Version::Tls12), max: Some(Version::Tls13) },
        suites: Suites::default(),
    }
}
