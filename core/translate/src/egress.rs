//! The listener for outgoing connections: every backend by its port and host name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use selvedge_model::{ClientPolicyTls, IpPreference, PortProtocol, VirtualService};
use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::{
    AccessLog, ChainMatch, Direction, Discovery, FilterChain, FilterEntry, HttpConnection, Inspection,
    Listener, Network, RouteSource, RouteTable, TcpProxy, Tracing, Transport, VirtualHost, WeightedCluster,
};

use crate::cluster;
use crate::context::Context;
use crate::diagnostic::Code;
use crate::domains::{Domains, is_usable};
use crate::names;
use crate::policy;
use crate::route;
use crate::service::{ServicePort, ports};
use crate::timeout::CONNECT;

/// A virtual service that the proxy may call, on one of its ports.
pub(crate) struct Reached<'a> {
    pub(crate) service: &'a VirtualService,
    pub(crate) port: ServicePort<'a>,
    pub(crate) policy: Option<&'a ClientPolicyTls>,
}

impl Reached<'_> {
    fn name(&self) -> &str {
        &self.service.key.name
    }

    fn is_tcp(&self) -> bool {
        route::is_tcp(&self.port)
    }
}

/// All ports of some virtual services, by port and then by name.
pub(crate) fn reach<'a>(
    context: &mut Context<'a>,
    services: impl IntoIterator<Item = (&'a VirtualService, Option<&'a ClientPolicyTls>)>,
) -> Vec<Reached<'a>> {
    let mut reached = Vec::new();
    for (service, policy) in services {
        if !is_usable(&service.key.name) {
            context.error(Code::NameUnusable, service, "", "its name is no host name: nobody can ask for it");
            continue;
        }
        reached.extend(ports(context, service).into_iter().map(|port| Reached { service, port, policy }));
    }
    reached.sort_by(|a, b| (a.port.port, a.name()).cmp(&(b.port.port, b.name())));
    reached
}

/// Where a listener listens: every address of the preferred family.
pub(crate) fn any_address(preference: Option<IpPreference>) -> (IpAddr, bool) {
    match preference {
        None => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), false),
        Some(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), true),
    }
}

/// An HTTP connection as App Mesh set it up everywhere.
pub(crate) fn http_connection(
    stat_prefix: String,
    routes: String,
    filters: Vec<FilterEntry>,
    access_logs: Vec<AccessLog>,
) -> HttpConnection {
    HttpConnection {
        access_logs,
        filters,
        normalize_path: true,
        merge_slashes: true,
        websocket: true,
        tracing: Some(Tracing::default()),
        ..HttpConnection::new(&stat_prefix, RouteSource::Rds(routes))
    }
}

/// The chains of an intercepting node, by destination port.
pub(crate) fn chains_by_port(
    context: &mut Context<'_>,
    reached: &[Reached<'_>],
    access_logs: &[AccessLog],
) -> Vec<FilterChain> {
    let mut by_port: BTreeMap<u16, Vec<&Reached<'_>>> = BTreeMap::new();
    for one in reached {
        by_port.entry(one.port.port).or_default().push(one);
    }
    let mut chains = Vec::new();
    for (port, here) in by_port {
        let (tcp, http): (Vec<_>, Vec<_>) = here.into_iter().partition(|one| one.is_tcp());
        let network = match http.first() {
            Some(first) => {
                tell_clash(context, &tcp, first, port);
                // http, if any speaks it: another backend on the port should not rename the table.
                let protocol = http.iter().map(|one| one.port.protocol).min().unwrap_or(first.port.protocol);
                let table = names::egress_routes(protocol, port);
                let listed: Vec<_> = http.iter().map(|one| (*one, Naming::ByPort)).collect();
                http_table(context, &table, &listed, Domains::default());
                http_network(context, table, access_logs)
            }
            None => match tcp_network(context, &tcp, port, access_logs) {
                Some(network) => network,
                None => continue,
            },
        };
        chains.push(FilterChain {
            name: format!("egress_{port}"),
            matches: ChainMatch { destination_port: Some(port), ..ChainMatch::default() },
            transport: Transport::Plain,
            filters: Vec::new(),
            network,
        });
    }
    chains
}

/// One chain for everything, where there is no destination port to go by: all HTTP backends by their names, or, if
/// there are TCP backends only, the first of them.
pub(crate) fn chain_for_all(
    context: &mut Context<'_>,
    reached: &[Reached<'_>],
    protocol: PortProtocol,
    egress_port: u16,
    access_logs: &[AccessLog],
    more: Vec<VirtualHost>,
) -> Option<FilterChain> {
    let (tcp, http): (Vec<_>, Vec<_>) = reached.iter().partition(|one| one.is_tcp());
    let network = if http.is_empty() && more.is_empty() && !tcp.is_empty() {
        let (first, rest) = tcp.split_first()?;
        tell_unserved(context, rest, "only one TCP backend can be reached without interception");
        tcp_network(context, &[first], first.port.port, access_logs)?
    } else {
        tell_unserved(context, &tcp, "a TCP backend cannot be told from HTTP without interception");
        let table = names::egress_routes(protocol, egress_port);
        let mut seen = BTreeSet::new();
        let listed: Vec<_> = http
            .iter()
            .map(|one| {
                let first = seen.insert(one.name().to_owned());
                (*one, if first { Naming::First { egress_port } } else { Naming::Further })
            })
            .collect();
        // Whoever keeps a foreign host name comes before a service that is called like all names.
        let taken = more.iter().flat_map(|host| host.domains.iter().cloned());
        http_table(context, &table, &listed, Domains::without(taken));
        context.extend_table(&table, more);
        http_network(context, table, access_logs)
    };
    let name = format!("egress_{egress_port}");
    Some(FilterChain {
        name,
        matches: ChainMatch::default(),
        transport: Transport::Plain,
        filters: Vec::new(),
        network,
    })
}

/// How a virtual service is called in a table.
#[derive(Clone, Copy)]
enum Naming {
    /// By its name, with or without its port: the table is of one port.
    ByPort,
    /// The table is of all ports, and this is the service's first: by its name alone, or with its port or the proxy's.
    First { egress_port: u16 },
    /// A further port of a service that has one: only with the port.
    Further,
}

fn http_table(
    context: &mut Context<'_>,
    name: &str,
    listed: &[(&Reached<'_>, Naming)],
    mut domains: Domains,
) {
    let mut table = RouteTable { name: name.to_owned(), ..RouteTable::default() };
    for (one, naming) in listed {
        let (service, port) = (one.name(), one.port.port);
        let (host, wanted) = match naming {
            Naming::ByPort => (service.to_owned(), vec![service.to_owned(), format!("{service}:{port}")]),
            Naming::First { egress_port } => (
                service.to_owned(),
                vec![service.to_owned(), format!("{service}:{port}"), format!("{service}:{egress_port}")],
            ),
            Naming::Further => (format!("{service}:{port}"), vec![format!("{service}:{port}")]),
        };
        let claimed = domains.claim(context, one.service, wanted);
        if claimed.is_empty() {
            continue;
        }
        let routes = http_routes(context, name, &host, one);
        context.origin(name, one.service);
        let origins = &mut context.made.origins;
        origins.services.insert((name.to_owned(), host.clone()), (service.to_owned(), port));
        table.virtual_hosts.push(VirtualHost {
            name: host,
            domains: claimed,
            routes,
            ..VirtualHost::default()
        });
    }
    table.virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
    context.table(table);
}

/// The routes of a service on a port, with their origins noted under a table and virtual host.
fn http_routes(
    context: &mut Context<'_>,
    table: &str,
    host: &str,
    one: &Reached<'_>,
) -> Vec<selvedge_traffic::Route> {
    let made = route::http(context, one.service, &one.port, one.policy);
    let note = |(index, made): (usize, route::Made)| {
        policy::note_route(context, table, host, index, made.policies);
        context.made.origins.routes.insert((table.to_owned(), host.to_owned(), index), made.from);
        made.route
    };
    made.into_iter().enumerate().map(note).collect()
}

fn http_network(context: &mut Context<'_>, table: String, access_logs: &[AccessLog]) -> Network {
    let prefix = names::EGRESS_STAT_PREFIX.to_owned();
    let filters = policy::connection_filters(context, &table, None);
    Network::Http(Box::new(http_connection(prefix, table, filters, access_logs.to_vec())))
}

/// The first of several TCP backends on a port; they cannot be told apart.
fn tcp_network(
    context: &mut Context<'_>,
    tcp: &[&Reached<'_>],
    port: u16,
    access_logs: &[AccessLog],
) -> Option<Network> {
    let (first, rest) = tcp.split_first()?;
    tell_clash(context, rest, first, port);
    let (proxy, _) = route::tcp(context, &first.port, first.policy)?;
    Some(Network::Tcp(TcpProxy { access_logs: policy::of_connections(access_logs), ..proxy }))
}

fn tell_clash(context: &mut Context<'_>, losers: &[&Reached<'_>], winner: &Reached<'_>, port: u16) {
    for loser in losers {
        let text = format!("it cannot be reached: connections to port {port} go to {}", winner.name());
        context.error(Code::PortClash, loser.service, "", text);
    }
}

fn tell_unserved(context: &mut Context<'_>, unserved: &[&Reached<'_>], text: &str) {
    for one in unserved {
        context.error(Code::DirectUnserved, one.service, "", text);
    }
}

/// The listener of an intercepting node: its backends' chains, the way to AWS, and what is left to the mesh's filter.
pub(crate) fn intercepting(
    context: &mut Context<'_>,
    mut chains: Vec<FilterChain>,
    preference: Option<IpPreference>,
    allow_all: bool,
) -> Listener {
    let mesh = context.mesh();
    let pass = |context: &mut Context<'_>, name: &str, matches: ChainMatch| {
        let cluster = selvedge_traffic::Cluster {
            balancing: selvedge_traffic::LoadBalancing::ClusterProvided,
            ..cluster::base(name.to_owned(), Discovery::OriginalDst, CONNECT)
        };
        context.cluster(cluster);
        let mesh = context.snapshot.mesh.as_ref();
        context.origin(name, mesh);
        let clusters = vec![WeightedCluster::new(name, 1)];
        let proxy = TcpProxy::to(names::EGRESS_STAT_PREFIX, clusters);
        let network = Network::Tcp(proxy);
        FilterChain {
            name: name.to_owned(),
            matches,
            transport: Transport::Plain,
            filters: Vec::new(),
            network,
        }
    };
    chains.extend(policy::egress_destinations(context).into_iter().map(|(port, hosts)| {
        let name = names::egress_policy_cluster(mesh, port);
        pass(context, &name, by_server_name(port, hosts))
    }));
    let to_aws = by_server_name(HTTPS_PORT, vec![names::AMAZONAWS.to_owned()]);
    chains.push(pass(context, &names::amazonaws_cluster(mesh), to_aws));
    let default_chain =
        allow_all.then(|| pass(context, &names::allow_all_cluster(mesh), ChainMatch::default()));
    let (address, ipv4_compat) = any_address(preference);
    Listener {
        name: names::egress_listener(IpAddr::V4(Ipv4Addr::UNSPECIFIED), crate::proxy::EGRESS_PORT),
        address: SocketAddr::new(address, crate::proxy::EGRESS_PORT),
        ipv4_compat,
        direction: Direction::Outbound,
        original_dst: true,
        proxy_protocol: None,
        tls_inspector: true,
        inspection: inspection(&chains),
        chains,
        default_chain,
        access_logs: Vec::new(),
    }
}

/// A client that says nothing for so long waits for its server's greeting.
const GREETING_PATIENCE: Duration = Duration::from_secs(3);

/// Inspects connections to those ports whose chain depends on it, and no others: on a port where the server speaks first –
/// MySQL, SMTP – an inspection waits for bytes that never come. Where it must, it does not wait for ever.
pub(crate) fn inspection(chains: &[FilterChain]) -> Inspection {
    let depends =
        |chain: &&FilterChain| chain.matches.transport.is_some() || !chain.matches.server_names.is_empty();
    let ports: Option<BTreeSet<u16>> =
        chains.iter().filter(depends).map(|chain| chain.matches.destination_port).collect();
    Inspection {
        // A chain without a port takes those of all ports.
        only_ports: ports.unwrap_or_default().into_iter().collect(),
        timeout: Some(GREETING_PATIENCE),
        continue_on_timeout: true,
    }
}

const HTTPS_PORT: u16 = 443;

fn by_server_name(port: u16, server_names: Vec<String>) -> ChainMatch {
    ChainMatch {
        destination_port: Some(port),
        server_names,
        transport: Some(DetectedTransport::Tls),
        ..ChainMatch::default()
    }
}

/// A listener that is called by its own address, with one chain for everything.
pub(crate) fn direct(name: String, address: SocketAddr, ipv4_compat: bool, chain: FilterChain) -> Listener {
    Listener {
        name,
        address,
        ipv4_compat,
        direction: Direction::Outbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector: false,
        inspection: Inspection::default(),
        chains: Vec::new(),
        default_chain: Some(chain),
        access_logs: Vec::new(),
    }
}
