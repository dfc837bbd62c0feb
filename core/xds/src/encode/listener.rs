//! Listeners and their filter chains.

use prost_types::Any;
use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::{ChainMatch, Direction, FilterChain, Listener, Network, Transport};
use selvedge_xds_proto::envoy::config::core::v3::TrafficDirection;
use selvedge_xds_proto::envoy::config::listener::v3 as proto;
use selvedge_xds_proto::envoy::config::listener::v3::ListenerFilterChainMatchPredicate as Predicate;
use selvedge_xds_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::{
    MatchSet, Rule,
};
use selvedge_xds_proto::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use selvedge_xds_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use selvedge_xds_proto::envoy::r#type::v3::Int32Range;

use super::{access_log, duration, endpoint, http, network_filter, proxy_protocol, tcp, text, tls};
use crate::any::pack;

pub(super) fn encode(listener: &Listener) -> proto::Listener {
    let mut listener_filters = Vec::new();
    if listener.original_dst {
        let filter = listener_filter("envoy.filters.listener.original_dst", pack(&OriginalDst {}), None);
        listener_filters.push(filter);
    }
    if let Some(protocol) = &listener.proxy_protocol {
        let config = pack(&proxy_protocol::listener(protocol));
        listener_filters.push(listener_filter("envoy.filters.listener.proxy_protocol", config, None));
    }
    if listener.tls_inspector {
        let elsewhere = all_but(&listener.inspection.only_ports);
        let name = "envoy.filters.listener.tls_inspector";
        listener_filters.push(listener_filter(name, pack(&TlsInspector {}), elsewhere));
    }
    proto::Listener {
        name: listener.name.clone(),
        address: Some(endpoint::socket(listener.address, listener.ipv4_compat)),
        filter_chains: listener.chains.iter().map(chain).collect(),
        default_filter_chain: listener.default_chain.as_ref().map(chain),
        listener_filters,
        traffic_direction: direction(listener.direction).into(),
        listener_filters_timeout: listener.inspection.timeout.map(duration::encode),
        continue_on_listener_filters_timeout: listener.inspection.continue_on_timeout,
        access_log: access_log::all(&listener.access_logs),
    }
}

fn listener_filter(name: &str, config: Any, disabled: Option<Predicate>) -> proto::ListenerFilter {
    proto::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(proto::listener_filter::ConfigType::TypedConfig(config)),
        filter_disabled: disabled,
    }
}

/// Every port but these; nothing if there are none.
fn all_but(ports: &[u16]) -> Option<Predicate> {
    let predicate = |rule: Rule| Predicate { rule: Some(rule) };
    let one = |port: &u16| {
        let start = i32::from(*port);
        predicate(Rule::DestinationPortRange(Int32Range { start, end: start + 1 }))
    };
    let these = match ports {
        [] => return None,
        [port] => one(port),
        ports => predicate(Rule::OrMatch(MatchSet { rules: ports.iter().map(one).collect() })),
    };
    Some(predicate(Rule::NotMatch(Box::new(these))))
}

fn direction(direction: Direction) -> TrafficDirection {
    match direction {
        Direction::Unspecified => TrafficDirection::Unspecified,
        Direction::Inbound => TrafficDirection::Inbound,
        Direction::Outbound => TrafficDirection::Outbound,
    }
}

fn chain(chain: &FilterChain) -> proto::FilterChain {
    let (name, config) = match &chain.network {
        Network::Http(connection) => {
            ("envoy.filters.network.http_connection_manager", pack(&http::encode(connection)))
        }
        Network::Tcp(proxy) => ("envoy.filters.network.tcp_proxy", pack(&tcp::encode(proxy))),
    };
    proto::FilterChain {
        filter_chain_match: (chain.matches != ChainMatch::default()).then(|| chain_match(&chain.matches)),
        filters: chain
            .filters
            .iter()
            .map(network_filter::encode)
            .chain([network_filter::named(name, config)])
            .collect(),
        transport_socket: tls::downstream(&chain.transport),
        name: chain.name.clone(),
        transport_socket_connect_timeout: match &chain.transport {
            Transport::Tls(tls) => tls.handshake_timeout.map(duration::encode),
            Transport::Plain => None,
        },
    }
}

fn chain_match(matches: &ChainMatch) -> proto::FilterChainMatch {
    proto::FilterChainMatch {
        destination_port: matches.destination_port.map(u32::from),
        server_names: matches.server_names.clone(),
        transport_protocol: match matches.transport {
            None => "",
            Some(DetectedTransport::Plain) => "raw_buffer",
            Some(DetectedTransport::Tls) => "tls",
        }
        .to_owned(),
        application_protocols: matches.application_protocols.clone(),
        direct_source_prefix_ranges: matches.direct_sources.iter().map(text::cidr).collect(),
        source_prefix_ranges: matches.sources.iter().map(text::cidr).collect(),
        ..proto::FilterChainMatch::default()
    }
}
