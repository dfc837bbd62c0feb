//! Listeners and their filter chains.

use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::{ChainMatch, Direction, FilterChain, Inspection, Listener, Network};
use selvedge_xds_proto::envoy::config::core::v3::TrafficDirection;
use selvedge_xds_proto::envoy::config::listener::v3 as proto;
use selvedge_xds_proto::envoy::config::listener::v3::ListenerFilterChainMatchPredicate as Predicate;
use selvedge_xds_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use selvedge_xds_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use selvedge_xds_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use selvedge_xds_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;

use super::bounds::{known, not_empty, port, unknown, unpack};
use super::{Reason, access_log, duration, endpoint, http, tcp, tls};
use crate::any::holds;

/// Ports that one inspection lists; more than any listener has chains by name.
const INSPECTED_PORTS_MAX: usize = 1024;

pub(super) fn decode(message: proto::Listener) -> Result<Listener, Reason> {
    let (address, ipv4_compat) = endpoint::socket(message.address)?;
    let (original_dst, inspected) = listener_filters(message.listener_filters)?;
    Ok(Listener {
        name: not_empty("name", message.name)?,
        address,
        ipv4_compat,
        direction: direction(known("traffic_direction", message.traffic_direction)?),
        original_dst,
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

/// Whether the original destination is asked for, and, if there is an inspection, which ports it is for.
fn listener_filters(filters: Vec<proto::ListenerFilter>) -> Result<(bool, Option<Vec<u16>>), Reason> {
    let (mut original_dst, mut inspected) = (false, None);
    for filter in filters {
        let any = filter.config_type.map(|proto::listener_filter::ConfigType::TypedConfig(any)| any);
        match any {
            Some(any) if holds::<OriginalDst>(&any) && filter.filter_disabled.is_none() => {
                original_dst = true
            }
            Some(any) if holds::<TlsInspector>(&any) => {
                inspected = Some(filter.filter_disabled.map_or(Ok(Vec::new()), all_but)?);
            }
            Some(any) if holds::<OriginalDst>(&any) => {
                return Err(Reason::Unsupported {
                    field: "listener_filters.filter_disabled",
                    value: filter.name,
                });
            }
            other => return Err(unknown(&filter.name, other.as_ref())),
        }
    }
    Ok((original_dst, inspected))
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
    if let Some(first) = message.filters.first() {
        let any = first.config_type.as_ref().map(|proto::filter::ConfigType::TypedConfig(any)| any);
        return Err(unknown(&first.name, any));
    }
    Ok(FilterChain {
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
