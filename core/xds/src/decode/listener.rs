//! Listeners and their filter chains.

use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::matching::Cidr;
use selvedge_traffic::{
    ChainMatch, Direction, FilterChain, Inspection, Listener, Network, NetworkFilter, ProxyProtocol,
};
use selvedge_xds_proto::envoy::config::core::v3::{CidrRange, TrafficDirection};
use selvedge_xds_proto::envoy::config::listener::v3 as proto;
use selvedge_xds_proto::envoy::config::listener::v3::ListenerFilterChainMatchPredicate as Predicate;
use selvedge_xds_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use selvedge_xds_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use selvedge_xds_proto::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol as ProxyProtocolFilter;
use selvedge_xds_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use selvedge_xds_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;

use super::bounds::{known, not_empty, port, unknown, unpack};
use super::{Reason, access_log, duration, endpoint, http, network_filter, proxy_protocol, tcp, text, tls};
use crate::any::holds;

/// Ports that one inspection lists; more than any listener has chains by name.
const INSPECTED_PORTS_MAX: usize = 1024;

pub(super) fn decode(message: proto::Listener) -> Result<Listener, Reason> {
    let (address, ipv4_compat) = endpoint::socket(message.address)?;
    let ListenerFilters { original_dst, proxy_protocol, inspected } =
        listener_filters(message.listener_filters)?;
    Ok(Listener {
        name: not_empty("name", message.name)?,
        address,
        ipv4_compat,
        direction: direction(known("traffic_direction", message.traffic_direction)?),
        original_dst,
        proxy_protocol,
        tls_inspector: inspected.is_some(),
        chains: message.filter_chains.into_iter().map(chain).collect::<Result<_, _>>()?,
        default_chain: message.default_filter_chain.map(chain).transpose()?,
        access_logs: access_log::all(message.access_log)?,
        inspection: Inspection {
            only_ports: inspected.unwrap_or_default(),
            timeout: duration::optional("listener_filters_timeout", message.listener_filters_timeout)?,
            continue_on_timeout: message.continue_on_listener_filters_timeout,
        },
    })
}

/// What listener filters ask for.
#[derive(Default)]
struct ListenerFilters {
    original_dst: bool,
    proxy_protocol: Option<ProxyProtocol>,
    /// If there is an inspection: which ports it is for.
    inspected: Option<Vec<u16>>,
}

fn listener_filters(filters: Vec<proto::ListenerFilter>) -> Result<ListenerFilters, Reason> {
    let mut all = ListenerFilters::default();
    for filter in filters {
        let any = filter.config_type.map(|proto::listener_filter::ConfigType::TypedConfig(any)| any);
        match any {
            Some(any) if holds::<OriginalDst>(&any) && filter.filter_disabled.is_none() => {
                all.original_dst = true;
            }
            Some(any) if holds::<ProxyProtocolFilter>(&any) && filter.filter_disabled.is_none() => {
                if all.inspected.is_some() {
                    // TLS begins behind the word.
                    return Err(Reason::Invalid {
                        field: "listener_filters",
                        value: filter.name,
                        expected: "stands behind the inspection of TLS",
                    });
                }
                all.proxy_protocol = Some(proxy_protocol::listener(unpack(&any)?)?);
            }
            Some(any) if holds::<TlsInspector>(&any) => {
                all.inspected = Some(filter.filter_disabled.map_or(Ok(Vec::new()), all_but)?);
            }
            Some(any) if holds::<OriginalDst>(&any) || holds::<ProxyProtocolFilter>(&any) => {
                return Err(Reason::Unsupported {
                    field: "listener_filters.filter_disabled",
                    value: filter.name,
                });
            }
            other => return Err(unknown(&filter.name, other.as_ref())),
        }
    }
    Ok(all)
}

/// The ports of `not_match`, one range or several, each of a single port.
fn all_but(predicate: Predicate) -> Result<Vec<u16>, Reason> {
    let unsupported = || Reason::Unsupported {
        field: "listener_filters.filter_disabled",
        value: "something else than not_match of single ports".to_owned(),
    };
    let Some(Rule::NotMatch(these)) = predicate.rule else { return Err(unsupported()) };
    let rules = match these.rule {
        Some(Rule::OrMatch(set)) if set.rules.len() <= INSPECTED_PORTS_MAX => set.rules,
        Some(Rule::OrMatch(_)) | None => return Err(unsupported()),
        other => vec![Predicate { rule: other }],
    };
    let one = |predicate: Predicate| match predicate.rule {
        Some(Rule::DestinationPortRange(range)) if range.start.checked_add(1) == Some(range.end) => {
            u16::try_from(range.start).map_err(|_| unsupported())
        }
        _ => Err(unsupported()),
    };
    rules.into_iter().map(one).collect()
}

fn direction(direction: TrafficDirection) -> Direction {
    match direction {
        TrafficDirection::Unspecified => Direction::Unspecified,
        TrafficDirection::Inbound => Direction::Inbound,
        TrafficDirection::Outbound => Direction::Outbound,
    }
}

fn chain(mut message: proto::FilterChain) -> Result<FilterChain, Reason> {
    let last = message.filters.pop().ok_or(Reason::Missing("filter_chains.filters"))?;
    let filters = message.filters.into_iter().map(network_filter::decode);
    let filters: Vec<NetworkFilter> = filters.collect::<Result<_, _>>()?;
    Ok(FilterChain {
        filters,
        name: message.name,
        matches: chain_match(message.filter_chain_match.unwrap_or_default())?,
        transport: tls::downstream(message.transport_socket, message.transport_socket_connect_timeout)?,
        network: network(last)?,
    })
}

fn network(filter: proto::Filter) -> Result<Network, Reason> {
    let any = filter.config_type.map(|proto::filter::ConfigType::TypedConfig(any)| any);
    match any {
        Some(any) if holds::<HttpConnectionManager>(&any) => {
            http::decode(unpack(&any)?).map(|connection| Network::Http(Box::new(connection)))
        }
        Some(any) if holds::<TcpProxy>(&any) => tcp::decode(unpack(&any)?).map(Network::Tcp),
        other => Err(unknown(&filter.name, other.as_ref())),
    }
}

fn chain_match(message: proto::FilterChainMatch) -> Result<ChainMatch, Reason> {
    if !message.prefix_ranges.is_empty() {
        return Err(Reason::Unsupported {
            field: "filter_chain_match.prefix_ranges",
            value: "a range".to_owned(),
        });
    }
    Ok(ChainMatch {
        destination_port: message
            .destination_port
            .map(|value| port("filter_chain_match.destination_port", value))
            .transpose()?,
        direct_sources: blocks(
            "filter_chain_match.direct_source_prefix_ranges",
            &message.direct_source_prefix_ranges,
        )?,
        sources: blocks("filter_chain_match.source_prefix_ranges", &message.source_prefix_ranges)?,
        server_names: message.server_names,
        application_protocols: message.application_protocols,
        transport: match message.transport_protocol.as_str() {
            "" => None,
            "raw_buffer" => Some(DetectedTransport::Plain),
            "tls" => Some(DetectedTransport::Tls),
            other => {
                return Err(Reason::Unsupported {
                    field: "filter_chain_match.transport_protocol",
                    value: other.to_owned(),
                });
            }
        },
    })
}

fn blocks(field: &'static str, ranges: &[CidrRange]) -> Result<Vec<Cidr>, Reason> {
    ranges.iter().map(|range| text::cidr(field, range)).collect()
}
