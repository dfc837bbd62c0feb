//! Listeners and their filter chains.

use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::{ChainMatch, Direction, FilterChain, Inspection, Listener, Network};
use selvedge_xds_proto::envoy::config::core::v3::TrafficDirection;
use selvedge_xds_proto::envoy::config::listener::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use selvedge_xds_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use selvedge_xds_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;

use super::bounds::{known, not_empty, port, unknown, unpack};
use super::{Reason, access_log, duration, endpoint, http, tcp, tls};
use crate::any::holds;

pub(super) fn decode(message: proto::Listener) -> Result<Listener, Reason> {
    let (address, ipv4_compat) = endpoint::socket(message.address)?;
    let (original_dst, tls_inspector) = listener_filters(message.listener_filters)?;
    Ok(Listener {
        name: not_empty("name", message.name)?,
        address,
        ipv4_compat,
        direction: direction(known("traffic_direction", message.traffic_direction)?),
        original_dst,
        tls_inspector,
        chains: message.filter_chains.into_iter().map(chain).collect::<Result<_, _>>()?,
        default_chain: message.default_filter_chain.map(chain).transpose()?,
        access_logs: access_log::all(message.access_log)?,
        inspection: Inspection {
            timeout: duration::optional("listener_filters_timeout", message.listener_filters_timeout)?,
            continue_on_timeout: message.continue_on_listener_filters_timeout,
        },
    })
}

fn listener_filters(filters: Vec<proto::ListenerFilter>) -> Result<(bool, bool), Reason> {
    let (mut original_dst, mut tls_inspector) = (false, false);
    for filter in filters {
        let any = filter.config_type.map(|proto::listener_filter::ConfigType::TypedConfig(any)| any);
        match any {
            Some(any) if holds::<OriginalDst>(&any) => original_dst = true,
            Some(any) if holds::<TlsInspector>(&any) => tls_inspector = true,
            other => return Err(unknown(&filter.name, other.as_ref())),
        }
    }
    Ok((original_dst, tls_inspector))
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
